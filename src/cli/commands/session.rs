//! `keystilectl session …`

use clap::{Args, Subcommand};

use super::Context;
use super::pages::nothing;
use crate::output::{self, cell};
use keystile_api::session::{self, SessionView};
use keystile_model::error::Result;
use keystile_model::when;

/// Sessions of a server's console: list who is signed in, or end a session
#[derive(Subcommand)]
pub enum SessionCommand {
    List(List),
    End(End),
}

/// List who is signed in to the console
#[derive(Args)]
#[command(after_help = "\
Example:
  keystilectl --server https://keystile.example.com session list")]
pub struct List {}

/// End a session: its browser has to sign in again
#[derive(Args)]
#[command(after_help = "\
Example:
  keystilectl session end 3f2a9c1be07d4485

To keep a person out, revoke their token, or remove their role at the identity provider.")]
pub struct End {
    /// The id of the session, as `session list` shows it
    session: String,
}

impl SessionCommand {
    /// Runs it.
    pub fn run(self, cx: &Context) -> Result<()> {
        match self {
            Self::List(_) => {
                let all = cx.perform(session::List {})?.sessions;
                cx.out.show_list(&all, || table(&all, cx.now()))?;
                if all.is_empty() {
                    nothing(cx.out, "nobody is signed in to the console");
                }
                Ok(())
            }
            Self::End(end) => {
                let ended = cx.perform(session::End { id: end.session })?;
                cx.out.show(&ended, || {
                    format!("session {} of {} ended\n", ended.id, ended.user)
                })
            }
        }
    }
}

fn table(all: &[SessionView], now: u64) -> String {
    output::table(
        ["session", "user", "address", "since", "last seen"],
        all.iter().map(|s| {
            [
                cell(&s.id),
                cell(&s.user),
                cell(&s.address),
                cell(when::short(s.began.0)),
                cell(when::relative(s.last_seen.0, now)),
            ]
        }),
    )
}
