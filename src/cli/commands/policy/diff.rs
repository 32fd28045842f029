//! `keystilectl policy diff`

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use comfy_table::Color;

use crate::commands::Context;
use crate::output::{self, cell};
use keystile_model::error::{Code, Result, refuse};
use keystile_model::plural;
use keystile_policy::diff::{self as policy_diff, Effect, PolicyDiff, RouteChange};
use keystile_policy::file as policy_file;

/// Compare two policies by what changes for callers, route by route
#[derive(Args)]
#[command(after_help = "\
Examples:
  keystilectl policy diff old.yaml policy.yaml
  git show main:policy.yaml > old.yaml && keystilectl policy diff old.yaml policy.yaml --fail-on opens

Ignores the text: two policies that answer every request alike do not differ. `opens` lets in callers
that were refused before, `closes` refuses callers that were let in before, `moves` does both, and
`alters` leaves access as it is but changes limits or what the upstream or the caller is told. `*` stands
for the methods or hosts that no route names.")]
pub struct DiffArgs {
    /// The old policy
    before: PathBuf,
    /// The new policy
    after: PathBuf,
    /// Fail (exit code 1) if there is a change of this kind
    #[arg(long, value_name = "EFFECT")]
    fail_on: Option<FailOn>,
}

/// Which changes count as a failure.
#[derive(Clone, Copy, ValueEnum)]
enum FailOn {
    /// A request is let in that was refused before.
    Opens,
    /// A request is refused that was let in before.
    Closes,
    /// Any change at all.
    Any,
}

impl FailOn {
    fn includes(self, effect: Effect) -> bool {
        match self {
            Self::Opens => matches!(effect, Effect::Opens | Effect::Moves),
            Self::Closes => matches!(effect, Effect::Closes | Effect::Moves),
            Self::Any => true,
        }
    }
}

impl DiffArgs {
    pub(super) fn run(self, cx: &Context) -> Result<()> {
        let before = policy_file::read(&self.before)?;
        let after = policy_file::read(&self.after)?;
        let diff = policy_diff::diff(&before, &after)?;
        cx.out.show_list(&diff, || table(&diff))?;
        let Some(fail_on) = self.fail_on else {
            return Ok(());
        };
        match diff.effects().filter(|e| fail_on.includes(*e)).count() {
            0 => Ok(()),
            n => Err(refuse(
                Code::CheckFailed,
                format_args!(
                    "{} of the kind that `--fail-on` names",
                    plural::count(n, "change")
                ),
                "review them, and leave the option out if they are intended",
            )),
        }
    }
}

fn table(diff: &PolicyDiff) -> String {
    if diff.is_empty() {
        return "no request gets a different answer\n".to_owned();
    }
    let effect = |e: Effect| {
        let color = match e {
            Effect::Opens | Effect::Moves => Color::Yellow,
            Effect::Closes => Color::Cyan,
            Effect::Alters => Color::Reset,
        };
        cell(e.as_str()).fg(color)
    };
    let everywhere = diff
        .everywhere
        .iter()
        .map(|e| [effect(e.effect), cell(&e.field), cell(&e.change)]);
    let routes = diff
        .routes
        .iter()
        .map(|r| [effect(r.effect), cell(requests(r)), cell(&r.change)]);
    output::table(["effect", "where", "change"], everywhere.chain(routes))
}

fn requests(r: &RouteChange) -> String {
    let mut out = String::new();
    if !r.methods.is_empty() {
        out = r.methods.join(",") + " ";
    }
    out.push_str(&r.path);
    if !r.hosts.is_empty() {
        out.push_str(" at ");
        out.push_str(&r.hosts.join(", "));
    }
    out
}
