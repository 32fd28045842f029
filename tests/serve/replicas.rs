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

/// Waits until something holds.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Status and body of a request.
pub fn post(server: &Server, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, Value) {
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

/// What a server does that has the turn, every second.
const TURNS: [&str; 4] = [ALLOW, HERE, "--rotation-every", "1s"];

/// A store whose servers have to send messages, to warn, and to hand keys over.
fn with_duties(url: &str) -> Several {
    let several = Several::start(3, &TURNS);
    let home = &several.homes[0];
    home.ok(&["client", "create", "other"]);
    // Its keys are handed over; those of the other are warned of.
    let holder = ["token", "create", "holder", "--role", "client"];
    home.ok(&[&holder[..], &["--client", "acme"]].concat());
    home.ok(&[
        "webhook", "create", "siem", url, "--event", "key.*", ALLOW, HERE,
    ]);
    several
}

/// Issues keys at each server: one that is due and has nobody to fetch its successor, one that
/// ends soon, and one to be handed over. Notes what there is to be said of each.
fn give_work(several: &Several, due: &mut BTreeSet<(String, String)>) {
    let kinds: [(&[&str], &str); 3] = [
        (&["other"], "key.due"),
        (&["other", "--expires", "5d"], "key.expiring"),
        (&["acme"], "key.hand-over"),
    ];
    for (home, (rules, then)) in several.homes.iter().zip(kinds) {
        let id = word(&home.json(&[&["key", "issue"], rules].concat()), "id");
        due.insert((id.clone(), "key.issue".to_owned()));
        due.insert((id, then.to_owned()));
    }
    // As if that had been a while ago: 100 days, or 20 of a key that ends.
    several.database.ask(
        "UPDATE keystile.key
         SET created = created - CASE WHEN expires IS NULL THEN 8640000 ELSE 1728000 END
         WHERE created > extract(epoch FROM now()) - 86400",
    );
}

/// What was sent, and the ids under which it was.
fn told(receiver: &Receiver) -> BTreeMap<(String, String), BTreeSet<String>> {
    let mut told = BTreeMap::<_, BTreeSet<String>>::new();
    for seen in receiver.seen() {
        let event = seen.event();
        let subject = word(&event["data"], "subject");
        let id = seen.header("webhook-id").to_owned();
        let ids = told.entry((subject, word(&event, "type"))).or_default();
        ids.insert(id);
    }
    told
}

#[test]
fn what_one_does_is_done_once_however_often_it_is_another_servers_turn() {
    let changes = std::env::var("KEYSTILE_LEADER_CHANGES");
    let changes = changes.map_or(CHANGES, |n| n.parse().unwrap());
    let receiver = Receiver::start(|_, _| Some(200));
    let url = format!("http://{}/hook", receiver.address());
    let mut several = with_duties(&url);

    let mut due = BTreeSet::new();
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
        give_work(&several, &mut due);
        if change % 4 == 3 {
            // Whoever it is, among others the one whose turn it is.
            let n = change / 4 % 3;
            several.servers[n].kill();
            several.servers[n] = Server::start(&several.homes[n], &TURNS);
        }
        several.database.ask(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted",
        );
    }
    let missing = || {
        let told = told(&receiver);
        let missing = due.iter().filter(|one| !told.contains_key(one));
        missing.cloned().collect::<Vec<_>>()
    };
    // However many wait: as long as more of them come.
    let mut last = (Instant::now(), due.len());
    loop {
        let missing = missing();
        if missing.is_empty() {
            break;
        }
        if missing.len() < last.1 {
            last = (Instant::now(), missing.len());
        }
        assert!(last.0.elapsed() < PATIENCE, "never told: {missing:?}");
        std::thread::sleep(Duration::from_millis(200));
    }
    // Each once: what was sent twice has the id of the first time, and nothing was done twice.
    let told = told(&receiver);
    assert_eq!(told.keys().cloned().collect::<BTreeSet<_>>(), due);
    assert!(told.values().all(|ids| ids.len() == 1), "{told:?}");
    let done = several.database.ask(
        "SELECT count(*) FROM keystile.audit
         WHERE action IN ('key.issue', 'key.due', 'key.expiring', 'key.hand-over')",
    );
    assert_eq!(done, due.len().to_string());
    several.homes[0].ok(&["audit", "verify"]);
    println!(
        "{changes} changes, {} things to be told, {} messages sent",
        due.len(),
        receiver.seen().len()
    );
}
