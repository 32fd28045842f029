//! `keystilectl import`

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use keystile_core::policy::{RawPlan, RawQuota};
use serde_json::json;
use zeroize::Zeroizing;

use super::Context;
use keystile_api::import::{Done, Import as Take};
use keystile_import::{self as import, ExportFile, How, System};
use keystile_model::error::{Code, Result, refuse};
use keystile_model::import_lines::QuotaLine;
use keystile_model::plural;
use keystile_model::wire::LimitWords;
use keystile_registry::import::whole::plan_line;
use keystile_system::file;

/// Import clients, keys and limits from another system
#[derive(Args)]
#[command(after_help = "\
Examples:
  keystilectl import kong kong.yaml                      # shows what would be done; changes nothing
  keystilectl import kong kong.yaml --apply --add-plans --allow-unknown-scope
  keystilectl import csv keys.csv --column client=owner --column key=apikey --apply

Columns of a table, of which `client` and one of `key` and `sha256` are required:
  client, key, sha256, name, environment, type, scopes, plan, limits, expires, not_before, cidrs,
  deny_cidrs, origins, certificates, disabled, enabled, status

Keys are hashed on this machine; the store, the server and the log never get one in full. Groups with
limits become plans, ACL groups and permissions become scopes, and limits of one consumer become limits
of its keys. Windows become token buckets of the same size. Fields that are not carried over, or not
known, are listed; a client that was shut out there in a way that has no equivalent here is left out.
Several files are read together. What exists already stays as it is, so a second run changes nothing.
Delete the export when you are done: it contains every key.")]
pub struct Import {
    /// The system that the export comes from
    system: System,
    /// Files of the export
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Do the import; without this, only show what would be done
    #[arg(long)]
    apply: bool,
    /// Add plans that the policy does not have to it
    #[arg(long)]
    add_plans: bool,
    /// Accept scopes that no route of the policy asks for
    #[arg(long)]
    allow_unknown_scope: bool,
    /// Import keys shorter than 16 characters, although their digests could be guessed
    #[arg(long)]
    allow_short: bool,
    /// The client for keys that name none
    #[arg(long, value_name = "CLIENT")]
    client: Option<String>,
    /// The environment for keys that name none [default: the policy's first]
    #[arg(long, value_name = "ENV")]
    environment: Option<String>,
    /// The table column that holds a field; can be repeated
    #[arg(long, value_name = "FIELD=HEADER", value_parser = column)]
    column: Vec<(String, String)>,
}

fn column(text: &str) -> std::result::Result<(String, String), String> {
    let (field, header) = text
        .split_once('=')
        .ok_or_else(|| format!("`{text}` names no column; write `client=owner`"))?;
    Ok((field.to_owned(), header.to_owned()))
}

impl Import {
    /// Runs it.
    pub fn run(self, cx: &Context) -> Result<()> {
        let how = How {
            client: self.client,
            environment: self.environment,
            allow_short: self.allow_short,
            columns: self.column.into_iter().collect(),
        };
        let files = self.files.iter().map(|path| read(path));
        let files = files.collect::<Result<Vec<ExportFile>>>()?;
        let mut found = import::read(self.system, &files, &how)?;
        drop(files);
        found.leave_ended(cx.now());
        let plans = found.plans.clone();
        let words = |plan: RawPlan| plan.limits.into_iter().map(LimitWords).collect();
        let month = |q: &RawQuota| QuotaLine {
            requests_per_month: q.requests,
        };
        let quotas = plans
            .iter()
            .filter_map(|(n, p)| Some((n.clone(), month(p.quota.as_ref()?))))
            .collect();
        let done = cx.perform(Take {
            quotas,
            clients: std::mem::take(&mut found.clients).into_values().collect(),
            keys: std::mem::take(&mut found.keys),
            plans: std::mem::take(&mut found.plans)
                .into_iter()
                .map(|(n, p)| (n, words(p)))
                .collect(),
            add_plans: self.add_plans,
            allow_unknown_scope: self.allow_unknown_scope,
            dry_run: !self.apply,
        })?;
        for name in &done.plans_kept {
            found.plan_stays(name);
        }
        let (left, noted) = (found.left(), found.noted());
        if !cx.out.is_json() {
            for l in &left {
                let places = l.places.join(", ");
                cx.out
                    .warn(format_args!("not carried over: {places}: {}", l.problem));
            }
            for n in &noted {
                let places = n.places.join(", ");
                cx.out.warn(format_args!("{places}: {}", n.problem));
            }
            for kept in &done.kept {
                cx.out.warn(kept);
            }
        }
        let report = json!({"system": self.system.as_str(), "done": done, "plans": plans, "not_carried_over": left, "notes": noted});
        cx.out.show_list(&report, || words_of(cx, &done, &plans))
    }
}

/// The text contains keys, so it is wiped after it has been read.
fn read(path: &Path) -> Result<ExportFile> {
    let bytes = Zeroizing::new(file::read(path)?);
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(ExportFile {
            name: path.display().to_string(),
            text: Zeroizing::new(text.to_owned()),
        }),
        Err(_) => Err(refuse(
            Code::FileInvalid,
            format_args!("`{}` is not UTF-8", path.display()),
            "save it as UTF-8",
        )),
    }
}

fn words_of(cx: &Context, done: &Done, plans: &BTreeMap<String, RawPlan>) -> String {
    let size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    let verb = if done.dry_run { "would be " } else { "" };
    let mut out = String::new();
    let mut line = |n: usize, known: u64, thing: &str, what: &str| {
        let there = match known {
            0 => String::new(),
            n => format!(", {n} already there"),
        };
        out.push_str(&format!(
            "{} {verb}{what}{there}\n",
            plural::count(n, thing)
        ));
    };
    line(
        done.clients_created.len(),
        done.clients_known,
        "client",
        "created",
    );
    line(size(done.keys_imported), done.keys_known, "key", "imported");
    if !done.plans_added.is_empty() {
        line(done.plans_added.len(), 0, "plan", "added to the policy");
        for (name, plan) in plans.iter().filter(|(n, _)| done.plans_added.contains(n)) {
            out.push_str(&format!("  {}\n", plan_line(name, plan)));
        }
    }
    match done.dry_run {
        true => out.push_str("nothing was changed; add `--apply` to do it\n"),
        false => out.push_str(&format!("{}\n", cx.in_force("it"))),
    }
    out
}
