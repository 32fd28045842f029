//! The secrets that keysets are signed with.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::format::ArtefactKind;
use super::refusal::{KeysetRefusal, SigningKeyError};

/// What a tag is for: a line that is signed before the message, so that a tag made with the same
/// secret for another purpose is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Domain {
    Keyset,
    Overlay,
    Report,
    Usage,
    Receipt,
    Refusal,
}

impl Domain {
    fn line(self) -> &'static [u8] {
        match self {
            Self::Keyset => b"keystile keyset v1\n",
            Self::Overlay => b"keystile overlay v1\n",
            Self::Report => b"keystile report v1\n",
            Self::Usage => b"keystile usage v1\n",
            Self::Receipt => b"keystile receipt v1\n",
            Self::Refusal => b"keystile refusal v1\n",
        }
    }
}

impl From<ArtefactKind> for Domain {
    fn from(kind: ArtefactKind) -> Self {
        match kind {
            ArtefactKind::Keyset => Self::Keyset,
            ArtefactKind::Overlay => Self::Overlay,
        }
    }
}

/// An HMAC-SHA-256 secret and the id that names it. No `Debug`; wiped when dropped.
#[derive(Clone)]
pub struct SigningKey {
    kid: String,
    secret: Zeroizing<Vec<u8>>,
}

impl SigningKey {
    /// The fewest bytes of a secret (RFC 2104 section 3: the length of the hash).
    pub const MIN_SECRET: usize = 32;

    /// # Errors
    /// [`SigningKeyError`] if the id is not `[A-Za-z0-9-]{1,32}` or the secret is short.
    #[inline(never)]
    pub fn new(kid: &str, secret: Zeroizing<Vec<u8>>) -> Result<Self, SigningKeyError> {
        if kid.is_empty()
            || kid.len() > 32
            || !kid.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        {
            return Err(SigningKeyError::Kid);
        }
        if secret.len() < Self::MIN_SECRET {
            return Err(SigningKeyError::Short);
        }
        Ok(Self {
            kid: kid.to_owned(),
            secret,
        })
    }

    /// The id.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The entry for `KEYSTILE_SIGNING_KEYS`: `<kid>:<base64url>`. A secret.
    pub fn expose_secret(&self) -> Zeroizing<String> {
        Zeroizing::new(format!(
            "{}:{}",
            self.kid,
            URL_SAFE_NO_PAD.encode(&*self.secret)
        ))
    }

    #[inline(never)]
    fn mac(&self, domain: Domain, message: &[u8]) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.secret).ok()?;
        // Neither the domain nor the key's id, which is signed too, can hold a line feed
        // of its own.
        mac.update(domain.line());
        mac.update(self.kid.as_bytes());
        mac.update(b"\n");
        mac.update(message);
        Some(mac)
    }

    pub(crate) fn tag(&self, domain: Domain, message: &[u8]) -> Vec<u8> {
        self.mac(domain, message)
            .map(|m| m.finalize().into_bytes().to_vec())
            .unwrap_or_default()
    }

    /// In constant time.
    pub(crate) fn verifies(&self, domain: Domain, message: &[u8], tag: &[u8]) -> bool {
        self.mac(domain, message)
            .is_some_and(|m| m.verify_slice(tag).is_ok())
    }
}

impl AsRef<[SigningKey]> for SigningKey {
    fn as_ref(&self) -> &[SigningKey] {
        core::slice::from_ref(self)
    }
}

impl AsRef<[SigningKey]> for SigningKeys {
    fn as_ref(&self) -> &[SigningKey] {
        &self.0
    }
}

/// A secret that only one Envoy has, for its reports. No `Debug`; wiped when dropped.
#[derive(Clone)]
pub struct NodeKey {
    node: String,
    key: SigningKey,
}

impl NodeKey {
    /// The key id of messages signed with a node secret; the message itself names the node. No
    /// signing key of a store has this id.
    pub const KID: &str = "node";

    /// A node's secret.
    ///
    /// # Errors
    /// [`SigningKeyError`] if there is no node, or the secret is short.
    #[inline(never)]
    pub fn new(node: &str, secret: Zeroizing<Vec<u8>>) -> Result<Self, SigningKeyError> {
        if node.is_empty() {
            return Err(SigningKeyError::Shape);
        }
        Ok(Self {
            node: node.to_owned(),
            key: SigningKey::new(Self::KID, secret)?,
        })
    }

    /// Reads `<node>:<base64url>`, as `KEYSTILE_NODE_KEY` holds it; the name of the variable
    /// may stand before it.
    ///
    /// # Errors
    /// [`SigningKeyError`].
    #[inline(never)]
    pub fn parse(text: &str) -> Result<Self, SigningKeyError> {
        let text = text.trim();
        let text = text.strip_prefix("KEYSTILE_NODE_KEY=").unwrap_or(text);
        let (node, secret) = text.rsplit_once(':').ok_or(SigningKeyError::Shape)?;
        let secret = URL_SAFE_NO_PAD
            .decode(secret.trim_end_matches('='))
            .map_err(|_| SigningKeyError::Shape)?;
        Self::new(node, Zeroizing::new(secret))
    }

    /// The value of `KEYSTILE_NODE_KEY`. A secret.
    pub fn expose_secret(&self) -> Zeroizing<String> {
        let secret = Zeroizing::new(URL_SAFE_NO_PAD.encode(&*self.key.secret));
        Zeroizing::new(format!("{}:{}", self.node, secret.as_str()))
    }

    /// Whose it is.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// What messages are signed with.
    pub fn signing_key(&self) -> SigningKey {
        self.key.clone()
    }
}

/// The signing keys accepted at once, as `KEYSTILE_SIGNING_KEYS` lists them.
#[derive(Clone)]
pub struct SigningKeys(Vec<SigningKey>);

impl SigningKeys {
    /// Keys in memory.
    #[inline(never)]
    pub fn new(keys: Vec<SigningKey>) -> Self {
        Self(keys)
    }

    /// Reads `<kid>:<base64url>[,…]`; the name of the variable may stand before it, as in
    /// an `export` line copied whole.
    ///
    /// # Errors
    /// [`SigningKeyError`], for the first entry that does not hold.
    #[inline(never)]
    pub fn parse(text: &str) -> Result<Self, SigningKeyError> {
        let mut keys: Vec<SigningKey> = Vec::new();
        let text = text.trim();
        let text = text.strip_prefix("KEYSTILE_SIGNING_KEYS=").unwrap_or(text);
        for item in text.split(',').map(str::trim).filter(|s| !s.is_empty()) {
            let (kid, secret) = item.split_once(':').ok_or(SigningKeyError::Shape)?;
            let secret = secret.trim_end_matches('=');
            let secret = URL_SAFE_NO_PAD
                .decode(secret)
                .map_err(|_| SigningKeyError::Shape)?;
            let key = SigningKey::new(kid, Zeroizing::new(secret))?;
            if keys.iter().any(|k| k.kid == key.kid) {
                return Err(SigningKeyError::Repeated);
            }
            keys.push(key);
        }
        if keys.is_empty() {
            return Err(SigningKeyError::Empty);
        }
        Ok(Self(keys))
    }

    /// The key with this id.
    pub(crate) fn by_kid(&self, kid: &str) -> Option<&SigningKey> {
        self.0.iter().find(|k| k.kid == kid)
    }

    /// Checks the tags of a manifest. Tags of unknown keys are ignored; there must be at least one
    /// of a known key, and all of those must match.
    #[inline(never)]
    pub(super) fn verify(
        &self,
        kind: ArtefactKind,
        kids: &str,
        tags: &str,
        manifest: &[u8],
    ) -> Result<(), KeysetRefusal> {
        let mut known = false;
        let mut tags = tags.split(',');
        for kid in kids.split(',') {
            let tag = tags.next().ok_or(KeysetRefusal::Base64("hmac"))?;
            let Some(key) = self.by_kid(kid) else {
                continue;
            };
            let tag = URL_SAFE_NO_PAD
                .decode(tag)
                .map_err(|_| KeysetRefusal::Base64("hmac"))?;
            if !key.verifies(kind.into(), manifest, &tag) {
                return Err(KeysetRefusal::Signature);
            }
            known = true;
        }
        match (known, tags.next()) {
            (true, None) => Ok(()),
            (true, Some(_)) => Err(KeysetRefusal::Base64("hmac")),
            (false, _) => Err(KeysetRefusal::UnknownKid(kids.to_owned())),
        }
    }
}
