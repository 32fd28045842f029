use super::*;
use crate::bench::{Bench, NOON};
use crate::client;
use crate::key;
use keystile_policy::file::{DEFAULT, parse};
use keystile_store::Query;
use keystile_system as system;

fn allowing(scopes: &str) -> PolicyFile {
    let kept = |line: &&str| !line.starts_with("publishable:");
    let lines: Vec<&str> = DEFAULT.lines().filter(kept).collect();
    let text = format!(
        "{}\npublishable: {{ scopes: [{scopes}] }}\n",
        lines.join("\n")
    );
    parse("policy.yaml", text).unwrap()
}

#[test]
fn living_publishable_keys_that_a_policy_narrows_are_counted() {
    let mut b = Bench::new();
    let world = system::at(NOON);
    let warnings = apply(&mut b.store, &world, &allowing("read, write"));
    assert_eq!(warnings.unwrap().warnings, [""; 0]);
    let mut issue = |scopes: &[&str], publishable| {
        let draft = key::KeyDraft {
            publishable,
            scopes: scopes.iter().map(|s| (*s).to_owned()).collect(),
            origins: vec!["https://a.example".to_owned()],
            any_scope: true,
            ..key::KeyDraft::default()
        };
        key::issue(&mut b.store, &world, "acme", draft, 1, |_| {})
            .unwrap()
            .0
    };
    issue(&["read", "write"], true);
    issue(&["write"], true);
    issue(&["read"], true);
    issue(&["write"], false);
    let revoked = issue(&["write"], true)[0].key.id;
    key::revoke_all(&mut b.store, &world, &[revoked], "").unwrap();

    let narrowed = allowing("read");
    let told = ["2 keys that are publishable lose scopes that `publishable.scopes` does not list"];
    assert_eq!(b.store.read(|tx| check(tx, &narrowed)).unwrap(), told);
    assert_eq!(
        apply(&mut b.store, &world, &narrowed).unwrap().warnings,
        told
    );
    let wide = allowing("read, write");
    assert_eq!(b.store.read(|tx| check(tx, &wide)).unwrap(), [""; 0]);
}

#[test]
fn a_policy_that_holds_a_key_is_refused_by_its_line_and_never_in_the_audit_log() {
    let mut b = Bench::new();
    let world = system::at(NOON);
    let held = b.issue(&world, 1)[0].text.expose_secret().to_owned();
    let mut file = allowing("read");
    let number = file.text.lines().count() + 1;
    file.text.push_str(&format!("# was {held} before\n"));
    let refused = apply(&mut b.store, &world, &file).err().unwrap();
    let words = refused.to_string();
    assert!(
        words.starts_with(&format!("policy.yaml:{number}: it holds a key")),
        "{words}"
    );
    assert!(!words.contains(&held));

    // Written so that no line shows it.
    let hidden: String = held.bytes().map(|b| format!("\\x{b:02x}")).collect();
    for (held_in, text) in [
        ("realm", format!("realm: \"{hidden}\"")),
        ("routes.0.path", format!("routes:\n  - path: \"/{hidden}\"")),
    ] {
        let text = format!("version: 1\n{text}\n");
        let file = parse("policy.yaml", text).unwrap();
        let refused = apply(&mut b.store, &world, &file).err().unwrap();
        let words = refused.to_string();
        let want = format!("policy.yaml: `{held_in}`: it holds a key");
        assert!(words.starts_with(&want), "{words}");
        assert_eq!(without_keys(&file.text), "# a policy that held a key\n");
    }

    // One that is in force since before that was checked.
    let former = file.text.clone();
    b.store
        .write(&world, |tx| tx.insert_policy(&former, NOON))
        .unwrap();
    apply(&mut b.store, &world, &allowing("write")).unwrap();
    let log = b
        .store
        .read(|tx| tx.audit_forth(&Query::default(), 100, 100));
    let log = log.unwrap().records;
    let applied = log.last().unwrap();
    assert_eq!(applied.action, "policy.apply");
    assert!(applied.before.contains("a line that held a key"));
    assert!(
        log.iter()
            .all(|r| !r.before.contains(&held) && !r.after.contains(&held))
    );
}

#[test]
fn a_look_at_all_keys_is_broken_off_for_what_goes_first() {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    let mut b = Bench::new();
    b.issue(&system::at(NOON), 3);
    b.store.break_off_when(Arc::new(AtomicBool::new(true)));
    let file = allowing("read");
    let words = b.store.read(|tx| check(tx, &file)).unwrap_err();
    assert!(words.to_string().contains("it was interrupted"), "{words}");
}

#[test]
fn keys_are_counted_by_plan_from_an_index_alone() {
    let mut b = Bench::in_file();
    let world = system::at(NOON);
    let issued = b.issue(&world, 3);
    let on_gold = key::KeyDraft {
        plan: Some("gold".to_owned()),
        ..key::KeyDraft::default()
    };
    key::issue(&mut b.store, &world, "acme", on_gold, 2, |_| {}).unwrap();
    let free = client::ClientPatch {
        plan: Some(Some("free".to_owned())),
        ..client::ClientPatch::default()
    };
    client::update(&mut b.store, &world, "acme", free).unwrap();
    key::revoke_all(&mut b.store, &world, &[issued[0].key.id], "").unwrap();
    let counted = b.store.read(|tx| tx.keys_on_plans(None)).unwrap();
    let want = [("free".to_owned(), 2), ("gold".to_owned(), 2)];
    assert_eq!(counted, want.into());
    let plan = b.store.plan_of_plans();
    assert!(plan.contains("USING COVERING INDEX key_living"), "{plan}");
    assert!(!plan.contains("SCAN key USING INDEX"), "{plan}");
}
