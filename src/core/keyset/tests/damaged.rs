//! Keysets that were cut, changed or sent in pieces.

use super::*;
use crate::damage::damage;
use crate::keyset::envelope::Source;
use crate::keyset::signing::Domain;
use std::cell::RefCell;

#[test]
fn a_keyset_cut_at_any_byte_is_refused() {
    let text = sealed(&content((0..3).map(row).collect()));
    for n in 0..text.len() {
        assert!(load(&text.as_bytes()[..n]).is_err(), "cut at {n}");
    }
    load(text.as_bytes()).unwrap();
}

#[test]
fn any_flipped_bit_of_the_manifest_is_refused() {
    let built = build(&content((0..3).map(row).collect())).unwrap();
    let key = signing_key("new", 2);
    let tag = key.tag(Domain::Keyset, &built.manifest);
    for byte in 0..built.manifest.len() {
        for bit in 0..8 {
            let mut manifest = built.manifest.clone();
            manifest[byte] ^= 1 << bit;
            assert!(
                !key.verifies(Domain::Keyset, &manifest, &tag),
                "byte {byte}, bit {bit}"
            );
        }
    }
    assert!(key.verifies(Domain::Keyset, &built.manifest, &tag));
}

#[test]
fn any_changed_character_of_the_envelope_is_refused_or_corrupts_its_page_alone() {
    let text = sealed(&content((0..3).map(row).collect()));
    let nonce = text.find("\"nonce\":0").unwrap() + 8;
    for i in 0..text.len() {
        let mut changed = text.clone().into_bytes();
        changed[i] = if changed[i] == b'A' { b'B' } else { b'A' };
        if i == nonce {
            continue;
        }
        if let Ok(keyset) = load(&changed) {
            for n in 0..3 {
                let found = keyset.lookup(&digest(n).prefix());
                assert!(
                    !matches!(found, Lookup::Found(e) if e.id.as_u64() != n),
                    "at {i}"
                );
            }
            assert!(keyset.corrupt_pages() > 0, "at {i}: accepted and whole");
        }
    }
}

#[test]
fn a_corrupt_page_refuses_its_own_keys_and_no_others() {
    let rows: Vec<KeyRow> = (0..1000).map(row).collect();
    let built = build(&content(rows)).unwrap();
    let manifest: Manifest = serde_json::from_slice(&built.manifest).unwrap();
    let index_at = manifest.shape().directory_size().unwrap();
    let mut sorted: Vec<Prefix> = (0..1000).map(|n| digest(n).prefix()).collect();
    sorted.sort_unstable();
    for page in 0..8 {
        let mut pages = built.pages.clone();
        pages[index_at + page * PAGE + 40] ^= 1;
        let keyset = assemble(&manifest, pages).unwrap();
        for (i, prefix) in sorted.iter().enumerate() {
            match keyset.lookup(prefix) {
                Lookup::Corrupt => assert_eq!(i / 128, page),
                Lookup::Found(_) => assert_ne!(i / 128, page),
                Lookup::Unknown => panic!("lost key {i} with page {page} corrupt"),
            }
        }
        assert_eq!(keyset.corrupt_pages(), 1);
    }
    let mut pages = built.pages.clone();
    *pages.last_mut().unwrap() ^= 1;
    let keyset = assemble(&manifest, pages).unwrap();
    assert!(
        matches!(keyset.lookup(&sorted[0]), Lookup::Corrupt),
        "all profiles are in one heap page"
    );
    let mut pages = built.pages;
    pages[0] ^= 1;
    assert_eq!(
        assemble(&manifest, pages).err(),
        Some(KeysetRefusal::Directory)
    );
}

/// Hands out its bytes in pieces of a given size.
pub(super) struct Pieces<'a>(pub(super) &'a [u8], pub(super) usize);

impl Source for Pieces<'_> {
    fn size(&self) -> usize {
        self.0.len()
    }
    fn read(&mut self, offset: usize, max: usize) -> Vec<u8> {
        let end = (offset + max.min(self.1)).min(self.0.len());
        self.0[offset.min(end)..end].to_vec()
    }
}

#[test]
fn pages_may_follow_raw_and_every_cut_of_them_is_refused() {
    let built = build(&content((0..3).map(row).collect())).unwrap();
    let bytes = built.seal_raw(&signing_key("new", 2), 5);
    let keyset = load(&bytes).unwrap();
    assert!((0..3).all(|n| find(&keyset, n).is_some()));
    for n in 0..bytes.len() {
        assert!(load(&bytes[..n]).is_err(), "cut at {n}");
    }
    let longer = [&bytes[..], b" "].concat();
    assert_eq!(load(&longer).err(), Some(KeysetRefusal::Size));
    assert!(Keyset::load(&mut Pieces(&bytes, 7), &keys(), |_| {}).is_ok());
}

#[test]
fn room_is_made_once_the_signature_holds_and_not_before() {
    let text = sealed(&content(vec![row(1)]));
    let made = RefCell::new(Vec::new());
    Keyset::load(&mut text.as_bytes(), &keys(), |m| {
        made.borrow_mut().push(m.version)
    })
    .ok()
    .unwrap();
    assert_eq!(*made.borrow(), [42]);
    let bad = text.replace("\"hmac\":\"", "\"hmac\":\"A");
    assert!(
        Keyset::load(&mut bad.as_bytes(), &keys(), |m| made
            .borrow_mut()
            .push(m.version))
        .is_err()
    );
    assert_eq!(made.borrow().len(), 1);
}

/// What a sealed keyset says: the members of its envelope, by another reader, and what follows. Without
/// the nonce, which tells pushes apart and is not signed, and the white space that JSON permits.
fn meaning(sealed: &[u8], is_raw: bool) -> Option<(serde_json::Value, Vec<u8>)> {
    let mut values = serde_json::Deserializer::from_slice(sealed).into_iter();
    let mut envelope: serde_json::Value = values.next()?.ok()?;
    envelope.as_object_mut()?.remove("nonce");
    let rest = &sealed[values.byte_offset()..];
    let rest = if is_raw { rest } else { rest.trim_ascii() };
    Some((envelope, rest.to_vec()))
}

/// Whether a keyset that may be damaged gives all keys that it was made with. It never gives others.
fn is_whole(keyset: &Keyset, rows: u64) -> bool {
    let mut missing = 0;
    for n in 0..2 * rows {
        match keyset.lookup(&digest(n).prefix()) {
            Lookup::Found(entry) => {
                assert!(n < rows && entry.id.as_u64() == n, "a key was made up");
            }
            Lookup::Unknown => assert!(n >= rows, "a key was lost"),
            Lookup::Corrupt => missing += 1,
        }
    }
    missing == 0 && keyset.corrupt_pages() == 0
}

#[test]
fn white_space_between_members_is_no_damage() {
    let text = sealed(&content(vec![row(1)]));
    let spaced = text.replacen(',', " ,\n", 1);
    assert_ne!(spaced, text);
    assert!(find(&load(spaced.as_bytes()).unwrap(), 1).is_some());
    assert_eq!(
        meaning(spaced.as_bytes(), false),
        meaning(text.as_bytes(), false)
    );
}

proptest! {
    #![proptest_config(crate::seeded())]

    #[test]
    fn a_keyset_with_one_place_damaged_is_refused_or_known_to_be_damaged(
        damage in damage(), is_raw: bool,
    ) {
        let built = build(&content((0..150).map(row).collect())).unwrap();
        let key = signing_key("new", 2);
        let sealed = match is_raw {
            true => built.seal_raw(&key, 5),
            false => built.seal(&key, 5).into_bytes(),
        };
        let changed = damage.apply(&sealed);
        let is_same = meaning(&changed, is_raw) == meaning(&sealed, is_raw);
        if let Ok(keyset) = load(&changed) {
            prop_assert_eq!(is_whole(&keyset, 150), is_same);
        } else {
            prop_assert!(changed != sealed);
        }
    }

    /// Behind the signature: what a damaged manifest says of its pages is checked as well.
    #[test]
    fn a_manifest_that_was_signed_damaged_makes_up_no_key(damage in damage()) {
        let built = build(&content((0..150).map(row).collect())).unwrap();
        let signed = Built { manifest: damage.apply(&built.manifest), ..built };
        if let Ok(keyset) = load(signed.seal(&signing_key("new", 2), 0).as_bytes()) {
            is_whole(&keyset, 150);
        }
    }
}
