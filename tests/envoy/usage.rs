//! What real Envoys tell of their requests, added up as a control plane would: exactly what was sent. And quotas, from
//! what one Envoy counts and what it hears of the others.

use crate::fixture::{Keys, id};
use crate::support::Request;
use crate::support::{Envoy, Reply, Seen, Setup, Upstream, burst, count, eventually, get};
use keystile_core::keyset::SigningKeys;
use keystile_core::report::message::{KID_HEADER, SIGNATURE_HEADER};
use keystile_core::report::usage::{Batch, PATH, QuotaUse, Receipt, open_batch, seal_receipt};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A day that does not end while the test runs.
fn policy(requests: u64) -> String {
    let hour = (crate::fixture::now() / 3600 + 12) % 24;
    format!(
        "
version: 1
report: {{ cluster: control, every: 1s, address: full, agent: true }}
rate_limit_fields: always
plans:
  daily: {{ quota: {{ requests: {requests}, per: day, rolls_over: {{ hour: {hour} }} }} }}
routes:
  - {{ path: /healthz, auth: none }}
  - {{ path: \"/v1/{{*rest}}\", methods: [GET] }}
  - {{ path: /closed, scopes: [s] }}
"
    )
}

/// The control plane's side: each batch once, by who sent it and its number.
#[derive(Default)]
struct Books {
    batches: BTreeMap<(String, u64, u32, u64, u64), Batch>,
    repeated: usize,
    /// The window that quotas are counted in.
    window: u64,
    /// Batches arrive, and receipts do not.
    deaf: bool,
}

impl Books {
    fn take(&mut self, batch: Batch) -> Receipt {
        let b = &batch;
        let name = (b.node.clone(), b.epoch, b.vm, b.claimed, b.seq);
        let mut receipt = Receipt {
            node: b.node.clone(),
            epoch: b.epoch,
            vm: b.vm,
            claimed: b.claimed,
            seq: b.seq,
            quotas: Vec::new(),
        };
        let (node, epoch) = (b.node.clone(), b.epoch);
        let keys: Vec<String> = b.keys.iter().map(|k| k.id.clone()).collect();
        if let Some(before) = self.batches.insert(name, batch) {
            self.repeated += 1;
            let again = self.batches.values().any(|b| *b == before);
            assert!(again, "what is sent again is the same");
        }
        for lineage in keys {
            let others = self.batches.values();
            let others = others.filter(|b| (&b.node, b.epoch) != (&node, epoch));
            let others = others
                .flat_map(rows)
                .filter(|((k, _, outcome), _)| k.as_deref() == Some(&lineage) && outcome == "ok");
            receipt.quotas.push(QuotaUse {
                window: self.window,
                others: others.map(|(_, n)| n).sum(),
                given_back: 0,
                lineage,
            });
        }
        receipt
    }

    fn sums(&self) -> Sums {
        let mut sums = Sums::new();
        for (row, n) in self.batches.values().flat_map(rows) {
            *sums.entry(row).or_default() += n;
        }
        sums
    }
}

type Name = (Option<String>, Option<String>, String);
type Sums = BTreeMap<Name, u64>;

fn rows(batch: &Batch) -> Vec<(Name, u64)> {
    let row = |row: &keystile_core::report::usage::Row| {
        let key = row.key.map(|i| batch.keys[i as usize].id.clone());
        let route = row.route.map(|i| batch.routes[i as usize].clone());
        let outcome = batch.outcomes[row.outcome as usize].clone();
        ((key, route, outcome), row.requests)
    };
    batch.rows.iter().map(row).collect()
}

/// Answers reports with silence and batches with receipts.
fn answer(books: &Mutex<Books>, keys: &SigningKeys, seen: &Seen) -> Reply {
    let empty = |status| Reply {
        status,
        headers: Vec::new(),
        body: Vec::new(),
    };
    if seen.path != PATH {
        return empty(204);
    }
    let header = |name| seen.header(name)[0].to_owned();
    let batch = open_batch(
        &seen.body,
        &header(KID_HEADER),
        &header(SIGNATURE_HEADER),
        keys,
    );
    let mut books = books.lock().unwrap();
    let receipt = books.take(batch.unwrap());
    if books.deaf {
        return empty(503);
    }
    let sealed = seal_receipt(&receipt, keys).unwrap();
    Reply {
        status: 200,
        headers: vec![(KID_HEADER, sealed.kid), (SIGNATURE_HEADER, sealed.tag)],
        body: sealed.body,
    }
}

fn serve(listener: TcpListener, books: &Arc<Mutex<Books>>, keys: SigningKeys) -> Upstream {
    let books = Arc::clone(books);
    Upstream::listening(listener, move |seen| answer(&books, &keys, seen))
}

fn setup(upstream: &Upstream, control: SocketAddr, node: &str) -> Setup {
    let setup = Setup::ecds(upstream).control(control);
    setup.edit("{id: keystile,", &format!("{{id: {node},"))
}

/// Waits until what arrived is what was sent.
fn equals(books: &Mutex<Books>, sent: &Sums) {
    let mut last = Sums::new();
    let same = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        eventually("the books to be right", || {
            last = books.lock().unwrap().sums();
            (last == *sent).then_some(())
        });
    }));
    assert!(same.is_ok(), "sent {sent:?}\ntold {last:?}");
}

#[test]
fn what_is_told_is_exactly_what_was_sent_though_the_control_plane_is_away_and_receipts_get_lost() {
    let upstream = Upstream::start();
    let mut keys = Keys::new(&policy(1_000_000));
    let all: Vec<String> = (0..3).map(|_| keys.issue_on("acme", "daily")).collect();
    keys.change(&all[2]).revoked = true;
    // Nobody listens there yet.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let envoy = keys.start_on(setup(&upstream, address, "edge-1"));
    let books = Arc::new(Mutex::new(Books::default()));

    let mut sent = Sums::new();
    let mut round = |envoy: &Envoy, n: usize| {
        for (request, name) in sorts(&all) {
            let request = request.header("user-agent", "the tests");
            let answers = burst(envoy.address(), 6, n, &request);
            let name = (name.0, name.1, name.2.to_owned());
            *sent.entry(name).or_default() += answers.len() as u64;
        }
    };
    round(&envoy, 5);
    eventually("Envoy to notice that nobody listens", || {
        envoy
            .log()
            .contains("usage for cluster `control`")
            .then_some(())
    });
    round(&envoy, 3);
    // A push meanwhile: every root context is a new one.
    keys.change(&all[1]).origins.clear();
    keys.push(&envoy);
    round(&envoy, 2);

    books.lock().unwrap().deaf = true;
    let listener = TcpListener::bind(address).unwrap();
    let _control = serve(listener, &books, keys.accepted());
    eventually("a batch to come twice", || {
        (books.lock().unwrap().repeated > 0).then_some(())
    });
    round(&envoy, 4);
    books.lock().unwrap().deaf = false;
    equals(&books, &sent);
    eventually("Envoy to have every receipt", || {
        let waiting: u64 = envoy.stats("usage_waiting_batches").values().sum();
        (waiting == 0).then_some(())
    });
    let books = books.lock().unwrap();
    assert_eq!(books.sums(), sent);
    let vms: BTreeSet<u32> = books.batches.values().map(|b| b.vm).collect();
    assert_eq!(vms.len(), 2, "both workers");
    let epochs: BTreeSet<u64> = books.batches.values().map(|b| b.epoch).collect();
    assert_eq!(epochs.len(), 1);
    for key in books.batches.values().flat_map(|b| &b.keys) {
        assert_eq!(key.address.as_deref(), Some("127.0.0.1"));
        assert_eq!(key.agent.as_deref(), Some("the tests"));
    }
    assert_eq!(envoy.stats("usage_dropped").values().sum::<u64>(), 0);
    println!(
        "{} requests in {} batches, {} of them sent more than once",
        sent.values().sum::<u64>(),
        books.batches.len(),
        books.repeated
    );
}

/// The key, the route and the outcome that a request counts under.
type Counts = (Option<String>, Option<String>, &'static str);

/// One request of each sort.
fn sorts(all: &[String]) -> Vec<(Request, Counts)> {
    let key = |i: usize| Some(id(&all[i]).to_string());
    let v1 = || Some("GET /v1/{*rest}".to_owned());
    vec![
        (get("/v1/a").bearer(&all[0]), (key(0), v1(), "ok")),
        (get("/v1/a").bearer(&all[1]), (key(1), v1(), "ok")),
        (
            get("/v1/b").bearer(&all[2]),
            (key(2), v1(), "revoked_api_key"),
        ),
        (
            get("/closed").bearer(&all[0]),
            (key(0), Some("/closed".into()), "insufficient_scope"),
        ),
        (get("/v1/a"), (None, v1(), "missing_api_key")),
        (get("/healthz"), (None, Some("/healthz".into()), "ok")),
        (get("/nowhere"), (None, None, "route_denied")),
    ]
}

#[test]
fn a_quota_is_exact_over_the_workers_of_one_envoy_and_bounded_over_two() {
    let upstream = Upstream::start();
    let mut keys = Keys::new(&policy(100));
    let [alone, shared] = [0; 2].map(|_| keys.issue_on("acme", "daily"));
    let books = Arc::new(Mutex::new(Books::default()));
    let quota = keystile_core::limit::quota::Quota::new(
        keys.content.policy.plans["daily"].quota.as_ref().unwrap(),
        &keys.content.zones,
    );
    books.lock().unwrap().window = quota.unwrap().window(crate::fixture::now()).unwrap().start;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let _control = serve(listener, &books, keys.accepted());
    let envoys = ["edge-1", "edge-2"].map(|node| keys.start_on(setup(&upstream, address, node)));

    let answers = burst(envoys[0].address(), 40, 5, &get("/v1/a").bearer(&alone));
    assert_eq!((count(&answers, 200), count(&answers, 429)), (100, 100));
    let refused = answers.iter().find(|a| a.status == 429).unwrap();
    assert_eq!(refused.code().as_deref(), Some("quota_exceeded"));
    assert!(
        refused
            .header("ratelimit-policy")
            .unwrap()
            .starts_with("\"daily-quota\";q=100;w=86400")
    );

    let ask = || get("/v1/a").bearer(&shared);
    let first = count(&burst(envoys[0].address(), 20, 3, &ask()), 200);
    assert_eq!(first, 60);
    // The second lets through, one by one, until it hears of the sixty.
    let mut second = 0;
    eventually("the second Envoy to hear of the first", || {
        let answer = envoys[1].send(&ask());
        assert_eq!(answer.status, 200);
        second += 1;
        std::thread::sleep(Duration::from_millis(150));
        let left = answer.header("ratelimit")?.split(';').nth(1)?;
        let left: usize = left.strip_prefix("r=")?.parse().ok()?;
        // Of one worker first, and then of the other.
        (left + second == 40).then_some(())
    });
    second += count(&burst(envoys[1].address(), 20, 10, &ask()), 200);
    assert_eq!(first + second, 100, "from what it has heard, exactly");
    // The first knows only its own until it is told, which takes a period and the way of the receipt.
    let mut beyond = 0;
    eventually("the first Envoy to hear of the second", || {
        let answer = envoys[0].send(&ask());
        std::thread::sleep(Duration::from_millis(200));
        match answer.status {
            200 => beyond += 1,
            _ => return Some(()),
        }
        None
    });
    println!("{beyond} beyond a quota of 100, at five a second, with a period of one second");
    // Had it not heard, its own count would have let forty through.
    assert!(beyond < 40, "{beyond}");
    for envoy in &envoys {
        assert_eq!(count(&burst(envoy.address(), 10, 2, &ask()), 200), 0);
    }
}
