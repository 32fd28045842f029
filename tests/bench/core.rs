//! What the core costs, natively: `cargo bench --bench core`.
//!
//! Times are of this machine; ratios between rows of one run are what to read. What the
//! same work costs inside Envoy's V8, the filter logs with every keyset it loads
//! (`loaded in … us, linear memory …`).

use std::hint::black_box;
use std::net::IpAddr;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use keystile_core::decide::{Clocks, Request, decide};
use keystile_core::key::{Fresh, Parsed, generate};
use keystile_core::keyset::{
    Artefact, Base, Content, InForce, KeyRow, Keyset, Lookup, SigningKey, SigningKeys, StoreId,
    build, build_overlay,
};
use keystile_core::limit::bucket::MemoryBuckets;
use keystile_core::report::usage::{Ledger, Use};
use keystile_core::request::certificate::Peer;
use keystile_core::request::headers::Headers;
use zeroize::Zeroizing;

const POLICY: &str = r#"{"version":1,
  "plans":{"gold":{"limits":[{"requests":1000000000,"per":"1s"}]},
           "three":{"limits":[{"requests":1000000000,"per":"1s"},{"requests":1000000000,"per":"1m"},{"requests":1000000000,"per":"1h","by":"client"}]}},
  "routes":[{"path":"/v1/users/{id}","methods":["GET"],"scopes":["read:users"]},
            {"path":"/v1/users/{id}","methods":["PUT"],"scopes":["write:users"]},
            {"path":"/v1/reports/{*rest}","scopes":["read:reports"]},
            {"path":"/healthz","auth":"none"}]}"#;

/// xorshift64*: the same keys in every run.
fn entropy(mut state: u64) -> impl FnMut(&mut [u8]) -> Result<(), std::convert::Infallible> {
    move |buffer| {
        for b in buffer {
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            *b = (state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 56) as u8;
        }
        Ok(())
    }
}

fn keys(n: u64) -> Vec<Fresh> {
    let mut random = entropy(n + 1);
    let brand = "ks".parse().unwrap();
    let live = "live".parse().unwrap();
    (0..n)
        .map(|_| generate(&brand, &live, &mut random).unwrap_or_else(|e| match e {}))
        .collect()
}

/// One client a key: the dearest case, where no two keys share a profile.
fn content(keys: &[Fresh], plan: &str) -> Content {
    let row = |(n, key): (usize, &Fresh)| KeyRow {
        id: key.id,
        digest: key.digest,
        foreign: false,
        client: format!("client-{n:06}"),
        client_number: n as u32,
        environment: "live".parse().unwrap(),
        publishable: false,
        scopes: vec!["read:users".into(), "write:users".into()],
        plan: Some(plan.into()),
        limits: Vec::new(),
        expires: Some(2_000_000_000 + n as u64),
        not_before: None,
        overlap_end: None,
        disabled: false,
        revoked: false,
        lineage: key.id,
        allow: Vec::new(),
        deny: Vec::new(),
        origins: Vec::new(),
        certificates: Vec::new(),
    };
    Content {
        store: StoreId([7; 8]),
        version: 1,
        issued_at: 1_700_000_000,
        policy: serde_json::from_str(POLICY).unwrap(),
        zones: Default::default(),
        rows: keys.iter().enumerate().map(row).collect(),
    }
}

fn signing() -> (SigningKey, SigningKeys) {
    let key = SigningKey::new("bench", Zeroizing::new(vec![7; 32])).unwrap();
    (key.clone(), SigningKeys::new(vec![key]))
}

fn load(text: &str, keys: &SigningKeys) -> Keyset {
    Keyset::load(&mut text.as_bytes(), keys, |_| {}).unwrap()
}

fn request(key: &str, unknown: bool) -> Vec<u8> {
    let key = if unknown {
        key.replace("_live_", "_test_")
    } else {
        key.to_owned()
    };
    Headers::encode(&[
        (":method", "GET"),
        (":path", "/v1/users/42?expand=team"),
        (":authority", "api.example.com"),
        (":scheme", "https"),
        ("user-agent", "bench/1.0"),
        ("accept", "*/*"),
        ("x-forwarded-proto", "https"),
        ("x-request-id", "6b1d5b4e-4a0d-4a53-8d6e-2c7c8a0b3e55"),
        ("x-api-key", &key),
    ])
}

fn decisions(c: &mut Criterion) {
    let (signer, accepted) = signing();
    let mut group = c.benchmark_group("decide");
    for n in [10, 100_000, 1_000_000] {
        let keys = keys(n);
        for plan in ["gold", "three"] {
            let keyset: InForce = load(
                &build(&content(&keys, plan)).unwrap().seal(&signer, 0),
                &accepted,
            )
            .into();
            // Over a thousand keys, so that no cache flatters.
            let step = (keys.len() / 1000).max(1);
            let requests: Vec<Vec<u8>> = keys
                .iter()
                .step_by(step)
                .map(|k| request(k.text.expose_secret(), false))
                .collect();
            let mut buckets = MemoryBuckets::default();
            let mut i = 0;
            group.bench_function(format!("{n} keys, plan {plan}"), |b| {
                b.iter(|| {
                    i += 1;
                    let request = Request {
                        headers: Headers::new(&requests[i % requests.len()]),
                        address: Some(IpAddr::from([192, 0, 2, 1])),
                        peer: Peer::default(),
                        tls: true,
                        virtual_host: None,
                    };
                    let clocks = Clocks {
                        wall: 1_700_000_000,
                        monotonic: 1 + i as u64 * 1000,
                    };
                    let d = decide(
                        Ok(&keyset),
                        &request,
                        clocks,
                        || None,
                        &mut buckets,
                        &mut (),
                    );
                    assert!(d.verdict.is_ok());
                    black_box(d.rate.map(|r| r.remaining))
                });
            });
        }
    }
    group.finish();
}

fn lookups(c: &mut Criterion) {
    let (signer, accepted) = signing();
    let mut group = c.benchmark_group("lookup");
    for n in [10, 100_000, 1_000_000] {
        let keys = keys(n);
        let keyset = load(
            &build(&content(&keys, "gold")).unwrap().seal(&signer, 0),
            &accepted,
        );
        let mut i = 0;
        group.bench_function(format!("{n} keys"), |b| {
            b.iter(|| {
                i += 7919;
                black_box(keyset.lookup(&keys[i % keys.len()].digest.prefix()));
            });
        });
    }
    let one = keys(1);
    let text = one[0].text.expose_secret().as_bytes();
    group.bench_function("parse and hash a key", |b| {
        b.iter(|| black_box(Parsed::parse(black_box(text)).map(|k| k.digest())));
    });
    group.finish();
}

fn loads(c: &mut Criterion) {
    let (signer, accepted) = signing();
    let mut group = c.benchmark_group("load");
    group.sample_size(10);
    for n in [100_000, 1_000_000] {
        let content = content(&keys(n), "gold");
        let built = build(&content).unwrap();
        let text = built.seal(&signer, 0);
        let keyset = load(&text, &accepted);
        println!(
            "{n} keys: {:.1} bytes per key in memory, {:.1} as plugin configuration",
            keyset.pages_bytes() as f64 / n as f64,
            text.len() as f64 / n as f64
        );
        group.bench_function(format!("{n} keys"), |b| {
            b.iter_batched(|| (), |()| load(&text, &accepted), BatchSize::PerIteration);
        });
        group.bench_function(format!("build {n} keys"), |b| {
            b.iter_batched(
                || (),
                |()| build(&content).unwrap(),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

/// A revocation in a store of this size: what it costs to build and to load the overlay,
/// and what a lookup costs through it.
fn overlays(c: &mut Criterion) {
    let (signer, accepted) = signing();
    let mut group = c.benchmark_group("overlay");
    group.sample_size(20);
    let keys = keys(100_000);
    let mut content = content(&keys, "gold");
    let built = build(&content).unwrap();
    let base = Base::from_built(&built).unwrap();
    let keyset = std::sync::Arc::new(load(&built.seal(&signer, 0), &accepted));
    content.rows.truncate(1_000);
    content.rows.iter_mut().for_each(|row| row.revoked = true);
    let built = build_overlay(&content, &base).unwrap();
    let bytes = built.seal_raw(&signer, 0);
    println!("1,000 keys changed: {} bytes", bytes.len());
    let overlay = || match Artefact::load(&mut &bytes[..], &accepted, |_| {}) {
        Ok(Artefact::Overlay(overlay)) => overlay,
        _ => panic!("an overlay"),
    };
    group.bench_function("build 1,000 over 100,000", |b| {
        b.iter(|| build_overlay(black_box(&content), &base).unwrap());
    });
    group.bench_function("load 1,000 over 100,000", |b| {
        b.iter(|| InForce::with(keyset.clone(), overlay()).unwrap());
    });
    let in_force = InForce::with(keyset, overlay()).unwrap();
    let mut i = 0;
    group.bench_function("lookup, 1,000 over 100,000", |b| {
        b.iter(|| {
            i += 7919;
            let found = in_force.lookup(&keys[i % keys.len()].digest.prefix());
            assert!(matches!(found, Lookup::Found(_)));
        });
    });
    group.finish();
}

/// What counting adds to a request, over keys that follow each other.
fn usage(c: &mut Criterion) {
    let keys: Vec<_> = keys(1_000).iter().map(|k| k.id).collect();
    let mut group = c.benchmark_group("usage");
    for n in [1, 1_000] {
        let mut ledger = Ledger::default();
        let mut i = 0;
        group.bench_function(format!("count, {n} keys"), |b| {
            b.iter(|| {
                i += 1;
                let request = Use {
                    key: keys.get(i % n).copied(),
                    route: Some((7, "GET /v1/users/{id}")),
                    outcome: "ok",
                    wall: 1_700_000_000,
                };
                ledger.count(black_box(&request), || None);
            });
        });
    }
    group.finish();
}

/// What checking a signature adds to a push: once for each, and nothing to a request.
fn signatures(c: &mut Criterion) {
    let pair = SigningKey::ed25519("bench", &[7; 32]).unwrap();
    let public = SigningKeys::parse_public(&pair.public_entry().unwrap()).unwrap();
    let (secret, shared) = signing();
    let built = build(&content(&keys(10), "gold")).unwrap();
    let mut group = c.benchmark_group("signature");
    for (name, signer, keys) in [("hmac", secret, shared), ("ed25519", pair, public)] {
        let bytes = built.seal_raw(&signer, 0);
        group.bench_function(format!("check, {name}"), |b| {
            b.iter(|| Keyset::load(&mut black_box(&bytes[..]), &keys, |_| {}).unwrap());
        });
        group.bench_function(format!("make, {name}"), |b| {
            b.iter(|| black_box(built.seal_raw(&signer, 0)));
        });
    }
    group.finish();
}

criterion_group!(
    benches, decisions, lookups, loads, overlays, usage, signatures
);
criterion_main!(benches);
