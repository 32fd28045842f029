//! The rewritings that readers apply to paths before they compare them. Each gives a new text, or
//! `None` if it changes nothing. Written by hand: parsers of URLs settle on one reading, and every
//! reading is wanted here. Texts are in the normal form of [`super::Readings`].

use super::escape::{is_pchar, is_unreserved, push_escape};
use crate::hex::digit as hex;

/// All rewritings. Readers apply some of them, in various orders.
pub const REWRITES: [fn(&str) -> Option<String>; 14] = [
    slashes_merged,
    host_cut,
    dots_resolved,
    parameters_cut,
    last_parameters_cut,
    cut_at_first_semicolon,
    unreserved_decoded,
    all_decoded,
    backslashes_turned,
    cut_at_escaped_end,
    overlong_decoded,
    windows_names,
    last_windows_name,
    windows_types_cut,
];

fn changed(before: &str, after: String) -> Option<String> {
    // A path of which nothing is left is the root.
    let after = match after.is_empty() {
        true => "/".to_owned(),
        false => after,
    };
    (before != after).then_some(after)
}

/// nginx, Envoy (`merge_slashes`), most file servers.
fn slashes_merged(path: &str) -> Option<String> {
    if !path.contains("//") {
        return None;
    }
    let mut out = String::with_capacity(path.len());
    for c in path.chars() {
        if c != '/' || !out.ends_with('/') {
            out.push(c);
        }
    }
    changed(path, out)
}

/// RFC 3986 section 4.2 and the URL Standard: URL parsers take what follows two leading slashes for
/// a host, and what comes after that for the path.
fn host_cut(path: &str) -> Option<String> {
    let behind = path.strip_prefix("//")?.trim_start_matches('/');
    let at = behind.find('/').unwrap_or(behind.len());
    changed(path, behind.get(at..)?.to_owned())
}

/// RFC 3986 section 5.2.4; above the root there is the root.
fn dots_resolved(path: &str) -> Option<String> {
    if !path.contains("/.") {
        return None;
    }
    let mut out: Vec<&str> = Vec::new();
    let mut is_folder = false;
    for segment in path.split('/').skip(1) {
        is_folder = matches!(segment, "." | "..");
        match segment {
            "." => {}
            ".." => {
                out.pop();
            }
            segment => out.push(segment),
        }
    }
    if is_folder {
        out.push("");
    }
    changed(path, format!("/{}", out.join("/")))
}

/// The Servlet specification: from `;` to the end of each segment.
fn parameters_cut(path: &str) -> Option<String> {
    if !path.contains(';') {
        return None;
    }
    let cut = |segment: &str| segment.split(';').next().unwrap_or_default().to_owned();
    let segments: Vec<String> = path.split('/').map(cut).collect();
    changed(path, segments.join("/"))
}

/// RFC 2396's reading of parameters, as in Python's `urlparse`: only in the last segment.
fn last_parameters_cut(path: &str) -> Option<String> {
    let last = path.rfind('/')?;
    let at = path.get(last..)?.find(';')?;
    changed(path, path.get(..last + at)?.to_owned())
}

/// Readers that end a path at the first `;`.
fn cut_at_first_semicolon(path: &str) -> Option<String> {
    let at = path.find(';')?;
    changed(path, path.get(..at)?.to_owned())
}

/// RFC 3986 section 6.2.2.2.
fn unreserved_decoded(path: &str) -> Option<String> {
    decoded(path, is_unreserved)
}

/// Readers that decode everything and then split: delimiters, backslashes and `%` are decoded as
/// well. What a path can hold only as an escape stays escaped.
pub fn all_decoded(path: &str) -> Option<String> {
    decoded(path, |b| is_pchar(b) || matches!(b, b'/' | b'\\' | b'%'))
}

/// Decodes each escape once, if it stands for one of these bytes.
fn decoded(path: &str, wanted: impl Fn(u8) -> bool) -> Option<String> {
    if !path.contains('%') {
        return None;
    }
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let (byte, behind) = escape(after);
        // A `%` that does not begin an escape must be escaped.
        let is_percent_of_none = byte == b'%' && !begins_an_escape(behind);
        if wanted(byte) && !is_percent_of_none {
            out.push(char::from(byte));
        } else {
            push_escape(&mut out, byte);
        }
        rest = behind;
    }
    out.push_str(rest);
    changed(path, upper(&out))
}

/// The byte of the escape with whose digits a text begins, and the rest. The normal form has no `%`
/// without digits.
fn escape(digits: &str) -> (u8, &str) {
    let byte = digits.get(..2).and_then(|d| u8::from_str_radix(d, 16).ok());
    match (byte, digits.get(2..)) {
        (Some(byte), Some(rest)) => (byte, rest),
        _ => (b'%', digits),
    }
}

fn begins_an_escape(text: &str) -> bool {
    let mut bytes = text.bytes();
    let mut digit = || bytes.next().and_then(hex).is_some();
    digit() && digit()
}

/// Escapes in upper case: a decoded `%` may stand before digits of either case.
fn upper(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut left = 0;
    for c in path.chars() {
        match c {
            '%' => left = 3,
            _ => left = usize::saturating_sub(left, 1),
        }
        out.push(if left > 0 { c.to_ascii_uppercase() } else { c });
    }
    out
}

/// The URL Standard, and servers on Windows.
fn backslashes_turned(path: &str) -> Option<String> {
    path.contains('\\').then(|| path.replace('\\', "/"))
}

/// Readers that decode before they look for a query or a fragment.
fn cut_at_escaped_end(path: &str) -> Option<String> {
    let ends = ["%3F", "%23"].iter().filter_map(|end| path.find(end));
    changed(path, path.get(..ends.min()?)?.to_owned())
}

/// Windows: dots and blanks at the end of a name do not count, and what follows a colon names a
/// stream of the same file (`::$DATA`) or folder (`:$I30:$INDEX_ALLOCATION`).
pub fn windows_names(path: &str) -> Option<String> {
    let segments: Vec<&str> = path.split('/').map(windows_name).collect();
    changed(path, segments.join("/"))
}

/// Servers that leave all names but the last to be looked up as they are.
fn last_windows_name(path: &str) -> Option<String> {
    let at = path.rfind('/')?.saturating_add(1);
    let (before, last) = path.split_at_checked(at)?;
    changed(path, format!("{before}{}", windows_name(last)))
}

/// Windows: the type of a stream, behind the last colon, says nothing that its name does not.
fn windows_types_cut(path: &str) -> Option<String> {
    if !path.contains(":$") {
        return None;
    }
    let name = |segment: &'_ str| -> String {
        let name = segment.split(":$").next().unwrap_or(segment);
        name.trim_end_matches(':').to_owned()
    };
    let segments: Vec<String> = path.split('/').map(name).collect();
    changed(path, segments.join("/"))
}

fn windows_name(segment: &str) -> &str {
    if segment.len() > 2 && segment.bytes().all(|b| b == b'.') {
        return "";
    }
    let stream = match segment.contains(":$") {
        true => segment.find(':'),
        false => None,
    };
    let mut name = stream.and_then(|at| segment.get(..at)).unwrap_or(segment);
    // What is left may be a dot segment, which others resolve.
    while !matches!(name, "." | "..")
        && let Some(shorter) = name.strip_suffix('.').or(name.strip_suffix("%20"))
    {
        name = shorter;
    }
    name
}

/// Old UTF-8 decoders that accept ASCII in two or three bytes.
fn overlong_decoded(path: &str) -> Option<String> {
    let long = [
        "%C0%",
        "%C1%",
        "%E0%80%",
        "%E0%81%",
        "%F0%80%80%",
        "%F0%80%81%",
    ];
    if !long.iter().any(|l| path.contains(l)) {
        return None;
    }
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let (first, behind) = escape(after);
        let (byte, behind) = match overlong(first, behind) {
            Some((byte, behind)) => (byte, behind),
            None => (first, behind),
        };
        push_escape(&mut out, byte);
        rest = behind;
    }
    out.push_str(rest);
    changed(path, out)
}

/// The ASCII character that an overlong sequence stands for, and what follows it.
fn overlong<'r>(first: u8, rest: &'r str) -> Option<(u8, &'r str)> {
    let next = |rest: &'r str| -> Option<(u8, &'r str)> {
        let (byte, behind) = escape(rest.strip_prefix('%')?);
        (0x80..0xC0)
            .contains(&byte)
            .then_some((byte & 0x3F, behind))
    };
    let (value, behind) = match first {
        0xC0 | 0xC1 => {
            // Some look at no more than the last six bits: `%C0%2E`.
            let (second, behind) = escape(rest.strip_prefix('%')?);
            ((first & 1) * 64 + (second & 0x3F), behind)
        }
        0xE0 => {
            let (second, behind) = next(rest).filter(|(second, _)| *second < 2)?;
            let (third, behind) = next(behind)?;
            (second * 64 + third, behind)
        }
        0xF0 => {
            let (_, behind) = next(rest).filter(|(second, _)| *second == 0)?;
            let (third, behind) = next(behind).filter(|(third, _)| *third < 2)?;
            let (fourth, behind) = next(behind)?;
            (third * 64 + fourth, behind)
        }
        _ => return None,
    };
    (!value.is_ascii_control()).then_some((value, behind))
}
