//! Why a request is refused.

use crate::key::Malformed;
use crate::request::certificate::Stranger;
use crate::request::host::AmbiguousHost;
use crate::request::path::Ambiguous;

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// No key on a route that requires one.
    MissingKey,
    /// Not a key.
    MalformedKey(Malformed),
    /// Several differing keys.
    MultipleKeys,
    /// Never issued, or removed long ago.
    UnknownKey,
    /// Past its expiry, or past the grace after a rotation.
    ExpiredKey {
        /// It was rotated.
        rotated: bool,
    },
    /// Not valid yet.
    InactiveKey,
    /// Disabled.
    DisabledKey,
    /// Revoked.
    RevokedKey,
    /// Lacks a scope.
    InsufficientScope,
    /// No route is open to it.
    RouteDenied,
    /// Called from a network that the key does not allow.
    AddressDenied,
    /// Called without the client certificate that the key is bound to.
    CertificateDenied(Stranger),
    /// Called from an origin that the key does not allow.
    OriginDenied,
    /// A key of another environment.
    EnvironmentDenied,
    /// Plain HTTP where TLS is required.
    TlsRequired,
    /// A host that readers could interpret differently, where that makes a difference.
    AmbiguousHost(AmbiguousHost),
    /// A path that readers could interpret differently, where that makes a difference.
    AmbiguousPath(Ambiguous),
    /// A bucket is empty.
    RateLimited {
        /// Seconds, rounded up.
        retry_after: u64,
    },
    /// The quota of its plan is used up.
    QuotaExceeded {
        /// Seconds until its window ends.
        retry_after: u64,
    },
    /// Too many unknown keys came from its address.
    TooManyAttempts {
        /// Seconds, rounded up.
        retry_after: u64,
    },
    /// There is nothing to decide by.
    KeysetUnavailable(Unavailable),
}

/// Why there is nothing to decide by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// No keyset was loaded.
    None,
    /// An overlay was loaded, and its base was not.
    OverlayWithoutBase,
    /// The keyset is past its not-after.
    Stale,
    /// The page where the key would be is not the one that was signed.
    CorruptPage,
}
