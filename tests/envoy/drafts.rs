//! Policies drafted from OpenAPI documents, through Envoy: what a document names is let in with a
//! key that holds the scopes, in the places that it names, and nothing else is.

use crate::fixture::Keys;
use crate::support::{Companion, Envoy, Response, Upstream, echoed, fresh_dir, get, request, root};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keystile_core::key::Digest;
use serde_json::Value;
use std::fs;

const FOLDER: &str = "tests/vectors/openapi";

fn drafted(companion: &Companion, document: &str) -> String {
    let file = root().join(FOLDER).join(document);
    companion.run(&["policy", "from-openapi", file.to_str().unwrap()])
}

fn companion() -> Companion {
    Companion::init(&fresh_dir(), "version: 1\nroutes: []\n")
}

#[test]
fn a_request_gets_what_the_document_says() {
    let companion = companion();
    let all = fs::read_to_string(root().join(FOLDER).join("cases.json")).unwrap();
    let all: Value = serde_json::from_str(&all).unwrap();
    for case in all["cases"].as_array().unwrap() {
        let document = case["document"].as_str().unwrap();
        let upstream = Upstream::start();
        // Keys stand where all tests send them.
        let policy: String = drafted(&companion, document)
            .lines()
            .filter(|line| !line.starts_with("- {header") && !line.starts_with("- {basic"))
            .filter(|line| *line != "credentials:")
            .map(|line| format!("{line}\n"))
            .collect();
        let mut keys = Keys::new(&policy);
        let requests = case["requests"].as_object().unwrap();
        let scopes = |want: &str| {
            want.split(' ')
                .skip(1)
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let mut issued: Vec<(String, String)> = Vec::new();
        for want in requests.values().map(|want| want.as_str().unwrap()) {
            if want.starts_with("key") {
                let key = keys.issue_with("acme", |row| row.scopes = scopes(want));
                issued.push((want.to_owned(), key));
            }
        }
        let plain = keys.issue("acme");
        let envoy = keys.start(&upstream);
        for (asked, want) in requests {
            let want = want.as_str().unwrap();
            let (method, target) = asked.split_once(' ').unwrap();
            // Envoy's parser of HTTP/1.1 does not know it yet.
            if method == "QUERY" {
                continue;
            }
            let (host, path) = target.split_once('/').unwrap();
            let one = || request(method, format!("/{path}")).header("host", host);
            let without = envoy.send(&one()).status;
            let with_plain = envoy.send(&one().bearer(&plain)).status;
            let statuses = match want {
                "none" => (403, 403),
                "open" => (200, 200),
                "key" => (401, 200),
                _ => (401, 403),
            };
            assert_eq!((without, with_plain), statuses, "{document}: {asked}");
            if let Some((_, key)) = issued.iter().find(|(scopes, _)| scopes == want) {
                assert_eq!(
                    envoy.send(&one().bearer(key)).status,
                    200,
                    "{document}: {asked}"
                );
            }
        }
    }
}

/// An Envoy with the policy of a document, and a key.
fn behind(document: &str) -> (Upstream, Envoy, String) {
    let upstream = Upstream::start();
    let mut keys = Keys::new(&drafted(&companion(), document));
    let key = keys.issue("acme");
    let envoy = keys.start(&upstream);
    (upstream, envoy, key)
}

#[test]
fn of_two_keys_at_once_one_is_looked_at_and_the_other_goes_on() {
    let (_upstream, envoy, key) = behind("keys-at-once.yaml");
    let both = get("/a")
        .header("x-app-id", "another")
        .header("x-app-secret", &key);
    let answer = envoy.send(&both);
    assert_eq!(answer.status, 200);
    let seen = echoed(&answer.json());
    assert_eq!(seen.header("x-app-id"), ["another"]);
    assert!(seen.header("x-app-secret").is_empty());
    assert_eq!(envoy.send(&get("/a").bearer(&key)).status, 200);
    assert_eq!(envoy.send(&get("/a").header("x-app-id", &key)).status, 401);
}

#[test]
fn a_key_in_authorization_stands_behind_the_word_of_the_document() {
    let (_upstream, envoy, key) = behind("authorization-word.yaml");
    let send = |value: String| {
        envoy
            .send(&get("/sites/").header("authorization", value))
            .status
    };
    for word in ["Token", "token", "Bearer"] {
        assert_eq!(send(format!("{word} {key}")), 200, "{word}");
    }
    assert_eq!(send(key.clone()), 401);
}

#[test]
fn a_key_in_authorization_stands_behind_a_word_that_is_called_its_prefix() {
    let (_upstream, envoy, key) = behind("authorization-prefix.yaml");
    let send = |value: String| {
        let request = get("/sites").header("authorization", value);
        envoy.send(&request).status
    };
    assert_eq!(send(format!("Token {key}")), 200);
    assert_eq!(send(format!("Bearer {key}")), 401);
    assert_eq!(send(key.clone()), 401);
}

/// As another system made it: its characters mean something else in a form, and nothing here.
#[test]
fn a_key_in_the_query_may_hold_a_plus_and_a_slash() {
    let upstream = Upstream::start();
    let mut keys = Keys::new("version: 1\ncredentials: [{query: apikey}]\nroutes: [{path: /a}]\n");
    let text = "legacy+key/with+both/4c1f0e9d2b7a";
    keys.issue_with("acme", |row| {
        row.foreign = true;
        row.digest = Digest::of_foreign(text.as_bytes());
    });
    let envoy = keys.start(&upstream);
    let send = |written: &str| envoy.send(&get(format!("/a?apikey={written}"))).status;
    assert_eq!(send(text), 200);
    assert_eq!(send(&text.replace('+', "%2B").replace('/', "%2F")), 200);
    assert_eq!(send(&text.replace('+', "%2b")), 200);
    assert_eq!(send(&text.replace('+', "%20")), 401);
    assert_eq!(send(&text.replace('+', "%252B")), 401);
}

#[test]
fn a_key_in_authorization_has_one_reading_bare_with_a_word_or_in_http_basic() {
    let (_upstream, envoy, key) = behind("authorization-bare.yaml");
    let send = |value: &str| -> Response { envoy.send(&get("/a").header("authorization", value)) };
    let basic = |text: String| format!("Basic {}", STANDARD.encode(text));
    for value in [
        key.clone(),
        format!("Bearer {key}"),
        format!("bearer  {key}"),
        format!("BEARER {key}"),
        basic(format!("{key}:")),
        basic(format!("{key}:x")),
    ] {
        let answer = send(&value);
        assert_eq!(answer.status, 200);
        assert!(echoed(&answer.json()).header("authorization").is_empty());
    }
    for value in [
        basic(format!("x:{key}")),
        basic(key.clone()),
        "Basic !".to_owned(),
    ] {
        assert_eq!(send(&value).status, 401);
    }
}
