//! How keys are removed from a request, together with headers that only we may set.

use std::borrow::Cow;

use super::text::{
    after, after_scheme, cookies, elements, is_cookie, is_parameter, parameters, percent_decoded,
    unquoted,
};
use super::{Edit, Edits, part_of, unbase64};
use crate::policy::{Credential, Policy};
use crate::request::glance::Glance;
use crate::request::headers::Headers;
use crate::request::name::{PROTOCOLS, is_identity, same_name};
use crate::request::path::split_query;

/// Removes everything from the places where keys are sent, so that the upstream never sees the key.
pub fn strip<'a>(
    policy: &'a Policy,
    glance: Glance,
    headers: Headers<'a>,
    edits: &mut impl Edits<'a>,
) {
    match glance.sole(policy).filter(|_| glance.alone) {
        Some(Credential::Header { name, .. }) => edits.add(Edit::Remove(Cow::Borrowed(name))),
        _ => strip_ours(policy, glance, headers, &|_| true, edits),
    }
}

/// Removes what `ours` says could be a key of ours, and leaves other credentials in place.
pub fn strip_ours<'a>(
    policy: &'a Policy,
    glance: Glance,
    headers: Headers<'a>,
    ours: &dyn Fn(&[u8]) -> bool,
    edits: &mut impl Edits<'a>,
) {
    let headers_of = |c: &'a Credential| match c {
        Credential::Header { name, .. } => Some(name.as_str()),
        Credential::Basic(_) => Some("authorization"),
        Credential::Query(_) | Credential::Cookie(_) => None,
    };
    let names = || glance.places(policy).filter_map(headers_of);
    // Each header once, whatever it may hold: a second pass would bring back what the first
    // removed.
    for (i, name) in names().enumerate() {
        if name != PROTOCOLS && !names().take(i).any(|n| n == name) {
            let readers = glance
                .places(policy)
                .filter(|c| headers_of(c) == Some(name));
            strip_header(policy, name, readers, headers, ours, edits);
        }
    }
    if names().any(|n| matches!(n, PROTOCOLS | "authorization")) {
        strip_protocols(policy, headers, ours, edits);
    }
    for credential in glance.places(policy) {
        match credential {
            Credential::Header { .. } | Credential::Basic(_) => {}
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

/// Removes what is ours from a header, for each way of reading it.
fn strip_header<'a>(
    policy: &'a Policy,
    name: &'a str,
    readers: impl Iterator<Item = &'a Credential> + Clone,
    headers: Headers<'a>,
    ours: &dyn Fn(&[u8]) -> bool,
    edits: &mut impl Edits<'a>,
) {
    let values = || headers.iter().filter(|(n, _)| *n == name.as_bytes());
    let mut is_bare = false;
    let mut has_scheme = false;
    for reader in readers.clone() {
        match reader {
            Credential::Header { scheme: None, .. } => is_bare = true,
            _ => has_scheme = true,
        }
    }
    // If there are several and one is ours, all are removed: a request has one key.
    if is_bare && values().any(|(_, v)| ours(v.trim_ascii())) {
        edits.add(Edit::Remove(Cow::Borrowed(name)));
        return;
    }
    if !has_scheme {
        return;
    }
    let key_is_ours = |reader: &Credential, element: &[u8]| -> Option<bool> {
        match reader {
            Credential::Header {
                scheme: Some(scheme),
                ..
            } => after_scheme(element, scheme).map(ours),
            Credential::Basic(part) => {
                let text = unbase64(after_scheme(element, "basic")?);
                // Some readers take a text without a colon for the name.
                let key = part_of(&text, *part).unwrap_or(&text);
                Some(ours(key) || names_a_key(policy.brand.as_str(), &text))
            }
            _ => None,
        }
    };
    let mut kept = Vec::new();
    let mut found = false;
    for element in values().flat_map(|(_, v)| elements(v)) {
        let mut known = readers
            .clone()
            .filter_map(|r| key_is_ours(r, element))
            .peekable();
        let is_ours = match known.peek() {
            Some(_) => known.any(|is_ours| is_ours),
            // A mistake by the caller is no reason to pass a key on.
            None => hides_a_key(policy, element),
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

/// Removes keys from the protocols that an upgrade offers. The word before the key stays: the
/// upstream has to select a protocol, and browsers insist on one that they offered.
fn strip_protocols<'a>(
    policy: &'a Policy,
    headers: Headers<'a>,
    ours: &dyn Fn(&[u8]) -> bool,
    edits: &mut impl Edits<'a>,
) {
    let words = policy.credentials.iter().filter_map(|c| match c {
        Credential::Header {
            name,
            scheme: Some(scheme),
        } if name == "authorization" || name == PROTOCOLS => Some(scheme.as_bytes()),
        _ => None,
    });
    let is_word = |e: &[u8]| words.clone().any(|word| e.eq_ignore_ascii_case(word));
    let bare = policy
        .credentials
        .iter()
        .any(|c| matches!(c, Credential::Header { name, scheme: None } if name == PROTOCOLS));
    let fields = headers.iter().filter(|(n, _)| *n == PROTOCOLS.as_bytes());
    let all: Vec<&[u8]> = fields.flat_map(|(_, v)| elements(v)).collect();
    let mut kept: Vec<&[u8]> = Vec::new();
    let mut before: &[u8] = b"";
    for element in &all {
        let is_key = (bare || is_word(before)) && !is_word(element) && ours(element);
        if !is_key && !hides_a_key(policy, element) {
            kept.push(element);
        }
        before = element;
    }
    if kept.len() < all.len() {
        let name = Cow::Borrowed(PROTOCOLS);
        edits.add(match kept.is_empty() {
            true => Edit::Remove(name),
            false => Edit::Set(name, Cow::Owned(kept.join(&b", "[..]))),
        });
    }
}

/// Removes the key from `:path`, which access logs print; done on refusals too.
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

/// What else the filter has to know about a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// It asks for a tunnel: an upgrade, or `CONNECT`. HTTP/2's extended `CONNECT` appears as an
    /// upgrade here.
    pub tunnel: bool,
}

/// Removes what only we may set: identity headers, in every spelling that a server with CGI-like
/// variables would read as ours (`x_keystile_client`), our own names in `Connection`, and overrides
/// if `overrides` says so. One pass over the headers.
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

/// Removes headers that name another host.
pub fn strip_hosts<'a>(headers: Headers<'a>, edits: &mut impl Edits<'a>) {
    for (name, _) in headers
        .iter()
        .filter(|(n, _)| crate::request::overrides::is_host(n))
    {
        Edit::remove(name, edits);
    }
}

/// Removes our own names from `Connection`, which Envoy forwards if a request asks for an upgrade:
/// a proxy behind would drop the headers named there, and the identity would be lost.
pub(super) fn strip_nominated<'a>(
    policy: &Policy,
    headers: Headers<'a>,
    edits: &mut impl Edits<'a>,
) {
    let fields = headers.iter().filter(|(n, _)| *n == b"connection");
    let all: Vec<&[u8]> = fields.flat_map(|(_, v)| elements(v)).collect();
    let is_ours = |element: &&[u8]| {
        // Parameters and quotes do not belong here, but some readers ignore them.
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

/// The same for a text, and for its words decoded from base64.
fn hides_a_key(policy: &Policy, text: &[u8]) -> bool {
    let brand = policy.brand.as_str();
    let mut words = text.split(u8::is_ascii_whitespace);
    names_a_key(brand, text) || words.any(|word| names_a_key(brand, &unbase64(word)))
}

/// Whether a word of a text begins like a key of this brand: with the brand, an environment, and
/// what could be the start of an id. Words are what a double click selects, so quotes, commas and
/// schemes around a key do not hide it. The brand alone means little: it occurs by chance in one of
/// some thousand foreign tokens.
pub(crate) fn names_a_key(brand: &str, text: &[u8]) -> bool {
    let is_word = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
    // All in one case, as names are: foreign text uses both.
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

/// Removes trailers that some server would merge into the headers that we have judged: identity,
/// credentials and overrides, in every spelling. None of these are allowed in trailers (RFC 9110
/// section 6.5.1), so nothing legitimate is lost.
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

/// Whether keys are looked for in the header of this name.
fn is_place(policy: &Policy, name: &[u8]) -> bool {
    policy.credentials.iter().any(|c| match c {
        Credential::Header {
            name: place,
            scheme,
        } => {
            let is_protocols = scheme.is_some() && place == "authorization";
            same_name(place, name) || (is_protocols && same_name(PROTOCOLS, name))
        }
        Credential::Basic(_) => same_name("authorization", name),
        Credential::Cookie(_) => same_name("cookie", name),
        Credential::Query(_) => false,
    })
}
