//! A keyset that lost a byte, or had a bit flipped, is refused: everything that decides about access is signed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keystile_core::keyset::{Keyset, SigningKey, SigningKeys};
use serde_json::json;
use zeroize::Zeroizing;

use crate::fixture::envelope::{field, refused, with};
use crate::fixture::{Store, signing_key, signing_keys};

/// The verdict of the same code outside Envoy, for sweeps too long for an interpreter.
fn native(configuration: &[u8]) -> bool {
    let keys = SigningKeys::parse(&signing_keys()).expect("the keys hold");
    Keyset::load(&mut &*configuration, &keys, |_| {}).is_ok()
}

#[test]
fn a_keyset_cut_at_any_byte_is_refused() {
    let whole = Store::small().0.seal();
    for length in 0..whole.len() {
        let reason = refused(&whole[..length]);
        let expected = if length == 0 { "missing" } else { "syntax" };
        assert_eq!(reason.as_deref(), Some(expected), "cut at {length}");
    }
    assert_eq!(refused(&whole), None);
}

#[test]
fn every_flipped_bit_of_the_manifest_is_noticed() {
    let whole = Store::small().0.seal();
    let manifest = URL_SAFE_NO_PAD.decode(field(&whole, "manifest")).unwrap();
    for bit in 0..manifest.len() * 8 {
        let mut flipped = manifest.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let changed = with(&whole, "manifest", json!(URL_SAFE_NO_PAD.encode(flipped)));
        assert!(!native(&changed), "bit {bit}");
        if bit % 8 == bit / 8 % 8 {
            assert_eq!(refused(&changed).as_deref(), Some("signature"), "bit {bit}");
        }
    }
}

#[test]
fn every_flipped_bit_of_hmac_and_kid_is_noticed() {
    let whole = Store::small().0.seal();
    let hmac = URL_SAFE_NO_PAD.decode(field(&whole, "hmac")).unwrap();
    for bit in 0..hmac.len() * 8 {
        let mut flipped = hmac.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let changed = with(&whole, "hmac", json!(URL_SAFE_NO_PAD.encode(flipped)));
        assert_eq!(refused(&changed).as_deref(), Some("signature"), "bit {bit}");
    }
    for name in ["hmac", "kid", "manifest"] {
        let value = field(&whole, name);
        let at = whole
            .windows(value.len())
            .position(|part| part == value.as_bytes())
            .unwrap();
        // Of the long manifest, as much as of the others.
        for bit in 0..value.len().min(64) * 8 {
            let mut changed = whole.clone();
            changed[at + bit / 8] ^= 1 << (bit % 8);
            let reason = refused(&changed);
            assert!(reason.is_some(), "{name}: bit {bit} of its text");
        }
    }
}

#[test]
fn a_shorter_or_longer_signature_is_no_signature() {
    let whole = Store::small().0.seal();
    let hmac = URL_SAFE_NO_PAD.decode(field(&whole, "hmac")).unwrap();
    for length in [0, 1, 16, 31, 33, 48] {
        let mut other = hmac.clone();
        other.resize(length, 0);
        let changed = with(&whole, "hmac", json!(URL_SAFE_NO_PAD.encode(other)));
        assert!(
            matches!(refused(&changed).as_deref(), Some("signature" | "syntax")),
            "{length} bytes"
        );
    }
}

/// The form for Envoy's BytesValue: the pages follow raw.
#[test]
fn a_keyset_as_bytes_cut_at_any_byte_or_made_longer_is_refused() {
    let (store, _) = Store::small();
    let whole = store.build().seal_raw(&[signing_key()], 1);
    let head = whole.iter().position(|byte| *byte == b'\n').unwrap();
    for length in 1..whole.len() {
        let reason = refused(&whole[..length]);
        let expected = if length <= head + 1 {
            "syntax"
        } else {
            "pages"
        };
        let cut_behind_the_line = length == head + 1 && reason.as_deref() == Some("pages");
        assert!(
            reason.as_deref() == Some(expected) || cut_behind_the_line,
            "cut at {length}: {reason:?}"
        );
    }
    assert_eq!(
        refused(&[&whole[..], b"\n"].concat()).as_deref(),
        Some("pages")
    );
    assert_eq!(refused(&whole), None);
}

#[test]
fn every_flipped_bit_of_the_head_of_a_keyset_as_bytes_is_noticed() {
    let (store, _) = Store::small();
    let whole = store.build().seal_raw(&[signing_key()], 1);
    let head = whole.iter().position(|byte| *byte == b'\n').unwrap();
    let nonce = whole
        .windows(8)
        .position(|part| part == b"\"nonce\":")
        .unwrap()
        + 8;
    for bit in 0..head * 8 {
        let mut changed = whole.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        // The nonce is not signed, and a digit of it may become another.
        if changed[nonce].is_ascii_digit() && bit / 8 == nonce {
            continue;
        }
        assert!(!native(&changed), "bit {bit}");
        if bit % 8 == bit / 8 % 8 {
            assert!(refused(&changed).is_some(), "bit {bit}");
        }
    }
}

/// While a signing key is rotated, a keyset carries a tag of each: all that can be checked must match.
#[test]
fn every_flipped_bit_of_a_tag_of_a_key_that_is_known_is_noticed() {
    let other = SigningKey::new("k2", Zeroizing::new(vec![7; 32])).expect("it holds");
    let (store, _) = Store::small();
    let whole = store.build().seal(&[signing_key(), other], 1).into_bytes();
    assert_eq!(
        refused(&whole),
        None,
        "signed by one that is known and one that is not"
    );
    let tags = field(&whole, "hmac");
    let (ours, theirs) = tags.split_once(',').expect("two tags");
    let tag = URL_SAFE_NO_PAD.decode(ours).unwrap();
    for bit in 0..tag.len() * 8 {
        let mut flipped = tag.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let tags = format!("{},{theirs}", URL_SAFE_NO_PAD.encode(flipped));
        assert_eq!(
            refused(&with(&whole, "hmac", json!(tags))).as_deref(),
            Some("signature"),
            "bit {bit}"
        );
    }
    for (what, hmac, kid, reason) in [
        (
            "tags in the wrong order",
            format!("{theirs},{ours}"),
            "k1,k2",
            "signature",
        ),
        (
            "kids in the wrong order",
            tags.clone(),
            "k2,k1",
            "signature",
        ),
        (
            "only the unknown one",
            theirs.to_owned(),
            "k2",
            "unknown_kid",
        ),
        (
            "the known one missing",
            theirs.to_owned(),
            "k1,k2",
            "signature",
        ),
        ("a tag missing", ours.to_owned(), "k1,k2", "syntax"),
        (
            "a tag too many",
            format!("{tags},{theirs}"),
            "k1,k2",
            "syntax",
        ),
        ("no tags", ",".to_owned(), "k1,k2", "signature"),
        ("an empty kid", tags.clone(), ",k2", "unknown_kid"),
    ] {
        let changed = with(&with(&whole, "hmac", json!(hmac)), "kid", json!(kid));
        assert_eq!(refused(&changed).as_deref(), Some(reason), "{what}");
    }
    let alone = with(&with(&whole, "hmac", json!(ours)), "kid", json!("k1"));
    assert_eq!(refused(&alone), None, "each tag stands for itself");
}
