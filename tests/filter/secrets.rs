//! No reply, log, metric, shared data, filter state or forwarded header ever holds a key or the signing secret.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde_json::json;

use crate::fixture::{Answer, Edge, SECRET, Store, by_bearer, by_header, name, signing_keys};
use crate::host::{Process, Request, Status};

/// What must not be found: each key, its secret, its digest digits; the signing secret in every form.
fn secrets(keys: &[&str]) -> Vec<Vec<u8>> {
    let mut all = vec![
        SECRET.to_vec(),
        URL_SAFE_NO_PAD.encode(SECRET).into_bytes(),
        STANDARD_NO_PAD.encode(SECRET).into_bytes(),
        SECRET
            .iter()
            .flat_map(|byte| format!("{byte:02x}").into_bytes())
            .collect(),
        signing_keys().into_bytes(),
    ];
    for key in keys {
        all.push(key.as_bytes().to_vec());
        if let Some(secret) = key.get(18..61) {
            // The id in front is public; half of the secret is not.
            all.extend([&secret[..22], &secret[21..]].map(|half| half.as_bytes().to_vec()));
        }
    }
    all
}

#[track_caller]
fn holds_none(what: &str, bytes: &[u8], secrets: &[Vec<u8>]) {
    for secret in secrets {
        let found = bytes.windows(secret.len()).any(|part| part == secret);
        assert!(!found, "{what} holds {}", String::from_utf8_lossy(secret));
    }
}

/// All that leaves the filter with a request.
fn seen(answer: &Answer) -> Vec<u8> {
    let mut all = Vec::new();
    let mut headers = answer.headers.clone();
    if !answer.passed() {
        let reply = answer.reply();
        all.extend(&reply.body);
        all.extend(reply.details.as_bytes());
        all.extend(format!("{:?}", reply.headers).into_bytes());
        // A refused request keeps its headers, which go nowhere; access logs print its path.
        headers.0.retain(|(name, _)| name == b":path");
    }
    all.extend(
        headers
            .0
            .iter()
            .flat_map(|(name, value)| [&name[..], b": ", value, b"\n"].concat()),
    );
    all.extend(
        answer
            .filter_state
            .iter()
            .flat_map(|(name, entry)| [name.as_bytes(), b"=", &entry.value, b"\n"].concat()),
    );
    all
}

#[test]
fn no_key_and_no_signing_secret_is_found_in_anything_that_leaves_the_filter() {
    let mut store = Store::new();
    let good = store.issue_as("acme", |row| {
        row.scopes = vec!["read:users".to_owned()];
        row.plan = Some("free".to_owned());
    });
    let revoked = store.issue_as("acme", |row| row.revoked = true);
    let test = store.issue_as("acme", |row| row.environment = name("test"));
    let foreign = "another-systems-key-0123456789abcdef";
    store.import("beta", foreign);
    let unknown = store.issue("gamma");
    store.rows.pop();
    let typo = format!("{}x", &good[..good.len() - 1]);
    let keys = [&good[..], &revoked, &test, foreign, &unknown, &typo];
    let secrets = secrets(&keys);
    let mut edge = Edge::start(&store);
    edge.tick();
    for key in keys {
        for path in [
            "/plain",
            "/users/7",
            "/open/x",
            "/maybe",
            "/nowhere",
            "/a/%2e%2e/b",
            "/files/a;b",
        ] {
            for request in [
                by_header(key).with(":path", path),
                by_bearer("GET", path, key),
                Request::get(&format!("{path}?api_key={key}&x=1")),
                Request::get(path).header("cookie", format!("api_key={key}; x=1")),
                by_header(key)
                    .with(":path", path)
                    .header("authorization", format!("Bearer {good}")),
                by_header(key)
                    .with(":path", path)
                    .header("content-type", "application/grpc"),
            ] {
                let answer = edge.ask(&request);
                holds_none("an answer", &seen(&answer), &secrets);
            }
        }
    }
    for _ in 0..20 {
        holds_none("an answer", &seen(&edge.ask(&by_header(&good))), &secrets);
    }
    edge.push(store.change(|_| {}));
    edge.tick();
    assert!(
        edge.counted("ok") > 10 && edge.counted("unknown_api_key") > 10,
        "the run was a mixed one"
    );
    holds_none(
        "the transcript",
        &edge.process.borrow().transcript(),
        &secrets,
    );
}

#[test]
fn refused_configurations_and_signing_keys_are_not_logged() {
    let (store, key) = Store::small();
    let secrets = secrets(&[&key]);
    let whole = store.seal();
    let manifest: serde_json::Value = serde_json::from_slice(&whole).unwrap();
    let body = manifest["manifest"].as_str().unwrap().to_owned();
    for (environment, configuration) in [
        (signing_keys(), b"no keyset".to_vec()),
        (signing_keys(), signing_keys().into_bytes()),
        (
            signing_keys(),
            format!("{{\"kid\":\"{}\"}}", signing_keys()).into_bytes(),
        ),
        (signing_keys(), whole[..whole.len() / 2].to_vec()),
        (signing_keys().replace(':', " "), whole.clone()),
        (format!("{}garbage*", signing_keys()), whole.clone()),
        (format!("{0},{0}", signing_keys()), whole.clone()),
    ] {
        let process = Process::new();
        let environment = [("KEYSTILE_SIGNING_KEYS", &environment[..])];
        let mut vm = crate::host::Vm::new(crate::fixture::filter(), &process, &environment)
            .expect("it starts");
        assert!(vm.start_plugin(Some(&configuration)).is_err());
        let transcript = process.borrow().transcript();
        assert!(!transcript.is_empty(), "it says why");
        holds_none("the transcript", &transcript, &secrets);
        holds_none("the transcript", &transcript, &[body.clone().into_bytes()]);
    }
}

#[test]
fn hostcalls_that_fail_do_not_make_the_filter_talk() {
    let mut store = Store::new();
    let key = store.issue_as("acme", |row| row.plan = Some("free".to_owned()));
    let secrets = secrets(&[&key]);
    for name in [
        "proxy_get_header_map_pairs",
        "proxy_remove_header_map_value",
        "proxy_replace_header_map_value",
        "proxy_set_property",
        "proxy_set_shared_data",
        "proxy_send_local_response",
    ] {
        let mut edge = Edge::start(&store);
        edge.process
            .borrow_mut()
            .fail_next(name, Status::InternalFailure, u32::MAX);
        for request in [
            by_header(&key),
            by_header(&format!("{key}x")),
            Request::get(&format!("/plain?api_key={key}")),
        ] {
            edge.vm.request(edge.root, &request);
        }
        holds_none(name, &edge.process.borrow().transcript(), &secrets);
    }
}

/// `config_dump` shows the configuration in clear.
#[test]
fn a_keyset_holds_no_key_and_no_signing_secret() {
    let mut store = Store::new();
    let keys: Vec<String> = (0..50)
        .map(|n| store.issue(&format!("client-{n}")))
        .collect();
    let borrowed: Vec<&str> = keys.iter().map(String::as_str).collect();
    let secrets = secrets(&borrowed);
    let built = store.build();
    holds_none("the manifest", &built.manifest, &secrets);
    holds_none("the pages", &built.pages, &secrets);
    holds_none("the configuration", &store.seal(), &secrets);
}

#[test]
fn a_shadowed_request_keeps_its_key_and_nothing_else_shows_it() {
    let mut store = Store::new().set("mode", json!("shadow"));
    let key = store.issue("acme");
    let secrets = secrets(&[&key]);
    let mut edge = Edge::start(&store);
    let answer = edge.ask(&by_header(&key).with(":path", "/nowhere"));
    assert_eq!(answer.headers.get("x-api-key"), Some(key));
    let state = answer
        .filter_state
        .values()
        .flat_map(|entry| entry.value.clone())
        .collect::<Vec<_>>();
    holds_none("filter state", &state, &secrets);
    holds_none(
        "the transcript",
        &edge.process.borrow().transcript(),
        &secrets,
    );
}
