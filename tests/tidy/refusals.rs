//! Refusals are values: nothing below the surfaces reads or words them.

use crate::*;

/// The crates below the surfaces, and the surfaces.
const BELOW: [&str; 9] = [
    "model", "system", "policy", "store", "registry", "render", "import", "api", "server",
];

/// What a message says may change at any time: a refusal is told from another by its code.
#[test]
fn nobody_finds_out_what_happened_by_reading_a_message() {
    let reads = [
        "contains(",
        "starts_with(",
        "ends_with(",
        "split(",
        "split_once(",
        "strip_prefix(",
        "find(",
        "rfind(",
        "rsplit(",
        "rsplit_once(",
        "strip_suffix(",
    ];
    let messages = [
        "to_string()",
        "message()",
        "words(Surface::CommandLine)",
        ".detail",
        ".fact",
        // What a variable or an argument is called that holds one.
        "problem",
        "message",
        "msg",
    ];
    let mut found = Vec::new();
    for folder in BELOW
        .into_iter()
        .chain(["core", "filter", "module", "console", "cli"])
    {
        for (name, text) in files(&format!("src/{folder}")) {
            // JSON that is searched for a key.
            if is_test(&name) || !name.ends_with(".rs") || name == "src/registry/leak.rs" {
                continue;
            }
            let lines = code(&text).lines().map(|l| l.split("//").next().unwrap());
            let text: String = lines.flat_map(str::split_whitespace).collect();
            for message in messages {
                let all = reads.iter().map(|read| format!("{message}.{read}"));
                found.extend(
                    all.filter(|r| text.contains(r))
                        .map(|r| format!("{name}: {r}")),
                );
            }
        }
    }
    assert_eq!(found, [""; 0]);
}

/// The next step names an operation, and each surface calls it by the name that it has there.
#[test]
fn no_sentence_below_the_surfaces_names_a_command_or_an_option() {
    let known = [
        // Where every surface finds its words.
        "src/model/refusal/surface.rs",
        // A comment in the file that a command prints, and the name of one in its report.
        "src/policy/openapi/text.rs",
        "src/policy/cases/junit.rs",
        // An option that only the operator of the server gives.
        "src/model/webhook.rs",
        // Who did it, in the audit log.
        "src/system/lib.rs",
        // The log and the metrics of a server, and what is wrong with its own options: read by
        // whoever started it.
        "src/server/lib.rs",
        "src/server/listen.rs",
        "src/server/backlog.rs",
        "src/server/outbox.rs",
        "src/server/outbox/pinned.rs",
        "src/server/delivery.rs",
        "src/server/delivery/fleet/known.rs",
        // Where tokens come from, in the document that a person reads before having one.
        "src/server/openapi.rs",
    ];
    for folder in [
        "model", "system", "policy", "store", "registry", "api", "server",
    ] {
        let words = ["keystilectl ", "`--"];
        let found = hits(&format!("src/{folder}"), &words, |name| {
            known.contains(&name)
        });
        assert_eq!(found, [""; 0]);
    }
}

/// A code that nothing gives is none that anybody has to know.
#[test]
fn every_code_is_given_somewhere() {
    let list = fs::read_to_string(root().join("src/model/refusal/code.rs")).unwrap();
    let (_, codes) = list.split_once("\ncodes! {\n").unwrap();
    let (codes, _) = codes.split_once("\n}\n").unwrap();
    let names = codes
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty() && !l.starts_with("//"));
    let names: Vec<&str> = names.filter_map(|l| l.split(' ').next()).collect();
    assert!(names.len() > 50, "{}", names.len());
    let all: String = BELOW
        .into_iter()
        .chain(["console", "cli"])
        .flat_map(|folder| files(&format!("src/{folder}")))
        .filter(|(name, _)| !is_test(name) && !name.ends_with("refusal/code.rs"))
        .map(|(_, text)| code(&text).to_owned())
        .collect();
    let given = |name: &&str| {
        let word = format!("Code::{name}");
        let ends = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric());
        all.match_indices(&word)
            .any(|(at, w)| ends(&all[at + w.len()..]))
    };
    let idle: Vec<&str> = names.into_iter().filter(|n| !given(n)).collect();
    assert_eq!(idle, [""; 0]);
}
