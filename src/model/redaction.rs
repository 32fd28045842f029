//! Keys, tokens and secrets in texts.

use std::borrow::Cow;

use crate::invisible::is_ignorable;

/// How many digits make a nearly complete key, without its brand and environment.
const SECRET_RUN: usize = 50;

/// The secret of a node, a signing key or a master key: 32 bytes in base64url.
const BYTES_RUN: usize = 43;
/// How many capitals, and how many small letters, 32 random bytes have in base64url, and how often
/// one kind of digit follows another, but for two in a thousand.
const LETTERS: usize = 4;
const CHANGES: usize = 18;

/// Whether something in a text has the form of a key, a token or another secret of ours, whatever
/// surrounds it and even if its checksum is wrong: a damaged key reveals nearly all of it. So does
/// one without its brand, which its capitals distinguish from a hexadecimal digest. Not found: a
/// key of which ten or more digits are missing, or that is split over several fields or lines, or
/// encoded.
pub fn holds_secret(text: &str) -> bool {
    let text = &*seen(text);
    let is_drawn = |run: &str| {
        run.len() >= SECRET_RUN
            && run.contains(|c: char| c.is_ascii_uppercase())
            && run.contains(|c: char| c.is_ascii_lowercase())
            && run.contains(|c: char| c.is_ascii_digit())
    };
    holds_key(text)
        || text
            .split(|c: char| !c.is_ascii_alphanumeric())
            .any(is_drawn)
        || text
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_')
            .any(holds_bytes)
}

/// Whether a run of base64url's digits holds 32 random bytes. Names may be as long, but the letters
/// of words are of one kind.
fn holds_bytes(run: &str) -> bool {
    let kind = |b: &u8| (b.is_ascii_uppercase(), b.is_ascii_lowercase());
    run.as_bytes().windows(BYTES_RUN).any(|window| {
        let count = |is: fn(&u8) -> bool| window.iter().filter(|b| is(b)).count();
        let pairs = window.iter().zip(window.iter().skip(1));
        count(u8::is_ascii_uppercase) >= LETTERS
            && count(u8::is_ascii_lowercase) >= LETTERS
            && pairs.filter(|(a, b)| kind(a) != kind(b)).count() >= CHANGES
    })
}

/// The same for text with our prefixes.
pub fn holds_key(text: &str) -> bool {
    let text = &*seen(text);
    let is_digit = |c: char| c.is_ascii_alphanumeric();
    text.match_indices('_').any(|(at, _)| {
        let (before, after) = text.split_at(at);
        let after = after.strip_prefix('_').unwrap_or_default();
        let run = after.find(|c| !is_digit(c)).unwrap_or(after.len());
        if before.ends_with("whsec") {
            let base64 = |c: char| is_digit(c) || "+/=".contains(c);
            return after.find(|c| !base64(c)).unwrap_or(after.len()) >= 24;
        }
        // `brand_environment_` before it.
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let brand = before.trim_end_matches(is_name);
        run >= SECRET_RUN
            && brand.len() < before.len()
            && brand
                .strip_suffix('_')
                .is_some_and(|b| b.ends_with(is_name))
    })
}

/// A text without invisible characters and combining marks: a key with such characters in it is
/// still complete for a reader.
fn seen(text: &str) -> Cow<'_, str> {
    match text.contains(is_passed_over) {
        true => Cow::Owned(text.replace(is_passed_over, "")),
        false => Cow::Borrowed(text),
    }
}

fn is_passed_over(c: char) -> bool {
    // A blank of Braille, and Unicode's blocks of combining marks for any script.
    is_ignorable(c)
        || matches!(
            c,
            '\u{2800}'
                | '\u{300}'..='\u{36f}'
                | '\u{1ab0}'..='\u{1aff}'
                | '\u{1dc0}'..='\u{1dff}'
                | '\u{20d0}'..='\u{20ff}'
                | '\u{fe20}'..='\u{fe2f}'
        )
}

/// The replacement for what looks like a key.
const LEFT_OUT: &str = "(left out: it looks like a key)";

/// Text in which full keys and tokens are replaced by their ids, and anything that looks like one
/// is removed: somebody may have pasted it in place of a name.
pub fn redacted(text: &str) -> String {
    let inside = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut out = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c| !inside(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        match keystile_core::key::Parsed::parse(word.as_bytes()) {
            Ok(key) => out.push_str(&key.id().to_string()),
            // Damaged, or with something stuck to it.
            Err(_) if holds_secret(word) => out.push_str(LEFT_OUT),
            Err(_) => out.push_str(word),
        }
        let mut chars = after.chars();
        out.extend(chars.next());
        rest = chars.as_str();
    }
    match holds_secret(&out) {
        true => LEFT_OUT.to_owned(),
        false => out,
    }
}
