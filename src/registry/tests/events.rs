//! The page of the guide that lists every event, and the places in the code that make them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../book/pages/events.md");

const HEAD: &str = "# Events

Every record of the audit log is an event: `keystilectl audit list` shows them, webhooks send them
([Webhooks and audit export](webhooks.md)), and `audit export` writes them as JSON lines. A webhook names those
that it wants (`key.revoke`), or all of a kind (`key.*`).

A record with the outcome `done` has one of these actions. An attempt that was refused is recorded with the outcome `refused` and
the name of the [operation](api.md), `usage.send` and `report.send` (an Envoy's), `console.sign_in`, or `discovery.stream`.

| event | what happened |
| --- | --- |
";

/// Every one, with what happened.
const EVENTS: [(&str, &str); 47] = [
    (
        "anomaly.new-network",
        "a key was used from a network that it was never used from",
    ),
    ("anomaly.revoked-key-tried", "a revoked key is still tried"),
    (
        "anomaly.rotated-key-used",
        "a replaced key is still used shortly before it ends",
    ),
    (
        "anomaly.scope-denials",
        "many requests of a key lacked a scope",
    ),
    (
        "anomaly.spike",
        "a key made far more requests in an hour than before",
    ),
    ("audit.prune", "old records were removed from the audit log"),
    ("client.create", "a client was added"),
    (
        "client.delete",
        "a client was removed, and its keys with it",
    ),
    (
        "client.update",
        "a client's plan, description or labels were changed",
    ),
    (
        "console.sign_in",
        "somebody signed in through the identity provider",
    ),
    (
        "fleet.forget",
        "an Envoy that is gone for good was forgotten",
    ),
    ("key.disable", "a key was disabled"),
    (
        "key.due",
        "a key should have been replaced: 30, 7 and 1 days ahead",
    ),
    ("key.enable", "a key was enabled again"),
    ("key.expiring", "a key will expire: 30, 7 and 1 days ahead"),
    (
        "key.exposed",
        "a key came over plain HTTP where TLS is required",
    ),
    (
        "key.hand-over",
        "a key that is due got an expiry, and its holder can fetch the successor",
    ),
    ("key.import", "a key of another system was imported"),
    ("key.issue", "a key was issued"),
    ("key.leak", "a secret scanner found a key"),
    ("key.revoke", "a key was revoked"),
    ("key.rotate", "a key was replaced by a successor"),
    ("key.update", "something about a key was changed"),
    (
        "keyset.renew",
        "the keyset was reissued under a new version",
    ),
    (
        "keyset.rise",
        "an Envoy had a higher version in force, so the next is above it",
    ),
    ("master-key.rotate", "the master key was replaced"),
    ("node.enroll", "an Envoy was enrolled, or enrolled again"),
    ("node.revoke", "an Envoy's secret was revoked"),
    ("policy.apply", "a policy was put in force"),
    ("quota.reset", "a quota was given back"),
    (
        "server.refused",
        "further refusals of one address, as one number a minute",
    ),
    ("session.end", "a session of the console was ended"),
    ("signing-key.create", "a signing key was created"),
    (
        "signing-key.demote",
        "another signing key is the first; this one is still accepted",
    ),
    ("signing-key.retire", "a signing key was retired"),
    ("store.backup", "the store was backed up"),
    ("store.copy", "the store was copied into another database"),
    ("store.create", "the store was created"),
    (
        "store.restore",
        "the store was restored: a new timeline begins",
    ),
    ("token.accept", "an invitation was accepted"),
    ("token.create", "a token was created"),
    ("token.revoke", "a token was revoked"),
    ("usage.configure", "settings of usage were changed"),
    (
        "usage.forget",
        "addresses, user agents and networks were removed",
    ),
    ("webhook.create", "a webhook was added"),
    ("webhook.delete", "a webhook was removed"),
    (
        "webhook.give-up",
        "a message was not accepted for three days, and is not sent again",
    ),
];

/// Files that pass the action on as a variable, with what is in it there. A new one is looked at by
/// whoever makes this test pass again.
const PASSED_ON: [(&str, &[&str]); 8] = [
    ("console/oidc.rs", &["console.sign_in"]),
    ("console/signed_in.rs", &["session.end"]),
    ("registry/audit.rs", &[]),
    ("registry/exposed.rs", &["key.exposed"]),
    ("registry/handover.rs", &["key.due", "key.expiring"]),
    (
        "registry/key.rs",
        &[
            "key.disable",
            "key.enable",
            "key.hand-over",
            "key.revoke",
            "key.update",
        ],
    ),
    (
        "registry/usage/anomaly.rs",
        &[
            "anomaly.new-network",
            "anomaly.revoked-key-tried",
            "anomaly.rotated-key-used",
            "anomaly.scope-denials",
            "anomaly.spike",
        ],
    ),
    ("server/auth/refused.rs", &[]),
];

fn files(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && name != "tests" {
            files(&path, out);
        } else if name.ends_with(".rs") && !["tests.rs", "bench.rs"].contains(&name) {
            out.push(path);
        }
    }
}

/// What stands in the brackets that open at the beginning.
fn arguments(text: &str) -> &str {
    let mut depth = 0;
    let end = text.char_indices().find(|(_, c)| {
        depth += i32::from(*c == '(') - i32::from(*c == ')');
        depth == 0
    });
    &text[..end.unwrap().0]
}

fn is_action(word: &str) -> bool {
    let letters = |part: &str| {
        let mut bytes = part.bytes();
        !part.is_empty() && bytes.all(|b| b.is_ascii_lowercase() || b"-_".contains(&b))
    };
    word.split_once('.')
        .is_some_and(|(noun, verb)| letters(noun) && letters(verb))
}

/// The actions at the calls that write records, and the files with a call that has none.
fn found() -> (BTreeSet<String>, BTreeSet<String>) {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let (mut all, mut passed_on) = (BTreeSet::new(), BTreeSet::new());
    let mut paths = Vec::new();
    files(src, &mut paths);
    for path in paths {
        let text = fs::read_to_string(&path).unwrap();
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for call in [
            ".audit(",
            ".audit_key(",
            ".audit_refused(",
            "audit::refused(",
        ] {
            for (at, _) in text.match_indices(call) {
                let arguments = arguments(&text[at + call.len() - 1..]);
                let mut words = arguments.split('"').skip(1).step_by(2);
                match words.find(|w| is_action(w)) {
                    Some(action) => all.insert(action.to_owned()),
                    None => {
                        let name = path.strip_prefix(src).unwrap();
                        passed_on.insert(name.display().to_string())
                    }
                };
            }
        }
    }
    (all, passed_on)
}

#[test]
fn every_event_that_the_code_records_is_known_and_the_other_way_round() {
    let (mut recorded, passed_on) = found();
    let known: BTreeMap<&str, &[&str]> = PASSED_ON.into();
    let names: BTreeSet<String> = known.keys().map(|k| (*k).to_owned()).collect();
    assert_eq!(passed_on, names);
    for (file, actions) in known {
        let src = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let text = fs::read_to_string(src.join(file)).unwrap();
        for action in actions {
            let word = action.split_once('.').unwrap().1;
            let there =
                text.contains(&format!("\"{action}\"")) || text.contains(&format!("\"{word}\""));
            assert!(
                there || *action == "session.end" || *action == "key.hand-over",
                "{file}: {action}"
            );
            recorded.insert((*action).to_owned());
        }
    }
    let listed: BTreeSet<String> = EVENTS
        .iter()
        .map(|(action, _)| (*action).to_owned())
        .collect();
    assert_eq!(recorded, listed);
}

#[test]
fn the_page_of_events_lists_every_event() {
    let mut page = HEAD.to_owned();
    for (action, says) in EVENTS {
        writeln!(page, "| `{action}` | {says} |").unwrap();
    }
    if std::env::var_os("BLESS").is_some() {
        fs::write(PAGE, &page).unwrap();
    }
    let written = fs::read_to_string(PAGE).unwrap();
    assert!(written == page, "`BLESS=1` writes the page anew");
}
