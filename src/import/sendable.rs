//! Where an imported key can be sent at all: for example, a comma ends a credential in
//! `Authorization`.

use std::sync::LazyLock;

use keystile_core::policy::{BasicPart, Policy, RawPolicy};
use keystile_core::request::credential;
use keystile_core::request::headers::Headers;

/// A kind of place that a policy may list for keys.
struct Place {
    /// As a policy lists it.
    credential: &'static str,
    /// For messages.
    words: &'static str,
    /// Headers with a key in that place, as most clients send them.
    sent: fn(&str) -> Vec<(&'static str, String)>,
    /// Whether clients let the character stand there.
    may_hold: fn(u8) -> bool,
}

const PLACES: [Place; 7] = [
    Place {
        credential: r#"{"header":"authorization","scheme":"Bearer"}"#,
        words: "after a scheme (`Authorization: Bearer`)",
        sent: |key| vec![("authorization", format!("Bearer {key}"))],
        may_hold: is_graphic,
    },
    Place {
        credential: r#"{"header":"x-api-key"}"#,
        words: "as a header of its own",
        sent: |key| vec![("x-api-key", key.to_owned())],
        may_hold: is_graphic,
    },
    Place {
        credential: r#"{"basic":"username"}"#,
        words: "as the user name of HTTP Basic",
        sent: |key| vec![("authorization", credential::basic(BasicPart::Username, key))],
        may_hold: is_graphic,
    },
    Place {
        credential: r#"{"basic":"password"}"#,
        words: "as the password of HTTP Basic",
        sent: |key| vec![("authorization", credential::basic(BasicPart::Password, key))],
        may_hold: is_graphic,
    },
    Place {
        credential: r#"{"query":"key"}"#,
        words: "in the query without escapes",
        sent: |key| vec![(":path", format!("/?key={key}"))],
        may_hold: |b| is_graphic(b) && b != b'#',
    },
    Place {
        credential: r#"{"cookie":"key"}"#,
        words: "in a cookie",
        sent: |key| vec![("cookie", format!("key={key}"))],
        may_hold: is_cookie_octet,
    },
    Place {
        credential: r#"{"header":"authorization","scheme":"Bearer"}"#,
        words: "in `Sec-WebSocket-Protocol`",
        sent: |key| {
            let protocols = format!("bearer, {key}");
            let upgrade = ("upgrade", "websocket".to_owned());
            vec![upgrade, ("sec-websocket-protocol", protocols)]
        },
        may_hold: is_token,
    },
];

fn is_graphic(b: u8) -> bool {
    b.is_ascii_graphic()
}

/// RFC 6265 section 4.1.1.
fn is_cookie_octet(b: u8) -> bool {
    is_graphic(b) && !matches!(b, b'"' | b',' | b';' | b'\\')
}

/// RFC 9110 section 5.6.2; browsers open no WebSocket with a protocol that is no token.
fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

static POLICIES: LazyLock<Vec<Option<Policy>>> = LazyLock::new(|| {
    let policy = |place: &Place| policy(place.credential);
    PLACES.iter().map(policy).collect()
});

fn policy(credential: &str) -> Option<Policy> {
    let text = format!(r#"{{"version":1,"credentials":[{credential}],"routes":[]}}"#);
    let raw: RawPolicy = serde_json::from_str(&text).ok()?;
    Policy::new(&raw, []).ok()
}

/// The places that a key would not arrive in as it was sent: by what clients let stand there, and
/// what the filter itself reads there.
pub fn not_in(key: &str) -> Vec<&'static str> {
    PLACES
        .iter()
        .zip(POLICIES.iter())
        .filter(|(place, policy)| {
            let arrives = policy.as_ref().is_some_and(|p| arrives(p, place.sent, key));
            !arrives || !key.bytes().all(place.may_hold)
        })
        .map(|(place, _)| place.words)
        .collect()
}

fn arrives(policy: &Policy, sent: fn(&str) -> Vec<(&'static str, String)>, key: &str) -> bool {
    let bytes = Headers::encode(&sent(key));
    let found = credential::find(&policy.credentials, Headers::new(&bytes));
    !found.several && found.key.as_deref() == Some(key.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEME: &str = "after a scheme (`Authorization: Bearer`)";
    const HEADER: &str = "as a header of its own";
    const USER: &str = "as the user name of HTTP Basic";
    const PASSWORD: &str = "as the password of HTTP Basic";
    const QUERY: &str = "in the query without escapes";
    const COOKIE: &str = "in a cookie";
    const SOCKET: &str = "in `Sec-WebSocket-Protocol`";

    #[test]
    fn a_character_that_ends_a_key_in_some_place_is_named_with_that_place() {
        assert_eq!(not_in("an-ordinary-key-0123456789_~+.!"), [""; 0]);
        for (key, places) in [
            ("a,comma", &[SCHEME, COOKIE, SOCKET][..]),
            ("a;semicolon", &[COOKIE, SOCKET]),
            ("a\"quote", &[COOKIE, SOCKET]),
            ("\"quoted\"", &[COOKIE, SOCKET]),
            ("a\\backslash", &[COOKIE, SOCKET]),
            ("a:colon", &[USER, SOCKET]),
            ("base64/+=", &[SOCKET]),
            ("a/slash", &[SOCKET]),
            ("an=equals", &[SOCKET]),
            ("an@at", &[SOCKET]),
            ("an&ampersand", &[QUERY]),
            ("a#hash", &[QUERY]),
            ("a%41percent", &[QUERY]),
            ("100%", &[]),
        ] {
            assert_eq!(not_in(key), places, "{key}");
        }
    }

    #[test]
    fn blanks_control_characters_and_others_than_ascii_cannot_be_sent_anywhere() {
        let all = [SCHEME, HEADER, USER, PASSWORD, QUERY, COOKIE, SOCKET];
        for key in [
            "a blank",
            " before",
            "behind ",
            "a\ttab",
            "a\0nul",
            "a\u{7f}",
            "caf\u{e9}",
        ] {
            assert_eq!(not_in(key), all, "{key:?}");
        }
    }

    /// Every kind of place in a policy is read as one of those above is.
    #[test]
    fn other_schemes_and_headers_take_what_those_above_take() {
        type Sent = fn(&str) -> Vec<(&'static str, String)>;
        let others: [(&str, Sent, &str); 4] = [
            (
                r#"{"header":"authorization","scheme":"Token"}"#,
                |key| vec![("authorization", format!("Token {key}"))],
                SCHEME,
            ),
            (
                r#"{"header":"x-auth","scheme":"Key"}"#,
                |key| vec![("x-auth", format!("key {key}"))],
                SCHEME,
            ),
            (
                r#"{"header":"authorization"}"#,
                |key| vec![("authorization", key.to_owned())],
                HEADER,
            ),
            (
                r#"{"header":"sec-websocket-protocol","scheme":"key"}"#,
                |key| vec![("sec-websocket-protocol", format!("key, {key}"))],
                SOCKET,
            ),
        ];
        for (credential, sent, like) in others {
            let policy = policy(credential).unwrap();
            let place = PLACES.iter().position(|p| p.words == like).unwrap();
            let model = POLICIES[place].as_ref().unwrap();
            for key in [
                "ordinary", "a,b", "a;b", "a\"b", "a:b", "a/b=", "a%b", "a&b",
            ] {
                let expected = arrives(model, PLACES[place].sent, key);
                assert_eq!(arrives(&policy, sent, key), expected, "{credential} {key}");
            }
        }
    }
}
