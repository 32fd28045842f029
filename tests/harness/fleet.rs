//! An Envoy's VM that tells a server of many keys.

use std::time::{SystemTime, UNIX_EPOCH};

use keystile_core::keyset::SigningKeys;
use keystile_core::report::usage::{Batch, KeyUse, Row, seal_batch};

use crate::server::Server;
use crate::support::{Home, word};

/// Routes that each key is used on.
pub const ROUTES: usize = 3;
/// Keys of one batch: with all their routes, as many rows as a batch may have.
pub const PART: usize = 5_000;

/// The VM, and what it signs with.
pub struct Teller {
    keys: SigningKeys,
    store: String,
    epoch: u64,
    seq: u64,
}

impl Teller {
    pub fn new(home: &Home) -> Self {
        home.ok(&["keyset", "build", "--out", "keyset.json"]);
        Self {
            keys: SigningKeys::parse(&home.ok(&["signing-key", "export"])).unwrap(),
            store: word(&home.json(&["keyset", "inspect", "keyset.json"]), "store"),
            epoch: now(),
            seq: 0,
        }
    }

    /// Tells of requests with these keys at an instant, in seconds, on every route; how many
    /// rows that is.
    pub fn tell(&mut self, server: &Server, at: u64, ids: &[impl AsRef<str>]) -> usize {
        self.seq += 1;
        let batch = self.batch(at, ids);
        let sealed = seal_batch(&batch, &self.keys).unwrap();
        let answer = ureq::post(format!("{}/v1/usage", server.url()))
            .header("x-keystile-kid", &sealed.kid)
            .header("x-keystile-signature", &sealed.tag)
            .send(&sealed.body[..]);
        assert_eq!(answer.unwrap().status(), 200);
        batch.rows.len()
    }

    fn batch(&self, at: u64, ids: &[impl AsRef<str>]) -> Batch {
        let each = (0..ids.len()).flat_map(|key| (0..ROUTES).map(move |route| (key, route)));
        let row = |(key, route): (usize, usize)| Row {
            key: Some(key as u32),
            route: Some(route as u32),
            outcome: u32::from((key + route) % 20 == 0),
            requests: 1 + (key as u64 * 7919 + self.seq) % 90,
        };
        let used = |id: &str| KeyUse {
            id: id.to_owned(),
            last: at,
            address: Some("192.0.2.7".into()),
            agent: Some("curl/8".into()),
        };
        Batch {
            node: "edge-1".into(),
            epoch: self.epoch,
            vm: 0,
            claimed: 1,
            seq: self.seq,
            store: self.store.clone(),
            at,
            routes: (0..ROUTES).map(|n| format!("/v1/route-{n}")).collect(),
            outcomes: vec!["ok".into(), "rate_limited".into()],
            keys: ids.iter().map(|id| used(id.as_ref())).collect(),
            rows: each.map(row).collect(),
            dropped: 0,
        }
    }
}

/// Seconds.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap().as_secs()
}
