//! Files that a reader can hold in mind. (Functions: `too_many_lines` in Cargo.toml.)

use crate::*;

const MOST: usize = 400;

/// Files that hold several ideas. What is added to one of these subjects goes into a file of
/// its own.
const TO_BE_SPLIT: [&str; 12] = [
    "src/api/audit.rs",
    "src/api/key.rs",
    "src/api/lib.rs",
    "src/api/policy.rs",
    "src/api/tests/usage.rs",
    "src/api/usage.rs",
    "src/cli/cli.rs",
    "src/cli/commands/usage.rs",
    "src/console/tests.rs",
    "src/import/tests/others.rs",
    "src/model/rules.rs",
    "tests/control/wayin.rs",
];

/// No excuse holds for longer ones.
const AT_ALL: usize = 720;

#[test]
fn files_stay_short_enough_to_read() {
    let all: Vec<(String, String)> = files("src").into_iter().chain(files("tests")).collect();
    for (name, text) in all.iter().filter(|(name, _)| name.ends_with(".rs")) {
        let lines = text.lines().count();
        let is_known = TO_BE_SPLIT.contains(&name.as_str());
        let most = if is_known { AT_ALL } else { MOST };
        assert!(lines <= most, "{name} has {lines} lines: one idea a file");
        assert!(
            !is_known || lines > MOST,
            "{name} is short now: take it off the list"
        );
    }
}
