//! The parts of headers and queries.

use std::borrow::Cow;

/// The elements of a comma-separated value: Envoy joins repeated `authorization` headers like this.
pub(super) fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
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

pub(super) fn after_scheme<'a>(element: &'a [u8], scheme: &str) -> Option<&'a [u8]> {
    is_scheme(element, scheme)
        .then(|| element.get(scheme.len()..))
        .flatten()
        .map(<[u8]>::trim_ascii)
}

pub(super) fn parameters(query: &[u8]) -> impl Iterator<Item = &[u8]> {
    query.split(|&b| b == b'&').filter(|p| !p.is_empty())
}

pub(super) fn is_parameter(parameter: &[u8], name: &str) -> bool {
    let written = parameter.split(|&b| b == b'=').next().unwrap_or_default();
    *percent_decoded(written) == *name.as_bytes()
}

pub(super) fn cookies(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|&b| b == b';')
        .map(<[u8]>::trim_ascii)
        .filter(|c| !c.is_empty())
}

pub(super) fn is_cookie(cookie: &[u8], name: &str) -> bool {
    cookie.split(|&b| b == b'=').next().map(<[u8]>::trim_ascii) == Some(name.as_bytes())
}

pub(super) fn after(text: &[u8], separator: u8) -> &[u8] {
    text.iter()
        .position(|&b| b == separator)
        .and_then(|at| text.get(at + 1..))
        .unwrap_or_default()
}

pub(super) fn unquoted(value: &[u8]) -> &[u8] {
    let value = value.trim_ascii();
    value
        .strip_prefix(b"\"")
        .and_then(|v| v.strip_suffix(b"\""))
        .unwrap_or(value)
}

/// Escapes decoded once; what is not an escape stays. By hand, and so is the search of a query:
/// it looks at bytes that may be no text, and the filter carries no crate for it.
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

/// A byte of a name, as such a server reads it.
pub(crate) fn folded(b: u8) -> u8 {
    if b.is_ascii_alphanumeric() {
        b.to_ascii_lowercase()
    } else {
        b'-'
    }
}
