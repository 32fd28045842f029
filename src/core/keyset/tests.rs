use super::*;
use crate::key::KeyId;
use crate::keyset::overlay::tests::{digest, row};
use crate::policy::{By, checked_limits};
use damaged::Pieces;
use hmac::{Hmac, KeyInit as _, Mac as _};
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};
use std::net::IpAddr;
use zeroize::Zeroizing;

mod certificates;
mod damaged;
mod envelope;
mod in_force;
mod shape;
mod signing;

fn content(rows: Vec<KeyRow>) -> Content {
    let policy = r#"{"version":1,"plans":{"gold":{"limits":[{"requests":100,"per":"1m"}]}},
        "routes":[{"path":"/v1/users/{id}","scopes":["read:users"]}]}"#;
    Content {
        store: StoreId([1, 2, 3, 4, 5, 6, 7, 8]),
        version: 42,
        issued_at: 10_000_000,
        policy: serde_json::from_str(policy).unwrap(),
        zones: Default::default(),
        rows,
    }
}

fn signing_key(kid: &str, byte: u8) -> SigningKey {
    SigningKey::new(kid, Zeroizing::new(vec![byte; 32])).unwrap()
}

fn keys() -> SigningKeys {
    SigningKeys::new(vec![signing_key("old", 1), signing_key("new", 2)])
}

fn sealed(content: &Content) -> String {
    build(content).unwrap().seal(&signing_key("new", 2), 0)
}

fn load(text: &[u8]) -> Result<Keyset, KeysetRefusal> {
    Keyset::load(&mut &*text, &keys(), |_| {})
}

fn assemble(manifest: &Manifest, pages: Vec<u8>) -> Result<Keyset, KeysetRefusal> {
    Keyset::new(
        manifest.clone(),
        BaseName::from_manifest(manifest.version, b""),
        pages,
    )
}

fn find(keyset: &Keyset, n: u64) -> Option<Entry<'_>> {
    match keyset.lookup(&digest(n).prefix()) {
        Lookup::Found(e) => Some(e),
        _ => None,
    }
}

#[test]
fn every_key_is_found_and_no_other() {
    for n in [0, 1, 127, 128, 129, 1000] {
        let keyset = load(sealed(&content((0..n).map(row).collect())).as_bytes()).unwrap();
        assert_eq!(keyset.len(), n as usize);
        for i in 0..n {
            assert_eq!(find(&keyset, i).unwrap().id.as_u64(), i);
        }
        for i in n..n + 1000 {
            assert!(matches!(
                keyset.lookup(&digest(i).prefix()),
                Lookup::Unknown
            ));
        }
        assert!(matches!(keyset.lookup(&[0; 16]), Lookup::Unknown));
        assert!(matches!(keyset.lookup(&[0xFF; 16]), Lookup::Unknown));
    }
}

#[test]
fn the_same_content_gives_the_same_bytes_in_whatever_order() {
    let mut c = content((0..300).map(row).collect());
    let once = build(&c).unwrap();
    c.rows.reverse();
    assert!(build(&c).unwrap() == once);
}

#[test]
fn everything_that_a_row_says_is_read_back() {
    let limits = checked_limits(
        "limits",
        &serde_json::from_str::<Vec<_>>(
            r#"[{"requests":5,"per":"1s","burst":9},{"requests":7,"per":"1h","by":"client"}]"#,
        )
        .unwrap(),
    )
    .unwrap();
    let net = |a: &str, prefix_len| Network {
        address: a.parse().unwrap(),
        prefix_len,
    };
    let full = KeyRow {
        publishable: true,
        foreign: true,
        scopes: vec!["write:users".into(), "read:users".into()],
        limits: limits.clone(),
        expires: Some(20_000_000),
        not_before: Some(15_000_000),
        overlap_end: Some(17_000_000),
        disabled: true,
        revoked: true,
        lineage: KeyId::from_u64(3).unwrap(),
        allow: vec![net("10.0.0.0", 8), net("2001:db8::", 32)],
        deny: vec![net("10.1.0.0", 16)],
        origins: vec!["https://b.example".into(), "https://a.example".into()],
        ..row(5)
    };
    let keyset = load(sealed(&content(vec![full, row(6)])).as_bytes()).unwrap();
    let e = find(&keyset, 5).unwrap();
    assert_eq!(
        (e.client, e.client_number, e.environment),
        ("client-2", 2, 0)
    );
    assert_eq!(
        (e.expires, e.not_before, e.overlap_end),
        (Some(20_000_000), 15_000_000, Some(17_000_000))
    );
    assert!(e.publishable && e.foreign && e.disabled && e.revoked);
    assert_eq!(e.lineage.as_u64(), 3);
    assert_eq!(
        e.scopes()
            .map(|s| keyset.policy.scopes[usize::from(s)].as_str())
            .collect::<Vec<_>>(),
        ["read:users", "write:users"]
    );
    assert_eq!(e.limits().collect::<Vec<_>>(), limits);
    assert_eq!(e.limits().nth(1).unwrap().by, By::Client);
    assert_eq!(e.plan, Some(0));
    assert_eq!(
        e.origins().collect::<Vec<_>>(),
        [&b"https://a.example"[..], b"https://b.example"]
    );
    networks_are_read_back(&e);
}

fn networks_are_read_back(e: &Entry<'_>) {
    for (address, admitted) in [
        ("10.2.3.4", true),
        ("10.1.3.4", false),
        ("11.0.0.1", false),
        ("::ffff:10.2.3.4", true),
        ("::ffff:10.1.3.4", false),
        ("2001:db8::1", true),
        ("2001:db9::1", false),
    ] {
        assert_eq!(
            e.admits(address.parse::<IpAddr>().unwrap()),
            admitted,
            "{address}"
        );
    }
}

#[test]
fn of_a_row_that_says_nothing_nothing_is_read_back() {
    let keyset = load(sealed(&content(vec![row(5), row(6)])).as_bytes()).unwrap();
    let plain = find(&keyset, 6).unwrap();
    assert!(!plain.publishable && !plain.foreign && !plain.disabled && !plain.revoked);
    assert_eq!(
        (plain.expires, plain.not_before, plain.overlap_end),
        (None, 0, None)
    );
    assert!(plain.own_limits().is_empty() && !plain.has_networks() && !plain.has_origins());
    assert_eq!(plain.lineage, plain.id);
}

#[test]
fn tombstones_go_when_the_key_would_have_expired() {
    let at = 10_000_000;
    let kept = |r: KeyRow| build(&content(vec![r])).unwrap().keys == 1;
    assert!(kept(KeyRow {
        revoked: true,
        ..row(1)
    }));
    assert!(kept(KeyRow {
        revoked: true,
        expires: Some(at + 1),
        ..row(1)
    }));
    assert!(!kept(KeyRow {
        revoked: true,
        expires: Some(at),
        ..row(1)
    }));
    assert!(kept(KeyRow {
        expires: Some(at),
        ..row(1)
    }));
    // Thirty days long.
    assert!(!kept(KeyRow {
        expires: Some(at - 2_592_000),
        ..row(1)
    }));
    assert!(kept(KeyRow {
        expires: Some(at - 2_592_000 + 1),
        ..row(1)
    }));
    assert!(!kept(KeyRow {
        overlap_end: Some(at - 2_592_000),
        expires: Some(at + 9),
        ..row(1)
    }));
}

#[test]
fn content_that_cannot_be_a_keyset_is_refused() {
    assert_eq!(
        build(&content(vec![KeyRow {
            plan: Some("none".into()),
            ..row(1)
        }]))
        .err(),
        Some(BuildError::UnknownPlan {
            key: KeyId::from_u64(1).unwrap(),
            plan: "none".into()
        })
    );
    assert!(matches!(
        build(&content(vec![
            row(1),
            KeyRow {
                id: KeyId::from_u64(2).unwrap(),
                ..row(1)
            }
        ]))
        .err(),
        Some(BuildError::SameDigest(..))
    ));
    let many = (0..9000u32).map(|i| Network {
        address: IpAddr::from(i.to_be_bytes()),
        prefix_len: 32,
    });
    let many = KeyRow {
        allow: many.collect(),
        deny: (0..9000u32)
            .map(|i| Network {
                address: IpAddr::from(i.to_be_bytes()),
                prefix_len: 32,
            })
            .collect(),
        ..row(1)
    };
    assert_eq!(
        build(&content(vec![many])).err(),
        Some(BuildError::TooManyRules(KeyId::from_u64(1).unwrap()))
    );
}

#[test]
fn white_space_and_the_order_of_fields_are_free_but_pages_stand_last() {
    let text = sealed(&content((0..3).map(row).collect()));
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    load(serde_json::to_string_pretty(&value).unwrap().as_bytes()).unwrap();
    let field = |n: &str| format!("\"{n}\": {}", value[n]);
    let moved = ["nonce", "manifest", "kid", "hmac", "format", "pages"]
        .map(field)
        .join("\n,\t");
    load(format!(" {{ {moved} }} \n").as_bytes()).unwrap();
    let without_nonce = ["format", "kid", "hmac", "manifest", "pages"]
        .map(field)
        .join(",");
    load(format!("{{{without_nonce}}}").as_bytes()).unwrap();
    let wrong = ["pages", "format", "kid", "hmac", "manifest"]
        .map(field)
        .join(",");
    assert_eq!(
        load(format!("{{{wrong}}}").as_bytes()).err(),
        Some(KeysetRefusal::FieldMissing("format"))
    );
    let twice = ["kid", "kid", "format", "hmac", "manifest", "pages"]
        .map(field)
        .join(",");
    assert_eq!(
        load(format!("{{{twice}}}").as_bytes()).err(),
        Some(KeysetRefusal::Repeated("kid".into()))
    );
}

#[test]
fn what_is_not_an_envelope_is_refused_with_a_reason() {
    for (text, reason) in [
        ("", "missing"),
        ("null", "syntax"),
        ("[]", "syntax"),
        ("{}", "syntax"),
        ("{\"extra\":1}", "syntax"),
        ("{\"format\":99999999999999999999}", "syntax"),
        (
            "{\"format\":2,\"kid\":\"new\",\"hmac\":\"\",\"manifest\":\"\",\"pages\":\"\"}",
            "format",
        ),
        (
            "{\"format\":1,\"kid\":\"new\",\"hmac\":\"\",\"manifest\":\"\",\"pages\":\"\"}",
            "signature",
        ),
        (
            "{\"format\":1,\"kid\":\"new\",\"hmac\":\"*\",\"manifest\":\"\",\"pages\":\"\"}",
            "syntax",
        ),
        ("{\"format\":1,\"kid\":\"a\\u0041\"}", "syntax"),
        ("\n\u{0}\u{1}", "syntax"),
    ] {
        assert_eq!(
            load(text.as_bytes()).err().unwrap().reason(),
            reason,
            "{text}"
        );
    }
}

proptest! {
    #![proptest_config(crate::seeded())]

    #[test]
    fn the_size_of_the_chunks_makes_no_difference(step in 1usize..5000, n in 0u64..40) {
        let text = sealed(&content((0..n).map(row).collect()));
        let keyset = Keyset::load(&mut Pieces(text.as_bytes(), step), &keys(), |_| {}).ok().unwrap();
        for i in 0..n {
            prop_assert!(find(&keyset, i).is_some());
        }
    }

    #[test]
    fn damaged_pages_never_panic_and_never_make_a_key(
        at in proptest::collection::vec((any::<prop::sample::Index>(), 1u8..), 1..20),
    ) {
        let built = build(&content((0..200).map(row).collect())).unwrap();
        let manifest: Manifest = serde_json::from_slice(&built.manifest).unwrap();
        let mut pages = built.pages.clone();
        for (index, x) in at {
            let i = index.index(pages.len());
            pages[i] ^= x;
        }
        if let Ok(keyset) = assemble(&manifest, pages) {
            for n in 0..400 {
                match keyset.lookup(&digest(n).prefix()) {
                    Lookup::Found(e) => prop_assert_eq!(e.id.as_u64(), n),
                    Lookup::Unknown => prop_assert!(n >= 200),
                    Lookup::Corrupt => {}
                }
            }
        }
    }
}

/// The module serves all workers from one keyset.
#[test]
fn what_is_in_force_is_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<InForce>();
    shared::<Holding>();
}
