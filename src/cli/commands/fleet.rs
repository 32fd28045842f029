//! `keystilectl fleet`, and waiting for it.

use clap::{Args, Subcommand};

use super::Context;
use super::likely;
use super::pages::AllPages;
use crate::output::{self, cell};
use keystile_api::fleet::FleetNode;
use keystile_api::fleet::{self, WaitedView};
use keystile_api::signing_key::SigningAlgorithm;
use keystile_model::error::{Code, Result, named, refuse, refuse_all};
use keystile_model::when;
use keystile_model::wire::{PAGE, Span};

/// Show Envoys: what they were sent, and what they have in force
#[derive(Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  keystilectl --server https://keystile.example.com fleet
  keystilectl fleet --wait          # until all of them have the newest keyset in force
  keystilectl fleet forget edge-7   # removed for good: stop waiting for it
  keystilectl fleet --output json

An Envoy is known, and waited for, from its first connection or report until you forget it by name,
connected or not. `in force` is the version that every worker has proved by a signed report; this
needs `report` in the policy."
)]
pub struct FleetArgs {
    /// Wait until every known Envoy has the newest keyset in force [default: 10s]
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true,
          default_missing_value = "10s", value_parser = when::span)]
    wait: Option<u64>,
    #[command(subcommand)]
    then: Option<Then>,
}

/// What to do with Envoys.
#[derive(Subcommand)]
enum Then {
    Forget(Forget),
}

/// Forget Envoys that will not come back, so that no command waits for them
#[derive(Args)]
#[command(after_help = "\
Example:
  keystilectl fleet forget edge-7 edge-8

An Envoy that is connected is not forgotten, and one that comes back is known again.")]
struct Forget {
    /// The node id of the Envoy; can be repeated
    #[arg(required = true)]
    node: Vec<String>,
}

impl FleetArgs {
    /// Runs it.
    pub fn run(self, cx: &Context) -> Result<()> {
        if let Some(Then::Forget(forget)) = self.then {
            let done = cx.perform(fleet::Forget { nodes: forget.node })?;
            return cx.out.show(&done, || {
                let each = done.nodes.iter().map(|n| format!("{n} forgotten\n"));
                each.collect()
            });
        }
        if let Some(patience) = self.wait {
            wait(cx, patience)?;
        }
        let limit = Some(PAGE);
        let (mut version, mut signed_with) = (0, Vec::new());
        let pages = AllPages::all(cx.out, |cursor| {
            let found = cx.perform(fleet::List { limit, cursor })?;
            version = found.version;
            signed_with = found.signed_with;
            Ok((found.nodes, found.next))
        })?;
        let next = "an Envoy is known once it connects; `keystilectl render envoy --discovery HOST:PORT` prints its configuration";
        pages.end_or(next, |all| known(&all, version, &signed_with, cx.now()))
    }
}

/// The version that all of them should have, how it is signed, and what each has.
fn known(nodes: &[FleetNode], version: u64, signed_with: &[String], now: u64) -> String {
    let head = match version {
        0 => "no keyset yet\n\n".to_owned(),
        version => {
            let changed = when::relative(version / 1000, now);
            let with = match signed_with {
                [] => String::new(),
                all => format!(", signed with {}", all.join(" and ")),
            };
            format!("keyset {version} ({changed}){with}\n\n")
        }
    };
    let causes = causes(nodes, signed_with);
    format!("{head}{}{causes}", table(nodes, version))
}

/// Why Envoys refuse what is sent to them, which their own messages do not say.
fn causes(nodes: &[FleetNode], signed_with: &[String]) -> String {
    let algorithm = match signed_with.iter().any(|with| with == "ed25519") {
        true => SigningAlgorithm::Ed25519,
        false => SigningAlgorithm::HmacSha256,
    };
    let refused = |n: &&FleetNode| n.resources.iter().any(|r| r.refused.is_some());
    let names: Vec<String> = nodes
        .iter()
        .filter(refused)
        .map(|n| format!("`{}`", n.id))
        .collect();
    match names.as_slice() {
        [] => String::new(),
        _ => format!(
            "\nrefused by {}: {}\n",
            names.join(", "),
            likely::cause(&likely::variable(algorithm, None))
        ),
    }
}

/// Waits until every known Envoy has the newest keyset in force.
///
/// # Errors
/// Names the Envoys that do not, each with the reason; or says that there are none.
pub fn wait(cx: &Context, patience: u64) -> Result<WaitedView> {
    let waited = cx.perform(fleet::Wait {
        version: None,
        patience: Some(Span(patience)),
    })?;
    if waited.done {
        return Ok(waited);
    }
    if waited.missing.is_empty() {
        return Err(refuse(
            Code::NotInForce,
            "the change is in the store, but the server knows no Envoy, so none has proved that it is in force",
            "see `keystilectl fleet`; an Envoy that reads its keyset from a file becomes known by its reports",
        ));
    }
    let each = waited.missing.iter().flat_map(|m| {
        let since = m.since.as_ref().map(|s| format!(" (since {s})"));
        let fact = format_args!(
            "`{}` has not proved within {} that it is in force: {}{}",
            m.node,
            when::duration(patience),
            m.why,
            since.unwrap_or_default(),
        );
        let next = "see `keystilectl fleet`, and `keystilectl fleet forget` if it is gone for good";
        refuse(Code::NotInForce, fact, next).into_faults()
    });
    Err(refuse_all(each.collect()))
}

/// The same if there may be no server.
///
/// # Errors
/// Those of [`wait`].
pub fn wait_if(cx: &Context, patience: Option<u64>) -> Result<Option<WaitedView>> {
    match patience {
        None => Ok(None),
        Some(_) if cx.server.is_none() => Err(refuse(
            Code::ServerOnly,
            "the change is in the store, but `--wait` needs the server that Envoys are connected to",
            keystile_model::next![
                "name the server with ",
                named("server"),
                " or KEYSTILE_SERVER"
            ],
        )),
        Some(patience) => wait(cx, patience).map(Some),
    }
}

fn table(nodes: &[FleetNode], version: u64) -> String {
    let yes = |v: Option<u64>| match v {
        None => "-".to_owned(),
        Some(v) if v == version => "newest".to_owned(),
        Some(v) => v.to_string(),
    };
    output::table(
        [
            "node",
            "state",
            "envoy",
            "address",
            "acknowledged",
            "in force",
            "workers",
            "enrolled",
            "refused",
        ],
        nodes.iter().map(|n| {
            let acknowledged = n.resources.iter().filter_map(|r| r.acknowledged).max();
            let refused = n.resources.iter().find_map(|r| r.refused.as_ref());
            [
                cell(&n.id),
                cell(&n.state),
                cell(&n.envoy),
                cell(n.address.as_deref().unwrap_or("-")),
                cell(yes(acknowledged)),
                cell(yes(n.in_force)),
                cell(n.vms.len()),
                cell(if n.enrolled { "yes" } else { "no" }),
                cell(refused.map_or("", |r| r.message.as_str())),
            ]
        }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: &str, refused: bool) -> FleetNode {
        let refused = refused.then(|| {
            serde_json::json!({"version": 7, "message": "Unable to create Wasm plugin", "at": "2026-01-01T00:00:00Z", "times": 1})
        });
        serde_json::from_value(serde_json::json!({
            "id": id, "cluster": "", "envoy": "1.40.0", "address": null, "state": "connected",
            "connected_since": null, "disconnected_since": null, "streams": 1, "in_force": null, "enrolled": false,
            "resources": [{"name": "keystile", "sent": 7, "acknowledged": null, "refused": refused, "lagging": false}],
            "vms": [],
        }))
        .unwrap()
    }

    #[test]
    fn what_envoy_does_not_say_of_a_refusal_is_said_below_the_table() {
        let nodes = [node("a", false), node("b", true)];
        let says = |with: &str| known(&nodes, 7, &[with.to_owned()], 0);
        let secret = says("hmac-sha256");
        assert!(secret.contains("refused by `b`: most likely"), "{secret}");
        assert!(secret.contains("KEYSTILE_SIGNING_KEYS"), "{secret}");
        assert!(says("ed25519").contains("KEYSTILE_VERIFY_KEYS"));
        let none = known(&nodes[..1], 7, &["ed25519".to_owned()], 0);
        assert!(!none.contains("refused by"), "{none}");
    }
}
