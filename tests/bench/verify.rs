//! What the signature of a push costs Envoy: how long its main thread and its workers load a keyset
//! that is signed with HMAC-SHA-256, and the same keyset signed with Ed25519, in turn. Once for each
//! push; a request costs the same under either.
//!
//!     KEYSTILE_PROFILE=release scripts/build && cargo bench --profile release --bench verify
//!     KEYSTILE_SHELL=module cargo bench --profile release --bench verify
//!
//! Less of it, to see that it works: `--rounds 2`.
#![cfg_attr(target_family = "wasm", no_main)]
#![cfg(not(target_family = "wasm"))]

use keystile_core::keyset::SigningKey;
use keystile_tests::fixture::{Keys, in_force};
use keystile_tests::proxy::{Envoy, Push, Setup, Upstream, shell};

const POLICY: &str = "version: 1\nroutes:\n- {path: \"/v1/{*rest}\"}\n";

fn main() {
    let rounds = std::env::args().skip_while(|a| a != "--rounds").nth(1);
    let rounds: usize = rounds.map_or(30, |n| n.parse().expect("a number"));
    let shell = match shell::is_module() {
        true => "libkeystile.so",
        false => "keystile.wasm",
    };
    println!("{shell}, Envoy with 2 workers, {rounds} pushes of each kind in turn; microseconds");
    println!("   keys       hmac    ed25519  difference   noise");
    for keys in [10, 10_000, 100_000] {
        let found = measured(keys, rounds);
        let [hmac, again, pair] = found.map(median);
        println!(
            "{keys:>7} {hmac:>10.0} {pair:>10.0} {:>11.0} {:>7.0}",
            pair - hmac,
            (again - hmac).abs()
        );
    }
}

/// How long each load took, by kind of push: HMAC, HMAC once more, Ed25519.
fn measured(count: usize, rounds: usize) -> [Vec<f64>; 3] {
    let upstream = Upstream::start();
    let mut keys = Keys::new(POLICY);
    keys.fill(count);
    let pair = SigningKey::ed25519("pair", &[7; 32]).expect("a key");
    let public = pair.public_entry().expect("its public part");
    let envoy = keys.start_on(Setup::ecds(&upstream).environment("KEYSTILE_VERIFY_KEYS", &public));
    in_force(&envoy, keys.content.version);
    let mut found = [Vec::new(), Vec::new(), Vec::new()];
    for nonce in 0..rounds {
        for (kind, found) in found.iter_mut().enumerate() {
            keys.content.version += 1;
            let sealed = match kind {
                2 => keys.built().seal(&pair, 1_000_000 + nonce as u64),
                _ => keys.sealed(),
            };
            let before = loads(&envoy).len();
            assert_eq!(envoy.push(|file| file.configure(&sealed)), Push::Applied);
            in_force(&envoy, keys.content.version);
            found.extend(loads(&envoy).split_off(before));
        }
    }
    found
}

/// How long each load took, as Envoy's log says.
fn loads(envoy: &Envoy) -> Vec<f64> {
    let log = envoy.log();
    let loads = log.split("loaded in ").skip(1);
    let loads = loads.filter_map(|rest| rest.split(' ').next()?.parse().ok());
    loads.collect()
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
}
