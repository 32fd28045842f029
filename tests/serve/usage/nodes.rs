//! What one Envoy may report is its own.

use keystile_core::keyset::NodeKey;
use keystile_core::report::{self, Report, StoreState};

use super::*;

pub fn enroll(home: &Home, node: &str) -> SigningKeys {
    let printed = home.ok(&["node", "enroll", node]);
    let key = NodeKey::parse(&printed).unwrap();
    assert_eq!(key.node(), node);
    SigningKeys::new(vec![key.signing_key()])
}

/// The answer to a batch, signed with these.
fn answer(server: &Server, batch: &Batch, keys: &SigningKeys) -> (u16, String) {
    let answer = post(server, &seal_batch(batch, keys).unwrap()).unwrap();
    if answer.status == 200 {
        open_receipt(answer.body.as_bytes(), &answer.kid, &answer.tag, keys).unwrap();
    }
    (answer.status, answer.body)
}

pub fn report(server: &Server, edge: &Edge, node: &str, keys: &SigningKeys) -> u16 {
    report_at(server, edge, node, keys, now())
}

fn report_at(server: &Server, edge: &Edge, node: &str, keys: &SigningKeys, sent: u64) -> u16 {
    let report = Report {
        node: node.to_owned(),
        process: None,
        vm: 0,
        vms: 1,
        sent,
        claimed: 1,
        stores: vec![StoreState {
            store: edge.store.clone(),
            version: 1,
            base: 1,
            missing_base: false,
        }],
    };
    let sealed = report::seal(&report, keys).unwrap();
    let answer = agent()
        .post(format!("{}/v1/reports", server.url()))
        .header("x-keystile-kid", &sealed.kid)
        .header("x-keystile-signature", &sealed.tag)
        .send(&sealed.body[..]);
    answer.unwrap().status().as_u16()
}

pub fn eventually(what: &str, holds: impl Fn() -> bool) {
    within(PATIENCE, what, holds);
}

pub fn at_once(what: &str, holds: impl Fn() -> bool) {
    within(Duration::from_secs(1), what, holds);
}

fn within(patience: Duration, what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < patience, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn nobody_reports_in_the_name_of_an_envoy_that_has_a_secret_of_its_own() {
    let edge = Edge::new();
    let home = &edge.home;
    let [one, two] = ["edge-1", "edge-2"].map(|node| enroll(home, node));
    let server = Server::start(home, &[]);
    let genuine = edge.batch(0, 1, 3);
    assert_eq!(genuine.node, "edge-1");
    // The secret that every Envoy has, and that of another Envoy, are good for nothing here.
    let forged = edge.batch(1, 1, 1_000_000);
    let (status, body) = answer(&server, &forged, &edge.keys);
    assert_eq!(status, 403, "{body}");
    assert!(body.contains("\"node_untrusted\""), "{body}");
    assert_eq!(answer(&server, &forged, &two).0, 403);
    assert_eq!(answer(&server, &genuine, &one).0, 200);
    // One that has none goes on as before.
    let other = Batch {
        node: "edge-3".into(),
        ..edge.batch(0, 1, 2)
    };
    assert_eq!(answer(&server, &other, &edge.keys).0, 200);
    assert_eq!(edge.requests(), 3 + 1 + 2 + 1);

    eventually("reports to be taken", || {
        report(&server, &edge, "edge-1", &one) == 204
    });
    assert_eq!(report(&server, &edge, "edge-1", &edge.keys), 403);
    assert_eq!(report(&server, &edge, "edge-1", &two), 403);
    assert_eq!(report(&server, &edge, "edge-3", &edge.keys), 204);
    for node in ["", "edge\n3"] {
        assert_eq!(report(&server, &edge, node, &edge.keys), 422, "{node:?}");
    }

    // Both said that they have what was never published here.
    eventually("two Envoys to diverge", || {
        let answer = agent().get(format!("{}/metrics", server.url())).call();
        let text = answer.unwrap().body_mut().read_to_string().unwrap();
        text.lines()
            .any(|l| l == "keystile_control_nodes_diverging 2")
    });

    // A new secret ends the former one; a revoked one opens to nobody: for a command on the same
    // machine, too, as soon as the server has looked.
    let anew = enroll(home, "edge-1");
    at_once("the new secret to count for usage", || {
        answer(&server, &edge.batch(0, 2, 1), &anew).0 == 200
    });
    at_once("the new secret to count for reports", || {
        report(&server, &edge, "edge-1", &anew) == 204
    });
    assert_eq!(answer(&server, &edge.batch(0, 3, 1), &one).0, 403);
    home.ok(&["node", "revoke", "edge-1"]);
    at_once("the revocation to count for reports", || {
        report(&server, &edge, "edge-1", &anew) == 403
    });
    at_once("the revocation to count for usage", || {
        answer(&server, &edge.batch(0, 4, 1), &anew).0 == 403
    });
    assert_eq!(answer(&server, &edge.batch(0, 4, 1), &edge.keys).0, 403);
    drop(server);

    let server = Server::start(home, &["--enrolled-only"]);
    let (status, body) = answer(&server, &other, &edge.keys);
    assert_eq!(status, 403, "{body}");
    // Until it has published something, it can judge no report.
    eventually("the server to be ready", || {
        report(&server, &edge, "edge-3", &edge.keys) != 503
    });
    assert_eq!(report(&server, &edge, "edge-3", &edge.keys), 403);
    assert_eq!(
        answer(
            &server,
            &Batch {
                node: "edge-2".into(),
                ..edge.batch(0, 1, 1)
            },
            &two
        )
        .0,
        200
    );

    no_secret_is_written_down(home);
}

/// A clock that is a day off proves nothing about keysets, and loses no count.
#[test]
fn an_enrolled_envoy_whose_clock_is_a_day_off_is_counted_and_proves_nothing() {
    const DAY: u64 = 86_400;
    let edge = Edge::new();
    let keys = enroll(&edge.home, "edge-1");
    let server = Server::start(&edge.home, &[]);
    for (seq, at) in [(1, now() - DAY), (2, now() + DAY)] {
        let batch = Batch {
            at: at - at % 60,
            ..edge.batch(0, seq, 3)
        };
        let (status, body) = answer(&server, &batch, &keys);
        assert_eq!(status, 200, "{body}");
    }
    // Three with the key and one without, each.
    assert_eq!(edge.requests(), 2 * 4);
    eventually("the server to be ready", || {
        report(&server, &edge, "edge-1", &keys) != 503
    });
    for sent in [now() - DAY, now() + DAY] {
        let status = report_at(&server, &edge, "edge-1", &keys, sent);
        assert_eq!(
            status, 403,
            "a report that is a day old or to come proves nothing"
        );
    }
    assert_eq!(report(&server, &edge, "edge-1", &keys), 204);
}

/// Whoever runs `node enroll` has a secret that counts, or none: also when the server dies meanwhile.
#[test]
fn a_server_that_dies_while_an_envoy_is_enrolled_has_enrolled_it_or_not() {
    let edge = Edge::new();
    let owner = token(&edge.home, "owner");
    for (n, pause) in [0, 5, 20, 60].into_iter().enumerate() {
        let server = Server::start(&edge.home, &[]);
        let child = edge
            .home
            .command(&["node", "enroll", "edge-1"])
            .env("KEYSTILE_SERVER", server.url())
            .env("KEYSTILE_TOKEN", &owner)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(pause));
        drop(server);
        let output = child.wait_with_output().unwrap();
        let server = Server::start(&edge.home, &[]);
        let batch = edge.batch(0, n as u64 + 1, 1);
        if output.status.success() {
            let printed = String::from_utf8(output.stdout).unwrap();
            let key = NodeKey::parse(&printed).unwrap();
            let keys = SigningKeys::new(vec![key.signing_key()]);
            assert_eq!(answer(&server, &batch, &keys).0, 200);
        } else {
            // It may have been enrolled, and nobody has the secret then: enrolling again is what helps.
            let again = enroll(&edge.home, "edge-1");
            at_once("the new secret to count", || {
                answer(&server, &batch, &again).0 == 200
            });
        }
    }
    edge.home.ok(&["audit", "verify"]);
}

/// Who was enrolled and revoked is, and no secret.
fn no_secret_is_written_down(home: &Home) {
    let log = home.ok(&["audit", "export"]);
    assert_eq!(log.matches("\"node.enroll\"").count(), 3);
    assert_eq!(log.matches("\"node.revoke\"").count(), 1);
    let listed = home.ok(&["node", "list"]);
    let made = home.ok(&["node", "enroll", "edge-9"]);
    let secret = made.trim().rsplit(':').next().unwrap();
    assert!(listed.contains("edge-1") && !listed.contains(secret));
    assert!(!home.ok(&["audit", "export"]).contains(secret));
}
