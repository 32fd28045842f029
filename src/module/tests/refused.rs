//! What a refusal leaves behind, for the caller and in logs.

use super::*;

fn field<'r>(reply: &'r Replied, name: &str) -> Option<&'r str> {
    let mut all = reply.headers.iter().filter(|(n, _)| n == name);
    all.next().map(|(_, value)| value.as_str())
}

/// What access logs print: client, route, limit.
fn logged(request: &Request) -> [Option<String>; 3] {
    ["client", "route", "limit"].map(|name| request.state(&format!("wasm.keystile.{name}")))
}

fn words(words: [&str; 3]) -> [Option<String>; 3] {
    words.map(|word| (!word.is_empty()).then(|| word.to_owned()))
}

#[test]
fn a_known_key_is_named_with_client_route_and_limit_and_no_other_is() {
    let mut store = Store::new(POLICY);
    let (few, poor) = (store.issue("few", &["read"]), store.issue("", &[]));
    let stranger = Store::new(POLICY).issue("", &[]);
    let made = store.made();
    let ask = |key: &str| {
        let request = made.request(&get("/v1/a", &[("x-api-key", key)]));
        (request.headers(), logged(&request))
    };
    assert_eq!(ask(&poor), (false, words(["acme", "/v1/{*rest}", ""])));
    assert_eq!(ask(&stranger), (false, words(["", "", ""])));
    assert_eq!(ask("nonsense"), (false, words(["", "", ""])));
    for _ in 0..3 {
        assert_eq!(ask(&few), (true, words(["acme", "", ""])));
    }
    let limit = "plan few: 3 per 86400 s, burst 3, by key";
    assert_eq!(ask(&few), (false, words(["acme", "/v1/{*rest}", limit])));
}

#[test]
fn every_refusal_has_the_id_of_its_request_unless_it_could_be_read_as_something_else() {
    let (_, key, made) = one();
    for (path, key) in [
        ("/v1/a", ""),
        ("/v1/a", "nonsense"),
        ("/nowhere", key.as_str()),
    ] {
        let sent = get(path, &[("x-api-key", key), ("x-request-id", "id-1")]);
        let request = made.request(&sent);
        assert!(!request.headers());
        let reply = &request.replies()[0];
        assert_eq!(field(reply, "x-request-id"), Some("id-1"));
        assert!(
            reply.body.ends_with(",\"request_id\":\"id-1\"}"),
            "{reply:?}"
        );
    }
    for id in ["", "a\",\"code\":\"ok", "a b", &"x".repeat(129)] {
        let request = made.request(&get("/v1/a", &[("x-request-id", id)]));
        assert!(!request.headers());
        let reply = &request.replies()[0];
        assert_eq!(field(reply, "x-request-id"), None);
        assert!(!reply.body.contains("request_id"), "{reply:?}");
    }
}

#[test]
fn a_request_that_a_mistake_of_ours_breaks_has_it_as_well() {
    let (_, key, made) = one();
    let sent = get("/v1/a", &[("x-api-key", &key), ("x-request-id", "id-2")]);
    let request = made.request(&sent);
    fake::breaks("request_headers");
    assert!(!request.headers());
    let reply = &request.replies()[0];
    assert_eq!(reply.details, "keystile:internal_error");
    assert_eq!(field(reply, "x-request-id"), Some("id-2"));
}
