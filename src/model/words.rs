//! Free text that is stored: names, descriptions, labels, reasons. What it may contain is decided
//! only here, because all of it ends up permanently in the audit log, in webhook messages and on
//! other people's screens.

use crate::error::{Code, Error, Result, refuse};
use crate::invisible;
use crate::record::Labels;
pub use crate::redaction::{holds_key, holds_secret, redacted};
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
    if text.chars().any(invisible::acts) {
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
            // A node's secret, and a signing key.
            "edge-1:Q0FW7dZ9mB_1xTq-5rEoLk3NvY8uHs2PaJcGi6Dw4Xe".to_owned(),
            "KEYSTILE_SIGNING_KEYS=k1:zP-3hV9kQwB7nXe_0RtYcU5mLsJaG2oFd8iEbK1TvAM".to_owned(),
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
            "CustomerPortal-ProductionEnvironment-Team42_BackendService7",
            "sidecar~10.4.0.17~payments-7d9c5b6f8-x2v4q.payments~payments.svc.cluster.local",
        ] {
            assert!(!holds_secret(plain), "{plain}");
        }
    }

    #[test]
    fn what_stands_around_a_secret_stays() {
        let secret = "Q0FW7dZ9mB_1xTq-5rEoLk3NvY8uHs2PaJcGi6Dw4Xe";
        assert_eq!(
            redacted(&format!("no signing key `k1:{secret}` there")),
            "no signing key `k1:(left out: it looks like a key)` there"
        );
        assert_eq!(
            redacted(&format!("a key {} and `x`", key())),
            format!("a key {} and `x`", &key()[8..18])
        );
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
