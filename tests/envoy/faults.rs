//! Configurations that are wrong, old or broken: what is in force stays, or nothing
//! opens.

use crate::fixture::{Keys, in_force, now};
use crate::support::{Client, Envoy, Push, Setup, Upstream, eventually, get, shell};

const POLICY: &str = r#"
version: 1
routes:
  - { path: "/v1/{*rest}" }
"#;

#[test]
fn a_keyset_with_a_bad_signature_leaves_the_last_good_one_in_force() {
    let upstream = Upstream::start();
    let mut keys = Keys::new(POLICY);
    let key = keys.issue("acme");
    let envoy = keys.start(&upstream);
    let before = keys.content.version;
    // The same store and the same key id, signed with another secret.
    let mut forger = Keys::new(POLICY);
    forger.content.store = keys.content.store;
    forger.content.version = 1_000;
    let forged = forger.issue("mallory");
    let configuration = forger.sealed();

    assert_eq!(
        envoy.push(|file| file.configure(&configuration)),
        Push::Refused
    );

    assert_eq!(envoy.send(&get("/v1/a").bearer(&key)).status, 200);
    assert_eq!(envoy.send(&get("/v1/a").bearer(&forged)).status, 401);
    in_force(&envoy, before);
    assert_eq!(refused(&envoy, "signature"), Some(1));
    assert!(envoy.log().contains("the signature does not match"));
}

#[test]
fn a_keyset_that_is_cut_off_or_changed_opens_nothing_and_undoes_nothing() {
    let upstream = Upstream::start();
    let mut keys = Keys::new(POLICY);
    let key = keys.issue("acme");
    let good = keys.sealed();
    let envoy = keys.start(&upstream);
    let changed = good.replacen("\"manifest\":\"", "\"manifest\":\"A", 1);
    assert_ne!(changed, good);
    for bad in [&good[..good.len() / 2], &good[..good.len() - 2], &changed] {
        let fixed = Setup::fixed(&upstream, bad).signing_keys(&keys.signing_keys());
        let log = Envoy::try_start(fixed).err().expect("it does not start");
        assert!(log.contains("keystile"), "{log}");
        let setup = Setup::ecds(&upstream).signing_keys(&keys.signing_keys());
        setup.ecds_file().configure(bad);
        let closed = Envoy::start(setup);
        assert_eq!(closed.send(&get("/v1/a").bearer(&key)).status, 500);
        assert_eq!(envoy.push(|file| file.configure(bad)), Push::Refused);
        assert_eq!(envoy.send(&get("/v1/a").bearer(&key)).status, 200);
        assert_eq!(envoy.send(&get("/v1/a")).status, 401);
    }
    assert_eq!(upstream.requests(), 3);
}

#[test]
fn after_the_same_refused_bytes_twice_a_good_push_is_taken() {
    let upstream = Upstream::start();
    let mut keys = Keys::new(POLICY);
    let key = keys.issue("acme");
    let envoy = keys.start(&upstream);
    let good = keys.sealed();
    let bad = good.replacen("\"hmac\":\"", "\"hmac\":\"AAAA", 1);

    assert_eq!(envoy.push(|file| file.configure(&bad)), Push::Refused);
    // Envoy says accepted, and looks at nothing: what is in force stays.
    assert_eq!(envoy.push(|file| file.configure(&bad)), Push::Unchanged);
    assert_eq!(envoy.send(&get("/v1/a").bearer(&key)).status, 200);

    keys.revoke(&key);
    keys.push(&envoy);
    let answer = envoy.send(&get("/v1/a").bearer(&key));
    assert_eq!(answer.code().as_deref(), Some("revoked_api_key"));
}

#[test]
fn an_older_keyset_does_not_undo_a_revocation() {
    let upstream = Upstream::start();
    let mut keys = Keys::new(POLICY);
    let key = keys.issue("acme");
    let old = keys.sealed();
    keys.revoke(&key);
    let envoy = keys.start(&upstream);
    in_force(&envoy, keys.content.version);

    // Envoy has to accept it: a refusal of workers alone would leave the filter out.
    assert_eq!(envoy.push(|file| file.configure(&old)), Push::Applied);

    eventually("every VM to have judged the older keyset", || {
        (refused(&envoy, "older_version")? >= shell::gauges() as u64).then_some(())
    });
    in_force(&envoy, keys.content.version);
    for _ in 0..8 {
        let answer = envoy.send(&get("/v1/a").bearer(&key));
        assert_eq!(answer.code().as_deref(), Some("revoked_api_key"));
    }
    assert_eq!(upstream.requests(), 0);
}

#[test]
fn without_signing_keys_envoy_does_not_start_on_a_static_keyset() {
    let upstream = Upstream::start();
    let keyset = Keys::new(POLICY).sealed();

    let log = Envoy::try_start(Setup::fixed(&upstream, &keyset))
        .err()
        .unwrap();
    assert!(
        log.contains("there is no key to check keysets with"),
        "{log}"
    );

    let (valid, log) = Envoy::validate(&Setup::fixed(&upstream, &keyset));
    assert!(!valid, "{log}");
}

#[test]
fn with_another_signing_key_envoy_does_not_start_on_a_static_keyset() {
    let upstream = Upstream::start();
    let keyset = Keys::new(POLICY).sealed();
    let others = Keys::new(POLICY).signing_keys();
    let rotated = others.replace("test:", "next:");

    for (keys, expected) in [
        (others, "the signature does not match"),
        (rotated, "signed with key `test`"),
    ] {
        let setup = Setup::fixed(&upstream, &keyset).signing_keys(&keys);
        let log = Envoy::try_start(setup).err().unwrap();
        assert!(log.contains(expected), "{log}");
    }
}

#[test]
fn without_signing_keys_a_pushed_keyset_opens_nothing() {
    let upstream = Upstream::start();
    let mut keys = Keys::new(POLICY);
    let key = keys.issue("acme");
    let setup = Setup::ecds(&upstream);
    setup.ecds_file().configure(&keys.sealed());
    let envoy = Envoy::start(setup);

    assert_eq!(envoy.send(&get("/v1/a").bearer(&key)).status, 500);
    assert_eq!(upstream.requests(), 0);
    assert!(
        envoy
            .log()
            .contains("there is no key to check keysets with")
    );
}

#[test]
fn while_signing_keys_are_rotated_both_are_taken() {
    let upstream = Upstream::start();
    let mut old = Keys::new(POLICY);
    let key = old.issue("acme");
    let mut new = Keys::new(POLICY);
    new.content.store = old.content.store;
    new.content.version = 100;
    let both = format!(
        "{},{}",
        new.signing_keys().replace("test:", "next:"),
        old.signing_keys()
    );
    let setup = Setup::ecds(&upstream);
    setup.ecds_file().configure(&old.sealed());
    let envoy = Envoy::start(setup.signing_keys(&both));

    assert_eq!(envoy.send(&get("/v1/a").bearer(&key)).status, 200);
    new.rename_signing_key("next");
    new.push(&envoy);
    assert_eq!(envoy.send(&get("/v1/a").bearer(&key)).status, 401);
}

#[test]
fn a_keyset_is_dropped_the_moment_its_not_after_has_passed() {
    let upstream = Upstream::start();
    let mut keys = Keys::new(&format!("{POLICY}not_after: 1m\n"));
    let key = keys.issue("acme");
    keys.content.issued_at = now() - 57;
    let end = keys.content.issued_at + 60;
    let envoy = keys.start(&upstream);
    let mut client = envoy.client();

    let last = eventually("the keyset to run out", || {
        let before = now();
        let answer = client.send(&get("/v1/a").bearer(&key));
        match answer.status {
            200 => assert!(before <= end, "served after not-after"),
            _ => return Some(answer),
        }
        None
    });
    assert_eq!(last.code().as_deref(), Some("keyset_unavailable"));
    assert!(now() >= end);

    // A fresh one opens again.
    keys.content.issued_at = now();
    keys.content.version += 1;
    keys.push(&envoy);
    assert_eq!(client.send(&get("/v1/a").bearer(&key)).status, 200);
}

#[test]
fn a_corrupted_page_turns_its_keys_away_and_no_others() {
    let upstream = Upstream::start();
    let mut keys = Keys::new(POLICY);
    let issued: Vec<String> = (0..400).map(|_| keys.issue("acme")).collect();
    let mut built = keys.built();
    // 400 records of 32 bytes in pages of 4 KiB: 128 keys lie on the first.
    let index = 4 * 16 + 5 * 32;
    built.pages[index + 100] ^= 1;
    let setup = Setup::ecds(&upstream);
    setup.ecds_file().configure(&keys.seal(&built));
    let envoy = Envoy::start(setup.signing_keys(&keys.signing_keys()));

    let mut client = envoy.client();
    let mut lost = 0;
    for key in &issued {
        let answer = client.send(&get("/v1/a").bearer(key));
        match answer.status {
            200 => {}
            503 => {
                lost += 1;
                assert_eq!(answer.code().as_deref(), Some("keyset_unavailable"));
            }
            other => panic!("{other}: {}", answer.text()),
        }
    }

    assert_eq!(lost, 128);
    assert_eq!(upstream.requests(), 400 - 128);
    assert_eq!(envoy.metric("keystile_corrupt_pages_total{}"), Some(1));
    let line = envoy.access_line(|line| line["status"] == 503);
    assert_eq!(line["reason"], "keystile:keyset_unavailable:corrupt_page");

    keys.content.version += 1;
    keys.push(&envoy);
    let mut client = Client::connect(envoy.address());
    for key in &issued {
        assert_eq!(client.send(&get("/v1/a").bearer(key)).status, 200);
    }
}

fn refused(envoy: &Envoy, reason: &str) -> Option<u64> {
    envoy.metric(&format!(
        r#"keystile_pushes_refused_total{{reason="{reason}"}}"#
    ))
}
