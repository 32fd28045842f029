//! A keyset that lost a byte, or had a bit flipped, is refused: everything that decides about access is signed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keystile::keyset::{Keyset, SigningKeys};
use serde_json::json;

use crate::fixture::envelope::{field, refused, with};
use crate::fixture::{Store, signing_keys};

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
