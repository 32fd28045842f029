//! Starting, stopping, and what stands in the logs.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::server::{Server, log_of, token};
use crate::support::{Home, word};

fn get(server: &Server, path: &str, token: &str) -> (u16, String) {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(30)))
        .build()
        .into();
    let mut request = agent.get(format!("{}{path}", server.url()));
    if !token.is_empty() {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let mut answer = request.call().unwrap();
    let text = answer.body_mut().read_to_string().unwrap();
    (answer.status().as_u16(), text)
}

#[test]
fn it_says_when_it_lives_and_when_it_can_work() {
    let home = Home::new();
    let server = Server::start(&home, &[]);
    assert_eq!(get(&server, "/healthz", "").0, 200);
    assert_eq!(get(&server, "/readyz", "").0, 200);
    let (status, metrics) = get(&server, "/metrics", "");
    assert_eq!(status, 200);
    assert!(
        metrics.contains("keystile_control_requests_total"),
        "{metrics}"
    );
    assert_eq!(get(&server, "/v1/clients", "").0, 401);
    assert_eq!(get(&server, "/v1/clients", &token(&home, "owner")).0, 200);
}

#[test]
fn a_signal_ends_it_when_what_has_begun_is_done() {
    let home = Home::new();
    let server = Server::start(&home, &[]);
    // Half a request: the server waits for the rest, and not for ever.
    let mut half = TcpStream::connect(&server.address).unwrap();
    half.write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\n")
        .unwrap();
    let mut whole = TcpStream::connect(&server.address).unwrap();
    whole
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\nconnection: keep-alive\r\n\r\n")
        .unwrap();
    let mut first = [0; 12];
    whole.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    let began = Instant::now();
    assert!(server.stop());
    assert!(began.elapsed() < Duration::from_secs(20));
    let log = log_of(&home);
    assert!(log.contains("\"message\":\"stopped\""), "{log}");
}

fn send(server: &Server, method: &str, path: &str, token: &str, body: &Value) -> (u16, String) {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .build()
        .into();
    let request = ureq::http::Request::builder()
        .method(method)
        .uri(format!("{}{path}", server.url()))
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json")
        .body(body.to_string())
        .unwrap();
    let mut answer = agent.run(request).unwrap();
    let text = answer.body_mut().read_to_string().unwrap();
    (answer.status().as_u16(), text)
}

#[test]
fn nothing_secret_stands_in_its_log() {
    let home = Home::new();
    let owner = token(&home, "owner");
    let server = Server::start(&home, &[]);
    let agent = ureq::Agent::new_with_defaults();
    let mut issued = agent
        .post(format!("{}/v1/keys", server.url()))
        .header("authorization", format!("Bearer {owner}"))
        .header("content-type", "application/json")
        .send(r#"{"client": "acme", "name": "of-the-log"}"#)
        .unwrap();
    let issued: Value = serde_json::from_str(&issued.body_mut().read_to_string().unwrap()).unwrap();
    let key = word(&issued, "key");
    // Pasted into every field that is kept: none takes it, and none repeats it.
    let id = word(&issued, "id");
    for (method, path, body) in pasted(&id, &key, &owner) {
        let (status, answer) = send(&server, method, &path, &owner, &body);
        assert_eq!(status, 422, "{method} {path}: {answer}");
    }
    get(&server, &format!("/v1/clients?label={key}"), &owner);
    get(&server, &format!("/v1/keys/{key}"), &owner);
    get(&server, &format!("/{owner}"), "kst_owner_wrong");
    assert!(server.stop());

    let log = log_of(&home);
    let body = |text: &str| text.rsplit('_').next().unwrap()[10..].to_owned();
    for secret in [body(&key), body(&owner), "of-the-log".to_owned()] {
        assert!(!log.contains(&secret), "{log}");
    }
    let lines: Vec<Value> = log
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .filter(|l: &Value| l["message"] == "request")
        .collect();
    assert!(
        lines
            .iter()
            .any(|l| l["route"] == "/v1/keys" && l["status"] == 201)
    );
    assert!(lines.iter().all(|l| !word(l, "request").is_empty()));
    assert!(lines[0]["ms"].is_number() && word(&lines[0], "address") == "127.0.0.1");
    assert_eq!(word(&lines[0], "token").len(), 10);
    let exported = home.ok(&["audit", "export"]);
    for secret in [body(&key), body(&owner)] {
        assert!(!exported.contains(&secret), "{exported}");
    }
}

fn pasted(id: &str, key: &str, owner: &str) -> Vec<(&'static str, String, Value)> {
    vec![
        (
            "POST",
            format!("/v1/keys/{id}/revoke"),
            json!({"reason": format!("seen: {key}")}),
        ),
        (
            "POST",
            "/v1/keys/revoke".to_owned(),
            json!({"ids": [id], "reason": key}),
        ),
        ("PATCH", format!("/v1/keys/{id}"), json!({"name": key})),
        (
            "PATCH",
            format!("/v1/keys/{id}"),
            json!({"labels": {"was": key}}),
        ),
        (
            "POST",
            "/v1/keys".to_owned(),
            json!({"client": "acme", "name": owner}),
        ),
        (
            "PATCH",
            "/v1/clients/acme".to_owned(),
            json!({"description": key}),
        ),
        (
            "PATCH",
            "/v1/clients/acme".to_owned(),
            json!({"labels": {"was": &key[8..]}}),
        ),
        (
            "POST",
            "/v1/clients".to_owned(),
            json!({"name": "b", "description": owner}),
        ),
        (
            "POST",
            "/v1/tokens".to_owned(),
            json!({"name": key, "role": "issuer"}),
        ),
        (
            "POST",
            "/v1/webhooks".to_owned(),
            json!({"name": "h", "url": format!("https://x.example/{key}")}),
        ),
    ]
}

#[test]
fn other_machines_are_not_served_in_clear_unless_that_is_said() {
    let home = Home::new();
    let words = home.refused(&["serve", "--listen", "0.0.0.0:0"]);
    assert!(
        words.contains("without TLS") && words.contains("--tls-cert"),
        "{words}"
    );
    let server = Server::start(&home, &["--listen", "0.0.0.0:0", "--allow-plaintext"]);
    assert!(server.address.starts_with("0.0.0.0:"));
}

#[test]
fn an_acknowledged_write_survives_a_kill() {
    let home = Home::new();
    let owner = token(&home, "owner");
    for round in 0..3 {
        let server = Server::start(&home, &[]);
        let (url, name) = (server.url(), format!("of-round-{round}"));
        let body = format!(r#"{{"name": "{name}"}}"#);
        let made = ureq::post(format!("{url}/v1/clients"))
            .header("authorization", format!("Bearer {owner}"))
            .header("content-type", "application/json")
            .send(body)
            .unwrap();
        assert_eq!(made.status(), 201);
        // Dropped is killed.
        drop(server);
        home.ok(&["client", "show", &name]);
        home.ok(&["audit", "verify"]);
    }
}
