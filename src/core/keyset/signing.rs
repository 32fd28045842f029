//! What keysets are signed and checked with: a secret that both sides have (HMAC-SHA-256), or a key
//! pair of which Envoys have only the public key (Ed25519).
//!
//! How a signature is checked depends on the key that its id names, never on what the envelope says
//! of itself: what is signed with HMAC under the id of a public key, whose bytes everybody knows, is
//! refused.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::ed25519::{self, Pair, Public};
use super::format::{Algorithm, ArtefactKind};
use super::refusal::SigningKeyError;

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

/// A key and the id that names it. No `Debug`; secrets are wiped when dropped.
#[derive(Clone)]
pub struct SigningKey {
    kid: String,
    material: Material,
}

#[derive(Clone)]
enum Material {
    Secret(Zeroizing<Vec<u8>>),
    Pair(Pair),
    Public(Public),
}

impl SigningKey {
    /// The fewest bytes of a secret (RFC 2104 section 3: the length of the hash).
    pub const MIN_SECRET: usize = 32;

    /// An HMAC-SHA-256 secret.
    ///
    /// # Errors
    /// [`SigningKeyError`] if the id is not `[A-Za-z0-9-]{1,32}` or the secret is short.
    #[inline(never)]
    pub fn new(kid: &str, secret: Zeroizing<Vec<u8>>) -> Result<Self, SigningKeyError> {
        if secret.len() < Self::MIN_SECRET {
            // A mistake in the id is the first that is named.
            return named(kid).and(Err(SigningKeyError::Short));
        }
        Ok(Self {
            kid: named(kid)?,
            material: Material::Secret(secret),
        })
    }

    /// A pair of Ed25519 keys, from the seed that RFC 8032 calls the private key.
    ///
    /// # Errors
    /// [`SigningKeyError`] if the id is not `[A-Za-z0-9-]{1,32}` or the seed has not 32 bytes.
    pub fn ed25519(kid: &str, seed: &[u8]) -> Result<Self, SigningKeyError> {
        let seed: &[u8; ed25519::KEY] = seed.try_into().map_err(|_| SigningKeyError::Short)?;
        Ok(Self {
            kid: named(kid)?,
            material: Material::Pair(Pair::new(seed)),
        })
    }

    /// A public Ed25519 key, which checks and does not sign.
    ///
    /// # Errors
    /// [`SigningKeyError`] if the id is not `[A-Za-z0-9-]{1,32}` or the bytes are no such key.
    #[inline(never)]
    pub fn public(kid: &str, bytes: &[u8]) -> Result<Self, SigningKeyError> {
        Ok(Self {
            kid: named(kid)?,
            material: Material::Public(Public::new(bytes)?),
        })
    }

    /// The id.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// How it signs.
    pub fn algorithm(&self) -> Algorithm {
        match self.material {
            Material::Secret(_) => Algorithm::HmacSha256,
            Material::Pair(_) | Material::Public(_) => Algorithm::Ed25519,
        }
    }

    /// The entry for `KEYSTILE_SIGNING_KEYS`: `<kid>:<base64url>`. A secret; empty for a key that
    /// does not belong there.
    pub fn expose_secret(&self) -> Zeroizing<String> {
        let Material::Secret(secret) = &self.material else {
            return Zeroizing::default();
        };
        Zeroizing::new(format!(
            "{}:{}",
            self.kid,
            URL_SAFE_NO_PAD.encode(&**secret)
        ))
    }

    /// The entry for `KEYSTILE_VERIFY_KEYS`: `<kid>:ed25519:<base64url>`. Not a secret; `None` for
    /// HMAC, which has no public key.
    pub fn public_entry(&self) -> Option<String> {
        let public = match &self.material {
            Material::Secret(_) => return None,
            Material::Pair(pair) => pair.public(),
            Material::Public(public) => public.clone(),
        };
        let bytes = URL_SAFE_NO_PAD.encode(public.bytes());
        Some(format!(
            "{}:{}:{bytes}",
            self.kid,
            Algorithm::Ed25519.as_str()
        ))
    }

    /// Whether it can sign.
    pub(crate) fn signs(&self) -> bool {
        !matches!(self.material, Material::Public(_))
    }

    /// Whether Envoys share it, so that it can sign their messages.
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self.material, Material::Secret(_))
    }

    /// Whether the same bytes are a secret here and a public key there.
    pub(super) fn is_confused_with(&self, other: &Self) -> bool {
        match (&self.material, &other.material) {
            (Material::Secret(secret), Material::Public(public)) => {
                secret.as_slice() == public.bytes()
            }
            (Material::Public(_), Material::Secret(_)) => other.is_confused_with(self),
            _ => false,
        }
    }

    /// What stands before the message. Neither the domain nor the key's id, which is signed too, can
    /// hold a line feed of its own.
    fn head(&self, domain: Domain) -> [&[u8]; 3] {
        [domain.line(), self.kid.as_bytes(), b"\n"]
    }

    #[inline(never)]
    fn mac(&self, secret: &[u8], domain: Domain, message: &[u8]) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret).ok()?;
        for part in self.head(domain) {
            mac.update(part);
        }
        mac.update(message);
        Some(mac)
    }

    #[inline(never)]
    fn whole(&self, domain: Domain, message: &[u8]) -> Vec<u8> {
        let mut out = self.head(domain).concat();
        out.extend_from_slice(message);
        out
    }

    /// The signature of a message; empty if the key does not sign.
    pub(crate) fn tag(&self, domain: Domain, message: &[u8]) -> Vec<u8> {
        match &self.material {
            Material::Secret(secret) => self
                .mac(secret, domain, message)
                .map(|m| m.finalize().into_bytes().to_vec())
                .unwrap_or_default(),
            Material::Pair(pair) => pair.sign(&self.whole(domain, message)),
            Material::Public(_) => Vec::new(),
        }
    }

    /// Whether the signature is that of this key. With a secret, in constant time.
    pub(crate) fn verifies(&self, domain: Domain, message: &[u8], tag: &[u8]) -> bool {
        match &self.material {
            Material::Secret(secret) => self
                .mac(secret, domain, message)
                .is_some_and(|m| m.verify_slice(tag).is_ok()),
            Material::Pair(pair) => pair.public().verifies(&self.whole(domain, message), tag),
            Material::Public(public) => public.verifies(&self.whole(domain, message), tag),
        }
    }
}

/// The id of a key.
fn named(kid: &str) -> Result<String, SigningKeyError> {
    let is_name = (1..=32).contains(&kid.len())
        && kid.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    match is_name {
        true => Ok(kid.to_owned()),
        false => Err(SigningKeyError::Kid),
    }
}

impl AsRef<[SigningKey]> for SigningKey {
    fn as_ref(&self) -> &[SigningKey] {
        core::slice::from_ref(self)
    }
}
