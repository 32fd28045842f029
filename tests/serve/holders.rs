//! Keys that their holders give up.

use std::time::{Duration, Instant};

use crate::server::Server;
use crate::support::{Home, word};

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .build()
        .into()
}

/// Status and body.
fn give_up(server: &Server, header: &str, value: &str) -> (u16, String) {
    let mut answer = agent()
        .post(format!("{}/v1/keys/self/revoke", server.url()))
        .header(header, value)
        .send_empty()
        .unwrap();
    let body = answer.body_mut().read_to_string().unwrap();
    (answer.status().as_u16(), body)
}

#[test]
fn a_holder_revokes_a_key_and_learns_nothing_about_others() {
    let home = Home::new();
    let keys = home.json(&["key", "issue", "acme", "--count", "2"]);
    let (first, second) = (&keys[0], &keys[1]);
    let server = Server::start(&home, &[]);
    let known = word(first, "key");
    let unknown = format!("{}{}", &known[..known.len() - 20], "A".repeat(20));
    let began = Instant::now();
    let for_unknown = give_up(&server, "authorization", &format!("Bearer {unknown}"));
    assert!(began.elapsed() >= Duration::from_millis(200), "not at once");
    assert_eq!(for_unknown, (204, String::new()));
    assert_eq!(give_up(&server, "x-api-key", "nonsense"), for_unknown);
    assert_eq!(
        give_up(&server, "authorization", &format!("Bearer {known}")),
        for_unknown
    );
    assert_eq!(give_up(&server, "x-api-key", &known), for_unknown, "again");
    assert_eq!(give_up(&server, "x-other", &known).0, 401);
    let status = |key| word(&home.json(&["key", "show", &word(key, "id")]), "status");
    assert_eq!(
        (status(first), status(second)),
        ("revoked".into(), "active".into())
    );

    // The same in both places is one.
    let twice = |key: &str| {
        let request = agent().post(format!("{}/v1/keys/self/revoke", server.url()));
        let request = request.header("authorization", format!("Bearer {key}"));
        request.header("x-api-key", key).send_empty().unwrap()
    };
    assert_eq!(twice(&known).status().as_u16(), 204);

    // Of several credentials it is not clear which is meant: none is revoked.
    let living = word(second, "key");
    for headers in [
        [
            ("authorization", "Bearer other"),
            ("x-api-key", living.as_str()),
        ],
        [("x-api-key", "nonsense"), ("x-api-key", living.as_str())],
        [
            ("authorization", "Basic eDo="),
            ("x-api-key", living.as_str()),
        ],
    ] {
        let request = agent().post(format!("{}/v1/keys/self/revoke", server.url()));
        let request = headers.iter().fold(request, |r, (n, v)| r.header(*n, *v));
        assert_eq!(
            request.send_empty().unwrap().status().as_u16(),
            422,
            "{headers:?}"
        );
        assert_eq!(status(second), "active");
    }

    // The owner is told, by webhook and log, who did it and never the key.
    let log = home.ok(&[
        "--output",
        "json",
        "audit",
        "list",
        "--action",
        "key.revoke",
    ]);
    assert!(
        log.contains("revoked by its holder") && log.contains("holder of the key"),
        "{log}"
    );
    assert!(!log.contains(&known));
}

#[test]
fn who_tries_many_keys_is_slowed_down() {
    let home = Home::new();
    let server = Server::start(&home, &[]);
    let tried = (0..60).map(|_| give_up(&server, "x-api-key", "nonsense").0);
    let refused = tried.into_iter().find(|status| *status != 204);
    assert_eq!(refused, Some(429));
}
