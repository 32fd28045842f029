//! Times as exports write them: seconds, milliseconds or finer since the epoch, as numbers or
//! texts, or dates.

use keystile_model::when::{self, When};

use super::node::Node;

/// Seconds since the epoch. None if it is not a time.
pub fn of(node: &Node) -> Option<u64> {
    if let Some(number) = node.number() {
        return Some(seconds(number));
    }
    let text = node.text()?.trim();
    if let Ok(number) = text.parse::<f64>() {
        return (number.is_finite() && number >= 0.0)
            .then(|| format!("{:.0}", number.trunc()).parse().ok().map(seconds))?;
    }
    of_text(text)
}

/// A date, or a date and a time with its zone; not a time from now.
pub fn of_text(text: &str) -> Option<u64> {
    let text = text.trim();
    let spaced = with_hyphens(text);
    let text = spaced.as_deref().unwrap_or(text);
    if let Ok(number) = text.parse::<u64>() {
        return Some(seconds(number));
    }
    // A year beyond what a keyset can hold effectively means never.
    if text
        .get(..4)
        .is_some_and(|y| y.parse::<u16>().is_ok_and(|y| y > 2105))
    {
        return Some(u64::MAX);
    }
    // Without a zone, servers mean UTC.
    let read = text.parse().or_else(|_| format!("{text}Z").parse());
    match read.ok()? {
        When::At(seconds) => Some(seconds),
        When::After(_) => None,
    }
}

/// `20271231` and `20271231235959` as dates: as numbers of seconds they would be in 1970 or after
/// 2600.
fn with_hyphens(text: &str) -> Option<String> {
    if !text.bytes().all(|b| b.is_ascii_digit()) || !matches!(text.len(), 8 | 12 | 14) {
        return None;
    }
    let part = |from: usize, to: usize| text.get(from..to);
    let date = format!("{}-{}-{}", part(0, 4)?, part(4, 6)?, part(6, 8)?);
    let time = match text.len() {
        8 => String::new(),
        12 => format!("T{}:{}:00Z", part(8, 10)?, part(10, 12)?),
        _ => format!("T{}:{}:{}Z", part(8, 10)?, part(10, 12)?, part(12, 14)?),
    };
    let whole = date + &time;
    whole.parse::<When>().is_ok().then_some(whole)
}

/// In the next larger unit, a number this large would be more than a thousand years after the
/// epoch.
fn seconds(number: u64) -> u64 {
    match number {
        0..100_000_000_000 => number,
        100_000_000_000..100_000_000_000_000 => number / 1_000,
        100_000_000_000_000..100_000_000_000_000_000 => number / 1_000_000,
        _ => number / 1_000_000_000,
    }
}

/// The last second that a key can end in: 2106-02-07.
const LAST: u64 = u32::MAX as u64 - 1;

/// In the form for a key's line; times later than a keyset can hold are reduced to its last.
pub fn line(seconds: u64) -> String {
    when::rfc3339(seconds.min(LAST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_the_same_in_every_unit_and_form() {
        for text in [
            "1900000000",
            "\"1900000000\"",
            "1900000000000",
            "1900000000000000",
            "1900000000000000000",
            "1900000000.5",
            "2030-03-17T17:46:40Z",
            "\"2030-03-17T18:46:40+01:00\"",
            "2030-03-17 17:46:40Z",
            "2030-03-17T17:46:40",
        ] {
            let node = super::super::node::parse("f", &format!("at: {text}"), "").unwrap();
            let node = node[0].root.peek("at").unwrap();
            assert_eq!(of(node), Some(1_900_000_000), "{text}");
        }
        assert_eq!(of_text("2030-03-17"), Some(1_899_936_000));
        assert_eq!(of_text("20300317"), Some(1_899_936_000));
        assert_eq!(of_text("20300317174640"), Some(1_900_000_000));
        assert_eq!(of_text("203003171746"), Some(1_899_999_960));
        // No date: seconds, and milliseconds.
        assert_eq!(of_text("99999999"), Some(99_999_999));
        assert_eq!(of_text("190000000000"), Some(190_000_000));
        assert_eq!(
            line(of_text("9999-12-31T00:00:00Z").unwrap()),
            "2106-02-07T06:28:14Z"
        );
        for text in ["soon", "90d", "2030-13-17", ""] {
            assert_eq!(of_text(text), None, "{text}");
        }
    }
}
