//! What an update beside servers may do.

use crate::{SCRIPTS, usage};

/// Whether an earlier server works as before after a script: tables that refer to no other, indexes,
/// and columns that its own statements may leave out.
fn only_adds(script: &str) -> bool {
    let lines = script.lines().map(|line| match line.split_once("--") {
        Some((code, _)) => code,
        None => line,
    });
    let text = lines.collect::<Vec<_>>().join("\n");
    text.split(';').map(str::trim).all(|statement| {
        let words: Vec<&str> = statement.split_whitespace().collect();
        // An earlier server does not know what its rows have to agree with. One action a statement.
        let binds = ["UNIQUE", "CHECK", "REFERENCES", "GENERATED", "CONSTRAINT"];
        let is_word = |word: &str| {
            words
                .iter()
                .any(|w| w.trim_matches(|c| "(),".contains(c)) == word)
        };
        let has = |two: [&str; 2]| words.windows(2).any(|w| w == two);
        match words.as_slice() {
            [] => true,
            ["CREATE", "TABLE", ..] | ["CREATE", "UNLOGGED", "TABLE", ..] => !is_word("REFERENCES"),
            ["CREATE", "INDEX", ..] => true,
            ["ALTER", "TABLE", _, "ADD", "COLUMN", ..] => {
                let is_one = words.iter().filter(|w| **w == "ADD").count() == 1
                    && !["DROP", "ALTER", "RENAME"]
                        .iter()
                        .any(|w| words.iter().skip(1).any(|v| v == w));
                let may_be_left_out = !has(["NOT", "NULL"]) || words.contains(&"DEFAULT");
                is_one && may_be_left_out && !binds.iter().any(|word| is_word(word))
            }
            _ => false,
        }
    })
}

#[test]
fn scripts_that_earlier_servers_go_on_beside_only_add() {
    for scripts in [&SCRIPTS, &usage::SCRIPTS] {
        assert!((1..=scripts.newest()).contains(&scripts.oldest));
        let since = scripts.newest() - scripts.oldest;
        assert!(
            scripts
                .postgres
                .iter()
                .rev()
                .take(since)
                .all(|s| only_adds(s))
        );
    }
    assert!(only_adds(include_str!("../postgres/successor.sql")));
    assert!(only_adds("ALTER TABLE key ADD COLUMN x BIGINT; -- DROP\n"));
    for not in [
        "ALTER TABLE key ADD COLUMN x BIGINT NOT NULL",
        "ALTER TABLE key DROP COLUMN name",
        "ALTER TABLE key ADD COLUMN a BIGINT, DROP COLUMN name",
        "ALTER TABLE key ADD COLUMN a BIGINT NOT NULL, ADD COLUMN b BIGINT DEFAULT 0",
        "ALTER TABLE key ADD COLUMN x BIGINT DEFAULT 0 UNIQUE",
        "ALTER TABLE key ADD COLUMN x BIGINT DEFAULT 0 CHECK (x > 0)",
        "ALTER TABLE key ADD COLUMN x BIGINT REFERENCES client (number)",
        "CREATE TABLE x (y BIGINT REFERENCES client)",
        "CREATE UNIQUE INDEX one ON key (name)",
        "UPDATE meta SET version = 1",
        "CREATE TABLE x (y BIGINT); DROP TABLE key",
    ] {
        assert!(!only_adds(not), "{not}");
    }
}
