//! What a server remembers of the versions that it published: which, why, and what differs.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::server::{Server, log_of, token};
use crate::support::{Home, text, word};

/// A command through the server.
struct Far<'h> {
    home: &'h Home,
    url: String,
    token: String,
}

impl Far<'_> {
    fn run(&self, args: &[&str]) -> (bool, String, String) {
        let output = self
            .home
            .command(args)
            .env("KEYSTILE_SERVER", &self.url)
            .env("KEYSTILE_TOKEN", &self.token)
            .output()
            .unwrap();
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        (output.status.success(), out, err)
    }

    fn json(&self, args: &[&str]) -> Value {
        let (fine, out, err) = self.run(&[args, &["--output", "json"]].concat());
        assert!(fine, "{args:?}: {err}");
        serde_json::from_str(&out).unwrap()
    }

    /// The newest version, once it is what is waited for.
    fn newest(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let all = self.json(&["keyset", "versions"]);
            if holds(&all[0]) {
                return all[0].clone();
            }
            let late = began.elapsed() > Duration::from_secs(30);
            assert!(!late, "{what}: {all}\n{}", log_of(self.home));
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn number(version: &Value) -> String {
    version["version"].as_u64().unwrap().to_string()
}

#[test]
fn each_version_is_listed_with_its_reason_and_compared_with_another() {
    let home = Home::new();
    let owner = token(&home, "owner");
    let server = Server::start(&home, &[]);
    let far = Far {
        home: &home,
        url: server.url(),
        token: owner,
    };
    let first = far.newest("a first version", |v| !v.is_null());
    assert_eq!(
        (&first["base"], &first["why"]),
        (&first["version"], &json!({}))
    );

    let id = word(&far.json(&["key", "issue", "acme"]), "id");
    let issued = far.newest("the new key", |v| v["why"]["key.issue"] == 1);
    assert_eq!(
        (&issued["changed"], &issued["base"]),
        (&json!(1), &first["base"])
    );
    far.json(&["key", "revoke", &id]);
    let revoked = far.newest("the revocation", |v| v["why"]["key.revoke"] == 1);

    let versions = [number(&issued), number(&revoked)];
    let diff = far.json(&["keyset", "diff", &versions[0], &versions[1]]);
    let change = json!({"field": "revoked", "before": false, "after": true});
    let expected = json!({
        "versions": [issued["version"], revoked["version"]],
        "added": [],
        "removed": [],
        "changed": [{"id": id, "changes": [change]}],
        "policy": [],
        "left_out": 0,
    });
    assert_eq!(diff, expected);
    let (_, words, _) = far.run(&["keyset", "diff", &number(&first), &versions[0]]);
    assert!(words.contains(&format!("+ key {id} of acme")), "{words}");
    let inspected = far.json(&["keyset", "inspect", &versions[1]]);
    assert_eq!(inspected["entries"][0]["revoked"], true, "{inspected}");
    assert_eq!(inspected["policy"]["version"], 1);

    // Another policy is another base; the former can still be compared with.
    let policy = far.run(&["policy", "show"]).1;
    let policy = policy.lines().filter(|l| !l.starts_with("realm:"));
    let policy: String = policy.map(|l| format!("{l}\n")).collect();
    std::fs::write(home.path("new.yaml"), format!("{policy}realm: elsewhere\n")).unwrap();
    let (fine, _, err) = far.run(&["policy", "apply", "new.yaml"]);
    assert!(fine, "{err}");
    let applied = far.newest("a new base", |v| {
        v["base"].as_u64() > revoked["base"].as_u64()
    });
    let diff = far.json(&["keyset", "diff", &versions[1], &number(&applied)]);
    assert_eq!(diff["policy"][0]["field"], "realm", "{diff}");
    assert_eq!(diff["policy"][0]["after"], "elsewhere");
    assert_eq!((&diff["changed"], &diff["added"]), (&json!([]), &json!([])));

    let (fine, _, err) = far.run(&["keyset", "inspect", "17"]);
    assert!(
        !fine && err.contains("this server does not remember version 17"),
        "{err}"
    );
    let words = home.refused(&["keyset", "versions"]);
    assert!(words.contains("only a server knows"), "{words}");
}
