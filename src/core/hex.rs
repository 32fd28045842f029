//! Bytes as hexadecimal digits, for the whole workspace.

use core::fmt;

/// Writes bytes in lower case, two digits each.
#[derive(Clone, Copy)]
pub struct Hex<'a>(pub &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

/// Bytes in lower case, two digits each.
pub fn text(bytes: impl AsRef<[u8]>) -> String {
    Hex(bytes.as_ref()).to_string()
}

/// As [`text`], of the first so many bytes: part of a digest that tells one thing from another.
pub fn start(bytes: impl AsRef<[u8]>, count: usize) -> String {
    let bytes = bytes.as_ref();
    text(bytes.get(..count).unwrap_or(bytes))
}

/// Exactly so many bytes, from digits in either case.
pub fn read<const N: usize>(text: impl AsRef<[u8]>) -> Option<[u8; N]> {
    let (pairs, rest) = text.as_ref().as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let mut out = [0; N];
    for (byte, [high, low]) in out.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(out)
}

/// What a digit in either case stands for.
pub fn digit(b: u8) -> Option<u8> {
    match b {
        b'0'..=b'9' => Some(b - b'0'),
        b'a'..=b'f' => Some(b - b'a' + 10),
        b'A'..=b'F' => Some(b - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_written_and_read_in_either_case() {
        let bytes = [0x00, 0x1f, 0xa0, 0xff];
        assert_eq!(text(bytes), "001fa0ff");
        assert_eq!(start(bytes, 2), "001f");
        assert_eq!(start(bytes, 9), "001fa0ff");
        assert_eq!(read::<4>("001fA0Ff"), Some(bytes));
        for wrong in [
            "",
            "001fa0f",
            "001fa0ff0",
            "001fa0ff00",
            "001fa0fg",
            "+01fa0ff",
            "é01fa0f",
        ] {
            assert_eq!(read::<4>(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn every_byte_is_read_as_it_is_written() {
        for byte in 0..=u8::MAX {
            assert_eq!(read::<1>(text([byte])), Some([byte]));
        }
    }
}
