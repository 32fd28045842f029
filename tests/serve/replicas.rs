//! Several servers of one store in PostgreSQL, as callers meet them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::database::Database;
use crate::receiver::{PATIENCE, Receiver};
use crate::remote::through;
use crate::server::{Server, log_of, token};
use crate::sessions::Browser;
use crate::support::{Home, text, word};
use crate::webhooks::{ALLOW, HERE};

/// How often it becomes another server's turn; `KEYSTILE_LEADER_CHANGES` says otherwise.
const CHANGES: usize = 12;

/// Servers of one store.
struct Several {
    homes: Vec<Home>,
    servers: Vec<Server>,
    database: Database,
}

impl Several {
    fn start(machines: usize, args: &[&str]) -> Self {
        let database = Database::start();
        let homes = Home::several(database.address(), machines);
        let start = |home| Server::start(home, args);
        Self {
            servers: homes.iter().map(start).collect(),
            homes,
            database,
        }
    }

    fn logs(&self) -> Vec<String> {
        self.homes.iter().map(log_of).collect()
    }
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Status and body of a request.
fn post(server: &Server, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, Value) {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .proxy(None)
        .http_status_as_error(false)
        .build()
        .into();
    let mut request = agent
        .post(format!("{}{path}", server.url()))
        .content_type("application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut answer = request.send(body).unwrap();
    let body = answer.body_mut().read_to_string().unwrap();
    let json = serde_json::from_str(&body).unwrap_or(Value::Null);
    (answer.status().as_u16(), json)
}

#[test]
fn a_session_of_one_server_is_one_of_all_until_it_ends_at_any() {
    let several = Several::start(2, &[]);
    let owner = token(&several.homes[0], "owner");
    let [a, b] = [&several.servers[0], &several.servers[1]];
    let browser = Browser::sign_in(a, &owner);
    assert_eq!((browser.led_to_at(a), browser.led_to_at(b)), (None, None));

    let list = ["session", "list", "--output", "json"];
    let listed = through(&several.homes[1], b, &owner, &list);
    let listed: Vec<Value> = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(listed.len(), 1, "{listed:?}");
    let end = ["session", "end", &word(&listed[0], "id")];
    let ended = through(&several.homes[1], b, &owner, &end);
    assert!(ended.status.success(), "{}", text(&ended.stderr));
    for server in [a, b] {
        let door = browser.led_to_at(server).unwrap();
        assert!(door.starts_with("/console/sign-in"), "{door}");
    }
}

#[test]
fn a_request_that_is_repeated_at_another_server_is_done_once() {
    let several = Several::start(2, &[]);
    let owner = token(&several.homes[0], "owner");
    let bearer = format!("Bearer {owner}");
    let headers = [("authorization", &*bearer), ("idempotency-key", "once")];
    let body = r#"{"client": "acme"}"#;
    let ask = |n: usize| post(&several.servers[n], "/v1/keys", &headers, body);
    let (status, first) = ask(0);
    assert_eq!(status, 201, "{first}");
    let (status, again) = ask(1);
    assert_eq!((status, &again["id"]), (201, &first["id"]), "{again}");
    assert_eq!(again["key"], Value::Null, "shown once: {again}");
    assert_eq!(several.homes[1].ids().len(), 1);
}

#[test]
fn guesses_are_slowed_over_all_servers() {
    let several = Several::start(2, &[]);
    let guess = |n: usize| {
        let headers = [("authorization", "Bearer kst_nonsense")];
        post(&several.servers[n], "/v1/keys", &headers, "{}").0
    };
    // Half of what one address may guess at once, at each.
    for n in [0, 1].into_iter().cycle().take(10) {
        assert_eq!(guess(n), 401);
    }
    assert_eq!([guess(0), guess(1)], [429, 429]);
    // Who has a token is not one of them.
    let owner = token(&several.homes[0], "owner");
    let bearer = format!("Bearer {owner}");
    let headers = [("authorization", &*bearer)];
    let made = post(
        &several.servers[1],
        "/v1/keys",
        &headers,
        r#"{"client": "acme"}"#,
    );
    assert_eq!(made.0, 201, "{}", made.1);
}

#[test]
fn messages_are_told_once_however_often_it_is_another_servers_turn() {
    let changes = std::env::var("KEYSTILE_LEADER_CHANGES");
    let changes = changes.map_or(CHANGES, |n| n.parse().unwrap());
    let receiver = Receiver::start(|_, _| Some(200));
    let url = format!("http://{}/hook", receiver.address());
    let mut several = Several::start(3, &[ALLOW, HERE]);
    let hook = [
        "webhook",
        "create",
        "siem",
        &url,
        "--event",
        "key.issue",
        ALLOW,
        HERE,
    ];
    several.homes[0].ok(&hook);

    let mut issued = BTreeSet::new();
    let turns = |several: &Several| {
        let logs = several.logs();
        let turns = logs
            .iter()
            .map(|l| l.matches("it is this server's turn").count());
        turns.sum::<usize>()
    };
    let mut known = 0;
    for change in 0..changes {
        eventually("it to be a server's turn", || turns(&several) > known);
        known = turns(&several);
        for home in &several.homes {
            issued.insert(word(&home.json(&["key", "issue", "acme"]), "id"));
        }
        if change % 4 == 3 {
            // Whoever it is, among others the one whose turn it is.
            let n = change / 4 % 3;
            several.servers[n].kill();
            several.servers[n] = Server::start(&several.homes[n], &[ALLOW, HERE]);
        }
        several.database.ask(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted",
        );
    }
    let subjects = || {
        let mut subjects = BTreeMap::<String, BTreeSet<String>>::new();
        for seen in receiver.seen() {
            let subject = word(&seen.event()["data"], "subject");
            let id = seen.header("webhook-id").to_owned();
            subjects.entry(subject).or_default().insert(id);
        }
        subjects
    };
    eventually("every message to arrive", || {
        subjects().len() == issued.len()
    });
    let subjects = subjects();
    assert_eq!(subjects.keys().cloned().collect::<BTreeSet<_>>(), issued);
    // What was sent twice has the id of the first time.
    assert!(subjects.values().all(|ids| ids.len() == 1), "{subjects:?}");
    println!(
        "{changes} changes, {} messages, {} sent",
        issued.len(),
        receiver.seen().len()
    );
}
