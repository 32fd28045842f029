//! The page of the guide that lists every event.

use super::*;
use keystile_model::events::EVENTS;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../book/pages/events.md");

const HEAD: &str = "# Events

Every record of the audit log is an event: `keystilectl audit list` shows them, webhooks send them
([Webhooks and audit export](webhooks.md)), and `audit export` writes them as JSON lines. A webhook names those
that it wants (`key.revoke`), or all of a kind (`key.*`).

## What was done

| event | what happened |
| --- | --- |
";

const REFUSED: &str = "
## What was refused

A refused attempt is recorded under the name of its [operation](api.md), with the outcome `refused` and the reason. These names occur
only then:

| event | what was refused |
| --- | --- |
";

/// What is recorded when something was done; everything else is recorded when it was refused.
const DONE: [(&str, &str); 51] = [
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
    ("webhook.pause", "a webhook was paused: its messages wait"),
    ("webhook.resend", "a message was sent once more"),
    ("webhook.resume", "a webhook was resumed"),
    ("webhook.test", "a test event was sent to a webhook"),
];

/// Recorded only when refused, and no operations: what Envoys, people and browsers send.
const SENT: [(&str, &str); 3] = [
    ("console.form", "A form of the console"),
    ("report.send", "An Envoy's report of what is in force"),
    ("usage.send", "An Envoy's report of usage"),
];

#[test]
#[expect(clippy::disallowed_methods, reason = "to write the page anew")]
fn the_page_of_events_lists_every_event() {
    for (event, _) in DONE.iter().chain(&SENT) {
        assert!(EVENTS.contains(event), "there is no event {event}");
    }
    let said = |all: &[(&str, &str)], event: &str| {
        let found = all.iter().find(|(e, _)| *e == event);
        found.map(|(_, says)| (*says).to_owned())
    };
    let (mut done, mut refused) = (HEAD.to_owned(), REFUSED.to_owned());
    for event in EVENTS {
        if let Some(says) = said(&DONE, event) {
            done.push_str(&format!("| `{event}` | {says} |\n"));
            continue;
        }
        let operation = routes().into_iter().find(|r| r.name == *event);
        let summary = operation.map(|r| r.summary.to_owned());
        let says = summary.or_else(|| said(&SENT, event));
        let says = says.unwrap_or_else(|| panic!("say here what {event} is"));
        refused.push_str(&format!("| `{event}` | {says} |\n"));
    }
    let page = done + &refused;
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(PAGE, &page).unwrap();
    }
    let written = std::fs::read_to_string(PAGE).unwrap();
    assert!(written == page, "`BLESS=1` writes the page anew");
}
