//! Every action of the audit log is an event that a webhook can ask for by name.

use std::collections::BTreeSet;

use crate::{code, files, is_test};

/// Texts of the same form that are something else: files, fields of other formats.
const OTHERS: [&str; 8] = [
    "audit.head",
    "audit.sent",
    "node.cluster",
    "node.id",
    "policy.default",
    "policy.test",
    "report.cluster",
    "report.every",
];
const FILES: [&str; 4] = [".db", ".js", ".sql", ".yaml"];

/// Whether a text has the form `noun.verb`.
fn is_action(text: &str) -> bool {
    let word = |w: &str| {
        let good = |b: u8| b.is_ascii_lowercase() || b == b'-' || b == b'_';
        !w.is_empty() && w.bytes().all(good)
    };
    text.split_once('.')
        .is_some_and(|(noun, verb)| word(noun) && word(verb))
}

fn noun(action: &str) -> &str {
    action.split('.').next().unwrap()
}

fn events() -> BTreeSet<String> {
    let all = files("src/model").into_iter();
    let (_, text) = all
        .into_iter()
        .find(|(n, _)| n.ends_with("events.rs"))
        .unwrap();
    let (_, list) = text.split_once("&[").unwrap();
    let (list, _) = list.split_once("];").unwrap();
    let words = list.split('"').skip(1).step_by(2);
    words.map(str::to_owned).collect()
}

#[test]
fn every_action_that_is_written_down_is_an_event() {
    let known = events();
    let nouns: BTreeSet<&str> = known.iter().map(|e| noun(e)).collect();
    let (mut found, mut missing) = (0, Vec::new());
    for (name, text) in files("src") {
        // Settings of what is printed have the same form; nothing there writes a record.
        let is_printed = ["src/render/", "src/cli/commands/render/"];
        let is_printed = is_printed.iter().any(|folder| name.starts_with(folder));
        if is_test(&name) || is_printed || !name.ends_with(".rs") {
            continue;
        }
        for line in code(&text).lines() {
            let line = line.split("//").next().unwrap();
            // A new noun is seen where records are written.
            let writes = ["audit(", "audit_refused(", "write_down("];
            let writes = writes.iter().any(|w| line.contains(w));
            for text in line.split('"').skip(1).step_by(2) {
                if !is_action(text) || !(writes || nouns.contains(noun(text))) {
                    continue;
                }
                found += 1;
                let other = OTHERS.contains(&text) || FILES.iter().any(|f| text.ends_with(f));
                if !known.contains(text) && !other {
                    missing.push(format!("{name}: {text}"));
                }
            }
        }
    }
    assert!(found > 150, "only {found} are found");
    assert!(missing.is_empty(), "not in EVENTS: {missing:?}");
}
