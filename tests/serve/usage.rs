//! Usage through the real server: batches as Envoys sign them, what is counted of them,
//! and who may see it.

use std::fs;
use std::time::{Duration, Instant};

use keystile_core::keyset::SigningKeys;
use keystile_core::report::message::Sealed;
use keystile_core::report::usage::{
    Batch, KeyUse, Receipt, Row, open_receipt, open_refusal, seal_batch, sign_batch,
};
use serde_json::Value;

use crate::remote::through;
use crate::server::{Server, token};
use crate::support::{Home, text, word};

mod nodes;
mod shown;
mod stolen;

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// A store, and what its Envoys know.
struct Edge {
    home: Home,
    keys: SigningKeys,
    store: String,
    id: String,
}

impl Edge {
    fn new() -> Self {
        Self::of(Home::new())
    }

    fn of(home: Home) -> Self {
        let issued = home.json(&["key", "issue", "acme"]);
        let keys = SigningKeys::parse(&home.ok(&["signing-key", "export"])).unwrap();
        home.ok(&["keyset", "build", "--out", "keyset.json"]);
        let inspected = home.json(&["keyset", "inspect", "keyset.json"]);
        Self {
            store: word(&inspected, "store"),
            id: word(&issued, "id"),
            home,
            keys,
        }
    }

    /// Of one VM, a minute ago: `n` requests let through and one refused.
    fn batch(&self, vm: u32, seq: u64, n: u64) -> Batch {
        let row = |outcome, requests| Row {
            key: Some(0),
            route: Some(0),
            outcome,
            requests,
        };
        let at = now() - 60;
        Batch {
            node: "edge-1".into(),
            epoch: 5,
            vm,
            claimed: 1,
            seq,
            store: self.store.clone(),
            at: at - at % 60,
            routes: vec!["/v1/{*rest}".into()],
            outcomes: vec!["ok".into(), "insufficient_scope".into()],
            keys: vec![KeyUse {
                id: self.id.clone(),
                last: at,
                address: Some("192.0.2.7".into()),
                agent: Some("curl/8".into()),
            }],
            rows: vec![row(0, n), row(1, 1)],
            dropped: 0,
        }
    }

    /// The receipt; `None` if the server is not there or cannot count just now.
    fn send(&self, server: &Server, batch: &Batch) -> Option<Receipt> {
        let answer = post(server, &seal_batch(batch, &self.keys).unwrap())?;
        if answer.status == 503 {
            return None;
        }
        assert_eq!(answer.status, 200, "{}", answer.body);
        let receipt = open_receipt(answer.body.as_bytes(), &answer.kid, &answer.tag, &self.keys);
        let receipt = receipt.unwrap();
        assert_eq!((receipt.vm, receipt.seq), (batch.vm, batch.seq));
        Some(receipt)
    }

    fn requests(&self) -> u64 {
        self.home.json(&["usage", "acme"])["requests"]
            .as_u64()
            .unwrap()
    }
}

struct Answer {
    status: u16,
    kid: String,
    tag: String,
    body: String,
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(PATIENCE))
        .build()
        .into()
}

fn post(server: &Server, sealed: &Sealed) -> Option<Answer> {
    let mut answer = agent()
        .post(format!("{}/v1/usage", server.url()))
        .header("x-keystile-kid", &sealed.kid)
        .header("x-keystile-signature", &sealed.tag)
        .send(&sealed.body[..])
        .ok()?;
    let header = |name: &str| {
        let value = answer.headers().get(name);
        value.map_or(String::new(), |v| v.to_str().unwrap().to_owned())
    };
    Some(Answer {
        kid: header("x-keystile-kid"),
        tag: header("x-keystile-signature"),
        status: answer.status().as_u16(),
        body: answer.body_mut().read_to_string().ok()?,
    })
}

fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap().as_secs()
}

#[test]
fn nothing_is_lost_and_nothing_doubled_when_the_server_is_killed_while_it_counts() {
    const VMS: u32 = 4;
    const BATCHES: u64 = 30;
    let edge = Edge::new();
    let mut wanted = 0;
    let mut waiting: Vec<Vec<Batch>> = (0..VMS)
        .map(|vm| {
            let mine = (1..=BATCHES).map(|seq| edge.batch(vm, seq, 10 * seq));
            mine.collect()
        })
        .collect();
    for batch in waiting.iter().flatten() {
        wanted += batch.rows.iter().map(|r| r.requests).sum::<u64>();
    }
    let mut lives = 0;
    while waiting.iter().any(|w| !w.is_empty()) {
        lives += 1;
        assert!(lives < 20, "it gets nowhere");
        let server = Server::start(&edge.home, &[]);
        let (edge, server) = (&edge, &server);
        std::thread::scope(|scope| {
            for mine in &mut waiting {
                scope.spawn(move || {
                    while let Some(batch) = mine.first() {
                        // Every third answer is lost, and the batch comes again.
                        let Some(receipt) = edge.send(server, batch) else {
                            return;
                        };
                        let lost = (receipt.seq + lives) % 3 == 0;
                        if !lost || edge.send(server, batch).is_some() {
                            mine.remove(0);
                        }
                    }
                });
            }
            if lives < 4 {
                // In the middle of it, wherever that is.
                std::thread::sleep(Duration::from_millis(40 * lives));
                server.signal("KILL");
            }
        });
    }
    assert!(lives >= 2, "it was never killed in between");
    assert_eq!(edge.requests(), wanted);
}

#[test]
fn what_nobody_signed_or_what_is_of_another_store_is_not_counted() {
    let edge = Edge::new();
    let server = Server::start(&edge.home, &[]);
    let good = edge.batch(0, 1, 5);
    let mut forged = seal_batch(&good, &edge.keys).unwrap();
    forged.body = String::from_utf8(forged.body)
        .unwrap()
        .replace(",5]", ",9]")
        .into_bytes();
    assert_eq!(post(&server, &forged).unwrap().status, 403);
    let mut unknown = seal_batch(&good, &edge.keys).unwrap();
    unknown.kid = "nobody".into();
    assert_eq!(post(&server, &unknown).unwrap().status, 403);
    let mut other = good.clone();
    other.store = "0000000000000000".into();
    let other = post(&server, &seal_batch(&other, &edge.keys).unwrap()).unwrap();
    assert_eq!(other.status, 403);
    assert!(other.body.contains("another store"), "{}", other.body);
    let large = Sealed {
        body: vec![b'x'; (1 << 20) + 1],
        kid: unknown.kid,
        tag: unknown.tag,
    };
    assert_eq!(post(&server, &large).unwrap().status, 400);
    assert_eq!(edge.requests(), 0);
    assert!(edge.send(&server, &good).is_some());
    assert_eq!(edge.requests(), 6);
}

#[test]
fn a_batch_that_never_will_be_counted_is_refused_with_a_signature() {
    let edge = Edge::new();
    let server = Server::start(&edge.home, &[]);
    let mut broken = edge.batch(0, 1, 5);
    broken.rows[0].key = Some(7);
    let answer = post(&server, &seal_batch(&broken, &edge.keys).unwrap()).unwrap();
    assert_eq!(answer.status, 422, "{}", answer.body);
    let body = answer.body.as_bytes();
    let refusal = open_refusal(body, &answer.kid, &answer.tag, &edge.keys);
    assert_eq!(refusal, Ok(broken.name()));

    // Of a newer filter, perhaps: it may be counted after an update.
    let newer = sign_batch(br#"{"node":"edge-1","more":1}"#, &edge.keys).unwrap();
    let answer = post(&server, &newer).unwrap();
    assert_eq!((answer.status, &*answer.tag), (403, ""));
    assert_eq!(edge.requests(), 0);
}

#[test]
fn an_anomaly_reaches_the_audit_log_of_a_running_server_once() {
    let edge = Edge::new();
    let server = Server::start(&edge.home, &[]);
    let mut batch = edge.batch(0, 1, 1);
    batch.outcomes[1] = "revoked_api_key".into();
    edge.send(&server, &batch).unwrap();
    let began = Instant::now();
    let told = loop {
        let log = edge.home.json(&["audit", "list", "--action", "anomaly."]);
        let told: Vec<Value> = log
            .as_array()
            .unwrap_or_else(|| panic!("{log}"))
            .iter()
            .filter(|r| r["action"] == "anomaly.revoked-key-tried")
            .cloned()
            .collect();
        if !told.is_empty() {
            break told;
        }
        assert!(began.elapsed() < PATIENCE, "it is not told");
        std::thread::sleep(Duration::from_millis(200));
    };
    assert_eq!(told.len(), 1);
    assert_eq!(told[0]["subject"], edge.id.as_str());
    let listed = edge.home.json(&["usage", "anomalies", "--client", "acme"]);
    assert_eq!(listed[0]["rule"], "revoked-key-tried");
    assert_eq!(listed[0]["detail"]["requests"], 1);
}

#[test]
fn usage_is_backed_up_and_restored_and_counts_on() {
    let edge = Edge::new();
    let server = Server::start(&edge.home, &[]);
    edge.send(&server, &edge.batch(0, 1, 9)).unwrap();
    edge.home.ok(&["backup", "kept.db"]);
    assert!(server.stop());
    let home = edge.home.path("home");
    for name in ["store.db", "usage.db"] {
        fs::remove_file(home.join(name)).unwrap();
    }
    edge.home.ok(&["restore", "kept.db"]);
    assert_eq!(edge.requests(), 10);
    let server = Server::start(&edge.home, &[]);
    // Counted before the backup, and after it.
    edge.send(&server, &edge.batch(0, 1, 9)).unwrap();
    edge.send(&server, &edge.batch(0, 2, 1)).unwrap();
    assert_eq!(edge.requests(), 12);
    edge.home.ok(&["master-key", "rotate"]);
    edge.send(&server, &edge.batch(0, 3, 1)).unwrap();
    assert_eq!(edge.requests(), 14);
}

#[test]
fn a_disk_that_is_full_of_something_else_is_a_batch_that_comes_again() {
    let edge = Edge::new();
    // A folder where the file should be: it can be neither made nor written.
    fs::create_dir(edge.home.path("home/usage.db")).unwrap();
    let server = Server::start(&edge.home, &[]);
    let batch = edge.batch(0, 1, 9);
    assert!(edge.send(&server, &batch).is_none());
    // Nothing else stands still for it.
    edge.home.ok(&["key", "revoke", &edge.id]);
    edge.home.ok(&["key", "list"]);
    fs::remove_dir(edge.home.path("home/usage.db")).unwrap();
    edge.send(&server, &batch).unwrap();
    assert_eq!(edge.requests(), 10);
}

#[test]
fn metrics_count_a_batch_that_comes_twice_once() {
    let edge = Edge::new();
    let server = Server::start(&edge.home, &[]);
    let batch = edge.batch(0, 1, 9);
    edge.send(&server, &batch).unwrap();
    edge.send(&server, &batch).unwrap();
    let mut answer = agent()
        .get(format!("{}/metrics", server.url()))
        .call()
        .unwrap();
    let metrics = answer.body_mut().read_to_string().unwrap();
    for line in [
        "keystile_control_usage_requests_total{outcome=\"ok\"} 9",
        "keystile_control_usage_batches_total 1",
        "keystile_control_usage_batches_repeated_total 1",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
}
