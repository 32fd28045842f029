//! Policies over the API.

use serde_json::{Value, json};

use crate::server::{Server, token};
use crate::support::Home;

#[test]
fn every_mistake_of_a_policy_is_in_one_answer_with_its_field_and_line() {
    let home = Home::new();
    let auditor = token(&home, "auditor");
    let server = Server::start(&home, &[]);
    let text = "version: 1\nmod: shadow\nrequire_tls: \"yes\"\nplans:\n  free: {limits: [{requests: many, per: 1m}, {requests: 0, per: 1h}]}\nroutes:\n- {path: users, methods: [get]}\n";
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .proxy(None)
        .http_status_as_error(false)
        .build()
        .into();
    let mut answer = agent
        .post(format!("{}/v1/policy/check", server.url()))
        .header("authorization", format!("Bearer {auditor}"))
        .send_json(json!({"text": text}))
        .unwrap();
    assert_eq!(answer.status(), 422);
    let problem: Value =
        serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap();
    let errors = problem["errors"].as_array().unwrap();
    let mut found: Vec<(u64, &str)> = errors
        .iter()
        .map(|e| (e["line"].as_u64().unwrap(), e["field"].as_str().unwrap()))
        .collect();
    found.sort_unstable();
    assert_eq!(
        found,
        [
            (2, "mod"),
            (3, "require_tls"),
            (5, "plans.free.limits[0].requests"),
            (5, "plans.free.limits[1].requests"),
            (7, "routes[0].methods[0]"),
            (7, "routes[0].path"),
        ]
    );
}

#[test]
fn a_key_without_scopes_where_routes_ask_for_some_is_warned_about() {
    let home = Home::new();
    let warned =
        |args: &[&str]| home.json(&[&["key", "issue", "acme"], args].concat())["warnings"].clone();
    // The command line prints them; the API has them in the answer.
    assert_eq!(warned(&["--scope", "read"]), Value::Null);
    let owner = token(&home, "owner");
    let server = Server::start(&home, &[]);
    let issue = |scopes: Value| -> Value {
        let mut answer = ureq::post(format!("{}/v1/keys", server.url()))
            .header("authorization", format!("Bearer {owner}"))
            .send_json(json!({"client": "acme", "scopes": scopes}))
            .unwrap();
        serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap()
    };
    let warnings = issue(json!([]))["warnings"].clone();
    let words = warnings[0].as_str().unwrap();
    assert!(
        words.contains("2 of the 2 routes") && words.contains("`read`, `write`"),
        "{words}"
    );
    assert_eq!(issue(json!(["read"]))["warnings"], Value::Null);
}
