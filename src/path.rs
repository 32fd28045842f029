//! Paths brought into one form, or refused.
//!
//! Routes decide about access, so the filter must read a path as the upstream will.
//! Where two sensible readers could differ, the path is refused as ambiguous rather
//! than guessed at. Sources: RFC 3986 sections 2.3, 3.3, 5.2.4 and 6.2.2; OWASP on
//! path traversal; the `..;/` confusion of servlet containers.

use std::borrow::Cow;

/// A path in the one form that routes are matched against: no empty segments, no dot
/// segments, no trailing slash, upper-case escapes, nothing escaped that need not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canonical<'a> {
    /// Begins with `/`; just `/` for the root.
    pub path: Cow<'a, str>,
    /// A `;` stood somewhere in it. Servlet containers cut segments there, others do
    /// not, so protected routes refuse it.
    pub parameters: bool,
}

/// Why a path was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ambiguous {
    /// It does not begin with `/` (`*`, absolute forms, the empty path).
    NotAbsolute,
    /// `%2F` or `%5C`: some decode it before they split the path, others after.
    EscapedSeparator,
    /// `\`: some read it as `/`.
    Backslash,
    /// A dot segment made of escapes, or behind a parameter (`%2e%2e`, `..;x`).
    HiddenDots,
    /// `..` above the root, or behind an empty segment.
    EscapesRoot,
    /// NUL or another control character, raw or escaped.
    Control,
    /// `%` without two hexadecimal digits.
    InvalidEscape,
    /// `#`, which no request may carry.
    Fragment,
}

impl Ambiguous {
    /// What is wrong, for the `detail` of the reply.
    pub fn detail(self) -> &'static str {
        match self {
            Self::NotAbsolute => "the path does not begin with a slash",
            Self::EscapedSeparator => "the path holds an escaped slash or backslash",
            Self::Backslash => "the path holds a backslash",
            Self::HiddenDots => "the path hides a dot segment",
            Self::EscapesRoot => "the path leaves the root",
            Self::Control => "the path holds a control character",
            Self::InvalidEscape => "the path holds an invalid percent escape",
            Self::Fragment => "the path holds a fragment",
        }
    }
}

/// Splits a request target at its first `?`.
pub fn split_query(target: &[u8]) -> (&[u8], Option<&[u8]>) {
    match target.iter().position(|&b| b == b'?') {
        Some(at) => {
            let (path, query) = target.split_at(at);
            (path, query.get(1..))
        }
        None => (target, None),
    }
}

/// Brings the path of a request (no query) into canonical form.
///
/// # Errors
/// [`Ambiguous`] where two readers could understand different paths.
pub fn canonical(path: &[u8]) -> Result<Canonical<'_>, Ambiguous> {
    if path.first() != Some(&b'/') {
        return Err(Ambiguous::NotAbsolute);
    }
    if is_plain(path) {
        let end = match path.len() {
            n if n > 1 && path.last() == Some(&b'/') => n - 1,
            n => n,
        };
        let plain = path.get(..end).unwrap_or(path);
        if let Ok(text) = core::str::from_utf8(plain) {
            return Ok(Canonical {
                path: Cow::Borrowed(text),
                parameters: false,
            });
        }
    }
    rebuilt(path)
}

/// Whether the path is canonical but for a trailing slash: the common case, told by
/// one pass and no allocation.
fn is_plain(path: &[u8]) -> bool {
    let mut before = 0u8;
    for &b in path {
        let ok = match b {
            b'/' | b'.' => before != b'/',
            b';' => false,
            _ => is_pchar(b),
        };
        if !ok {
            return false;
        }
        before = b;
    }
    true
}

/// RFC 3986 `pchar` without escapes.
fn is_pchar(b: u8) -> bool {
    b.is_ascii_alphanumeric()
        || matches!(
            b,
            b'-' | b'.'
                | b'_'
                | b'~'
                | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b';'
                | b'='
                | b':'
                | b'@'
        )
}

fn rebuilt(path: &[u8]) -> Result<Canonical<'static>, Ambiguous> {
    let mut out: Vec<String> = Vec::new();
    let mut parameters = false;
    for raw in path.split(|&b| b == b'/').skip(1) {
        let segment = decode(raw)?;
        parameters |= segment.text.contains(';');
        let stem = segment.text.split(';').next().unwrap_or_default();
        let dots = stem == "." || stem == "..";
        if dots && (segment.escaped_dot || stem.len() != segment.text.len()) {
            return Err(Ambiguous::HiddenDots);
        }
        match segment.text.as_str() {
            "." => {}
            ".." => {
                let parent = out.pop().ok_or(Ambiguous::EscapesRoot)?;
                // Who merges slashes or cuts parameters first removes another segment
                // here than who does not.
                if parent.split(';').next() == Some("") {
                    return Err(Ambiguous::EscapesRoot);
                }
            }
            // Empty ones stay until the end, so that `..` meets them.
            _ => out.push(segment.text),
        }
    }
    let mut joined = String::with_capacity(path.len());
    for segment in out.iter().filter(|s| !s.is_empty()) {
        joined.push('/');
        joined.push_str(segment);
    }
    if joined.is_empty() {
        joined.push('/');
    }
    Ok(Canonical {
        path: Cow::Owned(joined),
        parameters,
    })
}

struct Segment {
    text: String,
    escaped_dot: bool,
}

fn decode(raw: &[u8]) -> Result<Segment, Ambiguous> {
    let mut text = String::with_capacity(raw.len());
    let mut escaped_dot = false;
    let mut bytes = raw.iter().copied();
    while let Some(b) = bytes.next() {
        match b {
            b'%' => {
                let value = match (bytes.next().and_then(hex), bytes.next().and_then(hex)) {
                    (Some(high), Some(low)) => high << 4 | low,
                    _ => return Err(Ambiguous::InvalidEscape),
                };
                match value {
                    b'/' | b'\\' => return Err(Ambiguous::EscapedSeparator),
                    b'.' => {
                        escaped_dot = true;
                        text.push('.');
                    }
                    // Beyond the unreserved characters, those that a segment may hold
                    // unescaped: upstreams serve `%3A` and `:` alike, so a route for
                    // `/users:batch` must not be passed by with `/users%3Abatch`.
                    b if b != b';' && is_pchar(b) => text.push(char::from(b)),
                    b if b.is_ascii_control() => return Err(Ambiguous::Control),
                    b => push_escape(&mut text, b),
                }
            }
            b'\\' => return Err(Ambiguous::Backslash),
            b'#' => return Err(Ambiguous::Fragment),
            b if b.is_ascii_control() => return Err(Ambiguous::Control),
            b if is_pchar(b) => text.push(char::from(b)),
            b => push_escape(&mut text, b),
        }
    }
    Ok(Segment { text, escaped_dot })
}

fn hex(b: u8) -> Option<u8> {
    char::from(b)
        .to_digit(16)
        .and_then(|d| u8::try_from(d).ok())
}

fn push_escape(text: &mut String, b: u8) {
    text.push('%');
    for nibble in [b >> 4, b & 15] {
        let digit = char::from_digit(u32::from(nibble), 16).unwrap_or('0');
        text.push(digit.to_ascii_uppercase());
    }
}

/// A host as it is compared: lower case, no port, no final dot.
pub fn canonical_host(authority: &[u8]) -> Cow<'_, str> {
    let Ok(text) = core::str::from_utf8(authority) else {
        return Cow::Borrowed("");
    };
    let host = match text.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => text.split(':').next().unwrap_or_default(),
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ok(path: &str) -> String {
        canonical(path.as_bytes()).unwrap().path.into_owned()
    }

    fn err(path: &str) -> Ambiguous {
        canonical(path.as_bytes()).unwrap_err()
    }

    #[test]
    fn equal_paths_come_out_equal() {
        for (raw, want) in [
            ("/", "/"),
            ("//", "/"),
            ("/admin", "/admin"),
            ("/admin/", "/admin"),
            ("//admin", "/admin"),
            ("/a/../admin", "/admin"),
            ("/a/./b", "/a/b"),
            ("/a//b/../c", "/a/c"),
            ("/a/b/..", "/a"),
            ("/%61dmin", "/admin"),
            ("/a%2Eb", "/a.b"),
            ("/%7Euser", "/~user"),
            ("/users%3abatch", "/users:batch"),
            ("/caf\u{e9}", "/caf%C3%A9"),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/100%25", "/100%25"),
            ("/%2561", "/%2561"),
            ("/a b", "/a%20b"),
            ("/{x}", "/%7Bx%7D"),
            ("/.well-known/x", "/.well-known/x"),
            ("/...", "/..."),
        ] {
            assert_eq!(ok(raw), want, "{raw}");
        }
    }

    #[test]
    fn paths_that_readers_disagree_about_are_refused() {
        for (raw, want) in [
            ("", Ambiguous::NotAbsolute),
            ("*", Ambiguous::NotAbsolute),
            ("http://h/a", Ambiguous::NotAbsolute),
            ("/admin%2Fx", Ambiguous::EscapedSeparator),
            ("/admin%2fx", Ambiguous::EscapedSeparator),
            ("/admin%5cx", Ambiguous::EscapedSeparator),
            ("/admin\\x", Ambiguous::Backslash),
            ("/%2e%2e/admin", Ambiguous::HiddenDots),
            ("/a/%2e./admin", Ambiguous::HiddenDots),
            ("/a/%2e/admin", Ambiguous::HiddenDots),
            ("/public/..;/admin", Ambiguous::HiddenDots),
            ("/public/..;x=1/admin", Ambiguous::HiddenDots),
            ("/..", Ambiguous::EscapesRoot),
            ("/a/../../b", Ambiguous::EscapesRoot),
            ("/a//../b", Ambiguous::EscapesRoot),
            ("/a//./../b", Ambiguous::EscapesRoot),
            ("/a/x//y/../../b", Ambiguous::EscapesRoot),
            ("/a/;/../b", Ambiguous::EscapesRoot),
            ("/%00", Ambiguous::Control),
            ("/a%0d%0ab", Ambiguous::Control),
            ("/\u{7f}", Ambiguous::Control),
            ("/%", Ambiguous::InvalidEscape),
            ("/%4", Ambiguous::InvalidEscape),
            ("/%zz", Ambiguous::InvalidEscape),
            ("/a#b", Ambiguous::Fragment),
        ] {
            assert_eq!(err(raw), want, "{raw}");
        }
    }

    /// The filter's tests read the same file.
    #[test]
    fn the_shared_vectors_hold() {
        let v: serde_json::Value =
            serde_json::from_str(include_str!("../tests/vectors/paths.json")).unwrap();
        for case in v["ok"].as_array().unwrap() {
            let raw = case["raw"].as_str().unwrap();
            let c = canonical(split_query(raw.as_bytes()).0).unwrap();
            assert_eq!(c.path, case["path"].as_str().unwrap(), "{case}");
            assert_eq!(
                c.parameters,
                case["parameters"].as_bool().unwrap_or(false),
                "{case}"
            );
        }
        for case in v["fail"].as_array().unwrap() {
            let raw = case["raw"].as_str().unwrap();
            assert!(canonical(split_query(raw.as_bytes()).0).is_err(), "{case}");
        }
    }

    #[test]
    fn parameters_are_reported() {
        assert!(canonical(b"/admin;a=b/x").unwrap().parameters);
        assert!(!canonical(b"/admin/x").unwrap().parameters);
        assert!(!canonical(b"/admin%3Bx").unwrap().parameters);
    }

    #[test]
    fn hosts_compare_without_case_port_and_final_dot() {
        for raw in [
            "API.example.com:8443",
            "api.example.com.",
            "api.example.com",
        ] {
            assert_eq!(canonical_host(raw.as_bytes()), "api.example.com");
        }
        assert_eq!(canonical_host(b"[::1]:80"), "::1");
        assert_eq!(canonical_host(b"\xff"), "");
    }

    proptest! {
        #![proptest_config(crate::seeded())]

        #[test]
        fn canonical_form_is_a_fixed_point(path in "/[ -~]{0,40}") {
            if let Ok(once) = canonical(path.as_bytes()) {
                let twice = canonical(once.path.as_bytes()).unwrap();
                prop_assert_eq!(&twice.path, &once.path);
            }
        }

        #[test]
        fn canonical_form_has_no_dot_or_empty_segment(path in "/[a./%2eE;\\\\]{0,24}") {
            if let Ok(c) = canonical(path.as_bytes())
                && c.path != "/"
            {
                for s in c.path.split('/').skip(1) {
                    prop_assert!(!matches!(s.split(';').next(), Some("" | "." | "..")) || s.starts_with(';'), "{}", c.path);
                }
            }
        }

        #[test]
        fn plain_paths_take_the_short_way_and_come_out_as_they_are(path in "(/[a-z0-9-]{1,8}){1,5}") {
            let c = canonical(path.as_bytes()).unwrap();
            prop_assert!(matches!(c.path, Cow::Borrowed(_)));
            prop_assert_eq!(&*c.path, &*path);
        }
    }
}
