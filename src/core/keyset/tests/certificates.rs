//! Keys bound to client certificates, and filters that do not know of them.

use super::*;

fn bound(n: u64) -> KeyRow {
    KeyRow {
        certificates: vec!["spiffe://example.org/b".into(), "dns:a.example".into()],
        ..row(n)
    }
}

#[test]
fn identities_are_read_back_and_asked_for_only_where_there_are_some() {
    let keyset = load(sealed(&content(vec![bound(5), row(6)])).as_bytes()).unwrap();
    let e = find(&keyset, 5).unwrap();
    let identities: Vec<_> = e.certificates().collect();
    assert_eq!(
        identities,
        [&b"dns:a.example"[..], b"spiffe://example.org/b"]
    );
    assert!(e.has_certificates() && !e.has_origins());
    let other = find(&keyset, 6).unwrap();
    assert!(!other.has_certificates() && other.certificates().next().is_none());
    assert!(keyset.certificates);

    let without = content(vec![row(6)]);
    assert!(!load(sealed(&without).as_bytes()).unwrap().certificates);
    let manifest = String::from_utf8(build(&without).unwrap().manifest).unwrap();
    assert!(!manifest.contains("certificates"), "{manifest}");
}

#[test]
fn an_overlay_says_of_its_own_keys_that_they_are_bound() {
    let base = build(&content(vec![row(5)])).unwrap();
    let changed = content(vec![bound(5)]);
    let overlay = build_overlay(&changed, &Base::from_built(&base).unwrap()).unwrap();
    let signer = signing_key("new", 2);
    let load = |built: &Built| {
        let sealed = built.seal(&signer, 0);
        Artefact::load(&mut sealed.as_bytes(), &keys(), |_| {}).unwrap()
    };
    let (Artefact::Keyset(base), Artefact::Overlay(overlay)) = (load(&base), load(&overlay)) else {
        panic!("a base and an overlay")
    };
    assert!(!InForce::new(base.clone()).certificates());
    let both = InForce::with(base, overlay).unwrap();
    assert!(both.certificates());
    let Lookup::Found(e) = both.lookup(&digest(5).prefix()) else {
        panic!("the key is there")
    };
    assert!(e.has_certificates());
}

/// How a filter that knows no certificates meets a keyset with some: the manifest has a
/// field that it does not know. This one stands in for it with a field of tomorrow.
#[test]
fn a_manifest_with_a_field_that_is_not_known_is_refused_whole() {
    let built = build(&content(vec![bound(5)])).unwrap();
    let mut manifest: serde_json::Value = serde_json::from_slice(&built.manifest).unwrap();
    assert_eq!(manifest["certificates"], true);
    manifest["tomorrow"] = true.into();
    let built = Built {
        manifest: serde_json::to_vec(&manifest).unwrap(),
        ..built
    };
    let refused = load(built.seal(&signing_key("new", 2), 0).as_bytes()).err();
    assert!(
        matches!(refused, Some(KeysetRefusal::Manifest(_))),
        "{refused:?}"
    );
}

#[test]
fn an_entry_with_a_flag_that_is_not_known_opens_nothing() {
    for bit in 0..16u16 {
        let built = build(&content(vec![row(5)])).unwrap();
        let mut manifest: Manifest = serde_json::from_slice(&built.manifest).unwrap();
        let mut pages = built.pages;
        // The profile stands behind its length at the start of the heap. Digests are made
        // anew: what is tried is a keyset that was signed so.
        let heap = pages.len() - manifest.heap as usize;
        let flags = u16::from_le_bytes([pages[heap + 2], pages[heap + 3]]);
        if flags & (1 << bit) != 0 {
            continue;
        }
        pages[heap + 2..heap + 4].copy_from_slice(&(flags | 1 << bit).to_le_bytes());
        let digest_at = 16 + 32;
        let of_heap: [u8; 32] = Sha256::digest(&pages[heap..]).into();
        pages[digest_at..digest_at + 32].copy_from_slice(&of_heap);
        let directory: [u8; 32] = Sha256::digest(&pages[..digest_at + 32]).into();
        manifest.directory =
            base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, directory);
        let keyset = assemble(&manifest, pages).unwrap();
        let found = keyset.lookup(&digest(5).prefix());
        match bit {
            // Those that have no section of their own only change what the key is.
            0..=3 => assert!(matches!(found, Lookup::Found(_)), "bit {bit}"),
            // A section that is not there, or a bit of tomorrow.
            _ => assert!(matches!(found, Lookup::Corrupt), "bit {bit}"),
        }
    }
}
