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
    let named = Base::of(&base).unwrap();
    assert_eq!(named.version(), 42);
    let later = Content {
        version: 43,
        ..content(vec![row(1)])
    };
    let overlay = build_overlay(&later, &named).unwrap();
    for (built, kind, version) in [(&base, Kind::Keyset, 42), (&overlay, Kind::Overlay, 43)] {
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
    let zone = |offset| crate::quota::Zone(offset, Vec::new());
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
        (BuildError::TooManyRules(key), [&key_text, "wider ranges"]),
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
            ["another policy", "new base"],
        ),
        (BuildError::NotABase, ["an overlay", "keyset"]),
    ] {
        let told = error.to_string();
        assert!(words.iter().all(|word| told.contains(word)), "{told}");
    }
}
