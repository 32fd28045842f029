//! Webhooks as their receivers see them: signed, repeated until taken, lost by no restart.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use sha2::Sha256;

use crate::pki::Authority;
use crate::receiver::{PATIENCE, Receiver, Seen};
use crate::remote::through;
use crate::server::{Server, log_of, token};
use crate::support::{Home, word};

/// Receivers stand on this machine, which is closed otherwise.
pub const ALLOW: &str = "--webhook-allow";
/// Its network. `localhost` may stand for the other loopback address too.
pub const HERE: &str = "127.0.0.0/8,::1/128";

/// A webhook for this event; its secret.
fn hook(home: &Home, url: &str, event: &str) -> String {
    let made = home.json(&[
        "webhook", "create", "siem", url, "--event", event, ALLOW, HERE,
    ]);
    word(&made, "secret")
}

/// As Standard Webhooks tells a receiver to check, from its text alone.
fn verifies(seen: &Seen, secret: &str) -> bool {
    let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap());
    let mut mac = Hmac::<Sha256>::new_from_slice(&key.unwrap()).unwrap();
    let (id, timestamp) = (seen.header("webhook-id"), seen.header("webhook-timestamp"));
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(&seen.body);
    let wanted = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
    seen.header("webhook-signature")
        .split(' ')
        .any(|s| s == wanted)
}

fn waiting(home: &Home) -> u64 {
    home.json(&["webhook", "list"])[0]["waiting"]
        .as_u64()
        .unwrap()
}

fn eventually(home: &Home, what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "{what}\n{}", log_of(home));
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_message_is_signed_and_once_taken_not_sent_again() {
    let home = Home::new();
    let receiver = Receiver::start(|_, _| Some(200));
    let url = format!("http://{}/hook", receiver.address());
    let secret = hook(&home, &url, "key.*");
    let _server = Server::start(&home, &[ALLOW, HERE]);
    let issued = home.json(&["key", "issue", "acme"]);
    let id = word(&issued, "id");
    home.ok(&["client", "create", "not-asked-for"]);
    home.ok(&["key", "revoke", &id]);
    let seen = receiver.wait(2);
    for message in &seen {
        assert!(verifies(message, &secret));
        assert!(!verifies(message, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"));
        assert_eq!(message.header("content-type"), "application/json");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let sent: u64 = message.header("webhook-timestamp").parse().unwrap();
        assert!(now.as_secs().abs_diff(sent) < 60, "receivers refuse others");
        let event = message.event();
        assert_eq!(event["data"]["client"], "acme");
        assert_eq!(event["data"]["subject"], id.as_str());
        let text = event.to_string();
        assert!(!text.contains(&word(&issued, "key")), "{text}");
    }
    let mut types: Vec<String> = seen.iter().map(|m| word(&m.event(), "type")).collect();
    types.sort();
    assert_eq!(types, ["key.issue", "key.revoke"]);
    eventually(&home, "nothing to be left in line", || waiting(&home) == 0);
    assert_eq!(receiver.seen().len(), 2);
}

#[test]
fn what_is_not_answered_well_is_sent_again_later_under_the_same_id() {
    let home = Home::new();
    // An error, a redirect (which nobody follows), a hang-up; then it is taken.
    let receiver = Receiver::start(|n, _| [Some(503), Some(307), None, Some(204)][n.min(3)]);
    let url = format!("http://{}/hook", receiver.address());
    let secret = hook(&home, &url, "key.issue");
    for _ in 0..3 {
        home.ok(&["key", "issue", "acme"]);
    }
    let server = Server::start(&home, &[ALLOW, HERE]);
    let seen = receiver.wait(6);
    eventually(&home, "nothing to be left in line", || waiting(&home) == 0);
    assert_eq!(receiver.seen().len(), 6, "three refused, three taken");
    let mut tries = BTreeMap::<String, Vec<&Seen>>::new();
    for message in &seen {
        assert!(verifies(message, &secret));
        let id = message.header("webhook-id").to_owned();
        tries.entry(id).or_default().push(message);
    }
    assert_eq!(tries.len(), 3);
    for of_one in tries.values() {
        assert_eq!(of_one.len(), 2);
        assert_eq!(of_one[0].body, of_one[1].body);
        let pause = of_one[1].at - of_one[0].at;
        // Times are whole seconds: up to one less than the five.
        assert!(pause >= Duration::from_secs(4), "{pause:?}");
    }
    let log = log_of(&home);
    for why in ["answered 503", "answered 307"] {
        assert!(log.contains(why), "{log}");
    }
    assert!(!log.contains(&url), "an address may hold a token: {log}");
    drop(server);
}

#[test]
fn a_receiver_that_is_away_holds_up_no_other_and_gets_it_when_it_is_back() {
    let home = Home::new();
    // Bound and let go: nobody listens there.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = gone.local_addr().unwrap().to_string();
    drop(gone);
    hook(&home, &format!("http://{address}/hook"), "key.issue");
    // One that takes the connection and never says a word.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", silent.local_addr().unwrap());
    home.ok(&[
        "webhook",
        "create",
        "silent",
        &url,
        "--event",
        "key.issue",
        ALLOW,
        HERE,
    ]);
    let quick = Receiver::start(|_, _| Some(200));
    let url = format!("http://{}/hook", quick.address());
    home.ok(&[
        "webhook",
        "create",
        "quick",
        &url,
        "--event",
        "key.issue",
        ALLOW,
        HERE,
    ]);
    for _ in 0..40 {
        home.ok(&["key", "issue", "acme"]);
    }
    let began = Instant::now();
    let _server = Server::start(&home, &[ALLOW, HERE]);
    quick.wait(40);
    let took = began.elapsed();
    assert!(
        took < Duration::from_secs(14),
        "it waited for others: {took:?}"
    );
    eventually(&home, "a first try that failed", || {
        log_of(&home).contains("cannot be reached")
    });
    let back = Receiver::at(&address, |_, _| Some(200));
    let ids = |seen: &[Seen]| {
        let mut ids: Vec<String> = seen
            .iter()
            .map(|m| m.header("webhook-id").to_owned())
            .collect();
        ids.sort();
        ids.dedup();
        ids
    };
    assert_eq!(ids(&back.wait(40)).len(), 40);
}

#[test]
fn a_server_that_is_killed_between_sends_loses_no_message_and_invents_none() {
    let home = Home::new();
    let receiver = Receiver::start(|_, _| {
        // So that some are on their way whenever the server is killed.
        std::thread::sleep(Duration::from_millis(30));
        Some(200)
    });
    let url = format!("http://{}/hook", receiver.address());
    let secret = hook(&home, &url, "key.issue");
    let issued: Vec<String> = (0..60)
        .map(|_| word(&home.json(&["key", "issue", "acme"]), "id"))
        .collect();
    for stop in [5, 15, 30, 45] {
        let server = Server::start(&home, &[ALLOW, HERE]);
        receiver.wait(stop);
        drop(server);
    }
    let _server = Server::start(&home, &[ALLOW, HERE]);
    eventually(&home, "nothing to be left in line", || waiting(&home) == 0);
    let mut told = BTreeMap::<String, Seen>::new();
    for message in receiver.seen() {
        assert!(verifies(&message, &secret));
        let id = message.header("webhook-id").to_owned();
        // At least once: a repetition is known by its id, and says the same.
        if let Some(before) = told.insert(id, message.clone()) {
            assert_eq!(before.body, message.body);
        }
    }
    let mut subjects: Vec<String> = told
        .values()
        .map(|m| word(&m.event()["data"], "subject"))
        .collect();
    subjects.sort();
    let mut wanted = issued;
    wanted.sort();
    assert_eq!(subjects, wanted);
}

#[test]
fn over_tls_a_receiver_is_told_only_if_its_authority_is_trusted() {
    let home = Home::new();
    let (ours, theirs) = (
        Authority::new(home.path("ours")),
        Authority::new(home.path("theirs")),
    );
    ours.issue("hook", "localhost");
    let receiver = Receiver::secure(&ours.path("hook.pem"), &ours.path("hook.key"));
    let url = format!("https://localhost:{}/hook", receiver.address().port());
    let secret = hook(&home, &url, "key.issue");
    home.ok(&["key", "issue", "acme"]);

    let server = Server::start(
        &home,
        &[ALLOW, HERE, "--webhook-ca", &theirs.path("ca.pem")],
    );
    eventually(&home, "the certificate to be refused", || {
        log_of(&home).contains("its certificate is not trusted")
    });
    assert!(receiver.seen().is_empty());
    drop(server);

    let _server = Server::start(&home, &[ALLOW, HERE, "--webhook-ca", &ours.path("ca.pem")]);
    assert!(verifies(&receiver.wait(1)[0], &secret));
    eventually(&home, "nothing to be left in line", || waiting(&home) == 0);
}

#[test]
fn messages_that_lose_their_records_to_a_pruning_hold_up_no_other() {
    let home = Home::new();
    let receiver = Receiver::start(|_, seen| {
        let old = word(&seen.event(), "type") == "key.issue";
        Some(if old { 500 } else { 200 })
    });
    let url = format!("http://{}/hook", receiver.address());
    hook(&home, &url, "key.*");
    let owner = token(&home, "owner");
    let server = Server::start(&home, &[ALLOW, HERE]);
    let issued = home.json(&["key", "issue", "acme", "--count", "6"]);
    receiver.wait(6);
    eventually(&home, "all of them to wait", || waiting(&home) == 6);
    let prune = ["audit", "prune", "--before", "2100-01-01"];
    let prune = [&prune[..], &["--output", "json"]].concat();
    let pruned = through(&home, &server, &owner, &prune);
    let pruned: Value = serde_json::from_slice(&pruned.stdout).unwrap();
    assert_eq!(pruned["undelivered"], 6, "{pruned}");
    let log = log_of(&home);
    let mut lines = log.lines().filter_map(|l| serde_json::from_str(l).ok());
    let said = lines.find(|line: &Value| line["undelivered"] == 6);
    let said = said.unwrap_or_else(|| panic!("the log does not say so: {log}"));
    assert_eq!(word(&said, "level"), "WARN");
    let words = "webhook messages will not be delivered";
    assert!(word(&said, "message").contains(words), "{said}");
    eventually(&home, "nothing to be left in line", || waiting(&home) == 0);
    home.ok(&["key", "revoke", &word(&issued[0], "id")]);
    eventually(&home, "the next one to arrive", || {
        let seen = receiver.seen();
        seen.iter()
            .any(|m| word(&m.event(), "type") == "key.revoke")
    });
}
