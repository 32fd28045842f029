//! Keys in HTTP Basic and other schemes.

use super::*;

/// `K:`, `a:K` and `K:p`.
pub(super) const BASIC: [&str; 3] = ["Basic Szo=", "basic YTpL", "Basic Szpw"];

#[test]
fn a_part_of_http_basic_is_a_key() {
    for (part, value, key) in [
        ("username", BASIC[0], Some("K")),
        ("username", BASIC[2], Some("K")),
        ("password", BASIC[1], Some("K")),
        ("password", BASIC[2], Some("p")),
        ("password", BASIC[0], None),
        ("username", "Basic Sw==", None),
        ("username", "Basic !", None),
        ("username", "Bearer K", None),
    ] {
        let place = format!(r#"[{{"basic":"{part}"}}]"#);
        let (found, several, left) = found_and_left(&place, &[("authorization", value)]);
        assert_eq!((found.as_deref(), several), (key, false), "{part} {value}");
        assert_eq!(
            left.is_empty(),
            value.starts_with("Bearer"),
            "{part} {value}: {left:?}"
        );
    }
    assert_eq!(basic(BasicPart::Username, "K"), BASIC[0]);
}

/// As Node's `Buffer` and PHP's `base64_decode` read it: `ks_live_0123456:`.
#[test]
fn http_basic_that_only_lenient_readers_read_hides_no_key() {
    let places = r#"[{"basic":"username"},{"header":"x-api-key"}]"#;
    for text in [
        "a3NfbGl2ZV8wMTIzNDU2Og==",
        "a3NfbGl2ZV8wMTIzNDU2Og",
        "a3NfbGl2ZV8wMTIzNDU2Og===",
        "a3Nf bGl2ZV8w.MTIzNDU2Og=",
    ] {
        let value = format!("Basic {text}");
        let (found, several, left) = found_and_left(places, &[("authorization", &value)]);
        assert_eq!(found.as_deref(), Some("ks_live_0123456"), "{value}");
        assert!(!several);
        assert_eq!(left, ["-authorization"], "{value}");
        let both = [("authorization", value.as_str()), ("x-api-key", "K")];
        assert!(found_and_left(places, &both).1, "two keys: {value}");
    }
    for text in ["YT4+Pj8/Pzo=", "YT4-Pj8_Pzo="] {
        let value = format!("Basic {text}");
        let (found, ..) = found_and_left(places, &[("authorization", &value)]);
        assert_eq!(found.as_deref(), Some("a>>>???"), "either alphabet");
    }
    // On open routes, by what could be a key of ours: in the other half, without a colon, under a
    // word that is no scheme, and among protocols.
    let policy = policy(places);
    for (name, value) in [
        ("authorization", "Basic dTprc19saXZlXzAxMjM0NTY"),
        ("authorization", "Basic a3NfbGl2ZV8wMTIzNDU2"),
        ("authorization", "BasicX a3NfbGl2ZV8wMTIzNDU2Og=="),
        ("sec-websocket-protocol", "a3NfbGl2ZV8wMTIzNDU2"),
    ] {
        let bytes = Headers::encode(&[(name, value)]);
        let mut edits = Vec::new();
        let glance = Glance::default();
        strip_ours(
            &policy,
            glance,
            Headers::new(&bytes),
            &|_| false,
            &mut edits,
        );
        assert_eq!(edits, [Edit::Remove(name.into())], "{value}");
    }
}

#[test]
fn keys_with_two_schemes_in_one_header_both_go() {
    let places = r#"[{"header":"authorization","scheme":"Bearer"},{"header":"authorization","scheme":"Token"},{"basic":"username"}]"#;
    let value = format!("Bearer K, Token K, Digest x, {}", BASIC[0]);
    let (key, several, left) = found_and_left(places, &[("authorization", &value)]);
    assert_eq!((key.as_deref(), several), (Some("K"), false));
    assert_eq!(left, ["authorization: Digest x"]);
}
