//! `keystilectl policy …` and `plan list`

use std::path::PathBuf;

use clap::{Args, Subcommand};
use keystile::policy::Limit;
use serde_json::{Value, json};

use super::Context;
use crate::error::{Result, refuse};
use crate::output::{self, cell};
use crate::policy_file::{self, PolicyFile};
use crate::record::limit_words;
use crate::registry;
use crate::when;

/// Policy: what routes ask for
#[derive(Subcommand)]
pub enum Policy {
    Check(Check),
    Apply(Apply),
    Show(Show),
    History(History),
}

/// Plans: named bundles of limits, written in the policy
#[derive(Subcommand)]
pub enum Plan {
    List(PlanList),
}

/// Check a policy file: every mistake with its line
#[derive(Args)]
#[command(after_help = "\
Examples:
  keystilectl policy check policy.yaml
  keystilectl policy check policy.yaml --alone    # without a store, in a pipeline")]
pub struct Check {
    /// The file
    file: PathBuf,
    /// Do not compare with the keys of a store
    #[arg(long)]
    alone: bool,
}

/// Put a policy in force with the next push
#[derive(Args)]
#[command(after_help = "\
Example:
  keystilectl policy apply policy.yaml && keystilectl push --ecds-file keystile.json")]
pub struct Apply {
    /// The file
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
    /// A policy of former times
    #[arg(long, value_name = "N")]
    revision: Option<u64>,
    /// The commented policy that `init` takes without a file
    #[arg(long, conflicts_with = "revision")]
    default: bool,
}

/// List the policies of former times
#[derive(Args)]
#[command(after_help = "\
Example:
  keystilectl policy history")]
pub struct History {}

/// List the plans of the policy, and who is on them
#[derive(Args)]
#[command(after_help = "\
Example:
  keystilectl plan list")]
pub struct PlanList {}

impl Policy {
    /// Runs it.
    pub fn run(self, cx: &Context) -> Result<()> {
        match self {
            Self::Check(c) => c.run(cx),
            Self::Apply(c) => c.run(cx),
            Self::Show(c) => c.run(cx),
            Self::History(_) => history(cx),
        }
    }
}

impl Check {
    fn run(self, cx: &Context) -> Result<()> {
        let file = policy_file::read(&self.file)?;
        let warnings = if self.alone || !cx.home.exists() {
            Vec::new()
        } else {
            cx.store()?.read(|tx| registry::policy::check(tx, &file))?
        };
        for w in &warnings {
            cx.out.warn(w);
        }
        let policy = &file.policy;
        let json = json!({
            "ok": true,
            "routes": policy.routes.len(),
            "plans": policy.plans.len(),
            "scopes": policy.scopes,
            "warnings": warnings,
        });
        cx.out.show(&json, || {
            format!(
                "{} holds: {}, {}, {}\n",
                self.file.display(),
                output::count(policy.routes.len(), "route"),
                output::count(policy.plans.len(), "plan"),
                output::count(policy.scopes.len(), "scope")
            )
        })
    }
}

impl Apply {
    fn run(self, cx: &Context) -> Result<()> {
        let file = policy_file::read(&self.file)?;
        let applied = registry::policy::apply(&mut cx.store()?, &cx.world, &file)?;
        for w in &applied.warnings {
            cx.out.warn(w);
        }
        let json = json!({
            "revision": applied.revision,
            "changed": !applied.unchanged,
            "warnings": applied.warnings,
        });
        cx.out.show(&json, || {
            if applied.unchanged {
                format!(
                    "this policy is in force already, as revision {}\n",
                    applied.revision
                )
            } else {
                format!(
                    "policy applied as revision {}; `keystilectl push` puts it in force\n",
                    applied.revision
                )
            }
        })
    }
}

impl Show {
    fn run(self, cx: &Context) -> Result<()> {
        let text = if self.default {
            policy_file::DEFAULT.to_owned()
        } else {
            cx.store()?.read(|tx| match self.revision {
                None => Ok(tx.policy()?.text),
                Some(n) => tx.policy_revision(n)?.map(|r| r.text).ok_or_else(|| {
                    refuse(
                        format_args!("there is no revision {n}"),
                        "see `keystilectl policy history`",
                    )
                }),
            })?
        };
        if !cx.out.is_json() {
            return output::raw(text.as_bytes());
        }
        let PolicyFile { raw, .. } = policy_file::parse("policy", text)?;
        cx.out.json(&serde_json::to_value(raw).unwrap_or_default())
    }
}

fn history(cx: &Context) -> Result<()> {
    let all = cx.store()?.read(|tx| tx.policies())?;
    let json: Vec<Value> = all
        .iter()
        .map(|r| json!({"revision": r.revision, "applied": when::rfc3339(r.applied), "bytes": r.text.len()}))
        .collect();
    cx.out.show(&Value::Array(json), || {
        output::table(
            ["revision", "applied", "lines"],
            all.iter().rev().map(|r| {
                [
                    cell(r.revision),
                    cell(when::short(r.applied)),
                    cell(r.text.lines().count()),
                ]
            }),
        )
    })
}

impl Plan {
    /// Runs it.
    pub fn run(self, cx: &Context) -> Result<()> {
        let Self::List(_) = self;
        let (plans, keys, clients) = cx.store()?.read(|tx| {
            let plans = registry::policy(tx)?.policy.plans;
            let keys = tx.keys()?;
            Ok((plans, keys, tx.clients()?))
        })?;
        let rows: Vec<_> = plans
            .iter()
            .map(|(name, plan)| {
                let on = |p: Option<&str>| p == Some(name.as_str());
                let keys = keys
                    .iter()
                    .filter(|k| k.revoked.is_none() && on(k.effective_plan()))
                    .count();
                let clients = clients
                    .iter()
                    .filter(|(c, _)| on(c.plan.as_deref()))
                    .count();
                (
                    name,
                    plan_words(&plan.limits),
                    plan.quota.as_ref(),
                    clients,
                    keys,
                )
            })
            .collect();
        let json: Vec<Value> = rows
            .iter()
            .map(|(name, limits, quota, clients, keys)| {
                json!({"plan": name, "limits": limits, "quota": quota, "clients": clients, "keys": keys})
            })
            .collect();
        cx.out.show(&Value::Array(json), || {
            output::table(
                ["plan", "limits", "clients", "keys"],
                rows.iter().map(|(name, limits, _, clients, keys)| {
                    [
                        cell(name),
                        cell(limits.join(" ")),
                        cell(clients),
                        cell(keys),
                    ]
                }),
            )
        })
    }
}

fn plan_words(limits: &[Limit]) -> Vec<String> {
    limit_words(limits)
}
