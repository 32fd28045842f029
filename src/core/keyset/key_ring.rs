//! Several keys at once: how a signature finds the key that it is checked with.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use super::format::{Algorithm, ArtefactKind};
use super::refusal::{KeysetRefusal, SigningKeyError};
use super::signing::SigningKey;

/// The keys accepted at once, as `KEYSTILE_SIGNING_KEYS` and `KEYSTILE_VERIFY_KEYS` list them.
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
        entries(text, "KEYSTILE_SIGNING_KEYS=", |kid, secret| {
            if secret.contains(':') {
                return Err(SigningKeyError::PublicKey);
            }
            SigningKey::new(kid, Zeroizing::new(decoded(secret)?))
        })
    }

    /// Reads public keys, `<kid>:ed25519:<base64url>[,…]`.
    ///
    /// # Errors
    /// [`SigningKeyError`], for the first entry that does not hold.
    #[inline(never)]
    pub fn parse_public(text: &str) -> Result<Self, SigningKeyError> {
        entries(text, "KEYSTILE_VERIFY_KEYS=", |kid, rest| {
            let (algorithm, public) = rest.split_once(':').ok_or(SigningKeyError::NoAlgorithm)?;
            if Algorithm::from_word(algorithm) != Some(Algorithm::Ed25519) {
                return Err(SigningKeyError::NoAlgorithm);
            }
            SigningKey::public(kid, &decoded(public)?)
        })
    }

    /// These and others together.
    ///
    /// # Errors
    /// [`SigningKeyError`] if two have the same id, or a secret is a public key.
    #[inline(never)]
    pub fn and(mut self, others: Self) -> Result<Self, SigningKeyError> {
        for key in others.0 {
            if self.0.iter().any(|k| k.kid() == key.kid()) {
                return Err(SigningKeyError::Repeated);
            }
            if self.0.iter().any(|k| k.is_confused_with(&key)) {
                return Err(SigningKeyError::PublicKey);
            }
            self.0.push(key);
        }
        Ok(self)
    }

    /// Whether messages can be signed with one of them: a public key signs nothing.
    pub fn can_sign_messages(&self) -> bool {
        self.0.iter().any(SigningKey::is_shared)
    }

    /// The secret with this id.
    pub(crate) fn shared(&self, kid: &str) -> Option<&SigningKey> {
        self.0.iter().find(|k| k.is_shared() && k.kid() == kid)
    }

    /// Checks the signatures of a manifest. Those of unknown keys are ignored, whatever their
    /// algorithm; there must be at least one of a known key, and all of those must hold.
    #[inline(never)]
    pub(super) fn verify(
        &self,
        kind: ArtefactKind,
        signed: &Signatures<'_>,
        manifest: &[u8],
    ) -> Result<(), KeysetRefusal> {
        let mut known = false;
        let mut tags = signed.tags.split(',');
        let mut algorithms = signed.algorithms.map(|all| all.split(','));
        for kid in signed.kids.split(',') {
            let tag = tags.next().ok_or(KeysetRefusal::Base64("hmac"))?;
            let algorithm = match &mut algorithms {
                None => Algorithm::HmacSha256.as_str(),
                Some(all) => all.next().ok_or(KeysetRefusal::Algorithms)?,
            };
            let Some(key) = self.0.iter().find(|k| k.kid() == kid) else {
                continue;
            };
            if key.algorithm().as_str() != algorithm {
                return Err(KeysetRefusal::OtherAlgorithm {
                    kid: kid.to_owned(),
                    is: key.algorithm(),
                });
            }
            let tag = URL_SAFE_NO_PAD
                .decode(tag)
                .map_err(|_| KeysetRefusal::Base64("hmac"))?;
            if !key.verifies(kind.into(), manifest, &tag) {
                return Err(KeysetRefusal::Signature);
            }
            known = true;
        }
        if algorithms.is_some_and(|mut all| all.next().is_some()) {
            return Err(KeysetRefusal::Algorithms);
        }
        match (known, tags.next()) {
            (true, None) => Ok(()),
            (true, Some(_)) => Err(KeysetRefusal::Base64("hmac")),
            (false, _) => Err(KeysetRefusal::UnknownKid(signed.kids.to_owned())),
        }
    }
}

impl AsRef<[SigningKey]> for SigningKeys {
    fn as_ref(&self) -> &[SigningKey] {
        &self.0
    }
}

/// What an envelope says of its signatures: lists, separated by commas.
pub(super) struct Signatures<'e> {
    pub(super) kids: &'e str,
    /// `None`: all are HMAC.
    pub(super) algorithms: Option<&'e str>,
    pub(super) tags: &'e str,
}

fn entries(
    text: &str,
    variable: &str,
    one: impl Fn(&str, &str) -> Result<SigningKey, SigningKeyError>,
) -> Result<SigningKeys, SigningKeyError> {
    let mut keys = SigningKeys(Vec::new());
    let text = text.trim();
    let text = text.strip_prefix(variable).unwrap_or(text);
    for item in text.split(',').map(str::trim).filter(|s| !s.is_empty()) {
        let (kid, rest) = item.split_once(':').ok_or(SigningKeyError::Shape)?;
        keys = keys.and(SigningKeys(vec![one(kid, rest)?]))?;
    }
    match keys.0.is_empty() {
        true => Err(SigningKeyError::Empty),
        false => Ok(keys),
    }
}

fn decoded(text: &str) -> Result<Vec<u8>, SigningKeyError> {
    URL_SAFE_NO_PAD
        .decode(text.trim_end_matches('='))
        .map_err(|_| SigningKeyError::Shape)
}
