//! The one table from a denial to what the caller is told.
//!
//! Bodies are RFC 9457 problem details; gRPC calls get the status that their clients
//! understand (16 unauthenticated, 7 permission denied, 8 resource exhausted).

mod rate_fields;

use crate::decide::{Denial, Rate, Unavailable};
use crate::key::Malformed;
use crate::policy::{Credential, Policy};
use crate::request::certificate::Stranger;
use crate::request::host::AmbiguousHost;
use crate::request::path::Ambiguous;
pub use rate_fields::rate_fields;
use std::borrow::Cow;

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

/// A reply to be sent instead of asking the upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(&'static str, Cow<'static, str>)>,
    /// The problem, or the message of a gRPC status.
    pub body: String,
    /// For access logs.
    pub details: String,
    /// Set for gRPC calls only: a gRPC answer to a plain request would become 200.
    pub grpc: Option<u32>,
}

/// Makes the reply to a denial. `policy` is that of the keyset in force, if there is one; `is_grpc`
/// says that the request is a gRPC call.
pub fn reply(
    denial: &Denial,
    policy: Option<&Policy>,
    rate: Option<&Rate<'_>>,
    is_grpc: bool,
) -> Reply {
    let answer = denial.answer();
    // A cached refusal would go on refusing callers that have a key by now.
    let mut headers = Vec::with_capacity(4);
    headers.push(("cache-control", Cow::Borrowed("no-store")));
    if !is_grpc {
        headers.push(("content-type", Cow::Borrowed("application/problem+json")));
    }
    if answer.status == 401
        && let Some(policy) = policy
    {
        add_challenges(policy, denial, &mut headers);
    }
    if let Denial::RateLimited { retry_after }
    | Denial::QuotaExceeded { retry_after }
    | Denial::TooManyAttempts { retry_after } = denial
    {
        headers.push(("retry-after", Cow::Owned(retry_after.to_string())));
    }
    if let Some(rate) = rate {
        headers.extend(rate_fields(rate).map(|(name, value)| (name, Cow::Owned(value))));
    }
    let body = if is_grpc {
        answer.detail.to_owned()
    } else {
        // Every word comes from the table, so nothing needs escaping.
        let digits = [answer.status / 100, answer.status / 10, answer.status];
        let digits = digits.map(|n| b'0' + (n % 10) as u8);
        let status = core::str::from_utf8(&digits).unwrap_or_default();
        [
            "{\"type\":\"urn:keystile:problem:",
            answer.code,
            "\",\"title\":\"",
            answer.title,
            "\",\"status\":",
            status,
            ",\"detail\":\"",
            answer.detail,
            "\",\"code\":\"",
            answer.code,
            "\"}",
        ]
        .concat()
    };
    Reply {
        status: answer.status,
        headers,
        body,
        details: denial.log_details(),
        grpc: is_grpc.then_some(answer.grpc),
    }
}

/// How the method and the content type of a request fit together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Not gRPC.
    Plain,
    /// A call of gRPC's, which is a POST.
    Grpc,
    /// Another method with gRPC's content type. Envoy looks only at the content type, and would
    /// turn our answer into a gRPC answer, which is HTTP 200.
    Disguised,
}

impl Protocol {
    /// Of a request with these headers.
    pub fn from_headers(headers: crate::request::headers::Headers<'_>) -> Self {
        match headers.get("content-type") {
            Some(content_type) if is_grpc(content_type) => match headers.get(":method") {
                Some(b"POST") => Self::Grpc,
                _ => Self::Disguised,
            },
            _ => Self::Plain,
        }
    }
}

/// Whether a content type is gRPC's, as Envoy tells (`Grpc::Common::hasGrpcContentType`):
/// `application/grpc`, `application/grpc+proto` and so on, and not `application/grpc;x`.
pub fn is_grpc(content_type: &[u8]) -> bool {
    content_type
        .strip_prefix(b"application/grpc")
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'+')))
}

/// `WWW-Authenticate` (RFC 9110 section 11.6.1, RFC 6750 section 3): one challenge for
/// each scheme, and one for keys in a header of their own, query or cookie.
fn add_challenges(
    policy: &Policy,
    denial: &Denial,
    headers: &mut Vec<(&'static str, Cow<'static, str>)>,
) {
    for credential in &policy.credentials {
        let scheme = match credential {
            Credential::Header {
                scheme: Some(scheme),
                ..
            } => scheme.as_str(),
            Credential::Basic(_) => "Basic",
            _ => "ApiKey",
        };
        let is_bearer = scheme.eq_ignore_ascii_case("bearer");
        let error = match *denial != Denial::MissingKey && is_bearer {
            true => ", error=\"invalid_token\"",
            false => "",
        };
        let value = [scheme, " realm=\"", &policy.realm, "\"", error].concat();
        // No other field has such a value.
        if !headers.iter().any(|(_, other)| *other == value) {
            headers.push(("www-authenticate", Cow::Owned(value)));
        }
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
