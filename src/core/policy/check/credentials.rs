//! Where keys may be sent, and the headers that tell the upstream about them.

use super::super::{Credential, RawCredential, RawIdentity, RawPolicy};
use super::{Errors, is_plain, is_token};
use crate::advice::Advice;
use crate::request::name::PROTOCOLS;

const ONE_PLACE: &str = "write exactly one of `header`, `basic`, `query` and `cookie`";

/// Headers that HTTP itself needs: taking a key out of one of them would break the request.
const ELSEWHERE: [&str; 11] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "te",
    "trailer",
    "upgrade",
    "expect",
    "sec-websocket-key",
    "sec-websocket-version",
    "sec-websocket-extensions",
];

#[inline(never)]
pub(crate) fn credentials(raw: &RawPolicy, e: &mut Errors) -> Vec<Credential> {
    if raw.credentials.is_empty() {
        e.push(
            "credentials",
            Advice::new(
                "is empty, so no key could be found",
                "list at least one, such as `- header: x-api-key`",
            ),
        );
    }
    let mut out = Vec::new();
    for (i, c) in raw.credentials.iter().enumerate() {
        let field = format!("credentials[{i}]");
        let Some(place) = place(c, &field, e) else {
            continue;
        };
        if out.contains(&place) {
            e.push(field, Advice::new("is listed twice", "remove one"));
        } else {
            out.push(place);
        }
    }
    out
}

#[inline(never)]
fn place(c: &RawCredential, field: &str, e: &mut Errors) -> Option<Credential> {
    Some(match (&c.header, &c.query, &c.cookie) {
        (None, None, None) if c.basic.is_some() && c.scheme.is_some() => {
            e.push(
                format!("{field}.scheme"),
                "goes with `header` only, not with `basic`",
            );
            return None;
        }
        (None, None, None) => match c.basic {
            Some(part) => Credential::Basic(part),
            None => {
                e.push(field, ONE_PLACE);
                return None;
            }
        },
        _ if c.basic.is_some() => {
            e.push(field, ONE_PLACE);
            return None;
        }
        (Some(name), None, None) => return header(name, c.scheme.as_deref(), field, e),
        (None, Some(name), None) | (None, None, Some(name)) if c.scheme.is_some() => {
            e.push(
                format!("{field}.scheme"),
                format!("goes with `header` only, not with `{name}`"),
            );
            return None;
        }
        (None, Some(name), None) if is_plain(name) => Credential::Query(name.clone()),
        (None, None, Some(name)) if is_plain(name) => Credential::Cookie(name.clone()),
        (None, Some(name), None) | (None, None, Some(name)) => {
            e.push(
                field,
                format!("`{name}` is not a name: use letters, digits, `-`, `_` and `.`"),
            );
            return None;
        }
        _ => {
            e.push(field, ONE_PLACE);
            return None;
        }
    })
}

#[inline(never)]
fn header(name: &str, scheme: Option<&str>, field: &str, e: &mut Errors) -> Option<Credential> {
    let before = e.0.len();
    let lower = name.to_ascii_lowercase();
    if !is_token(name) {
        e.push(
            format!("{field}.header"),
            format!("`{name}` is not a header name"),
        );
    } else if ELSEWHERE.contains(&lower.as_str()) {
        e.push(
            format!("{field}.header"),
            Advice::new(
                format!("`{lower}` carries something else in every request"),
                "choose a header of your own, such as `x-api-key`",
            ),
        );
    }
    if let Some(scheme) = scheme
        && !is_token(scheme)
    {
        e.push(
            format!("{field}.scheme"),
            Advice::new(
                format!("`{scheme}` is not an authentication scheme"),
                "write `Bearer`",
            ),
        );
    }
    if before != e.0.len() {
        return None;
    }
    Some(Credential::Header {
        name: lower,
        scheme: scheme.map(str::to_owned),
    })
}

#[inline(never)]
pub(crate) fn identity(raw: &RawPolicy, credentials: &[Credential], e: &mut Errors) -> RawIdentity {
    let mut seen: Vec<String> = Vec::new();
    let mut lower = |field: &str, name: &str| {
        let name = name.to_ascii_lowercase();
        let field = format!("identity.{field}");
        let reserved = matches!(
            name.as_str(),
            "host"
                | "content-length"
                | "transfer-encoding"
                | "connection"
                | "te"
                | "upgrade"
                | "cookie"
                | "authorization"
        );
        let read = credentials
            .iter()
            .any(|c| matches!(c, Credential::Header { name: n, .. } if *n == name))
            || name == PROTOCOLS;
        if name.is_empty() {
            return name;
        }
        if !is_token(&name) || reserved {
            e.push(
                field,
                Advice::new(
                    format!("`{name}` cannot carry an identity"),
                    "choose a header of your own, such as `x-client`",
                ),
            );
        } else if read {
            e.push(
                field,
                Advice::new(
                    format!("`{name}` is listed in `credentials` as well"),
                    "choose another header",
                ),
            );
        } else if seen.contains(&name) {
            e.push(
                field,
                Advice::new(format!("`{name}` is used twice"), "choose another header"),
            );
        }
        seen.push(name.clone());
        name
    };
    RawIdentity {
        client: lower("client", &raw.identity.client),
        key: lower("key", &raw.identity.key),
        scopes: lower("scopes", &raw.identity.scopes),
    }
}
