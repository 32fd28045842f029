//! Where an imported key can be sent at all: for example, a comma ends a credential in
//! `Authorization`.

use std::sync::LazyLock;

use keystile_core::policy::{Policy, RawPolicy};
use keystile_core::request::credential;
use keystile_core::request::headers::Headers;

/// Places of a policy in which a key is sent, a header that carries one, and its name in messages.
const PLACES: [(&str, &str, &str, &str); 3] = [
    (
        r#"{"header":"authorization","scheme":"Bearer"}"#,
        "authorization",
        "Bearer ",
        "after `Authorization: Bearer`",
    ),
    (r#"{"header":"x-api-key"}"#, "x-api-key", "", "as a header"),
    (r#"{"cookie":"key"}"#, "cookie", "key=", "in a cookie"),
];

static POLICIES: LazyLock<Vec<Option<Policy>>> = LazyLock::new(|| {
    let policy = |place: &str| {
        let text = format!(r#"{{"version":1,"credentials":[{place}],"routes":[]}}"#);
        let raw: RawPolicy = serde_json::from_str(&text).ok()?;
        Policy::new(&raw, []).ok()
    };
    PLACES.iter().map(|(place, ..)| policy(place)).collect()
});

/// The places in which a key would not arrive as it was sent, according to the filter's own reader.
pub fn not_in(key: &str) -> Vec<&'static str> {
    let arrives = |policy: &Option<Policy>, name: &str, before: &str| {
        let bytes = Headers::encode(&[(name, format!("{before}{key}"))]);
        let Some(policy) = policy else {
            return false;
        };
        let found = credential::find(&policy.credentials, Headers::new(&bytes));
        !found.several && found.key.as_deref() == Some(key.as_bytes())
    };
    let places = PLACES.iter().zip(POLICIES.iter());
    places
        .filter(|((_, name, before, _), policy)| !arrives(policy, name, before))
        .map(|((_, _, _, words), _)| *words)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comma_cannot_be_sent_after_a_scheme() {
        assert_eq!(not_in("an-ordinary-key-0123456789_~+/="), [""; 0]);
        assert_eq!(
            not_in("a,comma-0123456789abcdef"),
            ["after `Authorization: Bearer`"]
        );
        assert_eq!(not_in("a;semicolon-0123456789abcdef"), ["in a cookie"]);
    }
}
