//! Parts of URLs and forms, percent-encoded and decoded.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// Everything but the unreserved characters of RFC 3986 (section 2.3).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Appends text with everything but unreserved characters encoded.
pub fn encode(text: &str, out: &mut String) {
    out.extend(utf8_percent_encode(text, RESERVED));
}

/// A part of a URL decoded; `None` if its escapes are invalid, or do not decode to UTF-8.
pub fn decode(text: &str) -> Option<String> {
    // The crate leaves broken escapes as they are.
    let mut behind = text.split('%').skip(1).map(str::as_bytes);
    let is_whole = |digits: &[u8]| match digits {
        [high, low, ..] => high.is_ascii_hexdigit() && low.is_ascii_hexdigit(),
        _ => false,
    };
    let text = behind.all(is_whole).then(|| percent_decode_str(text))?;
    text.decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

/// A part of a query or a form decoded: a `+` is a blank.
pub fn decode_form(text: &str) -> Option<String> {
    match text.contains('+') {
        true => decode(&text.replace('+', " ")),
        false => decode(text),
    }
}

/// Decoded as far as it can be, for a look at what it holds.
pub fn decode_leniently(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(text: &str) -> String {
        let mut out = "=".to_owned();
        encode(text, &mut out);
        out
    }

    #[test]
    fn only_unreserved_characters_stand_as_they_are() {
        assert_eq!(encoded("aZ09-._~"), "=aZ09-._~");
        assert_eq!(encoded("a b+c/d%\u{e9}"), "=a%20b%2Bc%2Fd%25%C3%A9");
    }

    #[test]
    fn broken_escapes_are_refused_and_whole_ones_decoded_once() {
        assert_eq!(decode("a%20b%2b+%C3%A9").as_deref(), Some("a b++\u{e9}"));
        assert_eq!(decode_form("a%20b%2b+").as_deref(), Some("a b+ "));
        assert_eq!(decode("%2541").as_deref(), Some("%41"));
        for broken in ["%", "%4", "%4g", "a%", "%%41", "%ff", "%\u{e9}"] {
            assert_eq!(decode(broken), None, "{broken}");
        }
        assert_eq!(decode_leniently("%4g%41"), "%4gA");
    }
}
