//! Where a request carries its key, and how the key is taken out again.

use std::borrow::Cow;

use crate::policy::{Credential, Policy, RawIdentity};
use crate::request::glance::Glance;
use crate::request::headers::Headers;
use crate::request::path::split_query;

mod edit;

pub use edit::{Edit, Edits, FewEdits};

/// What a request carries.
#[derive(Default)]
pub struct Presented<'a> {
    /// The first key found, in the order of the policy.
    pub key: Option<Cow<'a, [u8]>>,
    /// Another one was found that differs from it.
    pub several: bool,
}

/// Looks in every place that is given, such as all that the policy lists. An empty value is no
/// key.
pub fn find<'a, 'p>(
    credentials: impl IntoIterator<Item = &'p Credential>,
    headers: Headers<'a>,
) -> Presented<'a> {
    find_ours(credentials, headers, &|_| true)
}

/// Looks in the same places for what `ours` says could be a key of ours.
pub fn find_ours<'a, 'p>(
    credentials: impl IntoIterator<Item = &'p Credential>,
    headers: Headers<'a>,
    ours: &dyn Fn(&[u8]) -> bool,
) -> Presented<'a> {
    let mut found = Presented::default();
    let mut add = |value: Cow<'a, [u8]>| {
        if value.is_empty() || !ours(&value) {
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

/// Takes the key out, so that the upstream never sees it: everything that stands where keys
/// are looked for.
pub fn strip<'a>(
    policy: &'a Policy,
    glance: Glance,
    headers: Headers<'a>,
    edits: &mut impl Edits<'a>,
) {
    strip_ours(policy, glance, headers, &|_| true, edits);
}

/// Takes out what `ours` says could be a key of ours, and leaves the credentials of others
/// where they are.
pub fn strip_ours<'a>(
    policy: &'a Policy,
    glance: Glance,
    headers: Headers<'a>,
    ours: &dyn Fn(&[u8]) -> bool,
    edits: &mut impl Edits<'a>,
) {
    for credential in glance.places(policy) {
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
                    // Of several, one that is ours takes the others along: a request has one key.
                    if values.any(|v| ours(v.trim_ascii())) {
                        edits.add(Edit::Remove(Cow::Borrowed(name)));
                    }
                    continue;
                };
                let mut kept = Vec::new();
                let mut found = false;
                for element in values.flat_map(elements) {
                    let is_ours = match after_scheme(element, scheme) {
                        Some(key) => ours(key),
                        // A slip of the caller's is no reason to hand a key on.
                        None => names_a_key(policy.brand.as_str(), element),
                    };
                    match is_ours {
                        true => found = true,
                        false => kept.push(element),
                    }
                }
                match (found, kept.is_empty()) {
                    (false, _) => {}
                    (true, true) => edits.add(Edit::Remove(Cow::Borrowed(name))),
                    (true, false) => {
                        edits.add(Edit::Set(
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
                    .filter(|c| !(is_cookie(c, name) && ours(unquoted(after(c, b'=')))))
                    .collect();
                if kept.len() < all.len() {
                    edits.add(if kept.is_empty() {
                        Edit::Remove(Cow::Borrowed("cookie"))
                    } else {
                        Edit::Set(Cow::Borrowed("cookie"), Cow::Owned(kept.join(&b"; "[..])))
                    });
                }
            }
        }
    }
    strip_query_of(policy, glance, headers, ours, edits);
}

/// Takes the key out of `:path`, which access logs print: done on refusals too.
pub fn strip_query<'a>(
    policy: &'a Policy,
    glance: Glance,
    headers: Headers<'a>,
    edits: &mut impl Edits<'a>,
) {
    strip_query_of(policy, glance, headers, &|_| true, edits);
}

fn strip_query_of<'a>(
    policy: &'a Policy,
    glance: Glance,
    headers: Headers<'a>,
    ours: &dyn Fn(&[u8]) -> bool,
    edits: &mut impl Edits<'a>,
) {
    let names = glance.places(policy).filter_map(|c| match c {
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
        .filter(|p| {
            let named = names.clone().any(|n| is_parameter(p, n));
            !(named && ours(&percent_decoded(after(p, b'='))))
        })
        .collect();
    if kept.len() < all {
        let mut out = path.to_vec();
        if !kept.is_empty() {
            out.push(b'?');
            out.extend(kept.join(&b'&'));
        }
        edits.add(Edit::Set(Cow::Borrowed(":path"), Cow::Owned(out)));
    }
}

/// What else a request brings that the filter has to know of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// It asks for a tunnel: an upgrade, or `CONNECT`. HTTP/2's extended `CONNECT` reads as
    /// an upgrade here.
    pub tunnel: bool,
}

/// Removes what only we may say: identity headers, in every spelling that a server behind
/// CGI-like variables would read as ours (`x_keystile_client`), our own names in
/// `Connection`, and overrides where `overrides` says so. One look at the headers.
pub fn strip_smuggled<'a>(
    policy: &Policy,
    glance: Glance,
    headers: Headers<'a>,
    overrides: bool,
    edits: &mut impl Edits<'a>,
) -> Seen {
    let mut seen = Seen::default();
    let smuggles = glance.identity || (overrides && glance.overrides);
    if !smuggles && !glance.nominates && !glance.tunnel {
        return seen;
    }
    let mut nominates = false;
    for (name, value) in headers.iter() {
        match name {
            b"connection" => nominates = true,
            b"upgrade" => seen.tunnel = true,
            b":method" => seen.tunnel |= value == b"CONNECT",
            name if is_identity(&policy.identity, name) => Edit::remove(name, edits),
            name if overrides && crate::request::overrides::is_override(name) => {
                Edit::remove(name, edits)
            }
            _ => {}
        }
    }
    if nominates {
        strip_nominated(policy, headers, edits);
    }
    seen
}

/// Removes what asks to be taken for a request for another host.
pub fn strip_hosts<'a>(headers: Headers<'a>, edits: &mut impl Edits<'a>) {
    for (name, _) in headers
        .iter()
        .filter(|(n, _)| crate::request::overrides::is_host(n))
    {
        Edit::remove(name, edits);
    }
}

/// Takes our own names out of `Connection`, which Envoy forwards where a request asks for an
/// upgrade: a proxy behind drops the headers that it names, and the identity would be gone.
fn strip_nominated<'a>(policy: &Policy, headers: Headers<'a>, edits: &mut impl Edits<'a>) {
    let fields = headers.iter().filter(|(n, _)| *n == b"connection");
    let all: Vec<&[u8]> = fields.flat_map(|(_, v)| elements(v)).collect();
    let is_ours = |element: &&[u8]| {
        // Parameters and quotes do not belong here, and some readers pass over them.
        let name = element.split(|b| *b == b';').next().unwrap_or_default();
        let name = unquoted(name);
        is_identity(&policy.identity, name) || is_place(policy, name)
    };
    let kept: Vec<&[u8]> = all.iter().copied().filter(|n| !is_ours(n)).collect();
    if kept.len() < all.len() {
        let name = Cow::Borrowed("connection");
        edits.add(match kept.is_empty() {
            true => Edit::Remove(name),
            false => Edit::Set(name, Cow::Owned(kept.join(&b", "[..]))),
        });
    }
}

/// Whether a word of a text begins as keys of this brand do: with the brand, a word for an
/// environment, and what could be the head of an id. Words are what a double click selects:
/// quotes, commas and schemes around a key do not hide it. The brand alone says little: it
/// comes about by chance in one of some thousand tokens of others.
pub(crate) fn names_a_key(brand: &str, text: &[u8]) -> bool {
    let is_word = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
    // All in one case, as names are: text of others goes on in either.
    let is_environment = |part: &[u8]| {
        let all = |f: fn(&u8) -> bool| part.iter().all(|b| b.is_ascii_digit() || f(b));
        (1..=16).contains(&part.len())
            && (all(u8::is_ascii_lowercase) || all(u8::is_ascii_uppercase))
    };
    let is_brand =
        |part: Option<&[u8]>| part.is_some_and(|part| part.eq_ignore_ascii_case(brand.as_bytes()));
    text.split(|b| !is_word(b)).any(|word| {
        let mut parts = word.split(|b| *b == b'_');
        is_brand(parts.next())
            && parts.next().is_some_and(is_environment)
            && parts.next().is_some_and(|id| id.len() >= 6)
    })
}

/// Removes trailers that some server would merge into the headers that we have judged:
/// identity, credentials and overrides, in every spelling. None of them may stand in
/// trailers (RFC 9110 section 6.5.1), so nothing honest is lost.
pub fn strip_trailers<'a>(policy: &Policy, trailers: Headers<'a>, edits: &mut impl Edits<'a>) {
    for (name, _) in trailers.iter() {
        if is_identity(&policy.identity, name)
            || is_place(policy, name)
            || crate::request::overrides::is_override(name)
            || crate::request::overrides::is_host(name)
        {
            Edit::remove(name, edits);
        }
    }
}

/// Whether a server that turns names into variables would read a header as one of identity.
pub(crate) fn is_identity(identity: &RawIdentity, name: &[u8]) -> bool {
    let ours = [&identity.client, &identity.key, &identity.scopes];
    ours.into_iter().any(|ours| same_name(ours, name))
}

/// Whether keys are looked for in the header of this name.
fn is_place(policy: &Policy, name: &[u8]) -> bool {
    policy.credentials.iter().any(|c| match c {
        Credential::Header { name: place, .. } => same_name(place, name),
        Credential::Cookie(_) => same_name("cookie", name),
        Credential::Query(_) => false,
    })
}

/// Whether a server that turns names into variables would read `name` as `ours`. Nothing is
/// the same as an empty name.
pub(crate) fn same_name(ours: &str, name: &[u8]) -> bool {
    !ours.is_empty()
        && ours.len() == name.len()
        && ours.bytes().zip(name).all(|(a, &b)| folded(a) == folded(b))
}

/// A byte of a name, as such a server reads it.
pub(crate) fn folded(b: u8) -> u8 {
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
pub(crate) fn percent_decoded(text: &[u8]) -> Cow<'_, [u8]> {
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
                out.push((high * 16 + low) as u8);
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

    mod smuggled;

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
            strip(&policy, Glance::default(), Headers::new(&bytes), &mut edits);
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
        let seen = strip_smuggled(
            &all(),
            Glance::default(),
            Headers::new(&bytes),
            false,
            &mut edits,
        );
        assert_eq!(seen, Seen::default());
        let names: Vec<_> = edits.iter().map(Edit::name).collect();
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

    /// Of the credentials of several, what begins with `ours` goes.
    #[test]
    fn credentials_of_others_stay_where_only_ours_are_taken_out() {
        let policy = all();
        for (pairs, want) in [
            (&[("authorization", "Bearer theirs")][..], vec![]),
            (
                &[("authorization", "Bearer theirs, bearer ours1")],
                vec![Edit::Set("authorization".into(), b"Bearer theirs".into())],
            ),
            (&[("authorization", "Bearer")], vec![]),
            (
                &[("authorization", "ks_live_x1234567")],
                vec![Edit::Remove("authorization".into())],
            ),
            (
                &[("authorization", "Basic \"KS_LIVE_X123456\", Bearer theirs")],
                vec![Edit::Set("authorization".into(), b"Bearer theirs".into())],
            ),
            (&[("authorization", "Basic eDp5a3NfbGl2ZQ==")], vec![]),
            (&[("x-api-key", "theirs")], vec![]),
            (
                &[("x-api-key", " ours1 ")],
                vec![Edit::Remove("x-api-key".into())],
            ),
            (&[("cookie", "a=b; k=theirs")], vec![]),
            (
                &[("cookie", "a=b; k=\"ours1\"; k=theirs")],
                vec![Edit::Set("cookie".into(), b"a=b; k=theirs".into())],
            ),
            (
                &[(":path", "/a?api_key=theirs&api_key=%6Furs1")],
                vec![Edit::Set(":path".into(), b"/a?api_key=theirs".into())],
            ),
        ] {
            let bytes = Headers::encode(pairs);
            let mut edits = Vec::new();
            let ours = |text: &[u8]| text.starts_with(b"ours");
            strip_ours(
                &policy,
                Glance::default(),
                Headers::new(&bytes),
                &ours,
                &mut edits,
            );
            assert_eq!(edits, want, "{pairs:?}");
        }
    }

    #[test]
    fn a_key_is_seen_among_other_words() {
        for text in [
            "ks_live_0123456",
            "Basic ks_live_0123456aBc",
            "\"ks_live_0123456\"",
            "abc, KS_LIVE_ABCDEF",
            "abc, Ks_live_0123456_x",
        ] {
            assert!(names_a_key("ks", text.as_bytes()), "{text}");
        }
        for text in [
            "",
            "ks",
            "xks_live",
            "a_ks_live_0123456",
            "ks_live_01234",
            "ks_liVe_0123456",
            "ks__0123456",
            "eyJ0eXAiOiJKV1Qi.eyJpc3Mi.Zm9v-ks_Zm9vYmFy_Zm9vYmFy",
        ] {
            assert!(!names_a_key("ks", text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn trailers_bring_no_identity_no_key_and_no_override() {
        let bytes = Headers::encode(&[
            ("x_keystile_client", "root"),
            ("authorization", "Bearer K"),
            ("x-api_key", "K"),
            ("cookie", "k=K"),
            ("x-http-method-override", "DELETE"),
            ("grpc-status", "0"),
            ("checksum", "x"),
        ]);
        let mut edits = Vec::new();
        strip_trailers(&all(), Headers::new(&bytes), &mut edits);
        let names: Vec<_> = edits.iter().map(Edit::name).collect();
        let gone = [
            "x_keystile_client",
            "authorization",
            "x-api_key",
            "cookie",
            "x-http-method-override",
        ];
        assert_eq!(names, gone);
    }
}
