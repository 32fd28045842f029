//! Long text, a screen at a time.

use std::io::{self, IsTerminal as _, Write as _};
use std::process::{ExitStatus, Stdio};

use keystile_system as system;

/// The environment variable that names the pager.
const PAGER: &str = "PAGER";
/// Ends at once if the text fits on the screen, keeps colours, and leaves the text there.
const USUAL: &str = "less -FRX";
/// Lines that every screen has room for.
const SHORT: usize = 20;
/// What `sh` ends with if there is no such command.
const NOT_FOUND: i32 = 127;

/// Shows text through the pager, if a person at a terminal reads it; whether it did.
pub(super) fn show(text: &str) -> bool {
    let is_read = io::stdout().is_terminal() && io::stdin().is_terminal();
    if !is_read || text.lines().count() <= SHORT {
        return false;
    }
    let command = system::variable(PAGER).unwrap_or_else(|| USUAL.to_owned());
    // As other programs have it: these mean none.
    if ["", "cat"].contains(&command.trim()) {
        return false;
    }
    through(&command, text).is_ok_and(|ended| ended.code() != Some(NOT_FOUND))
}

fn through(command: &str, text: &str) -> io::Result<ExitStatus> {
    let mut child = system::shell(command).stdin(Stdio::piped()).spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A reader who has seen enough leaves before the end.
        let _ = stdin.write_all(text.as_bytes());
    }
    child.wait()
}
