//! Plugin configurations: nothing is loaded but what carries the signature of our secret, checked
//! here by other code; and whatever is loaded is whole.
#![no_main]

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use keystile_core::keyset::{Artefact, ArtefactKind, Built, Lookup};
use keystile_fuzz::{SECRET, bounded, signer, signers};
use libfuzzer_sys::fuzz_target;
use sha2::Sha256;

fuzz_target!(|bytes: &[u8]| {
    let Some((mode, rest)) = bytes.split_first() else {
        return;
    };
    bounded(|| match mode % 3 {
        0 => as_it_is(rest),
        mode => signed(rest, mode == 2),
    });
});

/// The bytes of a push.
fn as_it_is(bytes: &[u8]) {
    if Artefact::load(&mut &bytes[..], &signers(), |_| {}).is_ok() {
        assert!(carries_our_signature(bytes), "loaded without our signature");
    }
}

/// A manifest and pages of anybody's choice, signed by us: up to the first NUL, and what follows.
fn signed(bytes: &[u8], is_overlay: bool) {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    let built = Built {
        kind: match is_overlay {
            true => ArtefactKind::Overlay,
            false => ArtefactKind::Keyset,
        },
        manifest: bytes[..end].to_vec(),
        pages: bytes.get(end + 1..).unwrap_or_default().to_vec(),
        keys: 0,
        version: 1,
    };
    let text = built.seal(&[signer()], 0);
    let raw = built.seal_raw(&[signer()], 0);
    let of_text = Artefact::load(&mut text.as_bytes(), &signers(), |_| {});
    let of_bytes = Artefact::load(&mut &raw[..], &signers(), |_| {});
    assert_eq!(of_text.is_ok(), of_bytes.is_ok(), "both forms are the same artefact");
    match of_text {
        Ok(Artefact::Keyset(keyset)) => {
            let mut last = None;
            for (prefix, entry) in keyset.entries() {
                assert!(last < Some(prefix), "keys are sorted");
                last = Some(prefix);
                match keyset.lookup(&prefix) {
                    Lookup::Found(found) => assert_eq!(found.id, entry.id),
                    Lookup::Unknown => panic!("a key that is listed is not found"),
                    Lookup::Corrupt => {}
                }
            }
        }
        Ok(Artefact::Overlay(overlay)) => {
            assert!(overlay.entries().count() <= overlay.len());
        }
        Err(_) => {}
    }
}

/// With a JSON library and an HMAC of its own: some secret of ours signed the manifest.
fn carries_our_signature(bytes: &[u8]) -> bool {
    let mut values = serde_json::Deserializer::from_slice(bytes).into_iter::<serde_json::Value>();
    let Some(Ok(envelope)) = values.next() else {
        return false;
    };
    let text = |name: &str| envelope[name].as_str().unwrap_or_default().to_owned();
    let Ok(manifest) = URL_SAFE_NO_PAD.decode(text("manifest")) else {
        return false;
    };
    let domain: &[u8] = match envelope.get("kind") {
        None => b"keystile keyset v1\nk\n",
        Some(_) => b"keystile overlay v1\nk\n",
    };
    text("hmac").split(',').any(|tag| {
        let mut mac = Hmac::<Sha256>::new_from_slice(&SECRET).expect("any length");
        mac.update(domain);
        mac.update(&manifest);
        URL_SAFE_NO_PAD.decode(tag).is_ok_and(|tag| mac.verify_slice(&tag).is_ok())
    })
}
