//! Where webhooks may go, tried in a network of the test's own: the addresses are really there,
//! and something listens on them.

use std::fs;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::receiver::{PATIENCE, Receiver};
use crate::server::{Server, log_of, token};
use crate::support::{Home, word};

/// Says to a child of this test that it is in its own network.
const INSIDE: &str = "KEYSTILE_TEST_NETWORK";
/// A cloud's metadata service, and a private network's gateway.
const METADATA: &str = "169.254.169.254";
const PRIVATE: &str = "10.9.8.7";
/// Belongs to somebody; in here, to us.
const PUBLIC: &str = "1.2.3.4";
const CLOSED: &str = "its address is not public";

/// Runs this test again in a network and with a table of names of its own. True in there.
fn in_a_network_of_its_own(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let folder = tempfile::tempdir().unwrap();
    let hosts = folder.path().join("hosts");
    fs::write(
        &hosts,
        format!(
            "127.0.0.1 localhost\n{METADATA} metadata.example\n{PUBLIC} public.example\n\
             {PUBLIC} two.example\n{PRIVATE} two.example\n"
        ),
    )
    .unwrap();
    let set_up = format!(
        "set -e; ip link set lo up\n\
         for a in {METADATA} {PRIVATE} {PUBLIC}; do ip address add $a/32 dev lo; done\n\
         mount --bind '{}' /etc/hosts\nexec \"$@\"",
        hosts.display()
    );
    let root = nix::unistd::geteuid().is_root();
    let mut inside = Command::new("unshare");
    inside
        .args(if root { &["-nm"][..] } else { &["-Urnm"] })
        .args(["sh", "-c", &set_up, "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1");
    let status = inside.status();
    assert!(
        status.as_ref().is_ok_and(|s| s.success()),
        "{status:?}: where no network can be made (`unshare -n`), this cannot be tested"
    );
    false
}

fn eventually(home: &Home, what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "{what}\n{}", log_of(home));
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Asks for a webhook over the API.
fn ask(server: &Server, token: &str, name: &str, url: &str) -> (u16, Value) {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock();
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .proxy(None)
        .build()
        .into();
    let mut answer = agent
        .post(format!("{}/v1/webhooks", server.url()))
        .header("authorization", format!("Bearer {token}"))
        .send_json(json!({"name": name, "url": url, "events": ["key.issue"]}))
        .unwrap();
    let status = answer.status().as_u16();
    (status, answer.body_mut().read_json().unwrap())
}

#[test]
fn a_webhook_reaches_public_addresses_and_what_the_operator_allows_and_nothing_else() {
    let name =
        "reach::a_webhook_reaches_public_addresses_and_what_the_operator_allows_and_nothing_else";
    if !in_a_network_of_its_own(name) {
        return;
    }
    let at = |address: &str| Receiver::at(&format!("{address}:8443"), |_, _| Some(200));
    let closed: Vec<Receiver> = [METADATA, PRIVATE, "127.0.0.1"].map(at).into();
    let home = Home::new();
    let owner = token(&home, "owner");
    let server = Server::start(&home, &[]);

    addresses_are_refused_when_they_are_registered(&home, &server, &owner);

    // What a name stands for is looked at when a message goes out. Of two, both count.
    for name in ["metadata", "two"] {
        let url = format!("https://{name}.example:8443/hook");
        assert_eq!(ask(&server, &owner, name, &url).0, 201);
    }
    home.ok(&["key", "issue", "acme"]);
    eventually(&home, "two refusals", || {
        log_of(&home).matches(CLOSED).count() >= 2
    });
    let log = log_of(&home);
    assert!(!log.contains("cannot be reached"), "{log}");
    for receiver in &closed {
        assert_eq!(receiver.connections(), 0, "{}", receiver.address());
    }

    // A public one is spoken to (that it does not speak TLS is another matter).
    let public = at(PUBLIC);
    assert_eq!(
        ask(
            &server,
            &owner,
            "public",
            "https://public.example:8443/hook"
        )
        .0,
        201
    );
    home.ok(&["key", "issue", "acme"]);
    eventually(&home, "a connection to the public one", || {
        public.connections() > 0
    });
    drop(server);

    // And what is allowed, by a server that was told so: a webhook that another one refused
    // is tried again.
    let allowed = ["--webhook-allow", "10.0.0.0/8,169.254.0.0/16"];
    let server = Server::start(&home, &allowed);
    let (status, made) = ask(&server, &owner, "private", "https://10.9.8.7:8443/hook");
    assert_eq!(status, 201, "{made}");
    assert_eq!(word(&made, "name"), "private");
    home.ok(&["key", "issue", "acme"]);
    eventually(&home, "connections to the allowed ones", || {
        closed[0].connections() > 0 && closed[1].connections() > 0
    });
    assert_eq!(closed[2].connections(), 0);
    drop(server);
}

fn addresses_are_refused_when_they_are_registered(home: &Home, server: &Server, owner: &str) {
    for (n, url) in [
        "https://169.254.169.254:8443/hook",
        "http://127.0.0.1:8443/hook",
        "http://localhost:8443/hook",
        "https://[::ffff:10.9.8.7]:8443/hook",
        "https://2852039166:8443/hook",
    ]
    .iter()
    .enumerate()
    {
        let (status, problem) = ask(server, owner, &format!("bad-{n}"), url);
        assert_eq!(status, 422, "{url}: {problem}");
        let detail = problem.to_string();
        assert!(
            detail.contains("`url`: ") && detail.contains("--webhook-allow"),
            "{detail}"
        );
        let words = home.refused(&["webhook", "create", "bad", url]);
        assert!(
            words.contains("`url`: ") && words.contains("--webhook-allow"),
            "{words}"
        );
    }
}
