use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;
use zeroize::Zeroizing;

use crate::key::{Digest, KeyId, Name};
use crate::keyset::*;

mod edits;

const POLICY: &str = r#"{"version":1,"not_after":"1h","environments":["live","test"],
    "report":{"cluster":"control","every":"5s"},
    "plans":{"free":{"limits":[{"requests":1,"per":"1m"}]},"gold":{"limits":[{"requests":100,"per":"1m"}]}},
    "routes":[{"path":"/v1/users/{id}","scopes":["read:users","write:users"]}]}"#;

const T: u64 = 10_000_000;

pub(in crate::keyset) fn digest(n: u64) -> Digest {
    use sha2::Digest as _;
    Digest(sha2::Sha256::digest(n.to_be_bytes()).into())
}

pub(in crate::keyset) fn row(n: u64) -> KeyRow {
    KeyRow {
        id: KeyId::from_u64(n).unwrap(),
        digest: digest(n),
        foreign: false,
        client: format!("client-{}", n % 3),
        client_number: (n % 3) as u32,
        environment: "live".parse::<Name>().unwrap(),
        publishable: false,
        scopes: vec!["read:users".into()],
        plan: Some("gold".into()),
        limits: Vec::new(),
        expires: None,
        not_before: None,
        overlap_end: None,
        disabled: false,
        revoked: false,
        lineage: KeyId::from_u64(n).unwrap(),
        allow: Vec::new(),
        deny: Vec::new(),
        origins: Vec::new(),
        certificates: Vec::new(),
    }
}

pub(in crate::keyset) fn content(version: u64, rows: Vec<KeyRow>) -> Content {
    Content {
        store: StoreId([1, 2, 3, 4, 5, 6, 7, 8]),
        version,
        issued_at: T + version,
        policy: serde_json::from_str(POLICY).unwrap(),
        zones: Default::default(),
        rows,
    }
}

pub(in crate::keyset) fn key() -> SigningKey {
    SigningKey::new("k", Zeroizing::new(vec![1; 32])).unwrap()
}

fn load(bytes: &[u8]) -> Result<Artefact, KeysetRefusal> {
    Artefact::load(&mut &*bytes, &SigningKeys::new(vec![key()]), |_| {})
}

pub(in crate::keyset) fn keyset(built: &Built) -> Arc<Keyset> {
    match load(built.seal(&key(), 0).as_bytes()) {
        Ok(Artefact::Keyset(k)) => k,
        _ => panic!("a keyset"),
    }
}

pub(in crate::keyset) fn overlay(built: &Built) -> Arc<Overlay> {
    match load(built.seal(&key(), 0).as_bytes()) {
        Ok(Artefact::Overlay(o)) => o,
        _ => panic!("an overlay"),
    }
}

/// Some rows in a base, others in an overlay over it.
fn over(base: Vec<KeyRow>, changed: Vec<KeyRow>) -> InForce {
    let base = build(&content(1, base)).unwrap();
    let changes = build_overlay(&content(2, changed), &Base::from_built(&base).unwrap()).unwrap();
    InForce::with(keyset(&base), overlay(&changes)).unwrap()
}

/// A key in words, by names and not by numbers.
fn told(in_force: &InForce, n: u64) -> Option<String> {
    let Lookup::Found(e) = in_force.lookup(&digest(n).prefix()) else {
        return None;
    };
    let policy = in_force.policy();
    let scopes: Vec<_> = e.scopes().map(|s| &policy.scopes[usize::from(s)]).collect();
    let plan = e.plan.map(|p| policy.plans.keys().nth(usize::from(p)));
    let environment = &in_force.environments()[usize::from(e.environment)];
    let ranges: Vec<_> = e.allow().chain(e.deny()).collect();
    Some(format!(
        "{:?}",
        (
            (e.id, e.client, e.client_number, environment, scopes, plan),
            (
                e.expires,
                e.not_before,
                e.overlap_end,
                e.disabled,
                e.revoked
            ),
            (e.publishable, e.foreign, e.lineage, ranges),
            e.origins().collect::<Vec<_>>(),
            e.limits().collect::<Vec<_>>(),
        )
    ))
}

#[test]
fn what_the_overlay_says_replaces_what_the_base_says() {
    let revoked = KeyRow {
        revoked: true,
        ..row(1)
    };
    let both = over(vec![row(1), row(2)], vec![revoked, row(3)]);
    let found = |n: u64| match both.lookup(&digest(n).prefix()) {
        Lookup::Found(e) => Some(e.revoked),
        _ => None,
    };
    assert_eq!(
        [1, 2, 3, 4].map(found),
        [Some(true), Some(false), Some(false), None]
    );
    assert_eq!(both.lens(), (2, 2));
    assert_eq!((both.version(), both.issued_at()), (2, T + 2));
    assert_eq!(both.not_after(), Some(T + 2 + 3600));
    let report = both.overlay().unwrap().report.as_ref().unwrap();
    assert_eq!((report.cluster.as_str(), report.every), ("control", 5));
}

#[test]
fn foreign_keys_and_address_ranges_count_wherever_they_stand() {
    let foreign = |n| KeyRow {
        foreign: true,
        ..row(n)
    };
    let bound = |n| KeyRow {
        deny: vec![Network {
            address: [10, 0, 0, 0].into(),
            prefix_len: 8,
        }],
        ..row(n)
    };
    let told = |i: InForce| (i.foreign(), i.addresses());
    assert_eq!(told(over(vec![row(1)], vec![row(2)])), (false, false));
    assert_eq!(told(over(vec![foreign(1)], vec![bound(2)])), (true, true));
    assert_eq!(told(over(vec![bound(1)], vec![foreign(2)])), (true, true));
}

#[test]
fn an_overlay_keeps_what_a_keyset_would_drop() {
    let gone = KeyRow {
        revoked: true,
        expires: Some(5),
        ..row(1)
    };
    assert!(
        told(&over(vec![row(1)], vec![gone]), 1)
            .unwrap()
            .contains("Some(5)")
    );
}

#[test]
fn the_same_changes_give_the_same_bytes_in_whatever_order() {
    let base = Base::from_built(&build(&content(1, vec![])).unwrap()).unwrap();
    let mut c = content(2, (0..300).map(row).collect());
    let once = build_overlay(&c, &base).unwrap();
    c.rows.reverse();
    assert!(build_overlay(&c, &base).unwrap() == once);
}

#[test]
fn a_row_that_speaks_of_what_the_base_lacks_asks_for_a_new_base() {
    let base = Base::from_built(&build(&content(1, vec![row(1)])).unwrap()).unwrap();
    let lacks = |row: KeyRow| match build_overlay(&content(2, vec![row]), &base).err() {
        Some(BuildError::NeedsBase { key, lacks }) => (key.as_u64(), lacks),
        other => panic!("{other:?}"),
    };
    let scope = KeyRow {
        scopes: vec!["read:users".into(), "pay".into()],
        ..row(7)
    };
    assert_eq!(lacks(scope), (7, "scope `pay`".to_owned()));
    let environment = KeyRow {
        environment: "stage".parse().unwrap(),
        ..row(8)
    };
    assert_eq!(lacks(environment), (8, "environment `stage`".to_owned()));
    let plan = KeyRow {
        plan: Some("tin".into()),
        ..row(9)
    };
    assert_eq!(lacks(plan), (9, "plan `tin`".to_owned()));
}

#[test]
fn changes_of_another_store_policy_or_time_ask_for_a_new_base() {
    let built = build(&content(5, vec![])).unwrap();
    let base = Base::from_built(&built).unwrap();
    let fails = |c: Content| build_overlay(&c, &base).err();
    let mut other = content(6, vec![]);
    other.store = StoreId([9; 8]);
    assert_eq!(fails(other), Some(BuildError::OtherBase("store")));
    let mut other = content(6, vec![]);
    other.policy.realm = "elsewhere".into();
    assert_eq!(fails(other), Some(BuildError::OtherBase("policy")));
    assert_eq!(
        fails(content(4, vec![])),
        Some(BuildError::OtherBase("later version"))
    );
    let overlay = build_overlay(&content(5, vec![]), &base).unwrap();
    assert_eq!(Base::from_built(&overlay).err(), Some(BuildError::NotABase));
    assert_eq!(base.name(), &keyset(&built).name);
}

#[test]
fn an_overlay_goes_with_its_own_base_alone() {
    let first = build(&content(1, vec![row(1)])).unwrap();
    let second = build(&content(1, vec![row(2)])).unwrap();
    let changes = build_overlay(&content(2, vec![]), &Base::from_built(&first).unwrap()).unwrap();
    assert!(InForce::with(keyset(&first), overlay(&changes)).is_some());
    assert!(InForce::with(keyset(&second), overlay(&changes)).is_none());
}

#[test]
fn neither_kind_passes_for_the_other() {
    let base = build(&content(1, vec![row(1)])).unwrap();
    let changes =
        build_overlay(&content(2, vec![row(1)]), &Base::from_built(&base).unwrap()).unwrap();
    let envelope = |built: &Built| -> serde_json::Value {
        serde_json::from_str(&built.seal(&key(), 0)).unwrap()
    };
    let refused = |v: serde_json::Value| load(v.to_string().as_bytes()).err();
    let mut dressed = envelope(&base);
    dressed["kind"] = json!("overlay");
    assert_eq!(refused(dressed.clone()), Some(KeysetRefusal::Signature));
    dressed["kind"] = json!("keyset");
    assert_eq!(
        refused(dressed),
        Some(KeysetRefusal::UnknownKind("keyset".into()))
    );
    let mut stripped = envelope(&changes);
    stripped.as_object_mut().unwrap().remove("kind");
    assert_eq!(refused(stripped), Some(KeysetRefusal::Signature));
    // Signed for what it is not.
    for (built, kind) in [
        (&base, ArtefactKind::Overlay),
        (&changes, ArtefactKind::Keyset),
    ] {
        let swapped = Built {
            kind,
            ..(*built).clone()
        };
        assert!(matches!(
            load(swapped.seal(&key(), 0).as_bytes()).err(),
            Some(KeysetRefusal::Manifest(_))
        ));
    }
    assert_eq!(
        Keyset::load(
            &mut changes.seal(&key(), 0).as_bytes(),
            &SigningKeys::new(vec![key()]),
            |_| panic!("no room is made for an overlay")
        )
        .err(),
        Some(KeysetRefusal::Overlay)
    );
}

#[test]
fn a_manifest_that_contradicts_itself_is_refused() {
    let base = build(&content(3, vec![])).unwrap();
    let built =
        build_overlay(&content(3, vec![row(1)]), &Base::from_built(&base).unwrap()).unwrap();
    let with = |field: &str, value: serde_json::Value| {
        let mut manifest: serde_json::Value = serde_json::from_slice(&built.manifest).unwrap();
        manifest[field] = value;
        let changed = Built {
            manifest: manifest.to_string().into_bytes(),
            ..built.clone()
        };
        load(changed.seal(&key(), 0).as_bytes()).err()
    };
    assert_eq!(with("version", json!(3)), None);
    for (field, value, reason) in [
        ("version", json!(2), "manifest"),
        ("kind", json!("keyset"), "manifest"),
        ("store", json!("?"), "manifest"),
        ("format", json!(2), "format"),
        ("policy", json!({}), "manifest"),
        ("report", json!({"cluster": ""}), "manifest"),
        ("directory", json!(""), "pages"),
    ] {
        assert_eq!(with(field, value).unwrap().reason(), reason, "{field}");
    }
}

#[test]
fn an_overlay_cut_at_any_byte_is_refused() {
    let base = build(&content(1, vec![])).unwrap();
    let built =
        build_overlay(&content(2, vec![row(1)]), &Base::from_built(&base).unwrap()).unwrap();
    for bytes in [
        built.seal(&key(), 0).into_bytes(),
        built.seal_raw(&key(), 0),
    ] {
        for n in 0..bytes.len() {
            assert!(load(&bytes[..n]).is_err(), "cut at {n}");
        }
        assert!(load(&bytes).is_ok());
    }
}

#[test]
fn a_corrupt_page_of_the_overlay_hides_what_the_base_says_and_nothing_else() {
    let base = build(&content(1, (0..600).map(row).collect())).unwrap();
    let changed = (0..600).step_by(2).map(|n| KeyRow {
        revoked: true,
        ..row(n)
    });
    let changes = content(2, changed.collect());
    let mut built = build_overlay(&changes, &Base::from_built(&base).unwrap()).unwrap();
    let index_at = built.pages.len() - {
        let m: OverlayManifest = serde_json::from_slice(&built.manifest).unwrap();
        (m.keys as usize) * 32 + m.heap as usize
    };
    built.pages[index_at + PAGE + 40] ^= 1;
    let both = InForce::with(keyset(&base), overlay(&built)).unwrap();
    let mut corrupt = 0;
    for n in 0..600 {
        match both.lookup(&digest(n).prefix()) {
            Lookup::Corrupt => corrupt += 1,
            Lookup::Found(e) => assert_eq!(e.revoked, n % 2 == 0, "key {n}"),
            Lookup::Unknown => panic!("lost key {n}"),
        }
    }
    assert!((128..400).contains(&corrupt), "{corrupt}");
    assert_eq!(both.corrupt_pages(), 1);
}

#[test]
fn entries_are_all_that_a_table_holds_by_rising_digest() {
    let keyset = keyset(&build(&content(1, (0..300).map(row).collect())).unwrap());
    let all: Vec<_> = keyset.entries().collect();
    assert_eq!(all.len(), 300);
    assert!(all.is_sorted_by_key(|(prefix, _)| *prefix));
    for (prefix, entry) in all {
        assert_eq!(prefix, digest(entry.id.as_u64()).prefix());
    }
}

#[test]
fn ranges_are_read_back_as_they_were_given() {
    let net = |a: &str, prefix_len| Network {
        address: a.parse().unwrap(),
        prefix_len,
    };
    let bound = KeyRow {
        allow: vec![net("2001:db8::", 32), net("10.0.0.0", 8)],
        deny: vec![net("10.1.0.0", 16)],
        ..row(1)
    };
    let keyset = keyset(&build(&content(1, vec![bound])).unwrap());
    let (_, e) = keyset.entries().next().unwrap();
    assert_eq!(
        e.allow().collect::<Vec<_>>(),
        [net("10.0.0.0", 8), net("2001:db8::", 32)]
    );
    assert_eq!(e.deny().collect::<Vec<_>>(), [net("10.1.0.0", 16)]);
}
