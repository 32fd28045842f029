//! Signed messages between a VM and the control plane: JSON, and an HMAC in two headers.
//!
//! Messages are signed with a node's own secret or with one that keysets are signed with, each kind
//! in a domain of its own, so that none passes for another: without a secret, nobody can claim
//! anything.

use core::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::json;
use crate::keyset::signing::Domain;
use crate::keyset::{SigningKey, SigningKeys};

/// The header with the id of the signing key.
pub const KID_HEADER: &str = "x-keystile-kid";
/// The header with the signature, base64url.
pub const SIGNATURE_HEADER: &str = "x-keystile-signature";

/// A message and its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// JSON: what is signed.
    pub body: Vec<u8>,
    /// The id of the key that signed.
    pub kid: String,
    /// The signature, base64url.
    pub tag: String,
}

/// Why a message is rejected. Each surface adds the next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageError {
    /// Longer than this many bytes.
    TooLong(usize),
    /// Signed with a key that is not listed.
    UnknownKid,
    /// The signature does not match.
    Signature,
    /// Signed, but malformed: most likely from another version of the filter.
    Shape,
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong(most) => return write!(f, "the message is longer than {most} bytes"),
            Self::UnknownKid => "signed with a secret that is not accepted here",
            Self::Signature => "the signature does not match",
            Self::Shape => "signed, but in a form that this version does not know",
        })
    }
}

impl std::error::Error for MessageError {}

/// Signs a message with the first secret. `None` if there is none or the message cannot be
/// written.
pub(crate) fn seal<T: Serialize>(
    domain: Domain,
    message: &T,
    keys: &SigningKeys,
) -> Option<Sealed> {
    sign(domain, serde_json::to_vec(message).ok()?, keys)
}

/// Signs a finished body with the first secret. `None` if there is none: a public key signs nothing.
pub(crate) fn sign(domain: Domain, body: Vec<u8>, keys: &SigningKeys) -> Option<Sealed> {
    let all: &[SigningKey] = keys.as_ref();
    let key = all.iter().find(|k| k.is_shared())?;
    Some(Sealed {
        kid: key.kid().to_owned(),
        tag: URL_SAFE_NO_PAD.encode(key.tag(domain, &body)),
        body,
    })
}

/// The node that a message claims to be from, before it is verified: used to find the secret to
/// verify it with.
pub fn node_of(body: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Named {
        node: String,
    }
    // Not `crate::json`: anybody may have sent this, and nothing but the name is worth memory.
    serde_json::from_slice::<Named>(body).ok().map(|n| n.node)
}

/// Verifies and reads a message of at most `most` bytes. Nothing in it is read before the signature
/// is verified.
///
/// # Errors
/// [`MessageError`].
pub(crate) fn open<T: DeserializeOwned>(
    domain: Domain,
    most: usize,
    body: &[u8],
    kid: &str,
    tag: &str,
    keys: &SigningKeys,
) -> Result<T, MessageError> {
    if body.len() > most {
        return Err(MessageError::TooLong(most));
    }
    let key = keys.shared(kid).ok_or(MessageError::UnknownKid)?;
    let tag = URL_SAFE_NO_PAD
        .decode(tag)
        .map_err(|_| MessageError::Signature)?;
    if !key.verifies(domain, body, &tag) {
        return Err(MessageError::Signature);
    }
    json::read(body).map_err(|_| MessageError::Shape)
}
