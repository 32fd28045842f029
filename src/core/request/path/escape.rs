//! Characters of a path, and how they are escaped.

use core::fmt::Write as _;

/// RFC 3986 `pchar` without escapes.
pub(crate) fn is_pchar(b: u8) -> bool {
    is_unreserved(b)
        || matches!(
            b,
            b'!' | b'$'
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

/// RFC 3986 section 2.3.
pub(super) fn is_unreserved(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~')
}

pub(super) fn push_escape(text: &mut String, b: u8) {
    // Writing to a string cannot fail.
    let _ = write!(text, "%{b:02X}");
}
