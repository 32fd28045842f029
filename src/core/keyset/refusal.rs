//! Why a configuration is rejected, worded for Envoy's log.

use core::fmt;

use super::format::Algorithm;

/// Why a configuration is rejected. The verdict depends only on the bytes and the signing keys, so
/// it is the same in Envoy's canary and in every worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeysetRefusal {
    /// No configuration, or an empty one.
    Missing,
    /// There is neither `KEYSTILE_SIGNING_KEYS` nor `KEYSTILE_VERIFY_KEYS`, or the first is
    /// malformed.
    SigningKeys(SigningKeyError),
    /// `KEYSTILE_VERIFY_KEYS` is malformed, or contradicts `KEYSTILE_SIGNING_KEYS`.
    VerifyKeys(SigningKeyError),
    /// `KEYSTILE_NODE_KEY` is malformed or too short.
    NodeKey(SigningKeyError),
    /// Not the JSON of an envelope.
    Syntax {
        /// Where reading stopped, in bytes.
        offset: usize,
        /// What was expected there.
        expected: &'static str,
    },
    /// A field that no envelope has.
    UnknownField(String),
    /// A required field that is missing, or that comes after `pages`.
    FieldMissing(&'static str),
    /// A field occurs twice.
    Repeated(String),
    /// A field is not base64url.
    Base64(&'static str),
    /// An unknown version of the format.
    Format(u64),
    /// Neither a keyset nor an overlay.
    UnknownKind(String),
    /// Signed with a key that is not listed.
    UnknownKid(String),
    /// The signature does not match.
    Signature,
    /// Signed under the id of a key that is used with another algorithm.
    OtherAlgorithm {
        /// The id.
        kid: String,
        /// What the key is.
        is: Algorithm,
    },
    /// `alg` has another length than `kid`.
    Algorithms,
    /// Signed, but not a manifest of this format.
    Manifest(String),
    /// The pages have another size than the manifest says.
    Size,
    /// The directory does not match the manifest.
    Directory,
    /// Signed, but the policy has mistakes.
    Policy(String),
    /// An overlay where a keyset is required.
    Overlay,
}

impl KeysetRefusal {
    /// The tag of the metric `keystile_pushes_refused_total`.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::SigningKeys(_) | Self::VerifyKeys(_) | Self::NodeKey(_) => "signing_keys",
            Self::Syntax { .. }
            | Self::UnknownField(_)
            | Self::FieldMissing(_)
            | Self::Repeated(_)
            | Self::Base64(_)
            | Self::Algorithms => "syntax",
            Self::Format(_) | Self::UnknownKind(_) => "format",
            Self::UnknownKid(_) => "unknown_kid",
            Self::Signature | Self::OtherAlgorithm { .. } => "signature",
            Self::Manifest(_) | Self::Policy(_) | Self::Overlay => "manifest",
            Self::Size | Self::Directory => "pages",
        }
    }
}

impl fmt::Display for KeysetRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("there is no plugin configuration; push the output of `keystilectl keyset build`"),
            Self::SigningKeys(SigningKeyError::Empty) => f.write_str("there is no key to check keysets with; set the environment variable `KEYSTILE_SIGNING_KEYS` to the output of `keystilectl signing-key export`, or `KEYSTILE_VERIFY_KEYS` to that of `keystilectl signing-key export --public`, and list it in `host_env_keys`"),
            Self::SigningKeys(e) => write!(f, "the environment variable `KEYSTILE_SIGNING_KEYS` {e}; set it to the output of `keystilectl signing-key export` and list it in `host_env_keys`"),
            Self::VerifyKeys(SigningKeyError::PublicKey) => f.write_str("the environment variable `KEYSTILE_SIGNING_KEYS` lists a public key of `KEYSTILE_VERIFY_KEYS` as a secret, so anybody could sign keysets; remove it from `KEYSTILE_SIGNING_KEYS`"),
            Self::VerifyKeys(SigningKeyError::Shape | SigningKeyError::NoAlgorithm) => f.write_str("the environment variable `KEYSTILE_VERIFY_KEYS` is not `<kid>:ed25519:<base64url>[,…]`; set it to the output of `keystilectl signing-key export --public`"),
            Self::VerifyKeys(e) => write!(f, "the environment variable `KEYSTILE_VERIFY_KEYS` {e}; set it to the output of `keystilectl signing-key export --public`"),
            Self::NodeKey(SigningKeyError::Short) => f.write_str("the environment variable `KEYSTILE_NODE_KEY` has a secret of fewer than 32 bytes; set it to the output of `keystilectl node enroll`, or leave it out"),
            Self::NodeKey(_) => f.write_str("the environment variable `KEYSTILE_NODE_KEY` is not `<node>:<base64url>`; set it to the output of `keystilectl node enroll`, or leave it out"),
            Self::Syntax { offset, expected } => write!(f, "not a keyset: byte {offset} should be {expected}"),
            Self::UnknownField(name) => write!(f, "not a keyset: unknown field `{}`", name.escape_default()),
            Self::FieldMissing(name) => write!(f, "not a keyset: `{name}` is missing, or comes after `pages`"),
            Self::Repeated(name) => write!(f, "not a keyset: `{name}` appears twice"),
            Self::Base64(name) => write!(f, "not a keyset: `{name}` is not base64url"),
            Self::Format(n) => write!(f, "keyset format {n} is not known here; update the filter first, then the companion"),
            Self::UnknownKind(kind) => write!(f, "an artefact of kind `{}` is not known here; update the filter first, then the companion", kind.escape_default()),
            Self::UnknownKid(kid) => write!(f, "signed with key `{}`, which neither `KEYSTILE_SIGNING_KEYS` nor `KEYSTILE_VERIFY_KEYS` lists", kid.escape_default()),
            Self::Signature => f.write_str("the signature does not match: the keyset was changed, or signed with another secret of the same key id"),
            Self::OtherAlgorithm { kid, is } => write!(f, "signed under the id `{}` with another algorithm; that key is for {}", kid.escape_default(), is.as_str()),
            Self::Algorithms => f.write_str("not a keyset: `alg` does not name one algorithm for each id in `kid`"),
            Self::Manifest(e) => write!(f, "the manifest is signed but cannot be understood: {e}"),
            Self::Size => f.write_str("`pages` has another size than the manifest says"),
            Self::Directory => f.write_str("the directory of pages does not match the manifest"),
            Self::Overlay => f.write_str("this is an overlay, which holds only what changed since its base"),
            Self::Policy(e) => write!(f, "the policy is signed but not valid: {e}"),
        }
    }
}

impl std::error::Error for KeysetRefusal {}

/// Why a signing key cannot be used. Says nothing of the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SigningKeyError {
    /// No entry at all.
    Empty,
    /// An entry is not `<kid>:<base64url>`.
    Shape,
    /// The id is not `[A-Za-z0-9-]{1,32}`.
    Kid,
    /// The secret has fewer than 32 bytes.
    Short,
    /// Two entries have the same id.
    Repeated,
    /// A public key where a secret is expected.
    PublicKey,
    /// Not a public key: no point of the curve, or one that nobody can sign for alone.
    NoPublicKey,
    /// A public key without its algorithm, or with another than `ed25519`.
    NoAlgorithm,
}

impl fmt::Display for SigningKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "holds no key",
            Self::Shape => "is not `<kid>:<base64url>[,…]`",
            Self::Kid => "has a key id that is not 1 to 32 of `A-Z`, `a-z`, `0-9` and `-`",
            Self::Short => "has a secret of fewer than 32 bytes",
            Self::Repeated => "has the same key id twice",
            Self::PublicKey => {
                "has a public key among its secrets; public keys belong in `KEYSTILE_VERIFY_KEYS`"
            }
            Self::NoPublicKey => "has an entry that is not an Ed25519 public key",
            Self::NoAlgorithm => "has an entry without `ed25519` between its id and its key",
        })
    }
}

impl std::error::Error for SigningKeyError {}
