//! What is asked beside a decision: whether a key still stands, whether a text could be a key of
//! ours, and what a newer policy says to the same request.

use super::*;
use crate::key::Digest;
use crate::keyset::{Artefact, Holding};

fn clocks(wall: u64) -> Clocks {
    Clocks { wall, monotonic: 1 }
}

fn content(version: u64, policy: &str, rows: Vec<KeyRow>) -> Content {
    Content {
        store: StoreId([9; 8]),
        version,
        issued_at: NOW,
        policy: serde_json::from_str(policy).unwrap(),
        zones: Default::default(),
        rows,
    }
}

/// As it was signed, or with its last page changed: the profiles of all keys.
fn artefact(content: &Content, is_corrupt: bool) -> Artefact {
    let signing = SigningKey::new("k", Zeroizing::new(vec![1; 32])).unwrap();
    let mut bytes = build(content).unwrap().seal_raw(&signing, 0);
    *bytes.last_mut().unwrap() ^= u8::from(is_corrupt);
    let keys = SigningKeys::new(vec![signing]);
    Artefact::load(&mut &bytes[..], &keys, |_| {}).ok().unwrap()
}

fn in_force(content: &Content, is_corrupt: bool) -> InForce {
    match artefact(content, is_corrupt) {
        Artefact::Keyset(keyset) => InForce::new(keyset),
        Artefact::Overlay(_) => panic!("not an overlay"),
    }
}

#[test]
fn a_key_that_was_let_in_stands_until_the_first_of_its_ends() {
    let hour = POLICY.replace("\"realm\"", "\"not_after\":\"1h\",\"realm\"");
    type Change = fn(&mut KeyRow);
    let cases: [(&str, Change, Option<u64>); 6] = [
        (POLICY, |_| {}, None),
        (POLICY, |r| r.expires = Some(NOW + 9), Some(NOW + 9)),
        (POLICY, |r| r.overlap_end = Some(NOW + 5), Some(NOW + 5)),
        (&hour, |_| {}, Some(NOW + 3600)),
        (&hour, |r| r.expires = Some(NOW + 9), Some(NOW + 9)),
        (&hour, |r| r.expires = Some(NOW + 9999), Some(NOW + 3600)),
    ];
    for (policy, change, end) in cases {
        let w = world_with(policy, change);
        let key = w.key.digest.prefix();
        let stands = |wall| still_good(Ok(&w.keyset), &key, clocks(wall));
        // A clock behind the signature shows at least its instant.
        for wall in [0, NOW, end.map_or(NOW, |end| end - 1)] {
            assert_eq!(stands(wall), Ok(end), "{end:?} at {wall}");
        }
        if let Some(end) = end {
            assert!(stands(end).is_err(), "{end}");
        }
    }
}

#[test]
fn a_key_that_would_be_refused_now_stands_no_longer_and_for_the_same_reason() {
    type Change = fn(&mut KeyRow);
    let cases: [(Change, Denial); 5] = [
        (|r| r.revoked = true, Denial::RevokedKey),
        (|r| r.disabled = true, Denial::DisabledKey),
        (
            |r| r.expires = Some(NOW),
            Denial::ExpiredKey { rotated: false },
        ),
        (
            |r| r.overlap_end = Some(NOW),
            Denial::ExpiredKey { rotated: true },
        ),
        (|r| r.not_before = Some(NOW + 1), Denial::InactiveKey),
    ];
    for (change, denial) in cases {
        let w = world(change);
        let key = w.key.digest.prefix();
        assert_eq!(still_good(Ok(&w.keyset), &key, clocks(NOW)), Err(denial));
        assert_eq!(
            call("GET", "/users/7").keyed(&w).verdict(&w),
            Err(denial),
            "as a new request would meet it"
        );
    }
    let w = world(|_| {});
    let unknown = still_good(Ok(&w.keyset), &[7; 16], clocks(NOW));
    assert_eq!(unknown, Err(Denial::UnknownKey));
    let key = w.key.digest.prefix();
    for why in [Unavailable::None, Unavailable::OverlayWithoutBase] {
        let denial = Err(Denial::KeysetUnavailable(why));
        assert_eq!(still_good(Err(why), &key, clocks(NOW)), denial);
    }
    let corrupt = in_force(&content(1, POLICY, vec![row(&w.key)]), true);
    assert_eq!(
        still_good(Ok(&corrupt), &key, clocks(NOW)),
        Err(Denial::KeysetUnavailable(Unavailable::CorruptPage))
    );
}

/// A text that was issued by another system, and its row.
fn imported(text: &str) -> KeyRow {
    KeyRow {
        foreign: true,
        digest: Digest::of_foreign(text.as_bytes()),
        ..row(&fresh(3))
    }
}

#[test]
fn a_text_could_be_ours_by_its_brand_its_checksum_or_because_it_was_imported() {
    let ours = fresh(1);
    let Ok(of_another_brand) = generate(
        &"acme".parse().unwrap(),
        &"live".parse().unwrap(),
        |b: &mut [u8]| -> Result<(), core::convert::Infallible> {
            b.fill(5);
            Ok(())
        },
    );
    let texts = [
        ours.text.expose_secret(),
        of_another_brand.text.expose_secret(),
        "ks_live_mistyped",
        "Basic ks_live_x1234567",
    ];
    let theirs = [
        "",
        "hunter2",
        "eyJ0eXAi.eyJpc3Mi.x-y_z",
        "acme_live_mistyped",
    ];
    let native = in_force(&content(1, POLICY, vec![row(&ours)]), false);
    let rows = || vec![row(&ours), imported("legacy")];
    let mixed = in_force(&content(1, POLICY, rows()), false);
    for keyset in [&native, &mixed] {
        for text in texts {
            assert!(could_be_ours(keyset, text.as_bytes()), "{}", text.len());
        }
        for text in theirs {
            assert!(!could_be_ours(keyset, text.as_bytes()), "{text}");
        }
    }
    assert!(could_be_ours(&mixed, b"legacy"));
    assert!(!could_be_ours(&native, b"legacy"));
    // A digest of one of our own is no imported text's.
    let mut not_imported = imported("other");
    not_imported.foreign = false;
    let rows = vec![
        not_imported,
        KeyRow {
            id: ours.id,
            ..imported("legacy")
        },
    ];
    let keyset = in_force(&content(1, POLICY, rows), false);
    assert!(!could_be_ours(&keyset, b"other"));
}

#[test]
fn where_nobody_can_tell_whether_a_text_was_imported_it_could_be_ours() {
    let corrupt = in_force(&content(1, POLICY, vec![imported("legacy")]), true);
    assert!(could_be_ours(&corrupt, b"legacy"));
    assert!(!could_be_ours(&corrupt, b""), "that is no key");
    let native = in_force(&content(1, POLICY, vec![row(&fresh(1))]), true);
    assert!(!could_be_ours(&native, b"legacy"), "nothing was imported");
    let longest = "x".repeat(crate::key::MAX_KEY_BYTES);
    let longer = format!("{longest}x");
    let rows = vec![imported(&longest)];
    let keyset = in_force(&content(1, POLICY, rows), false);
    assert!(could_be_ours(&keyset, longest.as_bytes()));
    assert!(!could_be_ours(&keyset, longer.as_bytes()));
}

/// A listener that was given an older keyset, beside one with the newest: its own policy lets
/// `/maybe` pass without a key, and the newest asks for one.
#[test]
fn what_the_newest_policy_refuses_no_older_one_lets_in() {
    let key = fresh(1);
    let rows = || {
        vec![KeyRow {
            plan: Some("free".into()),
            ..row(&key)
        }]
    };
    let strict = POLICY.replace(r#""path":"/maybe","auth":"optional""#, r#""path":"/maybe""#);
    let mut holding = Holding::default();
    holding.configure(2, artefact(&content(11, &strict, rows()), false), 0, false);
    holding.configure(1, artefact(&content(10, POLICY, rows()), false), 11, false);
    let mut buckets = MemoryBuckets::default();
    let mut decided = |id, call: Call| {
        let bytes = Headers::encode(&call.pairs);
        let request = plain(&bytes);
        let mut notes = Vec::new();
        let at = Clocks {
            wall: NOW,
            monotonic: 1 << 40,
        };
        let keyset = holding.decides(id).map(|view| &**view);
        let d = decide(keyset, &request, at, || None, &mut buckets, &mut notes);
        let rules: Vec<_> = notes.iter().map(|n: &Note| (n.rule, n.held)).collect();
        (d.verdict, d.rate.map(|r| r.remaining), rules)
    };
    let (verdict, _, notes) = decided(1, call("GET", "/maybe"));
    assert_eq!(verdict, Err(Denial::MissingKey));
    assert_eq!(notes.last(), Some(&("keyset", false)));
    let text = key.text.expose_secret();
    for left in [2, 1, 0] {
        let (verdict, remaining, _) = decided(1, call("GET", "/maybe").with("x-api-key", text));
        assert_eq!((verdict, remaining), (Ok(()), Some(left)), "charged once");
    }
}
