//! `keystilectl login`, `logout`: which server the commands of this user work through.

use std::fs;
use std::io::{self, IsTerminal as _, Read as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;

use clap::Args;
use zeroize::Zeroizing;

use super::Context;
use crate::remembered::{self, LoggedIn};
use keystile_api::guide;
use keystile_api::remote::{self, Remote};
use keystile_model::error::{Code, Error, Result, refuse};
use keystile_system::{self as system, file};

/// The longest token that is read, in bytes.
const TOKEN: u64 = 4096;

/// Remember a server and a token, for all commands of this user
#[derive(Args)]
#[command(after_help = "\
Examples:
  keystilectl login https://keystile.example.com < token.txt
  KEYSTILE_TOKEN=kst_… keystilectl login http://127.0.0.1:8080

The token is read from KEYSTILE_TOKEN or from stdin, tried, and kept in a file that only you can read.
It is used when neither `--server`, `--home` nor `--store` is given, in the environment either. Commands
that work on the store itself, such as `init` and `serve`, go on doing so.")]
pub struct Login {
    /// The address of the server
    #[arg(value_parser = trimmed)]
    server: String,
}

/// Forget the server and the token of `login`
#[derive(Args)]
#[command(after_help = "\
Example:
  keystilectl logout

The token stays valid: `keystilectl token revoke` ends it.")]
pub struct Logout {}

/// An address as it is compared with that of `--server`, whatever it was copied with.
fn trimmed(address: &str) -> std::result::Result<String, std::convert::Infallible> {
    Ok(address.trim().trim_end_matches('/').to_owned())
}

impl Login {
    /// Runs it; `ca` is the certificate authority of the server, if it is a private one.
    pub fn run(self, cx: &Context, ca: Option<PathBuf>) -> Result<()> {
        let token = match system::secret_variable(remote::TOKEN) {
            Some(token) => token,
            None => typed()?,
        };
        // Where commands run later does not matter then; a link to it may lead elsewhere by that time.
        let ca = ca.map(|ca| std::path::absolute(&ca).unwrap_or(ca));
        let server = Remote::new(&self.server, ca.as_deref(), Some(token.clone()))?;
        // Anybody may ask this.
        server.perform(&guide::Show {})?;
        let path = remembered::place().ok_or_else(no_home)?;
        if let Some(folder) = path.parent() {
            let made = fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder);
            made.map_err(|e| {
                refuse(
                    Code::FileUnwritable,
                    format_args!("the folder `{}` cannot be made ({e})", folder.display()),
                    "name another with XDG_CONFIG_HOME",
                )
            })?;
        }
        let kept = LoggedIn::new(self.server.clone(), ca, &token);
        let text = Zeroizing::new(serde_json::to_vec(&kept).map_err(|e| {
            refuse(
                Code::InvalidValue,
                format_args!("this cannot be kept ({e})"),
                "name the file of `--server-ca` in UTF-8",
            )
        })?);
        file::replace(&path, 0o600, &text)?;
        let shown = path.display().to_string();
        let json = serde_json::json!({"server": self.server, "file": shown});
        cx.out.show(&json, || {
            format!(
                "logged in to {}; the token is kept in {shown}\n",
                self.server
            )
        })
    }
}

fn typed() -> Result<Zeroizing<String>> {
    let stdin = io::stdin();
    let missing = || {
        refuse(
            Code::TokenMissing,
            "there is no token",
            "give it on stdin (`keystilectl login SERVER < token.txt`) or in KEYSTILE_TOKEN",
        )
    };
    // What is typed would be seen.
    if stdin.is_terminal() {
        return Err(missing());
    }
    let mut text = Zeroizing::new(String::new());
    let read = stdin.lock().take(TOKEN).read_to_string(&mut text);
    // What `token create` prints begins with the word and the token.
    let first = text.trim().lines().next().unwrap_or_default();
    match (read, first.strip_prefix("token ").unwrap_or(first).trim()) {
        (Ok(_), token) if !token.is_empty() => Ok(Zeroizing::new(token.to_owned())),
        _ => Err(missing()),
    }
}

fn no_home() -> Error {
    refuse(
        Code::FieldMissing,
        "there is no home folder",
        "name a folder for settings with XDG_CONFIG_HOME",
    )
}

impl Logout {
    /// Runs it.
    pub fn run(self, cx: &Context) -> Result<()> {
        let path = remembered::place().ok_or_else(no_home)?;
        let was = path.exists();
        if was {
            fs::remove_file(&path).map_err(|e| {
                refuse(
                    Code::FileUnwritable,
                    format_args!("`{}` cannot be removed ({e})", path.display()),
                    "remove it yourself",
                )
            })?;
        }
        cx.out
            .show(&serde_json::json!({"logged_out": was}), || match was {
                true => "logged out; the token stays valid until it is revoked\n".to_owned(),
                false => "you were not logged in\n".to_owned(),
            })
    }
}
