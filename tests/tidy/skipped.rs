//! Tests that run at night alone.

use crate::*;

/// A test that is too long for every change says which nightly stage runs it, and that stage does.
#[test]
fn no_test_is_skipped() {
    let scripts = fs::read_to_string(root().join("scripts/test")).unwrap();
    let (_, nightly) = scripts.split_once("\nNIGHTLY=(").unwrap();
    let (nightly, _) = nightly.split_once(')').unwrap();
    for folder in ["src", "tests"] {
        for (name, text) in files(folder) {
            if name == "tests/tidy/skipped.rs" {
                continue;
            }
            for skipped in text.split("#[ignore").skip(1) {
                let stage = skipped
                    .lines()
                    .next()
                    .and_then(|line| line.strip_prefix(" = \""))
                    .and_then(|line| line.split_once("`scripts/test "))
                    .and_then(|(_, rest)| rest.strip_suffix("`\"]"))
                    .unwrap_or_else(|| panic!("{name} skips a test that no stage runs"));
                assert!(
                    nightly.split(' ').any(|each| each == stage),
                    "{name}: {stage}"
                );
                let (_, body) = scripts
                    .split_once(&format!("\nstage_{stage}() {{"))
                    .unwrap_or_else(|| panic!("{name}: there is no stage {stage}"));
                let (body, _) = body.split_once("\n}").unwrap();
                let module = Path::new(&name).file_stem().unwrap().to_str().unwrap();
                assert!(
                    body.lines().any(|line| line.contains("--include-ignored")
                        && line.contains(&format!(" {module}::"))),
                    "{stage} does not run {name}"
                );
            }
        }
    }
}
