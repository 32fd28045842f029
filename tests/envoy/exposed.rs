//! A key that comes over plain HTTP where TLS is required: from a real Envoy to the audit log, a
//! webhook, the key's page, and the end that the policy says.

use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::support::{Companion, Envoy, Reply, Server, Upstream, eventually, fresh_dir, get};

const POLICY: &str = r#"
version: 1
require_tls: true
require_enrolment: true
exposed_keys: disable
report: { cluster: keystile-control, every: 1s }
routes:
  - { path: "/v1/{*rest}" }
"#;

const ALLOW: [&str; 2] = ["--webhook-allow", "127.0.0.0/8"];

/// What a receiver of webhooks has received: type and subject.
type Events = Arc<Mutex<Vec<(String, String)>>>;

fn receiver() -> (Upstream, Events) {
    let seen = Events::default();
    let kept = Arc::clone(&seen);
    let upstream = Upstream::answering(move |request| {
        let message: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let event = (text(&message["type"]), text(&message["data"]["subject"]));
        kept.lock().unwrap().push(event);
        Reply::echo(request)
    });
    (upstream, seen)
}

/// Actions of audit records about a key, the first first.
fn actions(server: &Server, id: &str) -> Vec<String> {
    let list = server.json(&["audit", "list", "--subject", id]);
    let all = list.as_array().unwrap().iter();
    let all = all.filter(|r| r["subject"] == id);
    let mut actions: Vec<_> = all
        .map(|r| r["action"].as_str().unwrap().to_owned())
        .collect();
    actions.reverse();
    actions
}

fn status(server: &Server, id: &str) -> String {
    let key = server.json(&["key", "show", id]);
    key["status"].as_str().unwrap().to_owned()
}

#[test]
fn an_enrolled_envoy_that_sees_a_key_in_the_clear_ends_it_and_another_cannot() {
    let companion = Companion::init(&fresh_dir(), POLICY);
    companion.run(&["client", "create", "acme"]);
    let (hook, events) = receiver();
    let url = format!("http://{}/", hook.address());
    let create = ["webhook", "create", "siem", &url, "--event", "key.*"];
    companion.run(&[&create[..], &ALLOW].concat());
    let server = Server::started(&companion, &ALLOW);
    let upstream = Upstream::start();
    let (exposed, exposed_id) = server.issue(&["acme"]);
    let (other, other_id) = server.issue(&["acme"]);

    // Not enrolled: what it says changes nothing.
    let stranger = Envoy::start(server.rendered(&companion, &upstream, "edge-2"));
    let answer = stranger.send(&get("/v1/a").bearer(&other));
    assert_eq!(answer.code().as_deref(), Some("tls_required"));
    eventually("its report to be refused", || {
        let log = stranger.log();
        log.contains("usage for cluster `keystile-control` is refused")
            .then_some(())
    });

    let enrolled = server.json(&["node", "enroll", "edge-1"]);
    let secret = enrolled["node_key"].as_str().unwrap();
    let setup = server.rendered(&companion, &upstream, "edge-1");
    let envoy = Envoy::start(setup.environment("KEYSTILE_NODE_KEY", secret));
    let answer = envoy.send(&get("/v1/a").bearer(&exposed));
    assert_eq!((answer.status, answer.header("location")), (403, None));
    assert_eq!(answer.code().as_deref(), Some("tls_required"));
    eventually("the key to be disabled", || {
        (status(&server, &exposed_id) == "disabled").then_some(())
    });
    let told = ["key.issue", "key.exposed", "key.disable"];
    assert_eq!(actions(&server, &exposed_id), told);
    let shown = server.json(&["key", "show", &exposed_id]);
    assert!(shown["exposed"].is_string(), "{shown}");
    eventually("the receiver to hear of it", || {
        let events = events.lock().unwrap();
        let of_key = events.iter().filter(|(_, subject)| *subject == exposed_id);
        let heard: Vec<_> = of_key.map(|(event, _)| event.as_str()).collect();
        (heard.contains(&"key.exposed") && heard.contains(&"key.disable")).then_some(())
    });

    assert_eq!(status(&server, &other_id), "active");
    assert_eq!(actions(&server, &other_id), ["key.issue"]);
    assert_eq!(upstream.requests(), 0);
}
