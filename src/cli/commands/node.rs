//! `keystilectl node …`

use clap::{Args, Subcommand};

use super::Context;
use super::pages::AllPages;
use crate::output::{self, cell};
use keystile_api::node::{self, NodeView};
use keystile_model::error::{Code, Result, refuse};
use keystile_model::when;
use keystile_model::wire::PAGE;
use keystile_render::ecds::NODE_KEY;

/// Enrolled Envoys, which sign their reports with a secret of their own
#[derive(Subcommand)]
pub enum NodeCommand {
    Enroll(Enroll),
    List(List),
    Revoke(Revoke),
}

/// Give an Envoy its own secret, shown once; it replaces any earlier one
#[derive(Args)]
#[command(after_help = "\
Examples:
  keystilectl node enroll edge-1
  keystilectl --output json node enroll edge-1 | jq -r .node_key

Reports of an enrolled Envoy (usage, and which keyset it has in force) count only if they are signed
with its own secret, so that no other Envoy can report in its name. With `serve --enrolled-only`,
reports from Envoys that are not enrolled are refused.")]
pub struct Enroll {
    /// The node id, as in Envoy's bootstrap
    node: String,
}

/// List the Envoys that have, or had, a secret of their own
#[derive(Args)]
#[command(after_help = "\
Example:
  keystilectl node list")]
pub struct List {}

/// Revoke an Envoy's secret: from then on no report in its name counts, and it is sent no keyset
#[derive(Args)]
#[command(after_help = "\
Example:
  keystilectl node revoke edge-1

A running server closes its discovery streams at once. The Envoy keeps the keyset that it has, but
later revocations do not reach it: take it out of service, too. `node enroll` admits it again.")]
pub struct Revoke {
    /// The node id of the Envoy
    node: String,
}

impl NodeCommand {
    /// Runs it.
    pub fn run(self, cx: &Context) -> Result<()> {
        match self {
            Self::Enroll(c) => enroll(cx, c.node),
            Self::List(_) => {
                let limit = Some(PAGE);
                let pages = AllPages::all(cx.out, |cursor| {
                    let found = cx.perform(node::List { limit, cursor })?;
                    Ok((found.nodes, found.next))
                })?;
                pages.end_or("`keystilectl node enroll NAME` enrols an Envoy", |all| {
                    table(&all)
                })
            }
            Self::Revoke(c) => {
                let done = cx.perform(node::Revoke { node: c.node })?;
                cx.out
                    .show(&done, || format!("node {} revoked\n", done.node))
            }
        }
    }
}

fn enroll(cx: &Context, node: String) -> Result<()> {
    let made = cx.make(node::Enroll { node })?;
    cx.out
        .show(&made, || {
            format!("{NODE_KEY}={}\n", made.node_key.expose_secret())
        })
        .map_err(|e| {
            refuse(
                Code::SecretNotShown,
                format_args!(
                    "node {} was enrolled, but its secret could not be shown: {e}",
                    made.node
                ),
                "enroll it again, which creates a new secret",
            )
        })?;
    if !cx.out.is_json() {
        cx.out.note(
            "put it into the environment of this Envoy alone, beside KEYSTILE_SIGNING_KEYS; until then its reports do not count",
        );
    }
    Ok(())
}

fn table(all: &[NodeView]) -> String {
    output::table(
        ["node", "enrolled", "revoked"],
        all.iter().map(|n| {
            let revoked = n.revoked.as_ref().map(|t| when::short(t.0));
            [
                cell(&n.node),
                cell(when::short(n.enrolled.0)),
                cell(revoked.unwrap_or_else(|| "-".to_owned())),
            ]
        }),
    )
}
