//! Free text that is stored: names, descriptions, labels, reasons. What it may contain is decided
//! only here, because all of it ends up permanently in the audit log, in webhook messages and on
//! other people's screens.

use std::borrow::Cow;

use crate::error::{Code, Error, Result, refuse};
use crate::foreign;
use crate::record::Labels;
use crate::url;

/// The longest name, in bytes.
pub const NAME: usize = 200;
/// The longest reason, in bytes.
pub const REASON: usize = 500;
/// The longest description, in bytes.
pub const DESCRIPTION: usize = 1_000;
/// The most labels of one thing.
pub const LABELS: usize = 500;
/// The longest value of a label, in bytes.
const VALUE: usize = 200;
/// How many digits make a nearly complete key, without its brand and environment.
const SECRET_RUN: usize = 50;

/// Checks that text may be stored in a field.
///
/// # Errors
/// If it is too long, or contains invisible characters, a key or a token.
pub fn check(field: &str, text: &str, longest: usize) -> Result<()> {
    if text.len() > longest {
        return Err(refuse(
            Code::TooLong,
            format_args!("{} bytes is too long", text.len()),
            format_args!("shorten it to {longest} at most"),
        )
        .field(field));
    }
    if text.chars().any(foreign::acts) {
        return Err(refuse(
            Code::HiddenCharacters,
            "it holds characters that cannot be seen, such as line breaks or marks that change the direction of text",
            "leave them out",
        )
        .field(field));
    }
    // A key that is broken by a line break or a blank is still complete for a reader.
    let joined: String = text.split_whitespace().collect();
    match holds_secret(text) || holds_key(&joined) {
        true => Err(secret(field)),
        false => Ok(()),
    }
}

/// Checks that a URL may be stored. URLs of chat services contain secrets that look like ours
/// without a brand.
///
/// # Errors
/// Those of [`check`].
pub fn check_address(field: &str, text: &str) -> Result<()> {
    match holds_key(text) || holds_key(&url::decode_leniently(text)) {
        true => Err(secret(field)),
        false => Ok(()),
    }
}

/// Checks that labels may be stored. Those of `before` were checked when they were set.
///
/// # Errors
/// If there are too many, or one may not be stored.
pub fn check_labels(labels: &Labels, before: &Labels) -> Result<()> {
    if labels.len() > LABELS.max(before.len()) {
        return Err(refuse(
            Code::TooMany,
            format_args!("{} are too many", labels.len()),
            format_args!("give {LABELS} at most"),
        )
        .field("labels"));
    }
    let new = labels
        .iter()
        .filter(|(name, value)| before.get(*name) != Some(*value));
    for (name, value) in new {
        check("labels", name, VALUE)?;
        check("labels", value, VALUE)?;
    }
    Ok(())
}

fn secret(field: &str) -> Error {
    refuse(
        Code::SecretInText,
        "it holds a key, a token or a secret, which would be stored for good",
        "give its id instead; if others could have seen it, revoke it",
    )
    .field(field)
}

/// Whether something in a text has the form of a key, a token or a webhook secret, whatever
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
    foreign::is_ignorable(c)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> String {
        let name = |n: &str| n.parse().unwrap();
        let entropy = |b: &mut [u8]| {
            b.iter_mut().zip(7..).for_each(|(to, byte)| *to = byte);
            Ok::<(), ()>(())
        };
        let fresh = keystile_core::key::generate(&name("ks"), &name("live"), entropy);
        fresh.unwrap().text.expose_secret().to_owned()
    }

    #[test]
    fn a_key_is_found_wherever_it_stands_and_however_it_was_cut() {
        let key = key();
        let (cut, longer) = (&key[..key.len() - 6], format!("{key}x"));
        for held in [
            key.clone(),
            format!("seen in a chat: {key}, twice"),
            format!("https://x.example/?k={key}&b"),
            format!("leaked_{key}"),
            cut.to_owned(),
            longer,
            key[8..].to_owned(),
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned(),
        ] {
            assert!(holds_secret(&held), "{}", held.len());
            let refused = check("reason", &held, REASON).unwrap_err().to_string();
            assert!(refused.starts_with("`reason`: it holds a key"), "{refused}");
            assert!(!refused.contains(&key[20..60]));
        }
        for plain in [
            "",
            "0Ab3dEfGh1",
            "ks_live_0Ab3dEfGh1",
            "team_web_frontend",
            "commit_3f786850e387550fdab836ed7e6dc881de23001b",
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855",
        ] {
            assert!(!holds_secret(plain), "{plain}");
        }
    }

    #[test]
    fn a_key_is_found_where_a_blank_cuts_it_or_its_marks_are_encoded() {
        let key = key();
        let (first, rest) = key.split_at(30);
        for cut in [
            format!("{first} {rest}"),
            format!("a note: {first}   {rest}"),
        ] {
            assert!(check("name", &cut, NAME).is_err(), "{cut}");
        }
        for unseen in [
            '\u{ad}',
            '\u{34f}',
            '\u{301}',
            '\u{2800}',
            '\u{180e}',
            '\u{3164}',
            '\u{17b4}',
            '\u{200b}',
            '\u{2064}',
            '\u{fe0f}',
            '\u{e0101}',
        ] {
            let cut = format!("{first}{unseen}{rest}");
            assert!(holds_secret(&cut) && holds_key(&cut), "{unseen:?}");
            assert!(check("name", &cut, NAME).is_err(), "{unseen:?}");
        }
        let url = format!("https://x.example/?k={}", key.replace('_', "%5F"));
        assert!(check_address("url", &url).is_err());
        assert_eq!(check_address("url", "https://x.example/%5F%zz%5Fa"), Ok(()));
        assert_eq!(check("name", "Jana a_b_ and a note", NAME), Ok(()));
    }

    #[test]
    fn what_no_eye_sees_is_refused_and_what_is_too_long() {
        for bad in [
            "a\u{202e}b",
            "a\nb",
            "a\u{1b}[2Jb",
            "a\u{2028}b",
            "\u{feff}a",
            "a\u{200b}",
            "a\u{ad}b",
            "a\u{34f}",
            "\u{3164}",
            "\u{e0041}",
        ] {
            let refused = check("name", bad, NAME).unwrap_err().to_string();
            assert!(
                refused.starts_with("`name`: it holds characters"),
                "{refused}"
            );
        }
        for good in ["Jané · 日本", "❤\u{fe0f} and 葛\u{e0100}"] {
            assert_eq!(check("name", good, NAME), Ok(()));
        }
        let long = check("description", &"x".repeat(1_001), DESCRIPTION);
        assert_eq!(
            long.unwrap_err().to_string(),
            "`description`: 1001 bytes is too long; shorten it to 1000 at most"
        );
        let many = (0..501).map(|n| (format!("l{n}"), String::new())).collect();
        assert!(check_labels(&many, &Labels::new()).is_err());
        assert_eq!(check_labels(&many, &many), Ok(()), "what is there may stay");
    }
}
