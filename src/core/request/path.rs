//! Request paths, and the ways in which readers may interpret them.
//!
//! Envoy picks its route by the raw path, a proxy behind it may resolve dot segments, a servlet
//! container cuts parameters, a file server decodes escapes and merges slashes. The filter does not
//! know which of these the upstream is. So it decides by all [`readings`] of a path: a request is
//! passed on only if each of them belongs to the same rule. A plain path has one reading and pays
//! nothing for the others.
//!
//! Sources: RFC 3986 sections 2.2, 2.3, 3.3 and 5.2.4; the URL Standard (WHATWG) on dot
//! segments and backslashes; the Servlet specification on path parameters; OWASP on path
//! traversal and double encoding; Microsoft's "File path formats on Windows systems" on dots,
//! blanks and streams.

use std::borrow::Cow;

mod escape;
mod rewrite;

pub(crate) use escape::is_pchar;
use escape::push_escape;
use rewrite::REWRITES;

use crate::hex::digit as hex;

/// Why a path was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ambiguous {
    /// It does not begin with `/` (`*`, absolute forms, the empty path).
    NotAbsolute,
    /// NUL or another control character, raw or escaped.
    Control,
    /// `%` without two hexadecimal digits.
    InvalidEscape,
    /// `#`, which no request may carry.
    Fragment,
    /// More readings than [`MOST_READINGS`], or longer ones than [`MOST_BYTES`] allows.
    TooManyReadings,
    /// `;`, raw or escaped: servlet containers cut parameters, others do not.
    Parameters,
    /// `%2F` or `%5C`: some decode it before they split the path, others after.
    EscapedSeparator,
    /// `\`: some read it as `/`.
    Backslash,
    /// `.` or `..` as a segment, raw or escaped: some resolve it, others do not.
    DotSegments,
    /// A segment that ends with a dot or a blank, or names a stream (`::$DATA`): Windows drops
    /// that.
    WindowsName,
    /// `//`: some merge slashes, others do not.
    DoubledSlash,
    /// An unnecessary escape: some compare it decoded, others as it is.
    Escape,
    /// A trailing slash that the open rule lacks, or the other way round.
    TrailingSlash,
    /// The method has lower-case letters: some read them as upper case.
    Method,
    /// `_method` in the query: some take it for the method.
    MethodParameter,
    /// Capital letters in the path or in a rule: some servers ignore case.
    LetterCase,
    /// A rule's `{id}.json` would cover it if `{id}` could be empty.
    EmptyParameter,
}

impl Ambiguous {
    /// What is wrong, for the `detail` of the reply.
    pub fn detail(self) -> &'static str {
        match self {
            Self::NotAbsolute => "The path does not begin with a slash.",
            Self::Control => "The path contains a control character.",
            Self::InvalidEscape => "The path contains an invalid percent escape.",
            Self::Fragment => "The path contains a fragment.",
            Self::TooManyReadings => "The path can be read in too many ways.",
            Self::Parameters => {
                "The path contains a `;`, and different rules apply with and without the part after it."
            }
            Self::EscapedSeparator => {
                "The path contains an escaped slash or backslash, and different rules apply with and without decoding it."
            }
            Self::Backslash => {
                "The path contains a backslash, and different rules apply if it is read as a slash."
            }
            Self::DotSegments => {
                "The path contains a dot segment, and different rules apply with and without resolving it."
            }
            Self::WindowsName => {
                "A segment of the path ends with a dot, a blank or the name of a stream, which Windows drops; without it, different rules apply."
            }
            Self::DoubledSlash => {
                "The path contains a double slash, and different rules apply with and without merging it."
            }
            Self::Escape => {
                "The path contains a percent escape, and different rules apply with and without decoding it."
            }
            Self::Method => {
                "The method has letters in lower case, and a different rule applies to it in upper case."
            }
            Self::MethodParameter => {
                "`_method` in the query asks for another method, and a different rule applies to that: send the request with it instead."
            }
            Self::LetterCase => {
                "The path differs from a stricter rule only in upper and lower case, which some servers ignore: write it as the API documents it."
            }
            Self::EmptyParameter => {
                "The path has nothing where a stricter rule has a parameter beside text, and some servers take that for an empty value: give the parameter a value."
            }
            Self::TrailingSlash => {
                "The path and the open rule that it belongs to differ by a slash at the end, and another rule covers the path as it was sent."
            }
        }
    }
}

/// The most readings that are compared. Legitimate paths have one or two.
pub const MOST_READINGS: usize = 64;
/// The most bytes of all readings together: comparing them should cost no more than the host's own
/// work on such a request.
const MOST_BYTES: usize = 65_536;

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

/// The readings of a path, the one as it was sent first. All begin with `/`.
///
/// They are in normal form: characters that RFC 3986 allows in a path are unescaped, escapes are in
/// upper case, and bytes that must be escaped are. Equal texts are equal paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readings<'a> {
    first: Cow<'a, str>,
    others: Vec<String>,
}

impl Readings<'_> {
    /// The path as it was sent.
    pub fn as_sent(&self) -> &str {
        &self.first
    }

    /// Every other way to read it.
    pub fn others(&self) -> impl Iterator<Item = &str> {
        self.others.iter().map(String::as_str)
    }

    /// Whether there is only one way to read it.
    pub fn agree(&self) -> bool {
        self.others.is_empty()
    }

    /// What makes the path ambiguous: the first cause.
    pub fn doubt(&self) -> Ambiguous {
        let sent = self.as_sent();
        let escapes = |list: &[&str]| list.iter().any(|e| sent.contains(e));
        if sent.contains('\\') {
            Ambiguous::Backslash
        } else if escapes(&["%2F", "%5C"]) {
            Ambiguous::EscapedSeparator
        } else if sent.contains(';') || escapes(&["%3B"]) {
            Ambiguous::Parameters
        } else if sent.contains("//") {
            Ambiguous::DoubledSlash
        } else if sent.split('/').any(is_dots) {
            Ambiguous::DotSegments
        } else if rewrite::windows_names(sent).is_some() {
            Ambiguous::WindowsName
        } else {
            Ambiguous::Escape
        }
    }
}

/// All ways to read the path of a request (without query): the results of all orders of the
/// rewritings that readers apply.
///
/// # Errors
/// [`Ambiguous`] for what no legitimate client sends, and for more readings than are compared.
pub fn readings(path: &[u8]) -> Result<Readings<'_>, Ambiguous> {
    if path.first() != Some(&b'/') {
        return Err(Ambiguous::NotAbsolute);
    }
    if is_plain(path)
        && let Ok(text) = core::str::from_utf8(path)
    {
        return Ok(Readings {
            first: Cow::Borrowed(text),
            others: Vec::new(),
        });
    }
    rewritten(path)
}

/// The readings of a path that is not plain. A separate function, because few requests come here.
#[cold]
#[inline(never)]
fn rewritten(path: &[u8]) -> Result<Readings<'static>, Ambiguous> {
    let mut all = vec![normal(path)?];
    let mut bytes = path.len();
    let mut at = 0;
    while let Some(text) = all.get(at) {
        let new: Vec<String> = REWRITES.iter().filter_map(|f| f(text)).collect();
        for text in new {
            if all.contains(&text) {
                continue;
            }
            if holds_a_control_character(&text) {
                return Err(Ambiguous::Control);
            }
            bytes = bytes.saturating_add(text.len());
            if all.len() == MOST_READINGS || bytes > MOST_BYTES {
                return Err(Ambiguous::TooManyReadings);
            }
            all.push(text);
        }
        at += 1;
    }
    let others = all.split_off(1);
    Ok(Readings {
        first: Cow::Owned(all.pop().unwrap_or_default()),
        others,
    })
}

/// Whether the path has one reading, checked in one pass without allocation. A segment that begins
/// with a dot is left to the slow path, whatever follows the dot.
fn is_plain(path: &[u8]) -> bool {
    let mut before = 0u8;
    for &b in path {
        let ok = match b {
            b'/' => before != b'/' && before != b'.',
            b'.' => before != b'/',
            b'$' => before != b':',
            b';' => false,
            _ => is_pchar(b),
        };
        if !ok {
            return false;
        }
        before = b;
    }
    before != b'.'
}

fn is_dots(segment: &str) -> bool {
    matches!(segment, "." | "..")
}

/// The normal form of a path as it was sent. Nothing is decoded.
fn normal(path: &[u8]) -> Result<String, Ambiguous> {
    let mut out = String::with_capacity(path.len());
    let mut bytes = path.iter().copied();
    while let Some(b) = bytes.next() {
        match b {
            b'%' => match (bytes.next().and_then(hex), bytes.next().and_then(hex)) {
                (Some(high), Some(low)) => match high * 16 + low {
                    b if b.is_ascii_control() => return Err(Ambiguous::Control),
                    b => push_escape(&mut out, b),
                },
                _ => return Err(Ambiguous::InvalidEscape),
            },
            b'#' => return Err(Ambiguous::Fragment),
            b if b.is_ascii_control() => return Err(Ambiguous::Control),
            b'/' | b'\\' => out.push(char::from(b)),
            b if is_pchar(b) => out.push(char::from(b)),
            b => push_escape(&mut out, b),
        }
    }
    Ok(out)
}

/// Only an escape can hold one, after another round of decoding.
fn holds_a_control_character(normal: &str) -> bool {
    normal.split('%').skip(1).any(|after| {
        let byte = after.get(..2).and_then(|d| u8::from_str_radix(d, 16).ok());
        byte.is_some_and(|b| b.is_ascii_control())
    })
}

/// A literal segment of a template, with unnecessary escapes decoded; `None` if the result has
/// several readings, or none, or is more than a segment.
pub(crate) fn literal(segment: &str) -> Option<String> {
    let path = normal(format!("/{segment}").as_bytes()).ok()?;
    let path = rewrite::all_decoded(&path).unwrap_or(path);
    let found = readings(path.as_bytes()).ok().filter(Readings::agree)?;
    let literal = found.as_sent().strip_prefix('/')?;
    let is_segment = !literal.is_empty() && !literal.contains('/') && !segment.contains('?');
    is_segment.then(|| literal.to_owned())
}

/// Text that is part of a segment, with unnecessary escapes decoded.
pub(crate) fn literal_text(text: &str) -> Option<String> {
    let path = normal(format!("/{text}").as_bytes()).ok()?;
    let path = rewrite::all_decoded(&path).unwrap_or(path);
    path.strip_prefix('/').map(str::to_owned)
}

#[cfg(test)]
mod tests;
