//! What artefacts say of themselves.

use super::*;

#[test]
fn a_store_is_named_by_sixteen_digits_in_lower_case() {
    let id = StoreId([0, 1, 2, 0x0a, 0xbc, 0xde, 0xf0, 0xff]);
    assert_eq!(id.to_string(), "0001020abcdef0ff");
    assert_eq!("0001020abcdef0ff".parse(), Ok(id));
    for bad in [
        "",
        "0001020abcdef0f",
        "0001020abcdef0ff0",
        "0001020ABCDEF0FF",
        "+001020abcdef0ff",
        "0001020abcdef0fg",
        "00 1020abcdef0ff",
    ] {
        assert_eq!(bad.parse::<StoreId>(), Err(StoreIdError), "{bad}");
    }
}

#[test]
fn a_keyset_tells_how_many_keys_pages_and_bytes_it_has() {
    // A page of the index holds 128 keys, and all profiles fit into one.
    for (keys, pages) in [(0, 0), (1, 2), (128, 2), (129, 3), (600, 6)] {
        let built = build(&content((0..keys).map(row).collect())).unwrap();
        let keyset = load(built.seal(&signing_key("new", 2), 0).as_bytes()).unwrap();
        assert_eq!(
            (keyset.len(), keyset.is_empty()),
            (keys as usize, keys == 0)
        );
        assert_eq!((keyset.pages(), keyset.corrupt_pages()), (pages, 0));
        let manifest: Manifest = serde_json::from_slice(&built.manifest).unwrap();
        assert_eq!(manifest.pages_size(), Ok(built.pages.len()));
        // In memory there is a mark for each page as well.
        let least = built.pages.len() + pages;
        assert!(
            (least..least + PAGE).contains(&keyset.pages_bytes()),
            "{keys}"
        );
    }
}

#[test]
fn a_manifest_tells_of_what_kind_store_and_version_it_is() {
    let base = build(&content(vec![row(1)])).unwrap();
    let named = Base::from_built(&base).unwrap();
    assert_eq!(named.version(), 42);
    let later = Content {
        version: 43,
        ..content(vec![row(1)])
    };
    let overlay = build_overlay(&later, &named).unwrap();
    for (built, kind, version) in [
        (&base, ArtefactKind::Keyset, 42),
        (&overlay, ArtefactKind::Overlay, 43),
    ] {
        let sealed = built.seal(&signing_key("new", 2), 0);
        let mut told = None;
        let artefact = Artefact::load(&mut sealed.as_bytes(), &keys(), |signed| {
            told = Some((
                signed.kind(),
                signed.version(),
                signed.store().to_owned(),
                signed.pages_size(),
            ));
        });
        let store = "0102030405060708".to_owned();
        let size = Ok(built.pages.len());
        assert_eq!(told, Some((kind, version, store, size)));
        assert_eq!(
            artefact.ok().unwrap().store(),
            StoreId([1, 2, 3, 4, 5, 6, 7, 8])
        );
    }
}

#[test]
fn an_overlay_tells_how_many_keys_pages_and_bytes_it_has() {
    let base = Base::from_built(&build(&content((0..3).map(row).collect())).unwrap()).unwrap();
    for (keys, pages) in [(0, 0), (1, 2), (129, 3)] {
        let later = Content {
            version: 43,
            ..content((0..keys).map(row).collect())
        };
        let built = build_overlay(&later, &base).unwrap();
        check_overlay(&built, keys as usize, pages);
    }
}

fn check_overlay(built: &Built, keys: usize, pages: usize) {
    let manifest = serde_json::from_slice(&built.manifest).unwrap();
    for is_corrupt in [false, true] {
        let mut bytes = built.pages.clone();
        if let Some(last) = bytes.last_mut() {
            *last ^= u8::from(is_corrupt);
        }
        let overlay = Overlay::new(&manifest, bytes).unwrap();
        assert_eq!((overlay.len(), overlay.is_empty()), (keys, keys == 0));
        assert_eq!((overlay.pages(), overlay.corrupt_pages()), (pages, 0));
        if !is_corrupt {
            let all: Vec<_> = overlay.entries().map(|(prefix, _)| prefix).collect();
            let mut want: Vec<_> = (0..keys as u64).map(|n| digest(n).prefix()).collect();
            want.sort_unstable();
            assert_eq!(all, want);
        }
        let least = built.pages.len() + pages;
        assert!((least..least + PAGE).contains(&overlay.pages_bytes()));
        let _ = overlay.lookup(&digest(0).prefix());
        let corrupt = usize::from(is_corrupt && keys > 0);
        assert_eq!(overlay.corrupt_pages(), corrupt);
    }
}

#[test]
fn every_refusal_and_its_reason_say_something_of_their_own() {
    let all = [
        (KeysetRefusal::Missing, "missing"),
        (
            KeysetRefusal::SigningKeys(SigningKeyError::Empty),
            "signing_keys",
        ),
        (
            KeysetRefusal::SigningKeys(SigningKeyError::Shape),
            "signing_keys",
        ),
        (
            KeysetRefusal::SigningKeys(SigningKeyError::Kid),
            "signing_keys",
        ),
        (
            KeysetRefusal::SigningKeys(SigningKeyError::Short),
            "signing_keys",
        ),
        (
            KeysetRefusal::SigningKeys(SigningKeyError::Repeated),
            "signing_keys",
        ),
        (
            KeysetRefusal::Syntax {
                offset: 7,
                expected: "`{`",
            },
            "syntax",
        ),
        (KeysetRefusal::UnknownField("x".into()), "syntax"),
        (KeysetRefusal::FieldMissing("kid"), "syntax"),
        (KeysetRefusal::Repeated("x".into()), "syntax"),
        (KeysetRefusal::Base64("kid"), "syntax"),
        (KeysetRefusal::Format(2), "format"),
        (KeysetRefusal::UnknownKind("x".into()), "format"),
        (KeysetRefusal::UnknownKid("x".into()), "unknown_kid"),
        (KeysetRefusal::Signature, "signature"),
        (KeysetRefusal::Manifest("x".into()), "manifest"),
        (KeysetRefusal::Policy("x".into()), "manifest"),
        (KeysetRefusal::Overlay, "manifest"),
        (KeysetRefusal::Size, "pages"),
        (KeysetRefusal::Directory, "pages"),
    ];
    let mut told = std::collections::BTreeSet::new();
    for (refusal, reason) in &all {
        assert_eq!(refusal.reason(), *reason);
        told.insert(refusal.to_string());
    }
    assert_eq!(told.len(), all.len());
    assert!(told.iter().all(|text| text.contains(' ')), "{told:?}");
    let keys = SigningKeyError::Kid.to_string();
    assert!(told.iter().any(|text| text.contains(&keys)));
}

/// Keys with a profile each, over several pages of the heap.
#[test]
fn a_corrupt_page_of_the_heap_refuses_the_keys_whose_rules_it_holds_and_no_others() {
    let rows: Vec<KeyRow> = (0..400)
        .map(|n| KeyRow {
            client: format!("client-{n:050}"),
            ..row(n)
        })
        .collect();
    let built = build(&content(rows)).unwrap();
    let manifest: Manifest = serde_json::from_slice(&built.manifest).unwrap();
    let heap_at = manifest.shape().directory_size().unwrap() + 400 * 32;
    let heap = &built.pages[heap_at..];
    assert!(heap.len() > 4 * PAGE);
    // Profiles lie one after another, in the order of the index, each behind its length.
    let mut sorted: Vec<Prefix> = (0..400).map(|n| digest(n).prefix()).collect();
    sorted.sort_unstable();
    let mut at = 0;
    let spans: Vec<_> = sorted
        .iter()
        .map(|_| {
            let len = usize::from(u16::from_le_bytes([heap[at], heap[at + 1]]));
            let span = at / PAGE..(at + 2 + len).div_ceil(PAGE);
            at += 2 + len;
            span
        })
        .collect();
    assert_eq!(at, heap.len());
    for page in 0..heap.len().div_ceil(PAGE) {
        let mut pages = built.pages.clone();
        pages[heap_at + page * PAGE] ^= 1;
        let keyset = assemble(&manifest, pages).unwrap();
        for (prefix, span) in sorted.iter().zip(&spans) {
            match keyset.lookup(prefix) {
                Lookup::Found(_) => assert!(!span.contains(&page), "page {page}"),
                Lookup::Corrupt => assert!(span.contains(&page), "page {page}"),
                Lookup::Unknown => panic!("a key is lost"),
            }
        }
        assert_eq!(keyset.corrupt_pages(), 1);
    }
}

/// Behind the last record of the index the heap begins, and that is no record.
#[test]
fn what_the_heap_begins_with_is_no_key() {
    let named = |n: usize| KeyRow {
        client: "c".repeat(n),
        ..row(1)
    };
    let pages = |n: usize| build(&content(vec![named(n)])).unwrap();
    let prefix = |built: &Built| -> Prefix {
        let manifest: Manifest = serde_json::from_slice(&built.manifest).unwrap();
        let heap_at = manifest.shape().directory_size().unwrap() + 32;
        built.pages[heap_at..heap_at + 16].try_into().unwrap()
    };
    // A length whose first byte is the greatest: a digest behind that of the key.
    let built = (100..300)
        .map(pages)
        .find(|built| prefix(built)[0] == 0xFF)
        .unwrap();
    let keyset = load(built.seal(&signing_key("new", 2), 0).as_bytes()).unwrap();
    assert!(digest(1).prefix() < prefix(&built));
    assert!(matches!(keyset.lookup(&prefix(&built)), Lookup::Unknown));
}

/// The filter has no database of time zones.
#[test]
fn the_time_zones_of_quotas_travel_along_and_no_others() {
    let mut content = content(vec![]);
    content.policy = serde_json::from_str(
        r#"{"version":1,"routes":[],"plans":{
            "a":{"quota":{"requests":1,"per":"day","time_zone":"Europe/Berlin"}},
            "b":{"quota":{"requests":1,"per":"day"}},"c":{}}}"#,
    )
    .unwrap();
    let unknown = BuildError::UnknownZone {
        plan: "a".into(),
        zone: "Europe/Berlin".into(),
    };
    assert_eq!(build(&content).err(), Some(unknown));
    let zone = |offset| crate::limit::quota::Zone(offset, Vec::new());
    for (name, offset) in [("Europe/Berlin", 3600), ("Asia/Tokyo", 32_400)] {
        content.zones.insert(name.into(), zone(offset));
    }
    let built = build(&content).unwrap();
    let manifest: Manifest = serde_json::from_slice(&built.manifest).unwrap();
    let all: Vec<_> = manifest.zones.into_iter().collect();
    assert_eq!(all, [("Europe/Berlin".to_owned(), zone(3600))]);
}

#[test]
fn whoever_cannot_build_is_told_of_which_key_or_plan() {
    let key = KeyId::from_u64(7).unwrap();
    let other = KeyId::from_u64(8).unwrap();
    let policy = serde_json::from_str(r#"{"version":9,"routes":[]}"#).unwrap();
    let errors = crate::policy::Policy::new(&policy, []).err().unwrap();
    let (key_text, other_text) = (key.to_string(), other.to_string());
    for (error, words) in [
        (BuildError::Policy(errors), ["version", "9"]),
        (
            BuildError::UnknownPlan {
                key,
                plan: "gold".into(),
            },
            [key_text.as_str(), "plan `gold`"],
        ),
        (
            BuildError::UnknownZone {
                plan: "gold".into(),
                zone: "Mars/Base".into(),
            },
            ["plan `gold`", "`Mars/Base`"],
        ),
        (BuildError::SameDigest(key, other), [&key_text, &other_text]),
        (
            BuildError::TooManyRules(key),
            [&key_text, "more address ranges"],
        ),
        (BuildError::TooLarge, ["keyset", "larger"]),
        (
            BuildError::NeedsBase {
                key,
                lacks: "scope `x`".into(),
            },
            [&key_text, "scope `x`"],
        ),
        (
            BuildError::OtherBase("policy"),
            ["another policy", "the changes"],
        ),
        (BuildError::NotABase, ["an overlay", "keyset"]),
    ] {
        let told = error.to_string();
        assert!(words.iter().all(|word| told.contains(word)), "{told}");
    }
}
