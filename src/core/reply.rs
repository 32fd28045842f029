//! The one table from a denial to what the caller is told.
//!
//! Bodies are RFC 9457 problem details; gRPC calls get the status that their clients
//! understand (16 unauthenticated, 7 permission denied, 8 resource exhausted).

mod challenge;
mod problem;
mod protocol;
mod rate_fields;
mod request_id;

use crate::decide::{Denial, Unavailable};
use crate::key::Malformed;
use crate::request::certificate::Stranger;
use crate::request::host::AmbiguousHost;
use crate::request::path::Ambiguous;
pub use problem::{AnsweredRequest, Reply, reply};
pub use protocol::{Protocol, is_grpc};
pub use rate_fields::rate_fields;
pub use request_id::shown as shown_request_id;

/// What a denial means on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// gRPC status.
    pub grpc: u32,
    /// The `code` of the body, the tag of the metric, the word in the access log.
    pub code: &'static str,
    /// The `title` of the body.
    pub title: &'static str,
    /// The `detail` of the body: the fact and the next step.
    pub detail: &'static str,
}

impl Denial {
    /// One of each code, by status and then in the order of the questions.
    pub const CODES: [Self; 21] = [
        Self::AmbiguousHost(AmbiguousHost::Malformed),
        Self::AmbiguousPath(Ambiguous::NotAbsolute),
        Self::MissingKey,
        Self::MalformedKey(Malformed::Shape),
        Self::MultipleKeys,
        Self::UnknownKey,
        Self::ExpiredKey { rotated: false },
        Self::InactiveKey,
        Self::DisabledKey,
        Self::RevokedKey,
        Self::InsufficientScope,
        Self::RouteDenied,
        Self::AddressDenied,
        Self::CertificateDenied(Stranger::Other),
        Self::OriginDenied,
        Self::EnvironmentDenied,
        Self::TlsRequired,
        Self::RateLimited { retry_after: 1 },
        Self::QuotaExceeded { retry_after: 1 },
        Self::TooManyAttempts { retry_after: 1 },
        Self::KeysetUnavailable(Unavailable::None),
    ];

    /// Looks the denial up in the table.
    #[expect(clippy::too_many_lines, reason = "a table")]
    pub fn answer(&self) -> Answer {
        let (status, code, title, detail) = match self {
            Self::MissingKey => (
                401,
                "missing_api_key",
                "API key missing",
                "Send your API key with the request.",
            ),
            Self::MalformedKey(_) => (
                401,
                "malformed_api_key",
                "Not an API key",
                "What was sent is not an API key. Check that you copied all of it.",
            ),
            Self::MultipleKeys => (
                401,
                "multiple_api_keys",
                "Several API keys",
                "The request carries several different API keys. Send one.",
            ),
            Self::UnknownKey => (
                401,
                "unknown_api_key",
                "Unknown API key",
                "This API key is not known here.",
            ),
            Self::ExpiredKey { rotated: false } => (
                401,
                "expired_api_key",
                "Expired API key",
                "This API key has expired. Ask for a new one.",
            ),
            Self::ExpiredKey { rotated: true } => (
                401,
                "expired_api_key",
                "Expired API key",
                "This API key was replaced by a newer one and its grace period is over. Use the newer one.",
            ),
            Self::InactiveKey => (
                401,
                "inactive_api_key",
                "API key not active yet",
                "This API key is not valid yet.",
            ),
            Self::DisabledKey => (
                401,
                "disabled_api_key",
                "API key disabled",
                "This API key is disabled.",
            ),
            Self::RevokedKey => (
                401,
                "revoked_api_key",
                "API key revoked",
                "This API key was revoked. Ask for a new one.",
            ),
            Self::InsufficientScope => (
                403,
                "insufficient_scope",
                "Scope missing",
                "This API key lacks a scope that this route requires. Ask for a key that has it.",
            ),
            Self::RouteDenied => (
                403,
                "route_denied",
                "Route closed",
                "No route allows this method, host and path.",
            ),
            Self::AddressDenied => (
                403,
                "address_denied",
                "Address not allowed",
                "This API key may not be used from this network address.",
            ),
            Self::CertificateDenied(_) => (
                403,
                "certificate_denied",
                "Client certificate not allowed",
                "This API key may only be used on a connection with a client certificate that it is bound to.",
            ),
            Self::OriginDenied => (
                403,
                "origin_denied",
                "Origin not allowed",
                "This API key may not be used from this web origin.",
            ),
            Self::EnvironmentDenied => (
                403,
                "environment_denied",
                "Wrong environment",
                "This API key belongs to another environment.",
            ),
            Self::TlsRequired => (
                403,
                "tls_required",
                "TLS required",
                "Use https. Treat the key as exposed if it was sent over plain HTTP.",
            ),
            Self::AmbiguousHost(why) => (400, "ambiguous_host", "Ambiguous host", why.detail()),
            Self::AmbiguousPath(why) => (400, "ambiguous_path", "Ambiguous path", why.detail()),
            Self::RateLimited { .. } => (
                429,
                "rate_limited",
                "Too many requests",
                "The rate limit is used up. Try again after the seconds in Retry-After.",
            ),
            Self::QuotaExceeded { .. } => (
                429,
                "quota_exceeded",
                "Quota used up",
                "The quota of this API key is used up. Try again after the seconds in Retry-After, or ask for a larger one.",
            ),
            Self::TooManyAttempts { .. } => (
                429,
                "too_many_attempts",
                "Too many unknown API keys",
                "This API key is not known here, and neither were many before it from your address. Try again after the seconds in Retry-After, with a valid one.",
            ),
            Self::KeysetUnavailable(_) => (
                503,
                "keyset_unavailable",
                "Keys unavailable",
                "API keys cannot be checked at the moment. Try again later.",
            ),
        };
        let grpc = match status {
            400 => 3,
            401 => 16,
            403 => 7,
            429 => 8,
            _ => 14,
        };
        Answer {
            status,
            grpc,
            code,
            title,
            detail,
        }
    }

    /// The `code`: one word, stable.
    pub fn code(&self) -> &'static str {
        self.answer().code
    }

    /// What `%RESPONSE_CODE_DETAILS%` of an access log shows: the code, and what only
    /// the operator is told.
    pub fn log_details(&self) -> String {
        let more = match self {
            Self::MalformedKey(why) => match why {
                Malformed::Length => ":length",
                Malformed::Shape => ":shape",
                Malformed::Checksum => ":checksum",
            },
            Self::ExpiredKey { rotated: true } => ":rotated",
            Self::CertificateDenied(who) => match who {
                Stranger::Anonymous => ":absent",
                Stranger::Unproven => ":unproven",
                Stranger::Other => ":other",
            },
            Self::KeysetUnavailable(why) => match why {
                Unavailable::None => ":none_in_force",
                Unavailable::OverlayWithoutBase => ":overlay_without_base",
                Unavailable::Stale => ":past_not_after",
                Unavailable::CorruptPage => ":corrupt_page",
            },
            _ => "",
        };
        ["keystile:", self.code(), more].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The codes in the table: the quoted words that have the form of one.
    fn written() -> Vec<&'static str> {
        let text = include_str!("reply.rs");
        let table = text.split_once("fn answer(").unwrap().1;
        let table = table.split_once("let grpc").unwrap().0;
        let quoted = table.split('"').skip(1).step_by(2);
        let is_code = |w: &&str| w.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        let mut codes: Vec<&str> = quoted.filter(is_code).collect();
        codes.sort_unstable();
        codes.dedup();
        codes
    }

    #[test]
    fn every_code_of_the_table_is_listed_once() {
        let mut listed: Vec<&str> = Denial::CODES.iter().map(Denial::code).collect();
        listed.sort_unstable();
        assert_eq!(listed, written());
    }

    #[test]
    fn codes_are_listed_by_status() {
        let order = Denial::CODES.map(|d| d.answer().status);
        assert!(order.is_sorted(), "{order:?}");
    }
}
