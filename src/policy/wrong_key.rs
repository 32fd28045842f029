//! What is wrong with a text that was sent as a key and is none of the store's: what its form and its
//! checksum tell. Nothing of the text itself is repeated.

use keystile_core::key::{BODY_DIGITS as BODY, KeyId, Malformed, Parsed};
use keystile_core::policy::Policy;

/// What a text is that no key of the store has.
#[derive(Default)]
pub struct WrongKey {
    /// The id in it, if it is a whole key of our brand: its checksum is right.
    pub whole: Option<KeyId>,
    /// What is wrong with it; nothing if it has nothing of a key.
    pub words: Option<String>,
}

impl WrongKey {
    /// Looks at a text.
    pub fn new(policy: &Policy, text: &[u8]) -> Self {
        let brand = policy.brand.as_str();
        let (whole, words) = match Parsed::parse(text) {
            Ok(key) if key.brand != brand => (
                None,
                Some(format!(
                    "the key's checksum is right, so it is whole, but its brand is `{}` and that of this store is `{brand}`: it is a key of another store",
                    key.brand
                )),
            ),
            Ok(key) => {
                let elsewhere = environment(policy, key.environment);
                let elsewhere = elsewhere.map_or(String::new(), |words| format!("; {words}"));
                let words = format!(
                    "the key's checksum is right, so it is whole, but this store has none like it: it is a key of another store, or was removed{elsewhere}"
                );
                (Some(key.id()), Some(words))
            }
            Err(Malformed::Checksum) => (
                None,
                Some("this is as long as a key, but its checksum is wrong: it was mistyped, or put together from two".to_owned()),
            ),
            Err(Malformed::Shape | Malformed::Length) => (None, cut(policy, text)),
        };
        Self { whole, words }
    }
}

/// That a policy does not accept an environment, if so.
pub fn environment(policy: &Policy, environment: &str) -> Option<String> {
    let accepted: Vec<&str> = policy.environments.iter().map(|e| e.as_str()).collect();
    (!accepted.contains(&environment)).then(|| {
        format!(
            "the key's environment is `{environment}`, and this policy accepts `{}`",
            accepted.join("`, `")
        )
    })
}

/// Of a text that has not the form of a key, as far as it begins or ends as one.
fn cut(policy: &Policy, text: &[u8]) -> Option<String> {
    let heads = || {
        let all = policy.environments.iter();
        all.map(|e| format!("{}_{}_", policy.brand.as_str(), e.as_str()))
    };
    let whole = |head: &str| [head.as_bytes(), text].concat();
    if let Some(head) = heads().find(|head| Parsed::parse(&whole(head)).is_ok()) {
        return Some(format!(
            "the key was not copied whole: `{head}` is missing at its beginning"
        ));
    }
    let body = body(policy, text)?;
    let odd = body.iter().any(|b| !b.is_ascii_alphanumeric());
    let more = body
        .iter()
        .take_while(|b| b.is_ascii_alphanumeric())
        .count();
    Some(match (more, odd) {
        (n, false) if n < BODY => format!(
            "the key was not copied whole: {} of {BODY} characters are missing at its end",
            BODY - n
        ),
        (n, true) if n < BODY => format!(
            "the key was not copied whole: after {n} of {BODY} characters comes one that no key has"
        ),
        (_, true) => "something was copied along behind the key".to_owned(),
        (BODY, false) => format!(
            "what comes before the last `_` is in no key of this store: they begin with `{}`",
            heads().collect::<Vec<_>>().join("`, `")
        ),
        (n, false) => format!("the key has {} characters too many", n - BODY),
    })
}

/// What comes behind our brand and an environment, whichever.
fn body<'t>(policy: &Policy, text: &'t [u8]) -> Option<&'t [u8]> {
    let rest = text.strip_prefix(policy.brand.as_str().as_bytes())?;
    let rest = rest.strip_prefix(b"_")?;
    let end = rest.iter().position(|b| *b == b'_')?;
    rest.get(end + 1..)
}

#[cfg(test)]
mod tests {
    use super::*;
    use keystile_core::key::generate;
    use keystile_core::policy::RawPolicy;

    fn policy() -> Policy {
        let raw = r#"{"version":1,"environments":["live"],"routes":[{"path":"/"}]}"#;
        let raw: RawPolicy = serde_json::from_str(raw).unwrap();
        Policy::new(&raw, []).unwrap()
    }

    fn key(brand: &str, environment: &str) -> String {
        let mut n = 3u8;
        let entropy = |bytes: &mut [u8]| {
            bytes.fill_with(|| {
                n = n.wrapping_mul(29).wrapping_add(41);
                n
            });
            Ok::<(), ()>(())
        };
        let (brand, environment) = (brand.parse().unwrap(), environment.parse().unwrap());
        let fresh = generate(&brand, &environment, entropy).unwrap();
        fresh.text.expose_secret().to_owned()
    }

    fn words(text: &str) -> String {
        let found = WrongKey::new(&policy(), text.as_bytes());
        found.words.unwrap_or_default()
    }

    #[test]
    fn every_cut_is_told_as_one() {
        let whole = key("ks", "live");
        let head = "ks_live_".len();
        for end in head..whole.len() {
            let missing = whole.len() - end;
            let says = words(&whole[..end]);
            assert!(
                says.contains("not copied whole") && says.contains(&format!(": {missing} of 59")),
                "{end}: {says}"
            );
        }
        let says = words(&whole[head..]);
        assert!(says.contains("`ks_live_` is missing"), "{says}");
        assert!(words(&format!("{whole}\"")).contains("copied along"));
        assert!(words(&format!("{whole}xyz")).contains("3 characters too many"));
        assert!(words(&format!("{whole}{whole}")).contains("copied along behind"));
        let says = words(&whole.replace("live", "LIVE"));
        assert!(says.contains("begin with `ks_live_`"), "{says}");
        assert!(words(&format!("{}…", &whole[..20])).contains("after 12 of 59"));
    }

    #[test]
    fn whole_keys_of_elsewhere_are_told_apart_from_typing_errors() {
        let typo = key("ks", "live").replace("live", "test");
        assert!(words(&typo).contains("mistyped"), "{}", words(&typo));
        assert!(words(&key("ks", "live")).contains("none like it"));
        assert!(
            words(&key("ks", "test"))
                .contains("environment is `test`, and this policy accepts `live`")
        );
        assert!(words(&key("other", "live")).contains("brand is `other`"));
        for text in ["", "hunter2", "ks", "ks_", "Bearer"] {
            assert_eq!(words(text), "", "{text}");
        }
    }

    #[test]
    fn nothing_of_the_text_is_repeated() {
        let whole = key("ks", "live");
        for end in 0..whole.len() {
            let says = words(&whole[..end]);
            assert!(!says.contains(&whole[8..16]), "{says}");
        }
    }
}
