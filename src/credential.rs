//! Where a request carries its key, and how the key is taken out again.

use std::borrow::Cow;

use crate::headers::Headers;
use crate::path::split_query;
use crate::policy::{Credential, Policy, RawIdentity};

/// What a request carries.
#[derive(Default)]
pub struct Presented<'a> {
    /// The first key found, in the order of the policy.
    pub key: Option<Cow<'a, [u8]>>,
    /// Another one was found that differs from it.
    pub several: bool,
}

/// Looks in every place that the policy lists. An empty value is no key.
pub fn find<'a>(credentials: &[Credential], headers: Headers<'a>) -> Presented<'a> {
    let mut found = Presented::default();
    let mut add = |value: Cow<'a, [u8]>| {
        if value.is_empty() {
            return;
        }
        match &found.key {
            None => found.key = Some(value),
            Some(first) => found.several |= *first != value,
        }
    };
    for credential in credentials {
        match credential {
            Credential::Header { name, scheme } => {
                for (_, value) in headers.iter().filter(|(n, _)| *n == name.as_bytes()) {
                    match scheme {
                        None => add(Cow::Borrowed(value.trim_ascii())),
                        Some(scheme) => elements(value)
                            .filter_map(|e| after_scheme(e, scheme))
                            .for_each(|key| add(Cow::Borrowed(key))),
                    }
                }
            }
            Credential::Query(name) => {
                let target = headers.get(":path").unwrap_or_default();
                let (_, query) = split_query(target);
                parameters(query.unwrap_or_default())
                    .filter(|p| is_parameter(p, name))
                    .for_each(|p| add(percent_decoded(after(p, b'='))));
            }
            Credential::Cookie(name) => {
                for (_, value) in headers.iter().filter(|(n, _)| *n == b"cookie") {
                    cookies(value)
                        .filter(|c| is_cookie(c, name))
                        .for_each(|c| add(Cow::Borrowed(unquoted(after(c, b'=')))));
                }
            }
        }
    }
    found
}

/// A change to the request's headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit<'a> {
    /// Removes every header of this name.
    Remove(Cow<'a, str>),
    /// Replaces every header of this name by one.
    Set(Cow<'a, str>, Cow<'a, [u8]>),
}

/// Takes the key out, so that the upstream never sees it.
pub fn strip<'a>(policy: &'a Policy, headers: Headers<'a>, edits: &mut Vec<Edit<'a>>) {
    for credential in &policy.credentials {
        match credential {
            Credential::Header { name, scheme } => {
                let mut values = headers
                    .iter()
                    .filter(|(n, _)| *n == name.as_bytes())
                    .map(|(_, v)| v)
                    .peekable();
                if values.peek().is_none() {
                    continue;
                }
                let Some(scheme) = scheme else {
                    edits.push(Edit::Remove(Cow::Borrowed(name)));
                    continue;
                };
                let mut kept = Vec::new();
                let mut ours = false;
                for element in values.flat_map(elements) {
                    if is_scheme(element, scheme) {
                        ours = true;
                    } else {
                        kept.push(element);
                    }
                }
                match (ours, kept.is_empty()) {
                    (false, _) => {}
                    (true, true) => edits.push(Edit::Remove(Cow::Borrowed(name))),
                    (true, false) => {
                        edits.push(Edit::Set(
                            Cow::Borrowed(name),
                            Cow::Owned(kept.join(&b", "[..])),
                        ));
                    }
                }
            }
            Credential::Query(_) => {}
            Credential::Cookie(name) => {
                let all: Vec<&[u8]> = headers
                    .iter()
                    .filter(|(n, _)| *n == b"cookie")
                    .flat_map(|(_, v)| cookies(v))
                    .collect();
                let kept: Vec<&[u8]> = all
                    .iter()
                    .copied()
                    .filter(|c| !is_cookie(c, name))
                    .collect();
                if kept.len() < all.len() {
                    edits.push(if kept.is_empty() {
                        Edit::Remove(Cow::Borrowed("cookie"))
                    } else {
                        Edit::Set(Cow::Borrowed("cookie"), Cow::Owned(kept.join(&b"; "[..])))
                    });
                }
            }
        }
    }
    strip_query(policy, headers, edits);
}

/// Takes the key out of `:path`, which access logs print: done on refusals too.
pub fn strip_query<'a>(policy: &'a Policy, headers: Headers<'a>, edits: &mut Vec<Edit<'a>>) {
    let names = policy.credentials.iter().filter_map(|c| match c {
        Credential::Query(name) => Some(name),
        _ => None,
    });
    if names.clone().next().is_none() {
        return;
    }
    let target = headers.get(":path").unwrap_or_default();
    let (path, Some(query)) = split_query(target) else {
        return;
    };
    let all = parameters(query).count();
    let kept: Vec<&[u8]> = parameters(query)
        .filter(|p| !names.clone().any(|n| is_parameter(p, n)))
        .collect();
    if kept.len() < all {
        let mut out = path.to_vec();
        if !kept.is_empty() {
            out.push(b'?');
            out.extend(kept.join(&b'&'));
        }
        edits.push(Edit::Set(Cow::Borrowed(":path"), Cow::Owned(out)));
    }
}

/// Removes identity headers that the caller sent, in every spelling that a server
/// behind CGI-like variables would read as ours (`x_keystile_client`).
pub fn strip_identity<'a>(identity: &RawIdentity, headers: Headers<'a>, edits: &mut Vec<Edit<'a>>) {
    let ours = [&identity.client, &identity.key, &identity.scopes];
    for (name, _) in headers.iter() {
        let spoofs = |ours: &&String| {
            !ours.is_empty()
                && ours.len() == name.len()
                && ours.bytes().zip(name).all(|(a, &b)| folded(a) == folded(b))
        };
        if ours.iter().any(spoofs)
            && let Ok(name) = core::str::from_utf8(name)
        {
            let edit = Edit::Remove(Cow::Borrowed(name));
            if !edits.contains(&edit) {
                edits.push(edit);
            }
        }
    }
}

fn folded(b: u8) -> u8 {
    if b.is_ascii_alphanumeric() {
        b.to_ascii_lowercase()
    } else {
        b'-'
    }
}

/// The elements of a comma-separated value: Envoy joins repeated `authorization`
/// headers so.
fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|&b| b == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|e| !e.is_empty())
}

fn is_scheme(element: &[u8], scheme: &str) -> bool {
    element
        .split_at_checked(scheme.len())
        .is_some_and(|(head, tail)| {
            head.eq_ignore_ascii_case(scheme.as_bytes())
                && tail.first().is_none_or(u8::is_ascii_whitespace)
        })
}

fn after_scheme<'a>(element: &'a [u8], scheme: &str) -> Option<&'a [u8]> {
    is_scheme(element, scheme)
        .then(|| element.get(scheme.len()..))
        .flatten()
        .map(<[u8]>::trim_ascii)
}

fn parameters(query: &[u8]) -> impl Iterator<Item = &[u8]> {
    query.split(|&b| b == b'&').filter(|p| !p.is_empty())
}

fn is_parameter(parameter: &[u8], name: &str) -> bool {
    let written = parameter.split(|&b| b == b'=').next().unwrap_or_default();
    *percent_decoded(written) == *name.as_bytes()
}

fn cookies(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|&b| b == b';')
        .map(<[u8]>::trim_ascii)
        .filter(|c| !c.is_empty())
}

fn is_cookie(cookie: &[u8], name: &str) -> bool {
    cookie.split(|&b| b == b'=').next().map(<[u8]>::trim_ascii) == Some(name.as_bytes())
}

fn after(text: &[u8], separator: u8) -> &[u8] {
    text.iter()
        .position(|&b| b == separator)
        .and_then(|at| text.get(at + 1..))
        .unwrap_or_default()
}

fn unquoted(value: &[u8]) -> &[u8] {
    let value = value.trim_ascii();
    value
        .strip_prefix(b"\"")
        .and_then(|v| v.strip_suffix(b"\""))
        .unwrap_or(value)
}

/// Escapes decoded once; what is not an escape stays.
fn percent_decoded(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.contains(&b'%') {
        return Cow::Borrowed(text);
    }
    let hex = |b: Option<&u8>| b.and_then(|&b| char::from(b).to_digit(16));
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(&b) = rest.next() {
        let mut ahead = rest.clone();
        match (b, hex(ahead.next()), hex(ahead.next())) {
            (b'%', Some(high), Some(low)) => {
                out.push((high << 4 | low) as u8);
                rest = ahead;
            }
            _ => out.push(b),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::RawPolicy;

    fn policy(credentials: &str) -> Policy {
        let raw: RawPolicy = serde_json::from_str(&format!(
            r#"{{"version":1,"credentials":{credentials},"routes":[]}}"#
        ))
        .unwrap();
        Policy::new(&raw, []).unwrap()
    }

    fn all() -> Policy {
        policy(
            r#"[{"header":"authorization","scheme":"Bearer"},{"header":"x-api-key"},{"query":"api_key"},{"cookie":"k"}]"#,
        )
    }

    fn found(pairs: &[(&str, &str)]) -> (Option<String>, bool) {
        let bytes = Headers::encode(pairs);
        let p = find(&all().credentials, Headers::new(&bytes));
        (
            p.key.map(|k| String::from_utf8_lossy(&k).into_owned()),
            p.several,
        )
    }

    #[test]
    fn keys_are_found_in_every_listed_place() {
        for pairs in [
            &[("authorization", "Bearer K")][..],
            &[("authorization", "bearer  K ")],
            &[("authorization", "Basic eDp5, Bearer K")],
            &[("x-api-key", " K ")],
            &[(":path", "/a?x=1&api_key=K")],
            &[(":path", "/a?api%5Fkey=%4B")],
            &[("cookie", "a=b; k=K")],
            &[("cookie", "a=b"), ("cookie", "k=\"K\"")],
            &[("x-api-key", "K"), ("x-api-key", "K")],
            &[("x-api-key", ""), ("authorization", "Bearer K")],
        ] {
            assert_eq!(found(pairs), (Some("K".into()), false), "{pairs:?}");
        }
    }

    #[test]
    fn what_is_not_a_key_is_not_found() {
        for pairs in [
            &[("authorization", "Basic eDp5")][..],
            &[("authorization", "Bearer")],
            &[("authorization", "BearerK")],
            &[("x-api-key", "")],
            &[(":path", "/a?api_key")],
            &[(":path", "/a?xapi_key=K")],
            &[("cookie", "kk=K")],
        ] {
            assert_eq!(found(pairs), (None, false), "{pairs:?}");
        }
    }

    #[test]
    fn differing_keys_are_noticed_wherever_they_stand() {
        for pairs in [
            &[("x-api-key", "K"), ("x-api-key", "L")][..],
            &[("authorization", "Bearer L,Bearer K")],
            &[("x-api-key", "K"), ("authorization", "Bearer L")],
            &[("x-api-key", "K"), (":path", "/?api_key=L")],
            &[("cookie", "k=K; k=L")],
        ] {
            assert!(found(pairs).1, "{pairs:?}");
        }
    }

    #[test]
    fn the_key_is_taken_out_and_the_rest_stays() {
        let policy = all();
        for (pairs, want) in [
            (
                &[("authorization", "Bearer K")][..],
                vec![Edit::Remove("authorization".into())],
            ),
            (
                &[("authorization", "Basic eDp5, Bearer K")],
                vec![Edit::Set("authorization".into(), b"Basic eDp5".into())],
            ),
            (&[("authorization", "Basic eDp5")], vec![]),
            (
                &[("x-api-key", "K"), ("x-api-key", "L")],
                vec![Edit::Remove("x-api-key".into())],
            ),
            (
                &[("cookie", "a=b; k=K; c=d")],
                vec![Edit::Set("cookie".into(), b"a=b; c=d".into())],
            ),
            (&[("cookie", "k=K")], vec![Edit::Remove("cookie".into())]),
            (
                &[(":path", "/a?api_key=K")],
                vec![Edit::Set(":path".into(), b"/a".into())],
            ),
            (
                &[(":path", "/a?x=1&api%5fkey=K&y=2")],
                vec![Edit::Set(":path".into(), b"/a?x=1&y=2".into())],
            ),
            (&[(":path", "/a?x=1&&y")], vec![]),
        ] {
            let bytes = Headers::encode(pairs);
            let mut edits = Vec::new();
            strip(&policy, Headers::new(&bytes), &mut edits);
            assert_eq!(edits, want, "{pairs:?}");
        }
    }

    #[test]
    fn identity_headers_of_the_caller_go_in_every_spelling() {
        let bytes = Headers::encode(&[
            ("x-keystile-client", "a"),
            ("x_keystile_client", "b"),
            ("X-Keystile.Key", "c"),
            ("x-keystile-scopes", "d"),
            ("x-keystile-scopes", "e"),
            ("x-keystile-other", "f"),
        ]);
        let mut edits = Vec::new();
        strip_identity(&RawIdentity::default(), Headers::new(&bytes), &mut edits);
        let names: Vec<_> = edits
            .iter()
            .map(|e| match e {
                Edit::Remove(n) | Edit::Set(n, _) => n.as_ref(),
            })
            .collect();
        assert_eq!(
            names,
            [
                "x-keystile-client",
                "x_keystile_client",
                "x-keystile.key",
                "x-keystile-scopes"
            ]
        );
    }
}
