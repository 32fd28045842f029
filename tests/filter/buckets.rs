//! What a limit admits: exactly what it says, whoever asks, and whatever happens to policy, keyset and VM meanwhile.

use serde_json::json;

use crate::fixture::{Edge, Store, by_bearer, by_header};
use crate::host::{Process, Request};

mod changes;

/// Asks until refused; how many were admitted.
fn admitted(edge: &mut Edge, request: &Request) -> u64 {
    let mut count = 0;
    while edge.ask(request).passed() {
        count += 1;
        assert!(count < 10_000, "no limit at all");
    }
    count
}

fn retry_after(edge: &mut Edge, request: &Request) -> u64 {
    let answer = edge.ask(request);
    assert_eq!(answer.code(), "rate_limited");
    answer
        .field("retry-after")
        .expect("a 429 has it")
        .parse()
        .expect("whole seconds")
}

#[test]
fn a_limit_of_n_admits_exactly_n_in_one_vm() {
    for (requests, burst) in [(1, 1), (7, 7), (100, 100), (60, 10), (3, 50)] {
        let (store, key) =
            Store::limited(json!([{"requests": requests, "per": "1m", "burst": burst}]));
        let mut edge = Edge::start(&store);
        assert_eq!(admitted(&mut edge, &by_header(&key)), burst);
        assert_eq!(edge.counted("ok"), burst);
        assert_eq!(edge.counted("rate_limited"), 1);
        edge.wait(3600);
        assert_eq!(
            admitted(&mut edge, &by_header(&key)),
            burst,
            "full again, and not fuller"
        );
    }
}

#[test]
fn retry_after_is_exact_to_the_second() {
    for (requests, per, burst, cost) in [
        (1, "1m", 1, 1),
        (100, "1m", 100, 1),
        (60, "1m", 10, 1),
        (7, "1h", 3, 2),
        (3, "1s", 3, 1),
        (5, "1d", 5, 5),
    ] {
        let (store, key) =
            Store::limited(json!([{"requests": requests, "per": per, "burst": burst}]));
        let store = store.set("routes", json!([{"path": "/plain", "cost": cost}]));
        let mut edge = Edge::start(&store);
        let request = by_header(&key);
        for _ in 0..5 {
            admitted(&mut edge, &request);
            let seconds = retry_after(&mut edge, &request);
            assert!(seconds >= 1);
            edge.wait(seconds - 1);
            if seconds > 1 {
                assert_eq!(
                    edge.ask(&request).code(),
                    "rate_limited",
                    "one second early"
                );
            }
            edge.wait(1);
            assert_eq!(
                edge.ask(&request).code(),
                "ok",
                "{requests} per {per}, burst {burst}, after {seconds} s"
            );
        }
    }
}

#[test]
fn the_wall_clock_does_not_fill_a_bucket() {
    let (store, key) = Store::limited(json!([{"requests": 1, "per": "1m"}]));
    let mut edge = Edge::start(&store);
    assert_eq!(edge.code(&key), "ok");
    edge.set_wall(crate::fixture::NOW + 86_400);
    assert_eq!(edge.code(&key), "rate_limited");
    edge.set_wall(0);
    assert_eq!(edge.code(&key), "rate_limited");
}

#[test]
fn a_dear_request_takes_what_it_costs() {
    let mut store = Store::new();
    let key = store.issue_as("acme", |row| {
        row.plan = Some("free".to_owned());
        row.scopes = vec!["read:users".to_owned(), "write:users".to_owned()];
    });
    let mut edge = Edge::start(&store);
    assert_eq!(edge.ask(&by_bearer("PUT", "/users/7", &key)).code(), "ok");
    assert_eq!(
        admitted(&mut edge, &by_bearer("GET", "/users/7", &key)),
        5,
        "a burst of 10, and 5 gone"
    );
    edge.wait(4);
    assert_eq!(
        edge.ask(&by_bearer("PUT", "/users/7", &key)).code(),
        "rate_limited",
        "4 are not 5"
    );
    assert_eq!(admitted(&mut edge, &by_bearer("GET", "/users/7", &key)), 4);
}

#[test]
fn several_limits_are_taken_together_or_not_at_all() {
    let limits = json!([{"requests": 3, "per": "1s"}, {"requests": 5, "per": "1h"}, {"requests": 4, "per": "1h", "by": "client"}]);
    let (store, key) = Store::limited(limits);
    let mut edge = Edge::start(&store);
    assert_eq!(admitted(&mut edge, &by_header(&key)), 3);
    let before = edge.buckets();
    assert_eq!(before.len(), 2, "the key's and the client's");
    for _ in 0..10 {
        assert_eq!(edge.code(&key), "rate_limited");
    }
    assert_eq!(edge.buckets(), before, "a refusal takes nothing");
    edge.wait(1);
    assert_eq!(
        admitted(&mut edge, &by_header(&key)),
        1,
        "the fourth of the client's 4 in an hour"
    );
    edge.wait(1);
    let (before, longest) = (edge.buckets(), retry_after(&mut edge, &by_header(&key)));
    assert_eq!(edge.buckets(), before);
    assert!(
        longest > 500,
        "the limit that makes one wait longest: {longest} s"
    );
}

#[test]
fn refusals_for_other_reasons_take_nothing_either() {
    let mut store = Store::new();
    let plan = |row: &mut keystile_core::keyset::KeyRow| row.plan = Some("free".to_owned());
    let key = store.issue_as("acme", plan);
    let mut edge = Edge::start(&store);
    for request in [
        by_bearer("GET", "/users/7", &key),
        by_bearer("GET", "/nowhere", &key),
        by_bearer("GET", "/files;/b", &key),
        by_header("hunter2"),
        Request::get("/healthz").header("x-api-key", &key),
    ] {
        edge.ask(&request);
    }
    assert_eq!(edge.buckets(), []);
    assert_eq!(admitted(&mut edge, &by_header(&key)), 10);
}

/// Costs that reach above the half of a bucket, so that requests are refused while a lease is held.
#[test]
fn a_refused_request_leaves_the_lease_of_its_worker_as_it_is() {
    let (store, key) = Store::limited(json!([{"requests": 100, "per": "1s", "burst": 1000}]));
    let routes = json!([{"path": "/cheap"}, {"path": "/export", "cost": 990}]);
    let mut edge = Edge::start(&store.set("routes", routes));
    let cheap = by_header(&key).with(":path", "/cheap");
    let export = by_header(&key).with(":path", "/export");
    let mut tokens = 0;
    for _ in 0..500 {
        tokens += (0..13).filter(|_| edge.ask(&cheap).passed()).count() as u64;
        tokens += 990 * u64::from(edge.ask(&export).passed());
        tokens += (0..13).filter(|_| edge.ask(&cheap).passed()).count() as u64;
        let step = std::time::Duration::from_millis(10);
        edge.process.borrow_mut().advance(step);
    }
    assert!((1_400..=1_500).contains(&tokens), "{tokens}");
}

#[test]
fn each_key_has_a_bucket_of_its_own_unless_the_limit_is_the_clients() {
    for (by, expected) in [("key", 5), ("client", 0)] {
        let (mut store, key) = Store::limited(json!([{"requests": 5, "per": "1m", "by": by}]));
        let on_plan = |row: &mut keystile_core::keyset::KeyRow| row.plan = Some("p".to_owned());
        let sibling = store.issue_as("acme", on_plan);
        let stranger = store.issue_as("beta", on_plan);
        let mut edge = Edge::start(&store);
        assert_eq!(admitted(&mut edge, &by_header(&key)), 5);
        assert_eq!(
            admitted(&mut edge, &by_header(&sibling)),
            expected,
            "by {by}"
        );
        assert_eq!(
            admitted(&mut edge, &by_header(&stranger)),
            5,
            "clients are apart"
        );
    }
}

#[test]
fn a_rotated_key_goes_on_with_the_bucket_of_the_old_one() {
    let (mut store, old) = Store::limited(json!([{"requests": 5, "per": "1m"}]));
    let mut edge = Edge::start(&store);
    assert_eq!([edge.code(&old), edge.code(&old)], ["ok", "ok"]);
    let lineage = store.row(&old).lineage;
    let new = store.issue_as("acme", |row| {
        (row.plan, row.lineage) = (Some("p".to_owned()), lineage)
    });
    edge.push(store.change(|_| {}));
    assert_eq!(edge.code(&new), "ok");
    assert_eq!(edge.code(&old), "ok");
    assert_eq!(admitted(&mut edge, &by_header(&new)), 1);
    assert_eq!(edge.code(&old), "rate_limited");
    assert_eq!(edge.buckets().len(), 1);
}

#[test]
fn limits_of_a_key_replace_those_of_its_plan() {
    let (mut store, key) = Store::limited(json!([{"requests": 100, "per": "1m"}]));
    let raw = serde_json::from_value(json!({"requests": 2, "per": "1m"})).unwrap();
    store.row(&key).limits = keystile_core::policy::checked_limits("limits", &[raw]).unwrap();
    let mut edge = Edge::start(&store);
    assert_eq!(admitted(&mut edge, &by_header(&key)), 2);
    assert_eq!(
        edge.ask(&by_header(&key))
            .field("ratelimit-policy")
            .as_deref(),
        Some("\"@key\";q=2;w=60")
    );
}

#[test]
fn responses_carry_the_fields_where_the_policy_wants_them_always() {
    let (store, key) = Store::limited(json!([{"requests": 5, "per": "1m"}]));
    let upstream =
        crate::host::Headers::new(&[(":status", "200"), ("ratelimit", "\"mine\";r=99;t=1")]);
    for (wanted, expected) in [
        ("refused", "\"mine\";r=99;t=1"),
        ("always", "\"p\";r=4;t=12"),
    ] {
        let store = store.clone().set("rate_limit_fields", json!(wanted));
        let mut edge = Edge::start(&store);
        let (_, response) = edge.vm.exchange(edge.root, &by_header(&key), &upstream);
        let fields: Vec<_> = response.all("ratelimit").collect();
        assert_eq!(fields, [expected.as_bytes()], "{wanted}");
    }
}

#[test]
fn stores_do_not_share_buckets() {
    let (store, key) = Store::limited(json!([{"requests": 2, "per": "1m"}]));
    let mut other = store.clone();
    other.id = keystile_core::keyset::StoreId(*b"another!");
    let process = Process::new();
    let (mut a, mut b) = (
        Edge::beside(&process, &store),
        Edge::beside(&process, &other),
    );
    assert_eq!(
        (
            admitted(&mut a, &by_header(&key)),
            admitted(&mut b, &by_header(&key))
        ),
        (2, 2)
    );
}
