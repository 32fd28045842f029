//! What people are shown of it.

use super::*;

#[test]
fn a_client_sees_its_own_usage_and_staff_sees_all() {
    let edge = Edge::new();
    let home = &edge.home;
    home.ok(&["client", "create", "other"]);
    let theirs = word(&home.json(&["key", "issue", "other"]), "id");
    let bound = home.json(&[
        "token", "create", "portal", "--role", "client", "--client", "acme",
    ]);
    let bound = word(&bound, "token");
    let staff = ["owner", "issuer", "auditor"].map(|role| token(home, role));
    let server = Server::start(home, &[]);
    edge.send(&server, &edge.batch(0, 1, 9)).unwrap();
    let mut batch = edge.batch(1, 1, 90);
    batch.keys[0].id = theirs.clone();
    edge.send(&server, &batch).unwrap();
    let ask = |token: &str, args: &[&str]| {
        let args = [&["usage"], args, &["--output", "json"]].concat();
        let output = through(home, &server, token, &args);
        match output.status.success() {
            true => Ok(serde_json::from_slice::<Value>(&output.stdout).unwrap()),
            false => Err(text(&output.stderr)),
        }
    };
    for token in &staff {
        assert_eq!(ask(token, &[]).unwrap()["requests"], 101);
        assert_eq!(ask(token, &["other"]).unwrap()["requests"], 91);
        assert_eq!(ask(token, &[&theirs]).unwrap()["requests"], 91);
        let by = ask(token, &["--by", "client"]).unwrap();
        assert_eq!(by["groups"][0]["name"], "other");
        assert_eq!(by["groups"][1]["requests"], 10);
    }
    let own = ask(&bound, &[]).unwrap();
    assert_eq!(
        (&own["requests"], &own["client"]),
        (&10.into(), &"acme".into())
    );
    assert_eq!(own["uncounted"], Value::Null);
    assert_eq!(ask(&bound, &[&edge.id]).unwrap()["requests"], 10);
    let by = ask(&bound, &["--by", "client"]).unwrap();
    assert_eq!(by["groups"].as_array().unwrap().len(), 1);
    for not_theirs in ["other", &theirs] {
        let refused = ask(&bound, &[not_theirs]).unwrap_err();
        assert!(refused.contains("there is no"), "{refused}");
    }
    assert!(ask(&bound, &["anomalies", "--client", "other"]).is_err());
    assert!(ask(&bound, &["quota", &theirs]).is_err());
    assert!(ask(&bound, &["settings"]).is_err());
    assert!(ask(&staff[1], &["settings", "--days", "90d"]).is_err());
    let changed = ask(&staff[0], &["settings", "--days", "90d"]).unwrap();
    assert_eq!(changed["days"], "90d");
}

#[test]
fn the_command_line_draws_what_was_counted() {
    let edge = Edge::new();
    let home = &edge.home;
    assert!(home.ok(&["usage"]).ends_with(
        "\n0 requests, 0 let through, 0 refused\n\
         nothing has been counted yet: is `report` in the policy, with the cluster of this server?\n"
    ));
    let server = Server::start(home, &[]);
    edge.send(&server, &edge.batch(0, 1, 1234)).unwrap();
    let by = home.ok(&["usage", "acme", "--since", "24h", "--by", "outcome"]);
    let lines: Vec<&str> = by.lines().collect();
    assert!(
        lines[0].starts_with("acme, ") && lines[0].ends_with(" UTC, by hour"),
        "{by}"
    );
    assert!(lines[2].starts_with("OUTCOME"), "{by}");
    let bar = "█".repeat(40);
    assert!(
        lines[3].starts_with("ok") && lines[3].contains(&format!("1,234        0  {bar}")),
        "{by}"
    );
    assert!(
        lines[4].starts_with("insufficient_scope") && lines[4].contains('▏'),
        "{by}"
    );
    assert!(
        lines.contains(&"1,235 requests, 1,234 let through, 1 refused"),
        "{by}"
    );
    let chart = home.ok(&["usage", &edge.id, "--since", "1d", "--step", "hour"]);
    assert!(
        chart.starts_with(&format!("key {} of acme, ", edge.id)),
        "{chart}"
    );
    assert!(chart.lines().count() >= 25, "{chart}");
    let csv = home.ok(&["usage", "--by", "route", "--output", "csv"]);
    assert_eq!(
        csv,
        "route,client,requests,allowed,refused\n/v1/{*rest},,1235,1234,1\n"
    );
    let csv = home.ok(&["usage", "--output", "csv", "--step", "day"]);
    let sum: u64 = csv
        .lines()
        .skip(1)
        .map(|l| l.split(',').nth(1).unwrap().parse::<u64>().unwrap())
        .sum();
    assert_eq!(sum, 1235);
    let refused = home.refused(&["client", "list", "--output", "csv"]);
    assert!(refused.contains("use `--output json`"), "{refused}");
    let refused = home.refused(&["usage", "nobody"]);
    assert!(refused.contains("there is no client `nobody`"), "{refused}");
    let shown = home.ok(&["key", "show", &edge.id]);
    let last = shown.lines().find(|l| l.starts_with("last used")).unwrap();
    assert!(last.ends_with("from 192.0.2.7 by curl/8"), "{shown}");
}

#[test]
fn keys_that_nobody_used_are_listed_with_a_word_on_how_much_is_known() {
    let edge = Edge::new();
    let home = &edge.home;
    let output = home.run(&["key", "list", "--unused", "90d"]);
    assert!(text(&output.stderr).contains("no usage has been counted yet"));
    let server = Server::start(home, &[]);
    edge.send(&server, &edge.batch(0, 1, 1)).unwrap();
    let output = home.run(&["key", "list", "--unused", "90d"]);
    assert!(text(&output.stderr).contains(": keys may have been used before"));
    // Nobody waits 90 days here: no key is as old as a second times ninety.
    assert!(!text(&output.stdout).contains(&edge.id));
}
