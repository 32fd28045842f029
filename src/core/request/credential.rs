//! Where a request carries its key, and how the key is removed.

use std::borrow::Cow;

use zeroize::Zeroizing;

use crate::policy::{BasicPart, Credential, Policy};
use crate::request::glance::Glance;
use crate::request::headers::Headers;
use crate::request::name::PROTOCOLS;
use crate::request::path::split_query;

mod edit;
mod strip;
mod text;

pub use edit::{Edit, Edits, FewEdits};
pub(crate) use strip::names_a_key;
#[cfg(test)]
use strip::strip_nominated;
pub use strip::{
    Seen, strip, strip_hosts, strip_ours, strip_query, strip_smuggled, strip_trailers,
};
use text::{after, after_scheme, cookies, elements, is_cookie, is_parameter, parameters, unquoted};
pub(crate) use text::{folded, percent_decoded};

/// What a request carries.
#[derive(Default)]
pub struct Presented<'a> {
    /// The first key found, in the order of the policy.
    pub key: Option<Cow<'a, [u8]>>,
    /// Another, different one was found.
    pub several: bool,
}

/// The headers of a request that keys are looked for in.
#[derive(Clone, Copy, Default)]
pub struct KeyHeaders<'a> {
    count: usize,
    name: &'a [u8],
    value: &'a [u8],
}

impl<'a> KeyHeaders<'a> {
    /// Takes in one.
    pub fn add(&mut self, name: &'a [u8], value: &'a [u8]) {
        *self = Self {
            count: self.count + 1,
            name,
            value,
        };
    }

    /// What most requests bring: one header that holds a key and nothing else. Gives the key.
    pub fn alone(&self, policy: &Policy, glance: Glance) -> Option<&'a [u8]> {
        let Credential::Header { name, scheme } = glance.sole(policy)? else {
            return None;
        };
        if self.count != 1 || self.name != name.as_bytes() || name == PROTOCOLS {
            return None;
        }
        match scheme {
            // Beside this one, keys are taken out of what an upgrade asks for as well.
            None if name == "authorization" => None,
            None => Some(self.value.trim_ascii()),
            Some(_) if self.value.contains(&b',') => None,
            Some(scheme) => after_scheme(self.value.trim_ascii(), scheme),
        }
    }
}

/// Looks where a glance at all headers has seen that a key may be.
pub fn presented<'a>(
    policy: &Policy,
    glance: Glance,
    alone: Option<&'a [u8]>,
    headers: Headers<'a>,
) -> Presented<'a> {
    match alone {
        None if !glance.has_places() => Presented::default(),
        None => find(glance.places(policy), headers),
        Some(key) => Presented {
            key: (!key.is_empty()).then_some(Cow::Borrowed(key)),
            several: false,
        },
    }
}

/// Searches every given place, such as all that the policy lists. An empty value is not a key.
pub fn find<'a, 'p>(
    credentials: impl IntoIterator<Item = &'p Credential> + Clone,
    headers: Headers<'a>,
) -> Presented<'a> {
    find_ours(credentials, headers, &|_| true)
}

/// Looks in the same places for what `ours` says could be a key of ours.
pub fn find_ours<'a, 'p>(
    credentials: impl IntoIterator<Item = &'p Credential> + Clone,
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
    for credential in credentials.clone() {
        match credential {
            Credential::Header { name, scheme } => {
                for (_, value) in headers.iter().filter(|(n, _)| *n == name.as_bytes()) {
                    match scheme {
                        None if is_read_with_a_scheme(credentials.clone(), name, value) => {}
                        None => add(Cow::Borrowed(value.trim_ascii())),
                        Some(scheme) if name == PROTOCOLS => {
                            after_word(value, scheme).for_each(|key| add(Cow::Borrowed(key)));
                        }
                        Some(scheme) => elements(value)
                            .filter_map(|e| after_scheme(e, scheme))
                            .for_each(|key| add(Cow::Borrowed(key))),
                    }
                }
                if let Some(scheme) = scheme
                    && name == "authorization"
                {
                    of_protocols(headers, scheme).for_each(|key| add(Cow::Borrowed(key)));
                }
            }
            Credential::Basic(part) => {
                for (_, value) in headers.iter().filter(|(n, _)| *n == b"authorization") {
                    elements(value)
                        .filter_map(|e| of_basic(e, *part))
                        .for_each(|key| add(Cow::Owned(key)));
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

/// Whether a value of a header that may hold a bare key begins with a scheme that the policy lists
/// for the same header: in that case the scheme is not part of the key.
fn is_read_with_a_scheme<'p>(
    credentials: impl IntoIterator<Item = &'p Credential>,
    header: &str,
    value: &[u8],
) -> bool {
    credentials.into_iter().any(|c| match c {
        Credential::Header {
            name,
            scheme: Some(scheme),
        } => name == header && elements(value).any(|e| after_scheme(e, scheme).is_some()),
        Credential::Basic(_) => {
            header == "authorization" && elements(value).any(|e| after_scheme(e, "basic").is_some())
        }
        _ => false,
    })
}

/// Keys among the protocols that an upgrade asks for: `bearer, KEY`.
fn of_protocols<'a, 'w>(
    headers: Headers<'a>,
    word: &'w str,
) -> impl Iterator<Item = &'a [u8]> + use<'a, 'w> {
    let is_upgrade = move || headers.iter().any(|(name, _)| name == b"upgrade");
    let fields = headers
        .iter()
        .filter(move |(n, _)| *n == PROTOCOLS.as_bytes() && is_upgrade());
    fields.flat_map(move |(_, value)| after_word(value, word))
}

/// The elements of a list that follow a word.
fn after_word<'a, 'w>(
    value: &'a [u8],
    word: &'w str,
) -> impl Iterator<Item = &'a [u8]> + use<'a, 'w> {
    let is_word = move |e: &&[u8]| e.eq_ignore_ascii_case(word.as_bytes());
    elements(value)
        .zip(elements(value).skip(1))
        .filter_map(move |(word, key)| (is_word(&word) && !is_word(&key)).then_some(key))
}

/// `authorization` with a key as one part of HTTP Basic.
pub fn basic(part: BasicPart, key: &str) -> String {
    use base64::Engine as _;
    let text = match part {
        BasicPart::Username => format!("{key}:"),
        BasicPart::Password => format!("api:{key}"),
    };
    let text = Zeroizing::new(text);
    let engine = base64::engine::general_purpose::STANDARD;
    format!("Basic {}", engine.encode(text.as_bytes()))
}

/// A part of what HTTP Basic carries (RFC 7617).
fn of_basic(element: &[u8], part: BasicPart) -> Option<Vec<u8>> {
    let text = unbase64(after_scheme(element, "basic")?);
    part_of(&text, part).map(<[u8]>::to_vec)
}

fn part_of(text: &[u8], part: BasicPart) -> Option<&[u8]> {
    let at = text.iter().position(|&b| b == b':')?;
    let (user, password) = text.split_at_checked(at)?;
    match part {
        BasicPart::Username => Some(user),
        BasicPart::Password => password.get(1..),
    }
}

/// Decodes base64 like the most lenient readers (Node's `Buffer`, PHP's `base64_decode`): either
/// alphabet, missing or excess padding, with other characters in between. What an upstream can read
/// must not be hidden from us.
fn unbase64(text: &[u8]) -> Zeroizing<Vec<u8>> {
    let (mut bits, mut count) = (0u32, 0u32);
    let mut out = Zeroizing::new(Vec::with_capacity(text.len()));
    for &b in text {
        let six = match b {
            b'A'..=b'Z' => b - b'A',
            b'a'..=b'z' => b - b'a' + 26,
            b'0'..=b'9' => b - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => continue,
        };
        bits = bits << 6 | u32::from(six);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count & 0xff) as u8);
            bits &= (1 << count) - 1;
        }
    }
    out
}

#[cfg(test)]
mod tests;
