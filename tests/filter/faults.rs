//! Every hostcall that a request makes, failing in every way: no request passes that should not, and the VM lives on.

use serde_json::json;

use crate::fixture::{Answer, Edge, NOW, Store, by_bearer, by_header, network};
use crate::host::{Fault, Outcome, Request, Status};

const STATUSES: [Status; 9] = [
    Status::NotFound,
    Status::BadArgument,
    Status::SerializationFailure,
    Status::ParseFailure,
    Status::InvalidMemoryAccess,
    Status::Empty,
    Status::CasMismatch,
    Status::InternalFailure,
    Status::Unimplemented,
];

/// A policy that makes a request ask for all there is: address, TLS, buckets of plan and route.
fn store() -> (Store, String) {
    let mut store = Store::with(json!({
        "require_tls": true,
        "rate_limit_fields": "always",
        "credentials": [{"header": "x-api-key"}, {"query": "api_key"}],
        "plans": {"p": {"limits": [{"requests": 1, "per": "1m"}, {"requests": 5, "per": "1h", "by": "client"}]}},
        "routes": [
            {"path": "/healthz", "auth": "none"},
            {"path": "/maybe", "auth": "optional"},
            {"path": "/plain", "scopes": ["s"], "limit": {"requests": 3, "per": "1s"}},
        ],
    }));
    let key = store.issue_as("acme", |row| {
        row.plan = Some("p".to_owned());
        row.scopes = vec!["s".to_owned()];
        row.allow = vec![network("192.0.2.0/24")];
        row.expires = Some(NOW + 1000);
    });
    (store, key)
}

/// A fresh Envoy for a request, with `prepare` done to it first.
fn fresh(store: &Store, prepare: &dyn Fn(&mut Edge)) -> Edge {
    let mut edge = Edge::start(store);
    prepare(&mut edge);
    edge.process.borrow_mut().calls.clear();
    edge
}

/// Lets each call of the request fail with each status, and hands every answer to `check`.
fn sweep(
    store: &Store,
    request: &Request,
    prepare: &dyn Fn(&mut Edge),
    check: &dyn Fn(&str, &Answer),
) {
    let mut edge = fresh(store, prepare);
    edge.ask(request);
    let calls = edge.process.borrow().calls.clone();
    assert!(calls.values().sum::<u64>() > 3, "{calls:?}");
    for (name, count) in calls {
        for skip in 0..u32::try_from(count).unwrap() {
            for status in STATUSES {
                for times in [1, u32::MAX] {
                    let mut edge = fresh(store, prepare);
                    let fault = Fault {
                        status,
                        skip,
                        times,
                    };
                    edge.process.borrow_mut().fail.insert(name.clone(), fault);
                    let answer = edge.ask(request);
                    let what = format!("{name} number {skip}: {status:?}, {times} times");
                    assert!(
                        !matches!(answer.outcome, Outcome::Trapped(_)),
                        "{what}: {:?}",
                        answer.outcome
                    );
                    check(&what, &answer);
                    edge.process.borrow_mut().fail.clear();
                    let next = edge.ask(&Request::get("/nowhere"));
                    assert!(
                        matches!(next.outcome, Outcome::Reply(_)),
                        "{what}: the VM lives on"
                    );
                }
            }
        }
    }
}

fn never_passes(what: &str, answer: &Answer) {
    assert!(!answer.passed(), "{what}");
    assert!(!answer.passes_guard(), "{what}");
}

fn over_tls(request: Request) -> Request {
    request.property(&["connection", "tls_version"], "TLSv1.3")
}

#[test]
fn a_request_without_a_valid_key_never_passes_whatever_fails() {
    let (mut store, good) = store();
    let revoked = store.issue_as("acme", |row| row.revoked = true);
    let scopeless = store.issue("acme");
    let elsewhere = store.issue_as("acme", |row| {
        row.scopes = vec!["s".to_owned()];
        row.deny = vec![network("192.0.2.0/24")];
    });
    for request in [
        Request::get("/plain"),
        by_header("hunter2"),
        by_header(&revoked),
        by_header(&scopeless),
        by_header(&elsewhere),
        Request::get("/nowhere").header("x-api-key", &good),
        Request::get("/plain?api_key=hunter2").header("x-keystile-client", "root"),
        by_header(&good).header("x-api-key", &revoked),
    ] {
        sweep(&store, &over_tls(request), &|_| {}, &never_passes);
    }
    sweep(&store, &by_header(&good), &|_| {}, &never_passes);
}

#[test]
fn a_used_up_limit_stays_used_up_whatever_fails() {
    let (store, key) = store();
    let request = over_tls(by_header(&key));
    let spend = |edge: &mut Edge| assert!(edge.ask(&request).passed());
    sweep(&store, &request, &spend, &never_passes);
}

#[test]
fn an_expired_key_and_a_stale_keyset_stay_so_whatever_fails() {
    let (mut store, key) = store();
    let request = over_tls(by_header(&key));
    sweep(&store, &request, &|edge| edge.wait(1000), &never_passes);
    store = store.set("not_after", json!("5m"));
    sweep(&store, &request, &|edge| edge.wait(240), &never_passes);
}

#[test]
fn a_valid_key_passes_as_itself_or_is_refused_whatever_fails() {
    let (mut store, key) = store();
    let id = store.row(&key).id.to_string();
    let spoofed = |request: Request| {
        let request = request
            .header("x-keystile-client", "root")
            .header("x_keystile_key", "root");
        over_tls(request.header("x-keystile-scopes", "root"))
    };
    let in_query = Request::get(&format!("/plain?api_key={key}&a=b"));
    for request in [
        spoofed(by_header(&key)),
        spoofed(in_query),
        spoofed(by_header(&key).with(":path", "/maybe")),
    ] {
        sweep(&store, &request, &|_| {}, &|what, answer| {
            if !answer.passed() {
                assert!(!answer.passes_guard(), "{what}");
                return;
            }
            let headers = format!("{:?}", answer.headers);
            assert!(!headers.contains("root"), "{what}: {headers}");
            assert!(!headers.contains(&key), "{what}: {headers}");
            assert_eq!(answer.state("client").as_deref(), Some("acme"), "{what}");
            let told = ["client", "key", "scopes"]
                .map(|name| answer.headers.get(&format!("x-keystile-{name}")));
            assert_eq!(
                told,
                ["acme", &id, "s"].map(|text| Some(text.to_owned())),
                "{what}"
            );
        });
    }
}

#[test]
fn an_anonymous_request_passes_as_nobody_or_is_refused_whatever_fails() {
    let (store, key) = store();
    for path in ["/healthz", "/maybe"] {
        let mut request = Request::get(path).header("x-keystile-client", "root");
        if path == "/healthz" {
            request = request.header("x-api-key", &key);
        }
        sweep(&store, &over_tls(request), &|_| {}, &|what, answer| {
            if !answer.passed() {
                assert!(!answer.passes_guard(), "{what}");
                return;
            }
            assert_eq!(
                answer.state("client").as_deref(),
                Some("-"),
                "{path}: {what}"
            );
            assert_eq!(
                answer.headers.get("x-keystile-client"),
                None,
                "{path}: {what}"
            );
            assert_eq!(answer.headers.get("x-api-key"), None, "{path}: {what}");
        });
    }
}

#[test]
fn a_second_pass_is_let_in_as_itself_or_refused_whatever_fails() {
    let (store, key) = store();
    let request = over_tls(by_header(&key));
    let first = Edge::start(&store).ask(&request);
    let second = request.redirected(&first.outcome, "/plain");
    sweep(&store, &second, &|_| {}, &|what, answer| {
        if answer.passed() {
            assert_eq!(
                answer.headers.get("x-keystile-client").as_deref(),
                Some("acme"),
                "{what}"
            );
        }
    });
    let nobody = over_tls(Request::get("/maybe"));
    let first = Edge::start(&store).ask(&nobody);
    sweep(
        &store,
        &nobody.redirected(&first.outcome, "/plain"),
        &|_| {},
        &|what, answer| {
            assert!(!answer.passed(), "{what}");
        },
    );
}

#[test]
fn without_any_hostcall_at_all_everything_is_refused() {
    let (store, key) = store();
    let mut edge = Edge::start(&store);
    let request = over_tls(by_bearer("GET", "/plain", &key));
    edge.ask(&request);
    let names: Vec<String> = edge.process.borrow().calls.keys().cloned().collect();
    for name in names {
        edge.process
            .borrow_mut()
            .fail_next(&name, Status::InternalFailure, u32::MAX);
    }
    for request in [request, over_tls(by_header(&key)), Request::get("/healthz")] {
        let (_, outcome) = edge.vm.open(edge.root, &request);
        assert_eq!(outcome, Outcome::Paused, "not even a reply can be sent");
    }
}
