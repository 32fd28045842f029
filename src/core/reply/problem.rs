//! A denial as a reply.

use std::borrow::Cow;

use super::challenge;
use super::protocol::Protocol;
use super::rate_fields::rate_fields;
use super::request_id;
use crate::decide::{Decision, Denial};
use crate::policy::Policy;
use crate::request::headers::Headers;

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

/// What a reply takes from the request that it answers.
#[derive(Clone, Debug, Default)]
pub struct AnsweredRequest {
    /// How it is answered.
    pub protocol: Protocol,
    /// Its id, if it has one that may be shown.
    pub id: Option<String>,
}

impl AnsweredRequest {
    /// One with these headers.
    pub fn from_headers(headers: Headers<'_>) -> Self {
        Self {
            protocol: Protocol::from_headers(headers),
            id: request_id::from_headers(headers),
        }
    }

    /// One of which only the id is known, in Envoy's words.
    pub fn from_id(id: Option<&[u8]>) -> Self {
        Self {
            protocol: Protocol::Plain,
            id: id.and_then(request_id::shown),
        }
    }
}

/// Makes the reply to a denial. `policy` is that of the keyset in force, if there is one, and
/// `decision` what the denial comes from.
pub fn reply(
    denial: &Denial,
    to: &AnsweredRequest,
    policy: Option<&Policy>,
    decision: Option<&Decision<'_>>,
) -> Reply {
    let answer = denial.answer();
    let is_grpc = to.protocol == Protocol::Grpc;
    // A cached refusal would go on refusing callers that have a key by now.
    let mut headers = Vec::with_capacity(6);
    headers.push(("cache-control", Cow::Borrowed("no-store")));
    if !is_grpc {
        headers.push(("content-type", Cow::Borrowed("application/problem+json")));
    }
    let lacking = match denial {
        Denial::InsufficientScope => decision.and_then(Decision::lacking),
        _ => None,
    };
    match (policy, lacking) {
        (Some(policy), _) if answer.status == 401 => {
            challenge::unauthenticated(policy, denial, &mut headers);
        }
        (Some(policy), Some(lacking)) => challenge::insufficient(policy, lacking, &mut headers),
        _ => {}
    }
    if let Denial::RateLimited { retry_after }
    | Denial::QuotaExceeded { retry_after }
    | Denial::TooManyAttempts { retry_after } = denial
    {
        headers.push(("retry-after", Cow::Owned(retry_after.to_string())));
    }
    if let Some(rate) = decision.and_then(|d| d.rate.as_ref()) {
        headers.extend(rate_fields(rate).map(|(name, value)| (name, Cow::Owned(value))));
    }
    if let Some(id) = &to.id {
        headers.push((request_id::HEADER, Cow::Owned(id.clone())));
    }
    let body = if is_grpc {
        answer.detail.to_owned()
    } else {
        // Every word comes from the table, so nothing needs escaping.
        let digits = [answer.status / 100, answer.status / 10, answer.status];
        let digits = digits.map(|n| b'0' + (n % 10) as u8);
        let status = core::str::from_utf8(&digits).unwrap_or_default();
        let mut body = [
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
            "\"",
        ]
        .concat();
        if let Some(lacking) = lacking {
            list(&mut body, ",\"missing_scopes\":", lacking.all());
            list(&mut body, ",\"any_scope\":", lacking.any());
        }
        if let Some(id) = &to.id {
            body.push_str(",\"request_id\":\"");
            body.push_str(id);
            body.push('"');
        }
        body.push('}');
        body
    };
    Reply {
        status: answer.status,
        headers,
        body,
        details: denial.log_details(),
        grpc: is_grpc.then_some(answer.grpc),
    }
}

/// A field with names of scopes, unless there are none. Names hold neither quotes nor backslashes.
fn list<'a>(body: &mut String, field: &str, names: impl Iterator<Item = &'a str>) {
    let before = body.len();
    for name in names {
        let lead = if body.len() == before {
            [field, "[\""]
        } else {
            ["", ",\""]
        };
        body.push_str(lead[0]);
        body.push_str(lead[1]);
        body.push_str(name);
        body.push('"');
    }
    if body.len() > before {
        body.push(']');
    }
}
