//! New keysets while requests are under way.

use crate::fixture::{Keys, in_force};
use crate::support::{Answer, Load, Push, Response, Upstream, echoed, eventually, get};
use std::collections::BTreeSet;
use std::time::Duration;

/// Policy and keys name their version: where both are seen, they have to agree.
fn policy(version: char) -> String {
    format!(
        r#"
version: 1
realm: realm-{version}
identity: {{ client: x-client-{version}, key: x-key, scopes: "" }}
routes:
  - {{ path: "/v1/{{*rest}}", scopes: ["read:{version}"] }}
"#
    )
}

/// One key that both versions know under another name, and one for each that the other
/// does not know.
struct Versions {
    keys: Keys,
    a: String,
    b: String,
    both: String,
}

impl Versions {
    fn new() -> Self {
        let mut keys = Keys::new(&policy('a'));
        let a = keys.issue_with("only-a", |_| {});
        let b = keys.issue_with("only-b", |_| {});
        let both = keys.issue_with("both-a", |_| {});
        // Enough of them that a worker is busy with a push for a while.
        keys.fill(20_000);
        let mut versions = Self { keys, a, b, both };
        versions.switch('a');
        versions
    }

    fn switch(&mut self, version: char) {
        self.keys.set_policy(&policy(version));
        let scope = vec![format!("read:{version}")];
        for (key, of) in [(&self.a, 'a'), (&self.b, 'b')] {
            let row = self.keys.change(key);
            row.revoked = of != version;
            row.scopes = scope.clone();
        }
        let row = self.keys.change(&self.both);
        row.client = format!("both-{version}");
        row.scopes = scope;
    }

    /// The version that explains this answer; there must be exactly one. Revocations alone may
    /// run ahead: they count at once, on the listener that is about to be replaced, too. Then
    /// the other is true.
    fn explained_by(key: usize, response: &Response) -> (char, bool) {
        let mut marks = BTreeSet::new();
        match response.status {
            200 => {
                let seen = echoed(&response.json());
                for version in ['a', 'b'] {
                    for client in seen.header(&format!("x-client-{version}")) {
                        marks.insert(version);
                        marks.extend(client.chars().last());
                    }
                }
                // Who is let in with a key of one version is let in by that version.
                marks.extend([Some('a'), Some('b'), None][key]);
            }
            401 => {
                assert_eq!(response.code().as_deref(), Some("revoked_api_key"));
                let challenge = response.header("www-authenticate").unwrap();
                let told_by = match challenge.contains("realm-a") {
                    true => 'a',
                    false => 'b',
                };
                let revoked_by = ['b', 'a', '?'][key];
                assert_ne!(revoked_by, '?', "a key that no version revokes");
                return (told_by, told_by != revoked_by);
            }
            other => panic!("{other}: {response:?}"),
        }
        assert_eq!(marks.len(), 1, "a mixture: {marks:?} in {response:?}");
        (marks.into_iter().next().unwrap(), false)
    }
}

#[test]
fn a_push_under_load_loses_no_request_and_shows_none_a_mixture() {
    const PUSHES: usize = 20;
    let upstream = Upstream::start();
    let mut versions = Versions::new();
    let envoy = versions.keys.start(&upstream);
    in_force(&envoy, versions.keys.content.version);

    let requests = [&versions.a, &versions.b, &versions.both];
    let requests = requests.map(|key| get("/v1/a").bearer(key)).to_vec();
    let load = Load::start(envoy.address(), 16, Duration::ZERO, requests);
    load.another_round();
    for version in ['b', 'a'].into_iter().cycle().take(PUSHES) {
        versions.switch(version);
        versions.keys.push(&envoy);
        load.another_round();
    }
    let connections = load.stop();

    let workers = envoy.connections();
    assert!(workers.iter().all(|count| *count > 0), "{workers:?}");
    let (mut answers, mut early) = (0, 0);
    for connection in &connections {
        let seen = connection.iter().map(|answer: &Answer| {
            let response = answer.outcome.as_ref().expect("an answer");
            Versions::explained_by(answer.request, response)
        });
        let seen: Vec<(char, bool)> = seen.collect();
        answers += seen.len();
        early += seen.iter().filter(|(_, early)| *early).count();
        let mut seen: Vec<char> = seen.into_iter().map(|(version, _)| version).collect();
        // A connection is one worker's: it moves on with each push, and never back.
        seen.dedup();
        assert_eq!(seen.len(), PUSHES + 1, "{seen:?}");
    }
    // The moment in which Envoy puts a new filter in place of the old one.
    assert!(early * 50 < answers, "{early} of {answers}");
    println!(
        "{early} revoked by the next push already; {answers} answers over {PUSHES} pushes of 20,000 keys, workers {workers:?}"
    );
}

#[test]
fn a_kept_alive_connection_sees_the_new_keyset() {
    let upstream = Upstream::start();
    let mut keys = Keys::new(&policy('a'));
    let key = keys.issue_with("acme", |row| row.scopes = vec!["read:a".into()]);
    let envoy = keys.start(&upstream);
    let request = get("/v1/a").bearer(&key);
    let mut clients: Vec<_> = (0..8).map(|_| envoy.client()).collect();
    for client in &mut clients {
        assert_eq!(client.send(&request).status, 200);
    }

    keys.revoke(&key);
    keys.push(&envoy);

    for client in &mut clients {
        assert_eq!(
            client.send(&request).code().as_deref(),
            Some("revoked_api_key")
        );
    }
}

#[test]
fn a_request_under_way_ends_as_it_began() {
    let upstream = Upstream::answering(|seen| {
        let held = seen.path == "/v1/held";
        if held {
            std::thread::sleep(Duration::from_millis(600));
        }
        crate::support::Reply::echo(seen)
    });
    let fields = format!("{}rate_limit_fields: always\n", policy('a'))
        + "plans:\n  gold: { limits: [{ requests: 9, per: 1d }] }\n";
    let mut keys = Keys::new(&fields);
    let key = keys.issue_with("acme", |row| {
        row.scopes = vec!["read:a".into()];
        row.plan = Some("gold".into());
    });
    let envoy = keys.start(&upstream);
    in_force(&envoy, keys.content.version);

    let mut held = envoy.client();
    held.write(&get("/v1/held").bearer(&key).to_bytes())
        .unwrap();
    eventually("the request to reach the upstream", || {
        (upstream.requests() == 1).then_some(())
    });
    keys.revoke(&key);
    keys.push(&envoy);
    let answer = held.read("GET").unwrap();

    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.header("ratelimit-policy"),
        Some(r#""gold";q=9;w=86400"#)
    );
    assert_eq!(envoy.send(&get("/v1/a").bearer(&key)).status, 401);
}

#[test]
fn the_same_keyset_pushed_again_changes_nothing() {
    let upstream = Upstream::start();
    let mut keys = Keys::new(&policy('a'));
    let key = keys.issue_with("acme", |row| row.scopes = vec!["read:a".into()]);
    let envoy = keys.start(&upstream);

    keys.push(&envoy);
    assert_eq!(envoy.send(&get("/v1/a").bearer(&key)).status, 200);
    let sealed = keys.sealed();
    assert_eq!(envoy.push(|file| file.configure(&sealed)), Push::Applied);
    assert_eq!(envoy.push(|file| file.configure(&sealed)), Push::Unchanged);
    assert_eq!(envoy.send(&get("/v1/a").bearer(&key)).status, 200);
}
