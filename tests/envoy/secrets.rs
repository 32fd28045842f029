//! Nothing that Envoy shows to anybody holds a key, a key's secret or a signing key.

use crate::fixture::{Keys, mistyped, secret_of, signing_secrets};
use crate::support::{Client, Upstream, get};

const POLICY: &str = r#"
version: 1
credentials:
  - { header: authorization, scheme: Bearer }
  - { header: x-api-key }
  - { query: api_key }
  - { cookie: api_key }
routes:
  - { path: /healthz, auth: none }
  - { path: "/v1/{*rest}" }
"#;

#[test]
fn no_reply_log_metric_or_config_dump_holds_a_key_or_a_signing_key() {
    let upstream = Upstream::start();
    let mut keys = Keys::new(POLICY);
    let good = keys.issue("acme");
    let revoked = keys.issue_with("acme", |row| row.revoked = true);
    let envoy = keys.start(&upstream);
    let unknown = Keys::new(POLICY).issue("stranger");
    let typo = mistyped(&good);
    let secrets = [&good, &revoked, &unknown, &typo];

    let mut shown = Vec::new();
    let mut sent = 0;
    for key in secrets {
        let requests = [
            get("/v1/a").bearer(key),
            get("/v1/a").header("x-api-key", key),
            get(format!("/v1/a?x=1&api_key={key}")),
            get("/v1/a").header("cookie", format!("api_key={key}")),
            get(format!("/healthz?api_key={key}")),
            get(format!("/closed?api_key={key}")),
            get("/v1/a").bearer(key).header("x-api-key", mistyped(key)),
        ];
        for request in requests {
            let answer = envoy.send(&request);
            // The upstream's echo is no reply of ours.
            if answer.status != 200 {
                let headers = format!("{:?}", answer.headers);
                shown.push(("reply", headers + &answer.text()));
            }
            sent += 1;
        }
    }
    // A push that is refused is talked about in the log.
    let mut refused = keys.sealed();
    refused.insert_str(1, r#""hmca":1,"#);
    envoy.push(|file| file.configure(&refused));
    keys.push(&envoy);

    crate::support::eventually("the access log to be complete", || {
        (envoy.access_log().len() == sent).then_some(())
    });
    let paths = envoy.access_log();
    assert!(
        paths
            .iter()
            .all(|line| !line["path"].to_string().contains('?'))
    );
    shown.push(("access log", format!("{paths:?}")));
    shown.push(("Envoy's log", envoy.log()));
    for path in [
        "/config_dump?include_eds",
        "/stats",
        "/stats/prometheus",
        "/clusters",
    ] {
        shown.push((path, envoy.admin(path).text()));
    }
    assert!(
        envoy.log().contains("unknown field"),
        "the refusal is in the log"
    );
    assert!(
        envoy.config_dump().to_string().contains("pages"),
        "the keyset is in the dump"
    );

    let signing = signing_secrets(&keys.signing_keys());
    let secrets = secrets.iter().map(|key| secret_of(key));
    let secrets: Vec<&str> = secrets.chain(signing.iter().map(String::as_str)).collect();
    for (place, text) in shown {
        for secret in &secrets {
            assert!(!text.contains(secret), "{place} holds {secret}");
        }
    }
}

#[test]
fn an_echo_of_the_upstream_would_show_a_key_that_was_not_taken_out() {
    // Without this, the searches above could search for the wrong thing.
    let upstream = Upstream::start();
    let mut keys = Keys::new(&format!("{POLICY}forward_credential: true\n"));
    let key = keys.issue("acme");
    let envoy = keys.start(&upstream);

    let answer = Client::connect(envoy.address()).send(&get("/v1/a").bearer(&key));

    assert!(answer.text().contains(secret_of(&key)));
}
