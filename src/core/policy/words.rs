//! Names and durations as policies and keys spell them.

/// The most scopes that a policy and its keys may use.
pub const MAX_SCOPES: usize = 16_384;

/// A scope as RFC 6749 section 3.3 spells it, at most 64 bytes.
pub fn is_scope(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|b| matches!(b, 0x21 | 0x23..=0x5B | 0x5D..=0x7E) && b != b',')
}

/// A client's name: fit for headers, logs and file names.
pub fn is_client_name(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
}

/// A plan's name: fit for a structured-field string.
pub fn is_plan_name(text: &str) -> bool {
    (1..=32).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-'))
}

/// Reads `90s`, `15m`, `24h`, `7d`, `4w` as seconds; nothing else, and not zero.
pub fn seconds(text: &str) -> Option<u64> {
    let unit = match text.as_bytes().last()? {
        b's' => 1,
        b'm' => 60,
        b'h' => 3600,
        b'd' => 86_400,
        b'w' => 7 * 86_400,
        _ => return None,
    };
    let digits = text.get(..text.len().checked_sub(1)?)?;
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let seconds = digits.parse::<u64>().ok()?.checked_mul(unit)?;
    (1..=100 * 366 * 86_400)
        .contains(&seconds)
        .then_some(seconds)
}

/// The number of a scope: its position in the table.
pub(super) fn number(table: &[String], scope: &str) -> Option<u16> {
    let at = table.binary_search_by(|s| s.as_str().cmp(scope)).ok()?;
    u16::try_from(at).ok()
}
