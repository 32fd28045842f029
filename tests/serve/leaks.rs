//! `/v1/leaks`: what a secret scanner sends, from its signature to the owner being told.

use std::fs;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};

use crate::receiver::Receiver;
use crate::server::{Server, log_of};
use crate::support::{Home, word};
use crate::webhooks::{ALLOW, HERE};

/// What stands before the point in the DER of a P-256 key (RFC 5480), as PEM has it.
const SPKI: &str = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE";

/// A scanner with a key of its own.
struct Scanner {
    pair: EcdsaKeyPair,
    random: SystemRandom,
}

impl Scanner {
    fn new() -> Self {
        let (random, algorithm) = (SystemRandom::new(), &ECDSA_P256_SHA256_ASN1_SIGNING);
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).unwrap();
        Self { pair, random }
    }

    /// Its list, in a file.
    fn publish(&self, home: &Home) -> &'static str {
        // The point's first byte is the last of what stands before it.
        let mut der = STANDARD.decode(SPKI).unwrap();
        der.extend(&self.pair.public_key().as_ref()[1..]);
        let pem = format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
            STANDARD.encode(der)
        );
        let list = json!({"public_keys": [{"key_identifier": "one", "key": pem}]});
        fs::write(home.path("scanner.json"), list.to_string()).unwrap();
        "scanner.json"
    }

    fn sign(&self, body: &str) -> String {
        STANDARD.encode(self.pair.sign(&self.random, body.as_bytes()).unwrap())
    }
}

fn report(server: &Server, body: &str, signature: &str) -> (u16, Value) {
    report_as(server, "one", body, signature)
}

/// Under the id of a scanner's key.
fn report_as(server: &Server, id: &str, body: &str, signature: &str) -> (u16, Value) {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .build()
        .into();
    let mut answer = agent
        .post(format!("{}/v1/leaks", server.url()))
        .header("content-type", "application/json")
        .header("github-public-key-identifier", id)
        .header("github-public-key-signature", signature)
        .send(body)
        .unwrap();
    let text = answer.body_mut().read_to_string().unwrap();
    (
        answer.status().as_u16(),
        serde_json::from_str(&text).unwrap(),
    )
}

fn alerts(tokens: &[&str], place: &str) -> String {
    let alert = |token: &&str| {
        json!({
            "token": token,
            "type": "keystile_api_key",
            "url": format!("https://github.com/acme/shop/blob/main/.env{place}"),
            "source": "commit",
        })
    };
    Value::from_iter(tokens.iter().map(alert)).to_string()
}

/// The example of GitHub's documentation.
#[test]
fn the_published_message_is_believed_as_it_was_signed_and_no_blank_more() {
    let id = "bcb53661c06b4728e59d897fb6165d5c9cda0fd9cdf9d09ead458168deb7518c";
    let key = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEYAGMWO8XgCamYKMJS6jc/qgvSlAd\nAjPuDPRcXU22YxgBrz+zoN19MzuRyW87qEt9/AmtoNP5GrobzUvQSyJFVw==\n-----END PUBLIC KEY-----\n";
    let body = r#"[{"source":"commit","token":"some_token","type":"some_type","url":"https://example.com/base-repo-url/"}]"#;
    let signature = "MEQCIQDaMKqrGnE27S0kgMrEK0eYBmyG0LeZismAEz/BgZyt7AIfXt9fErtRS4XaeSt/AO1RtBY66YcAdjxji410VQV4xg==";
    let home = Home::new();
    let list = json!({"public_keys": [{"key_identifier": id, "key": key}]});
    fs::write(home.path("scanner.json"), list.to_string()).unwrap();
    let server = Server::start(&home, &["--scanner-keys", "scanner.json"]);
    let (code, answer) = report_as(&server, id, body, signature);
    assert_eq!(code, 200, "{answer}");
    assert_eq!(word(&answer[0], "label"), "false_positive");
    for other in [
        format!("{body} "),
        format!(" {body}"),
        body.replacen(',', ", ", 1),
    ] {
        let (code, answer) = report_as(&server, id, &other, signature);
        assert_eq!(code, 403, "{answer}");
    }
    assert!(server.stop());
}

fn status(home: &Home, id: &str) -> String {
    word(&home.json(&["key", "show", id]), "status")
}

#[test]
fn a_key_that_a_scanner_found_is_revoked_and_its_owner_told() {
    let home = Home::new();
    let scanner = Scanner::new();
    let receiver = Receiver::start(|_, _| Some(200));
    let url = format!("http://{}/hook", receiver.address());
    home.ok(&[
        "webhook", "create", "owner", &url, "--event", "key.*", ALLOW, HERE,
    ]);
    let keys = scanner.publish(&home);
    let server = Server::start(&home, &["--scanner-keys", keys, ALLOW, HERE]);
    let [leaked, safe] = [(); 2].map(|()| home.json(&["key", "issue", "acme"]));
    let (text, id) = (word(&leaked, "key"), word(&leaked, "id"));
    let body = alerts(&[&text, "ks_live_that_never_was", &text], "#L3");

    // Whoever is not the scanner changes nothing, the holder of a key included.
    let signature = scanner.sign(&body);
    for wrong in [
        Scanner::new().sign(&body),
        scanner.sign("[]"),
        "no base64!".to_owned(),
        String::new(),
    ] {
        let (code, problem) = report(&server, &body, &wrong);
        assert_eq!(code, 403, "{problem}");
        assert!(!problem.to_string().contains(&text), "{problem}");
    }
    assert_eq!(status(&home, &id), "active");

    let (code, answer) = report(&server, &body, &signature);
    assert_eq!(code, 200, "{answer}");
    let labels: Vec<_> = answer
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            assert_eq!(one["token_type"], "keystile_api_key");
            assert_eq!(word(one, "token_hash").len(), 64);
            word(one, "label")
        })
        .collect();
    let (ours, unknown) = ("true_positive", "false_positive");
    assert_eq!(labels, [ours, unknown, ours]);
    assert_eq!(status(&home, &id), "revoked");
    assert_eq!(status(&home, &word(&safe, "id")), "active");

    // Issued twice, found, revoked; the second alert about a revoked key says so again.
    let seen = receiver.wait(4);
    let told = |event: &str| {
        let found = seen.iter().find(|m| m.event()["type"] == event);
        found.unwrap_or_else(|| panic!("no {event}")).event()
    };
    assert_eq!(word(&told("key.leak")["data"], "subject"), id);
    assert_eq!(word(&told("key.revoke")["data"], "client"), "acme");

    let log = home.json(&["audit", "list", "--subject", &id]);
    let of = |action: &str| {
        let all = log.as_array().unwrap().iter();
        let found = all.into_iter().find(|r| r["action"] == action);
        found.unwrap_or_else(|| panic!("no {action}: {log}"))
    };
    let place = &told("key.leak")["data"]["after"];
    assert_eq!(place["source"], "commit");
    assert!(word(place, "url").ends_with("/.env#L3"), "{place}");
    assert_eq!(of("key.leak")["user"], of("key.revoke")["user"]);
    home.ok(&["audit", "verify"]);

    // Sent again, as after an answer that was lost: the same answer.
    let (code, again) = report(&server, &body, &signature);
    assert_eq!((code, again), (200, answer));
    assert!(server.stop());
    let exported = home.ok(&["audit", "export"]);
    let messages: String = receiver
        .seen()
        .iter()
        .map(|m| m.event().to_string())
        .collect();
    for written in [log_of(&home), exported, messages] {
        assert!(!written.contains(&text), "{written}");
    }
}

#[test]
fn what_happens_to_a_found_key_is_the_operators_to_say() {
    let home = Home::new();
    let scanner = Scanner::new();
    let keys = scanner.publish(&home);
    for (policy, after) in [("report", "active"), ("disable", "disabled")] {
        let server = Server::start(&home, &["--scanner-keys", keys, "--leaked-keys", policy]);
        let issued = home.json(&["key", "issue", "acme"]);
        // An address that holds the key itself is not kept.
        let key = word(&issued, "key");
        let body = alerts(&[&key], &format!("?{key}"));
        let (code, answer) = report(&server, &body, &scanner.sign(&body));
        assert_eq!((code, &answer[0]["label"]), (200, &json!("true_positive")));
        assert_eq!(status(&home, &word(&issued, "id")), after);
        assert!(!home.ok(&["audit", "export"]).contains(&key));
    }
    // Where nobody is believed, there is nothing to send to.
    let server = Server::start(&home, &[]);
    let (code, _) = report(&server, "[]", &scanner.sign("[]"));
    assert_eq!(code, 404);
}

#[test]
fn an_alert_whose_sender_cannot_be_looked_up_is_to_be_sent_again() {
    let home = Home::new();
    let scanner = Scanner::new();
    // Where the keys should be there is nothing yet.
    let server = Server::start(&home, &["--scanner-keys", "scanner.json"]);
    let leaked = home.json(&["key", "issue", "acme"]);
    let body = alerts(&[&word(&leaked, "key")], "");
    let signature = scanner.sign(&body);
    let (code, problem) = report(&server, &body, &signature);
    assert_eq!(code, 503, "{problem}");
    assert_eq!(status(&home, &word(&leaked, "id")), "active");
    scanner.publish(&home);
    // The scanner sends it again, and it is believed as soon as the keys are there.
    let began = Instant::now();
    while report(&server, &body, &signature).0 != 200 {
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "{}",
            log_of(&home)
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(status(&home, &word(&leaked, "id")), "revoked");
}
