//! Keys, tokens and secrets in texts.

use std::borrow::Cow;

use crate::invisible::is_ignorable;

/// How many digits make a nearly complete key, without its brand and environment.
const SECRET_RUN: usize = 50;

/// The secret of a node, a signing key or a master key: 32 bytes in base64url.
const BYTES_RUN: usize = 43;
/// How many capitals, and how many small letters, 32 random bytes have in base64url, and how often
/// one kind of digit follows another, but for three in a thousand.
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
        || text.split(|c| !is_base64url(c)).any(holds_bytes)
}

fn is_base64url(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-' || c == '_'
}

/// Whether a run of base64url's digits holds 32 random bytes. Names may be as long, but the letters
/// of words are of one kind.
fn holds_bytes(run: &str) -> bool {
    // Counted as the window moves on: texts may be long, and many look at them.
    let (mut upper, mut lower, mut changes) = (0_usize, 0_usize, 0_usize);
    let kind = |b: u8| (b.is_ascii_uppercase(), b.is_ascii_lowercase());
    let digits = run.as_bytes();
    let differs = |at: usize| {
        let pair = at
            .checked_sub(1)
            .and_then(|one| digits.get(one))
            .zip(digits.get(at));
        usize::from(pair.is_some_and(|(a, b)| kind(*a) != kind(*b)))
    };
    digits.iter().enumerate().any(|(at, digit)| {
        upper += usize::from(digit.is_ascii_uppercase());
        lower += usize::from(digit.is_ascii_lowercase());
        changes += differs(at);
        let gone = at.checked_sub(BYTES_RUN);
        if let Some((gone, digit)) = gone.and_then(|at| Some((at, digits.get(at)?))) {
            upper -= usize::from(digit.is_ascii_uppercase());
            lower -= usize::from(digit.is_ascii_lowercase());
            // Between the one that went and the first of the window.
            changes -= differs(gone + 1);
        }
        at + 1 >= BYTES_RUN && upper >= LETTERS && lower >= LETTERS && changes >= CHANGES
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
    let named = each_run(
        text,
        |c| c.is_ascii_alphanumeric() || c == '_',
        |word| match keystile_core::key::Parsed::parse(word.as_bytes()) {
            Ok(key) => Cow::Owned(key.id().to_string()),
            // Damaged, or with something stuck to it.
            Err(_) if holds_secret(word) => LEFT_OUT.into(),
            Err(_) => word.into(),
        },
    );
    // What stands around other secrets says what they were given for.
    let out = each_run(&named, is_base64url, |run| match holds_bytes(run) {
        true => LEFT_OUT.into(),
        false => run.into(),
    });
    match holds_secret(&out) {
        true => LEFT_OUT.to_owned(),
        false => out,
    }
}

/// A text with each run of certain characters replaced.
fn each_run<'t>(
    text: &'t str,
    inside: fn(char) -> bool,
    replaced: impl Fn(&'t str) -> Cow<'t, str>,
) -> String {
    let mut out = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c| !inside(c)).unwrap_or(rest.len());
        let (run, after) = rest.split_at(end);
        out.push_str(&replaced(run));
        let mut chars = after.chars();
        out.extend(chars.next());
        rest = chars.as_str();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every window, looked at by itself.
    fn naive(run: &str) -> bool {
        let kind = |b: &u8| (b.is_ascii_uppercase(), b.is_ascii_lowercase());
        run.as_bytes().windows(BYTES_RUN).any(|window| {
            let count = |is: fn(&u8) -> bool| window.iter().filter(|b| is(b)).count();
            let pairs = window.iter().zip(window.iter().skip(1));
            count(u8::is_ascii_uppercase) >= LETTERS
                && count(u8::is_ascii_lowercase) >= LETTERS
                && pairs.filter(|(a, b)| kind(a) != kind(b)).count() >= CHANGES
        })
    }

    #[test]
    fn runs_are_counted_as_if_every_window_was_looked_at() {
        let mut state = 7_u64;
        let mut found = [0, 0];
        for _ in 0..20_000 {
            // Texts of few kinds of digits, near the bounds.
            let mut next = |n: u64| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                (state >> 33) % n
            };
            let (len, stay) = (30 + next(60), next(4));
            let mut digit = 'a';
            let run: String = (0..len)
                .map(|_| {
                    if next(4) >= stay {
                        digit = ['a', 'B', '7', '-'][next(4) as usize];
                    }
                    digit
                })
                .collect();
            assert_eq!(holds_bytes(&run), naive(&run), "{run}");
            found[usize::from(naive(&run))] += 1;
        }
        assert!(found.iter().all(|n| *n > 1_000), "{found:?}");
    }
}
