//! Strings that are keys, and strings that are none: by the vectors shared with unit tests and fuzzers.

use keystile_core::key::Parsed;
use serde_json::{Value, json};

use crate::fixture::{Edge, Store, by_header};

/// Key strings shared with unit tests and fuzzers; made by another implementation of the format.
fn vectors(list: &str) -> Vec<Value> {
    let all: Value = serde_json::from_str(include_str!("../vectors/keys.json")).expect("JSON");
    all[list].as_array().expect("a list").clone()
}

fn text<'a>(vector: &'a Value, field: &str) -> &'a str {
    vector[field].as_str().expect("a text")
}

#[test]
fn keys_of_another_implementation_open_with_their_own_brand_and_environment() {
    for vector in vectors("ok") {
        let key = text(&vector, "key");
        let mut store = Store::new()
            .set("brand", vector["brand"].clone())
            .set("environments", json!([vector["environment"]]));
        store.issue_as("acme", |row| {
            row.environment = text(&vector, "environment").parse().unwrap()
        });
        let parsed =
            Parsed::parse(key.as_bytes()).unwrap_or_else(|why| panic!("{vector}: {why:?}"));
        let hex: String = parsed
            .digest()
            .0
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(hex, text(&vector, "sha256"));
        let row = &mut store.rows[0];
        (row.id, row.digest, row.lineage) = (parsed.id(), parsed.digest(), parsed.id());
        let answer = Edge::start(&store).ask(&by_header(key));
        assert_eq!(answer.code(), "ok", "{vector}");
        assert_eq!(
            answer.headers.get("x-keystile-key").as_deref(),
            Some(text(&vector, "id"))
        );
    }
}

#[test]
fn what_is_no_key_is_refused_and_told_apart_in_the_log() {
    let mut edge = Edge::start(&Store::small().0);
    for vector in vectors("fail") {
        let answer = edge.ask(&by_header(text(&vector, "key")));
        let expected = match text(&vector, "key") {
            "" => "keystile:missing_api_key".to_owned(),
            _ => format!("keystile:malformed_api_key:{}", text(&vector, "why")),
        };
        assert_eq!(
            answer.reply().details,
            expected,
            "{}",
            text(&vector, "name")
        );
        assert_eq!(answer.state("key"), None, "{}", text(&vector, "name"));
    }
}

/// Who edits `ks_test_` into `ks_live_` and mends the checksum gains nothing.
#[test]
fn an_edited_environment_or_brand_opens_nothing_however_well_it_is_mended() {
    let policy = |brand: &str| {
        let store = Store::new().set("environments", json!(["live", "test"]));
        store.set("brand", json!(brand))
    };
    for (brand, issued, from, to) in [
        ("ks", "test", "ks_test_", "ks_live_"),
        ("ks", "live", "ks_live_", "ks_test_"),
        ("ks", "live", "ks_", "kt_"),
    ] {
        let mut store = policy(brand);
        let key = store.issue_as("acme", |row| row.environment = issued.parse().unwrap());
        let edited = mended(&key.replacen(from, to, 1));
        assert!(
            Parsed::parse(edited.as_bytes()).is_ok(),
            "{to}: well formed"
        );
        let mut edge = Edge::start(&store);
        let answer = edge.ask(&by_header(&edited));
        assert_eq!(answer.code(), "unknown_api_key", "{from} to {to}");
        assert!(!answer.passes_guard());
        assert_eq!(edge.code(&key), "ok", "as issued");
    }
}

/// A key of this text with the checksum that it should have.
fn mended(key: &str) -> String {
    let head = &key[..key.len() - 6];
    let mut crc = !0u32;
    for byte in head.bytes() {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                crc >> 1 ^ 0xEDB8_8320
            } else {
                crc >> 1
            };
        }
    }
    let mut left = u64::from(!crc);
    let mut digits = [b'0'; 6];
    for digit in digits.iter_mut().rev() {
        let alphabet = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        *digit = alphabet[(left % 62) as usize];
        left /= 62;
    }
    format!("{head}{}", String::from_utf8_lossy(&digits))
}
