//! Files that a reader can hold in mind. (Functions: `too_many_lines` in Cargo.toml.)

use crate::*;

const MOST: usize = 400;

#[test]
fn files_stay_short_enough_to_read() {
    let all: Vec<(String, String)> = files("src").into_iter().chain(files("tests")).collect();
    for (name, text) in all.iter().filter(|(name, _)| name.ends_with(".rs")) {
        let lines = text.lines().count();
        assert!(lines <= MOST, "{name} has {lines} lines: one idea a file");
    }
}
