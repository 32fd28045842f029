//! What requests are compared by: the conditions of HTTP, and `Idempotency-Key`.

use axum::http::request::Parts;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use keystile_api::{self as operation, Endpoint};
use keystile_model::error::{Code, Error, refuse};

/// The whole request, for `Idempotency-Key`.
pub fn fingerprint(route: &Endpoint, head: &Parts, body: &[u8]) -> [u8; 32] {
    let mut h = Sha256::new();
    for part in [route.name.as_bytes(), head.uri.path().as_bytes(), body] {
        h.update((part.len() as u64).to_be_bytes());
        h.update(part);
    }
    h.finalize().into()
}

/// Whether `If-None-Match` names a tag.
pub fn listed(tags: &str, tag: &str) -> bool {
    tags.split(',').any(|t| {
        let t = t.trim();
        t == "*" || t.strip_prefix("W/").unwrap_or(t) == tag
    })
}

/// `If-Match` compares strongly (RFC 9110 section 13.1.1).
pub fn matches(tags: &str, current: Option<&Value>) -> bool {
    let Some(current) = current else { return false };
    let tag = operation::tag(current);
    tags.split(',').map(str::trim).any(|t| t == "*" || t == tag)
}

/// The error that `If-Match` does not hold.
pub fn stale() -> Error {
    refuse(
        Code::ChangedMeanwhile,
        "it has changed since it was read",
        "read it again, and send its current `ETag` in `if-match`",
    )
}

/// A condition that nothing can be compared with does not hold (RFC 9110 section 13.1.1).
pub fn incomparable(route: &Endpoint) -> Error {
    refuse(
        Code::ConditionUnsupported,
        format_args!(
            "`{}` changes nothing that has an `ETag`, so `if-match` cannot be checked",
            route.name
        ),
        "leave the header out",
    )
}
