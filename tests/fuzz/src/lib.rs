//! What the fuzz targets share: keysets with known keys, and the time that one input may take.
//!
//! Each target asserts a property that somebody else could check: it compares with a reader that
//! shares no code with ours, or with what the target itself put into a keyset. None only waits for
//! a panic.

use std::convert::Infallible;
use std::time::Duration;

use keystile_core::key::{Fresh, Name, generate};
use keystile_core::keyset::{Built, Content, KeyRow, SigningKey, SigningKeys, StoreId, build};
use zeroize::Zeroizing;

pub mod readers;

/// The wall clock of every target, in seconds.
pub const NOW: u64 = 1_000_000_000;

/// The CPU time that one input may take.
const MOST: Duration = Duration::from_millis(100);

/// Runs the body of a target and panics if it took more CPU time than any input may.
pub fn bounded(body: impl FnOnce()) {
    let before = cpu_time::ThreadTime::now();
    body();
    let took = before.elapsed();
    assert!(took < MOST, "one input took {took:?}");
}

/// A key that depends on the seed alone.
pub fn key(seed: u8) -> Fresh {
    let mut n = seed;
    let (Ok(prefix), Ok(environment)) = ("ks".parse(), "live".parse()) else {
        unreachable!("both are names")
    };
    let Ok(key) = generate(&prefix, &environment, |bytes: &mut [u8]| {
        bytes.fill_with(|| {
            n = n.wrapping_mul(29).wrapping_add(41);
            n
        });
        Ok::<(), Infallible>(())
    });
    key
}

/// A living key of the client `acme` with the scope `read`.
pub fn row(key: &Fresh) -> KeyRow {
    KeyRow {
        id: key.id,
        digest: key.digest,
        foreign: false,
        client: "acme".into(),
        client_number: 1,
        environment: "live".parse::<Name>().expect("a name"),
        publishable: false,
        scopes: vec!["read".into()],
        plan: None,
        limits: Vec::new(),
        expires: None,
        not_before: None,
        overlap_end: None,
        disabled: false,
        revoked: false,
        lineage: key.id,
        allow: Vec::new(),
        deny: Vec::new(),
        origins: Vec::new(),
        certificates: Vec::new(),
    }
}

/// The content of version 1 of a store with these keys under this policy, which is JSON.
pub fn content(policy: &str, rows: Vec<KeyRow>) -> Content {
    Content {
        store: StoreId([9; 8]),
        version: 1,
        issued_at: NOW,
        policy: serde_json::from_str(policy).expect("a policy"),
        zones: Default::default(),
        rows,
    }
}

/// A keyset that is not signed yet.
pub fn built(content: &Content) -> Built {
    build(content).expect("content that can be built")
}

/// The secret that signs what the targets load.
pub const SECRET: [u8; 32] = [1; 32];

/// The key with that secret.
pub fn signer() -> SigningKey {
    SigningKey::new("k", Zeroizing::new(SECRET.to_vec())).expect("long enough")
}

/// That key alone.
pub fn signers() -> SigningKeys {
    SigningKeys::new(vec![signer()])
}
