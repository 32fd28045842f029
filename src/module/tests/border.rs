//! Nothing gets over the border that Envoy would not survive, and nothing that fails lets anybody in.

use super::*;
use crate::abi::Attribute;

#[test]
fn a_panic_at_any_entry_is_caught_and_closes() {
    let (mut store, key, made) = one();
    let ask = || made.request(&get("/v1/a", &[("x-api-key", &key)]));
    fake::breaks("filter_new");
    let broken = ask();
    assert!(!broken.headers());
    assert_eq!(refused_as(&broken), (503, "keystile:internal_error".into()));
    drop(broken);

    let request = ask();
    fake::breaks("request_headers");
    assert!(!request.headers());
    assert_eq!(
        refused_as(&request),
        (503, "keystile:internal_error".into())
    );
    assert!(ask().headers(), "the next one is none the worse");

    let request = ask();
    fake::breaks("request_headers");
    assert!(!request.headers());
    fake::breaks("close");
    assert!(!made.request(&get("/nowhere", &[])).headers());
    fake::breaks("");

    let mut request = ask();
    assert!(request.headers());
    fake::breaks("request_trailers");
    assert!(!request.trailers(&[("x-sum", "1")]));
    assert_eq!(
        refused_as(&request),
        (503, "keystile:internal_error".into())
    );

    let request = ask();
    assert!(request.headers());
    fake::breaks("response_headers");
    request.response();

    let upgrade = made.request(&get(
        "/v1/a",
        &[("x-api-key", &key), ("upgrade", "websocket")],
    ));
    assert!(upgrade.headers());
    store.content.rows[0].revoked = true;
    store.content.version += 1;
    let newer = store.made();
    fake::breaks("scheduled");
    assert!(upgrade.turn());
    assert_eq!(
        refused_as(&upgrade),
        (503, "keystile:internal_error".into())
    );

    fake::breaks("config_scheduled");
    newer.tick();
    fake::breaks("config_http_callout_done");
    newer.answer(1, &[(":status", "200")], b"");
    fake::breaks("filter_destroy");
    upgrade.gives_up();
    drop(upgrade);
    fake::breaks("config_new");
    let (refused, _) = fake::configure("keystile", store.sealed().as_bytes());
    assert!(refused.is_none());
    fake::breaks("config_destroy");
    drop(newer);
    fake::breaks("");
}

#[test]
fn an_envoy_that_calls_back_within_a_reply_and_destroys_the_filter_does_no_harm() {
    let (_, _, made) = one();
    let (before, _) = fake::count_freed();
    for path in ["/v1/a", "/nowhere"] {
        let request = made.request(&get(path, &[])).eager();
        assert!(!request.headers());
        assert_eq!(request.replies().len(), 1);
    }
    let (all, early) = fake::count_freed();
    assert_eq!((all - before, early), (2, 0), "each once, and none in use");
}

#[test]
fn a_request_whose_headers_cannot_be_changed_goes_nowhere() {
    let (_, key, made) = one();
    let request = made
        .request(&get("/v1/a", &[("x-api-key", &key)]))
        .stubborn();
    assert!(!request.headers());
    assert_eq!(refused_as(&request).0, 503);
}

#[test]
fn any_number_of_headers_is_read() {
    let (_, key, made) = one();
    let names: Vec<String> = (0..200).map(|i| format!("x-{i}")).collect();
    for count in [0, 43, 44, 45, 46, 200] {
        let mut headers: Vec<_> = names
            .iter()
            .take(count)
            .map(|n| (n.as_str(), "v"))
            .collect();
        headers.extend(get("/v1/a", &[("x-api-key", &key)]));
        let request = made.request(&headers);
        assert!(request.headers(), "{count}");
        let shown = request.shown(Map::Request);
        assert!(!shown.iter().any(|h| h.contains(&key)));
    }
    assert!(!made.request(&[]).headers());
}

#[test]
fn bytes_that_are_no_text_are_refused_as_any_other() {
    let (_, _, made) = one();
    let request = made
        .request(&get("/v1/a", &[]))
        .bytes("x-api-key", b"ab\xff\x00");
    assert!(!request.headers());
    assert_eq!(refused_as(&request).0, 401);
}

#[test]
fn an_older_envoy_is_refused_by_the_name_of_what_it_lacks() {
    assert_eq!(fake::lacks(), Some("log"));
    assert!(
        fake::program_init().is_none(),
        "no Envoy is in this process"
    );
}

#[test]
fn what_the_policy_asks_of_connections_is_asked_of_envoy() {
    let tls = POLICY.replace("\"realm\"", "\"require_tls\":true,\"realm\"");
    let mut store = Store::new(&tls);
    let key = store.issue("", &["read"]);
    let made = store.made();
    let ask = || made.request(&get("/v1/a", &[("x-api-key", &key)]));
    let plain = ask();
    assert!(!plain.headers());
    assert_eq!(refused_as(&plain), (403, "keystile:tls_required".into()));
    assert!(ask().with(Attribute::TlsVersion, "TLSv1.3").headers());
}

#[test]
fn a_request_that_only_says_grpc_is_refused_in_http_and_one_of_grpc_in_its_own_words() {
    let (_, _, made) = one();
    let mut headers = get("/v1/a", &[("content-type", "application/grpc")]);
    let request = made.request(&headers);
    assert!(!request.headers());
    let reply = &request.replies()[0];
    assert!(
        reply.headers.contains(&(":status".into(), "401".into())),
        "{reply:?}"
    );
    assert_eq!(code(reply), "missing_api_key");
    headers[0].1 = "POST";
    let request = made.request(&headers);
    assert!(!request.headers());
    let reply = &request.replies()[0];
    assert!(
        reply.headers.contains(&("grpc-status".into(), "16".into())),
        "{reply:?}"
    );
}
