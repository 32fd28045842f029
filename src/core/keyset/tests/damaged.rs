//! Keysets that were cut, changed or sent in pieces.

use super::*;
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
    assert_eq!(assemble(&manifest, pages).err(), Some(Refusal::Directory));
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
    assert_eq!(load(&longer).err(), Some(Refusal::Size));
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
