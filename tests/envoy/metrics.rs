//! What a monitoring system reads from `/stats/prometheus`.

use crate::fixture::{Keys, in_force, now};
use crate::support::{Envoy, Setup, Upstream, eventually, get, shell};
use std::collections::{BTreeMap, BTreeSet};

const POLICY: &str = r#"
version: 1
routes:
  - { path: "/v1/{*rest}" }
"#;

#[test]
fn requests_are_counted_by_outcome_and_every_vm_tells_its_version() {
    let upstream = Upstream::start();
    let mut keys = Keys::new(POLICY);
    let key = keys.issue("acme");
    keys.fill(10);
    keys.content.issued_at = now() - 1_000;
    let envoy = keys.start(&upstream);
    in_force(&envoy, keys.content.version);
    for _ in 0..20 {
        envoy.send(&get("/v1/a").bearer(&key));
    }
    for _ in 0..3 {
        envoy.send(&get("/v1/a"));
    }
    envoy.send(&get("/elsewhere"));

    let (types, values) = counted(&envoy, 24);

    let counter = |name: &str| values.get(name).copied();
    assert_eq!(
        counter(r#"keystile_requests_total{outcome="ok"}"#),
        Some(20)
    );
    assert_eq!(
        counter(r#"keystile_requests_total{outcome="missing_api_key"}"#),
        Some(3)
    );
    assert_eq!(
        counter(r#"keystile_requests_total{outcome="route_denied"}"#),
        Some(1)
    );
    for vm in 0..shell::gauges() {
        let name = format!(r#"keystile_keyset_version{{vm="{vm}"}}"#);
        assert_eq!(counter(&name), Some(keys.content.version), "{name}");
    }
    assert_eq!(counter("keystile_keyset_keys{}"), Some(11));
    let age = counter("keystile_keyset_age_seconds{}").unwrap();
    assert!((1_000..1_020).contains(&age), "{age}");
    let expected = [
        ("keystile_keyset_age_seconds", "gauge"),
        ("keystile_keyset_keys", "gauge"),
        ("keystile_keyset_version", "gauge"),
        ("keystile_requests_total", "counter"),
    ];
    let expected: BTreeSet<_> = expected.map(|(a, b)| (a.to_owned(), b.to_owned())).into();
    assert!(types.is_superset(&expected), "{types:?}");
}

#[test]
fn every_configuration_that_is_shipped_gives_the_same_names() {
    let upstream = Upstream::start();
    let mut keys = Keys::new(POLICY);
    let key = keys.issue("acme");
    let fixed = Setup::fixed(&upstream, &keys.sealed()).signing_keys(&keys.signing_keys());
    let names = |envoy: Envoy| {
        in_force(&envoy, keys.content.version);
        envoy.send(&get("/v1/a").bearer(&key));
        counted(&envoy, 1).1.into_keys().collect::<Vec<_>>()
    };

    let of_fixed = names(Envoy::start(fixed));

    let mut others = [Setup::ecds(&upstream), Setup::listeners(&upstream)].map(|setup| {
        let mut keys = Keys::new(POLICY);
        let key = keys.issue("acme");
        let envoy = keys.start_on(setup);
        in_force(&envoy, keys.content.version);
        envoy.send(&get("/v1/a").bearer(&key));
        counted(&envoy, 1).1.into_keys().collect::<Vec<_>>()
    });
    assert_eq!(others[0], of_fixed);
    assert_eq!(std::mem::take(&mut others[1]), of_fixed);
}

#[test]
fn names_and_labels_hold_nothing_that_a_caller_chose() {
    let upstream = Upstream::start();
    let mut keys = Keys::new(POLICY);
    let envoy = keys.start(&upstream);
    in_force(&envoy, keys.content.version);
    let send = |n| envoy.send(&get(format!("/v1/{n}")).bearer(&format!("not-a-key-{n}")));
    let names = || ours(&envoy).1.into_keys().collect::<Vec<_>>();

    send(0);
    counted(&envoy, 1);
    let before = names();
    for n in 1..50 {
        send(n);
    }

    counted(&envoy, 50);
    assert_eq!(names(), before);
    assert!(!format!("{before:?}").contains("not-a-key"));
}

/// Types, and values by name and labels.
type Metrics = (BTreeSet<(String, String)>, BTreeMap<String, u64>);

/// Our metrics once so many requests are counted: each worker tells of its own once a second.
fn counted(envoy: &Envoy, requests: u64) -> Metrics {
    eventually("requests to be counted", || {
        let found = ours(envoy);
        let all = found.1.iter();
        let all = all.filter(|(name, _)| name.starts_with("keystile_requests_total"));
        let sum: u64 = all.map(|(_, count)| count).sum();
        (sum == requests).then_some(found)
    })
}

fn ours(envoy: &Envoy) -> Metrics {
    let text = envoy.admin("/stats/prometheus").text();
    let mut types = BTreeSet::new();
    let mut values = BTreeMap::new();
    for line in text.lines() {
        if let Some(kind) = line.strip_prefix("# TYPE keystile_") {
            let (name, kind) = kind.split_once(' ').unwrap();
            types.insert((format!("keystile_{name}"), kind.to_owned()));
        } else if line.starts_with("keystile_") {
            let (name, value) = line.rsplit_once(' ').unwrap();
            values.insert(name.to_owned(), value.parse().unwrap());
        } else {
            assert!(
                !line.contains("keystile_requests"),
                "a prefix or a tag left over: {line}"
            );
        }
    }
    (types, values)
}
