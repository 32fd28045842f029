//! The server that `keystilectl login` remembers, and its token, in a file that only its user can read.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use keystile_model::error::{Code, Result, refuse};
use keystile_system as system;

/// A server that this user has logged in to. No `Debug`.
#[derive(Serialize, Deserialize)]
pub struct LoggedIn {
    /// Its address.
    pub server: String,
    /// The file of its certificate authority.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    token: String,
}

impl Drop for LoggedIn {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.token);
    }
}

impl LoggedIn {
    /// One, with its token.
    pub fn new(server: String, ca: Option<PathBuf>, token: &str) -> Self {
        Self {
            server,
            ca,
            token: token.to_owned(),
        }
    }

    /// The token.
    pub fn token(&self) -> Zeroizing<String> {
        Zeroizing::new(self.token.clone())
    }
}

/// `~/.config/keystile/login.json`, if there is a home folder.
pub fn place() -> Option<PathBuf> {
    let config = system::variable("XDG_CONFIG_HOME").map(PathBuf::from);
    let home = || Some(PathBuf::from(system::variable("HOME")?).join(".config"));
    Some(config.or_else(home)?.join("keystile/login.json"))
}

/// The server that this user has logged in to.
///
/// # Errors
/// If the file cannot be read: what was meant for a server must not go to the store of this machine.
pub fn kept() -> Result<Option<LoggedIn>> {
    let Some(path) = place() else {
        return Ok(None);
    };
    let wrong = |why: &dyn std::fmt::Display| {
        refuse(
            Code::FileInvalid,
            format_args!("`{}` cannot be read ({why})", path.display()),
            "log in again with `keystilectl login`, or remove it with `keystilectl logout`",
        )
    };
    let text = match fs::read_to_string(&path) {
        Ok(text) => Zeroizing::new(text),
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(wrong(&e)),
    };
    // Nothing of the text, which holds a token.
    serde_json::from_str(&text)
        .map(Some)
        .map_err(|_| wrong(&"it is not what `login` writes"))
}
