//! The id of a request that Envoy takes from its caller, in the answers that refuse the request.

use crate::fixture::Keys;
use crate::support::{Response, Setup, Upstream, get, request};

const POLICY: &str =
    r#"{version: 1, credentials: [{header: x-api-key}], routes: [{path: "/{*rest}"}]}"#;

/// Takes the ids of callers, as behind a proxy of one's own; otherwise Envoy makes a new one.
fn preserving(upstream: &Upstream) -> Setup {
    let own = "use_remote_address: true";
    let both = format!("{own}\n          preserve_external_request_id: true");
    Setup::ecds(upstream).edit(own, &both)
}

#[test]
fn an_id_of_the_callers_is_shown_or_left_out_and_never_read_as_anything_else() {
    let upstream = Upstream::start();
    let mut keys = Keys::new(POLICY);
    let envoy = keys.start_on(preserving(&upstream));
    let ask = |id: &str| envoy.send(&get("/a").header("x-request-id", id));
    // In a UUID, Envoy writes at the 14th place how it traces the request: 4, that it does not.
    for id in ["trace-1", "b4b3c1f0-6a0c-4f3d-8a52-1f7e5d0c9a11"] {
        let answer = ask(id);
        assert_eq!(answer.header("x-request-id"), Some(id));
        assert_eq!(answer.json()["request_id"], id);
    }
    let long = "x".repeat(129);
    for id in ["a\",\"code\":\"ok", "a\\", "<b>", "a b", &long] {
        let answer = ask(id);
        assert_eq!(code(&answer), "missing_api_key", "{id}");
        assert_eq!(answer.header("x-request-id"), None, "{id}");
        let problem = answer.json();
        assert_eq!(problem.get("request_id"), None, "{problem}");
    }
    assert_eq!(upstream.requests(), 0);
}

#[test]
fn a_request_that_is_answered_in_grpc_or_only_has_its_content_type_has_the_id_in_its_head() {
    let upstream = Upstream::start();
    let mut keys = Keys::new(POLICY);
    let envoy = keys.start_on(preserving(&upstream));
    for method in ["POST", "PUT"] {
        let call = request(method, "/a")
            .header("content-type", "application/grpc")
            .header("x-request-id", "trace-2");
        let answer = envoy.send(&call);
        assert_eq!(answer.header("x-request-id"), Some("trace-2"), "{method}");
    }
}

fn code(answer: &Response) -> String {
    answer.code().unwrap_or_default()
}
