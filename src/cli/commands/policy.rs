//! `keystilectl policy …` and `plan list`

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::Context;
use crate::output::{self, cell};
use keystile_api::policy::{self, AppliedView, Checked};
use keystile_model::error::{Code, Result, refuse};
use keystile_model::plural;
use keystile_model::when;
use keystile_policy::file::{self as policy_file, PolicyFile};

mod diff;
mod from_openapi;
mod test;

/// Policy: what routes require
#[derive(Subcommand)]
pub enum PolicyCommand {
    Check(Check),
    Apply(Apply),
    Show(Show),
    History(History),
    Rollback(Rollback),
    FromOpenapi(from_openapi::FromOpenapi),
    Test(test::Test),
    Diff(diff::DiffArgs),
}

/// Plans: named bundles of limits in the policy
#[derive(Subcommand)]
pub enum PlanCommand {
    List(PlanList),
}

/// Check a policy file, and name every mistake with its line
#[derive(Args)]
#[command(after_help = "\
Examples:
  keystilectl policy check policy.yaml
  keystilectl policy check policy.yaml --alone --strict    # without a store, in a pipeline

Warns if something is open next to something protected: other methods of the same path, other hosts.
The exit code stays 0 if there are only warnings, unless `--strict` is given.")]
pub struct Check {
    /// The policy file
    file: PathBuf,
    /// Do not compare the policy with the keys of a store
    #[arg(long)]
    alone: bool,
    /// Fail (exit code 1) if there are warnings
    #[arg(long)]
    strict: bool,
}

/// Put a policy in force with the next push
#[derive(Args)]
#[command(after_help = "\
Example:
  keystilectl policy apply policy.yaml && keystilectl push --ecds-file keystile.json")]
pub struct Apply {
    /// The policy file
    file: PathBuf,
}

/// Print the policy in force, as it was written
#[derive(Args)]
#[command(after_help = "\
Examples:
  keystilectl policy show > policy.yaml
  keystilectl policy show --revision 3
  keystilectl policy show --default")]
pub struct Show {
    /// An earlier revision of the policy
    #[arg(long, value_name = "N")]
    revision: Option<u64>,
    /// The commented policy that `init` uses if it is given no file
    #[arg(long, conflicts_with = "revision")]
    default: bool,
}

/// List all revisions of the policy
#[derive(Args)]
#[command(after_help = "\
Example:
  keystilectl policy history")]
pub struct History {}

/// Put an earlier policy in force again, as a new revision
#[derive(Args)]
#[command(after_help = "\
Example:
  keystilectl policy history && keystilectl policy rollback 3")]
pub struct Rollback {
    /// The number of the revision
    revision: u64,
}

/// List the plans of the policy, and how many clients and keys use them
#[derive(Args)]
#[command(after_help = "\
Example:
  keystilectl plan list")]
pub struct PlanList {}

impl PolicyCommand {
    /// Runs it.
    pub fn run(self, cx: &Context) -> Result<()> {
        match self {
            Self::Check(c) => c.run(cx),
            Self::Apply(c) => c.run(cx),
            Self::Show(c) => c.run(cx),
            Self::History(_) => history(cx),
            Self::Rollback(c) => c.run(cx),
            Self::FromOpenapi(c) => c.run(cx),
            Self::Test(c) => c.run(cx),
            Self::Diff(c) => c.run(cx),
        }
    }
}

impl Check {
    fn run(self, cx: &Context) -> Result<()> {
        let (name, text) = read(&self.file)?;
        let no_store = cx.server.is_none() && !cx.home.exists()?;
        let checked = if self.alone || no_store {
            Checked::from_file(&policy_file::parse(&name, text)?, Vec::new())
        } else {
            cx.perform(policy::Check { name, text })?
        };
        warn(cx, &checked.warnings, &checked.notes);
        let number =
            |n: u64, thing: &str| plural::count(usize::try_from(n).unwrap_or(usize::MAX), thing);
        cx.out.show(&checked, || {
            format!(
                "{} is valid: {}, {}, {}\n",
                self.file.display(),
                number(checked.routes, "route"),
                number(checked.plans, "plan"),
                plural::count(checked.scopes.len(), "scope")
            )
        })?;
        match checked.warnings.len() {
            n if n > 0 && self.strict => Err(refuse(
                Code::CheckFailed,
                format_args!("{}, and `--strict` was given", plural::count(n, "warning")),
                "fix what they point out, or leave `--strict` out if it is intended",
            )),
            _ => Ok(()),
        }
    }
}

fn warn(cx: &Context, warnings: &[String], notes: &[String]) {
    for w in warnings {
        cx.out.warn(w);
    }
    for n in notes {
        cx.out.note(format_args!("note: {n}"));
    }
}

/// Name and text of a policy file that can be parsed: mistakes are reported before
/// anything is opened or sent.
fn read(path: &Path) -> Result<(String, String)> {
    let file = policy_file::read(path)?;
    Ok((path.display().to_string(), file.text))
}

impl Apply {
    fn run(self, cx: &Context) -> Result<()> {
        let (name, text) = read(&self.file)?;
        print(cx, &cx.perform(policy::Apply { name, text })?)
    }
}

impl Rollback {
    fn run(self, cx: &Context) -> Result<()> {
        let revision = self.revision;
        print(cx, &cx.perform(policy::Rollback { revision })?)
    }
}

fn print(cx: &Context, applied: &AppliedView) -> Result<()> {
    warn(cx, &applied.warnings, &applied.notes);
    cx.out.show(applied, || {
        if applied.changed {
            format!(
                "policy applied as revision {}; {}\n",
                applied.revision,
                cx.in_force("it")
            )
        } else {
            format!(
                "this policy is in force already, as revision {}\n",
                applied.revision
            )
        }
    })
}

impl Show {
    fn run(self, cx: &Context) -> Result<()> {
        let (text, policy) = if self.default {
            let text = policy_file::DEFAULT.to_owned();
            let PolicyFile { raw, text, .. } = policy_file::parse("policy", text)?;
            (text, serde_json::to_value(raw).unwrap_or_default())
        } else {
            let revision = self.revision;
            let shown = cx.perform(policy::Show { revision })?;
            (shown.text, shown.policy)
        };
        if cx.out.is_json() {
            cx.out.json(&policy)
        } else {
            output::raw(text.as_bytes())
        }
    }
}

fn history(cx: &Context) -> Result<()> {
    let all = cx.perform(policy::History {})?.revisions;
    cx.out.show_list(&all, || {
        output::table(
            ["revision", "applied", "lines"],
            all.iter().rev().map(|r| {
                [
                    cell(r.revision),
                    cell(when::short(r.applied.0)),
                    cell(r.lines),
                ]
            }),
        )
    })
}

impl PlanCommand {
    /// Runs it.
    pub fn run(self, cx: &Context) -> Result<()> {
        let Self::List(_) = self;
        let plans = cx.perform(policy::Plans {})?.plans;
        cx.out.show(&plans, || {
            output::table(
                ["plan", "limits", "clients", "keys"],
                plans.iter().map(|p| {
                    [
                        cell(&p.plan),
                        cell(p.limits.join(" ")),
                        cell(p.clients),
                        cell(p.keys),
                    ]
                }),
            )
        })
    }
}
