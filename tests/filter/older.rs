//! An older keyset, pushed again or to a listener that is added later, lets in only what its policy and the newest one
//! both allow, whatever a policy can narrow.

use serde_json::{Value, json};

use crate::fixture::{Answer, Edge, Store, by_header};
use crate::host::{Process, Request};

mod limits;

/// The same store twice, the second version with another policy: these fields differ.
fn versions(old: &Store, fields: &[(&str, Value)]) -> Store {
    let mut new = old.clone();
    new.change(|store| {
        for (field, value) in fields {
            store.policy[*field] = value.clone();
        }
    });
    new
}

/// A process whose one listener has the newest keyset and has decided a request, and is given the older one again
/// (`replaced`), or beside which a listener with the older one is added.
fn stepped_back(old: &Store, new: &Store, replaced: bool) -> Edge {
    let mut edge = Edge::start(new);
    edge.tick();
    edge.ask(&Request::get("/nowhere"));
    match replaced {
        true => edge.push(old),
        false => _ = edge.add(old),
    }
    edge.wait(1);
    edge.tick();
    edge
}

fn admitted(edge: &mut Edge, key: &str, tries: usize) -> usize {
    (0..tries).filter(|_| edge.code(key) == "ok").count()
}

fn limits(requests: u64) -> Value {
    json!({"p": {"limits": [{"requests": requests, "per": "1d"}]}})
}

fn publishable(old: &mut Store) -> String {
    old.issue_as("web", |row| {
        row.publishable = true;
        row.origins = vec!["https://a.example".to_owned()];
        row.scopes = vec!["read".to_owned(), "write".to_owned()];
    })
}

#[test]
fn the_upstream_is_told_the_scopes_that_both_leave() {
    for (older, newest) in [
        (json!(["read", "write"]), json!(["read"])),
        (json!(["read"]), json!(["read", "write"])),
    ] {
        for modes in [
            ["enforce", "enforce"],
            ["shadow", "enforce"],
            ["enforce", "shadow"],
        ] {
            let mut old = Store::with(json!({"routes": [{"path": "/plain"}]}));
            old.policy["publishable"] = json!({"scopes": older});
            old.policy["mode"] = json!(modes[0]);
            let key = publishable(&mut old);
            let secret = old.issue_as("acme", |row| {
                row.scopes = vec!["read".to_owned(), "write".to_owned()];
            });
            let new = versions(
                &old,
                &[
                    ("publishable", json!({"scopes": newest})),
                    ("mode", json!(modes[1])),
                ],
            );
            let mut edge = stepped_back(&old, &new, true);
            let mut told = |key: &str| {
                let request = by_header(key).header("origin", "https://a.example");
                let answer = edge.ask(&request);
                assert_eq!(answer.code(), "ok");
                answer.headers.get("x-keystile-scopes")
            };
            assert_eq!(told(&key).as_deref(), Some("read"), "{older} {modes:?}");
            assert_eq!(told(&secret).as_deref(), Some("read write"));
        }
    }
}

/// Policies that look for keys in different places.
fn two_places() -> (Store, Store, [String; 2]) {
    let mut old = Store::with(json!({
        "credentials": [{"header": "x-old"}, {"query": "old"}, {"cookie": "old"}],
        "routes": [{"path": "/plain"}],
    }));
    let keys = [old.issue("acme"), old.issue("beta")];
    let new = versions(
        &old,
        &[
            (
                "credentials",
                json!([{"header": "x-new"}, {"query": "new"}, {"cookie": "new"}]),
            ),
            (
                "identity",
                json!({"client": "x-caller", "key": "x-caller-key", "scopes": ""}),
            ),
        ],
    );
    (old, new, keys)
}

fn no_trace_of(answer: &Answer, key: &str) {
    let arrived = format!("{:?}", answer.headers);
    let path = answer.headers.get(":path").unwrap_or_default();
    assert!(!path.contains(key), "{path}");
    let secret = &key[8..];
    for name in ["x-old", "x-new", "cookie"] {
        let value = answer.headers.get(name).unwrap_or_default();
        assert!(!value.contains(secret), "{name} of {arrived}");
    }
}

#[test]
fn both_find_the_same_key_and_what_either_takes_out_arrives_nowhere() {
    let (old, new, [key, other]) = two_places();
    let mut edge = stepped_back(&old, &new, true);
    let mut ask = |request: &Request| edge.ask(request);
    let plain = || Request::get("/plain");
    let missing = "missing_api_key";
    assert_eq!(ask(&plain().header("x-old", &key)).code(), missing);
    assert_eq!(ask(&plain().header("x-new", &key)).code(), missing);
    let differing = plain().header("x-old", &key).header("x-new", &other);
    assert_eq!(ask(&differing).code(), "multiple_api_keys");
    for request in [
        plain().header("x-old", &key).header("x-new", &key),
        Request::get(&format!("/plain?new={key}&a=b&old={key}")),
        plain().header("cookie", format!("a=b; old={key}; new={key}")),
    ] {
        let request = request
            .header("x-caller", "root")
            .header("X_Caller-Key", "1");
        let answer = ask(&request.header("x-keystile-client", "root"));
        assert_eq!(answer.code(), "ok");
        no_trace_of(&answer, &key);
        let told = ["x-keystile-client", "x-caller", "x_caller-key"];
        let told = told.map(|name| answer.headers.get(name));
        assert_eq!(told, [Some("acme".to_owned()), None, None]);
    }
    // Access logs print the path of what is refused.
    let refused = ask(&Request::get(&format!("/plain?new={key}&old={other}")));
    assert_eq!(refused.code(), "multiple_api_keys");
    assert_eq!(refused.headers.get(":path").as_deref(), Some("/plain"));
}

/// What the caller says of itself under the name that the other policy's upstream believes.
#[test]
fn in_shadow_mode_of_either_no_identity_of_the_caller_arrives() {
    for modes in [
        ["shadow", "enforce"],
        ["enforce", "shadow"],
        ["shadow", "shadow"],
    ] {
        let (mut old, mut new, [key, _]) = two_places();
        old.policy["mode"] = json!(modes[0]);
        new.policy["mode"] = json!(modes[1]);
        let mut edge = stepped_back(&old, &new, true);
        let request = Request::get("/plain")
            .header("x-old", &key)
            .header("x-new", &key);
        let answer = edge.ask(
            &request
                .header("x-caller", "root")
                .header("x-keystile-client", "root"),
        );
        assert_eq!(answer.code(), "ok");
        for name in ["x-caller", "x-keystile-client"] {
            assert_ne!(
                answer.headers.get(name).as_deref(),
                Some("root"),
                "{modes:?}"
            );
        }
    }
}

/// The older policy asks for a key, the newest looks at none, or the other way round.
#[test]
fn an_identity_that_one_of_both_does_not_ask_for_is_not_told() {
    for (older, newest) in [("required", "none"), ("none", "required")] {
        let (mut old, key) = Store::small();
        old.policy["routes"] = json!([{"path": "/plain", "auth": older}]);
        let new = versions(
            &old,
            &[("routes", json!([{"path": "/plain", "auth": newest}]))],
        );
        let mut edge = stepped_back(&old, &new, true);
        let mut ask = |request: &Request| edge.ask(request);
        assert_eq!(ask(&Request::get("/plain")).code(), "missing_api_key");
        let request = by_header(&key).header("x-http-method-override", "DELETE");
        let answer = ask(&request.header("x-original-url", "/plain"));
        assert_eq!(answer.code(), "ok");
        assert_eq!(answer.headers.get("x-keystile-client"), None);
        assert_eq!(answer.headers.get("x-http-method-override"), None);
        assert_eq!(answer.headers.get("x-original-url"), None);
        no_trace_of(&answer, &key);
        assert!(answer.passes_guard());
    }
}

/// Headers that lead to another rule by either policy.
#[test]
fn overrides_are_judged_by_both() {
    let open = json!([{"path": "/{*rest}", "auth": "none"}]);
    let strict = json!([
        {"path": "/{*rest}", "methods": ["DELETE"]},
        {"path": "/{*rest}", "hosts": ["corp"]},
        {"path": "/{*rest}", "auth": "none"},
    ]);
    for (older, newest) in [(&open, &strict), (&strict, &open)] {
        let (mut old, _) = Store::small();
        old.policy["routes"] = older.clone();
        let new = versions(&old, &[("routes", newest.clone())]);
        let mut edge = stepped_back(&old, &new, true);
        let request = Request::get("/x").header("x-http-method-override", "DELETE");
        let answer = edge.ask(&request.header("x-forwarded-host", "corp"));
        assert_eq!(answer.code(), "ok");
        assert_eq!(answer.headers.get("x-http-method-override"), None);
        assert_eq!(answer.headers.get("x-forwarded-host"), None);
    }
}

#[test]
fn what_envoy_is_asked_is_what_either_policy_wants_to_know() {
    let spiffe = "spiffe://example.org/billing";
    let mut old =
        Store::with(json!({"routes": [{"path": "/plain"}], "client_certificates": "presented"}));
    let key = old.issue_as("acme", |row| row.certificates = vec![spiffe.to_owned()]);
    let new = versions(
        &old,
        &[
            ("client_certificates", json!("validated")),
            ("require_tls", json!(true)),
            (
                "routes",
                json!([{"path": "/plain", "virtual_hosts": ["corp"]}]),
            ),
        ],
    );
    let presented = by_header(&key)
        .property(&["connection", "mtls"], [1])
        .property(&["connection", "uri_san_peer_certificate"], spiffe)
        .property(&["connection", "tls_version"], "TLSv1.3")
        .property(&["xds", "virtual_host_name"], "corp");
    let valid = presented
        .clone()
        .property(&["connection", "peer_certificate_valid"], [1]);
    for (older, newest) in [(&old, &new), (&new, &old)] {
        let (mut older, mut newest) = (older.clone(), newest.clone());
        (older.version, newest.version) = (1, 2);
        let mut edge = stepped_back(&older, &newest, true);
        assert_eq!(edge.ask(&presented).code(), "certificate_denied");
        assert_eq!(edge.ask(&valid).code(), "ok");
        let plain = valid.clone().property(&["connection", "tls_version"], "");
        assert_eq!(edge.ask(&plain).code(), "tls_required");
        let elsewhere = valid.clone().property(&["xds", "virtual_host_name"], "pub");
        assert_eq!(edge.ask(&elsewhere).code(), "route_denied");
    }
}

#[test]
fn a_second_pass_is_not_charged_again_unless_the_newest_policy_has_taken_nothing() {
    let routes = |first: &str| json!([{"path": "/plain", "auth": first}, {"path": "/next"}]);
    for (first, expected) in [("required", [3, 1]), ("none", [2, 1])] {
        let (old, key) = Store::limited(json!([{"requests": 1000, "per": "1d"}]));
        let old = old.set("routes", routes("required"));
        let new = versions(&old, &[("plans", limits(2)), ("routes", routes(first))]);
        let mut edge = stepped_back(&old, &new, true);
        let request = by_header(&key);
        let answer = edge.ask(&request);
        assert_eq!(answer.code(), "ok");
        let second = request.redirected(&answer.outcome, "/next");
        let times = (0..3).filter(|_| edge.ask(&second).code() == "ok").count();
        let direct = Request::get("/next").header("x-api-key", &key);
        let left = (0..3).filter(|_| edge.ask(&direct).code() == "ok").count();
        assert_eq!(
            [times, left],
            if first == "required" {
                expected
            } else {
                [2, 0]
            }
        );
    }
}

/// A policy that is tried on one listener: nothing of it counts on the other.
#[test]
fn listeners_that_had_their_files_all_along_keep_their_own_limits() {
    let (mut old, key) = Store::limited(limits(10)["p"]["limits"].clone());
    let other = old.issue_as("beta", |row| row.plan = Some("p".to_owned()));
    let new = versions(&old, &[("plans", limits(3))]);
    let mut edge = Edge::start(&old);
    let first = edge.add(&new);
    edge.wait(1);
    edge.tick();
    let newest = edge.root;
    let mut count = |root, key: &str| {
        let codes = (0..20).map(|_| edge.ask_at(root, &by_header(key)).code());
        codes.filter(|code| code == "ok").count()
    };
    assert_eq!([count(newest, &key), count(first, &other)], [3, 10]);
}

/// Envoy keeps a root that was replaced for as long as one of its streams is open, and takes that very root again if its
/// configuration is pushed again. The main thread has no streams: there the old root ends at once.
#[test]
fn a_file_that_was_replaced_governs_alone_nowhere_though_a_stream_holds_its_root() {
    let mut old = Store::with(json!({"routes": [{"path": "/plain", "auth": "none"}]}));
    let key = old.issue("acme");
    let new = versions(&old, &[("routes", json!([{"path": "/plain"}]))]);
    for n in 0..8 {
        // In the first second of a process nothing has ticked yet.
        let (is_same_root, settles, has_ticked) = (n & 1 == 0, n & 2 == 0, n & 4 == 0);
        let process = Process::new();
        let mut worker = Edge::beside(&process, &old);
        let mut main = Edge::beside(&process, &old);
        if has_ticked {
            worker.tick();
            main.tick();
        }
        let plain = Request::get("/plain");
        assert_eq!(worker.ask(&plain).code(), "ok");
        let (stream, _) = worker.vm.open(worker.root, &plain);
        let held = worker.add(&new);
        main.push(&new);
        assert_eq!(worker.ask(&plain).code(), "missing_api_key");
        if settles {
            worker.wait(1);
            worker.tick();
        }
        main.push(&old);
        match is_same_root {
            true => _ = std::mem::replace(&mut worker.root, held),
            false => _ = worker.add(&old),
        }
        let case = format!("{is_same_root} {settles} {has_ticked}");
        assert_eq!(worker.ask(&plain).code(), "missing_api_key", "{case}");
        assert_eq!(worker.code(&key), "ok");
        worker.vm.finish(stream).expect("the stream ends");
        worker.wait(1);
        worker.tick();
        assert_eq!(worker.ask(&plain).code(), "missing_api_key", "{case}");
        // Another worker, which had no stream.
        assert_eq!(main.ask(&plain).code(), "missing_api_key", "{case}");
    }
}

/// What the newest file is not, and some listener has: its own policy holds for it, in every VM.
#[test]
fn a_listener_whose_file_is_older_and_was_not_replaced_decides_by_it_alone() {
    let mut old = Store::with(json!({"routes": [{"path": "/plain", "auth": "none"}]}));
    old.issue("acme");
    let new = versions(&old, &[("routes", json!([{"path": "/plain"}]))]);
    let process = Process::new();
    let mut worker = Edge::beside(&process, &old);
    let mut main = Edge::beside(&process, &old);
    let mine = worker.add(&new);
    main.add(&new);
    worker.tick();
    main.tick();
    for _ in 0..3 {
        assert_eq!(worker.ask_at(mine, &Request::get("/plain")).code(), "ok");
        assert_eq!(
            worker.ask(&Request::get("/plain")).code(),
            "missing_api_key"
        );
        worker.wait(1);
        worker.tick();
        main.tick();
    }
}
