//! `keystilectl keyset versions`, and `inspect` and `diff` of versions that a server knows

use std::path::Path;

use clap::Args;

use crate::commands::Context;
use crate::output::{self, cell};
use keystile_api::version::{self, ChangeView, DifferenceView, VersionView};
use keystile_model::error::Result;
use keystile_model::when;

/// List the versions that a server has sent to Envoys since its start, and why
#[derive(Args)]
#[command(after_help = "\
Examples:
  keystilectl --server https://keystile.example.com keyset versions
  keystilectl keyset inspect 1795331554650          # one of them
  keystilectl keyset diff 1795331552484 1795331554650

Lists at most the last 200; earlier changes are in the audit log.")]
pub struct VersionsArgs {}

impl VersionsArgs {
    pub(super) fn run(self, cx: &Context) -> Result<()> {
        let all = cx.perform(version::List {})?.versions;
        cx.out.show_list(&all, || {
            output::table(
                ["version", "issued", "base", "keys", "changed since", "why"],
                all.iter().map(|v| {
                    [
                        cell(v.version),
                        cell(when::short(v.issued_at.0)),
                        cell(if v.base == v.version {
                            "itself".to_owned()
                        } else {
                            v.base.to_string()
                        }),
                        cell(v.keys),
                        cell(v.changed),
                        cell(why(v)),
                    ]
                }),
            )
        })
    }
}

/// The version that is meant instead of a file: with a server, a number that is not the name of a file.
pub(super) fn version_in_place_of(cx: &Context, file: &Path) -> Option<u64> {
    let number = file.to_str()?.parse().ok()?;
    (cx.server.is_some() && !file.exists()).then_some(number)
}

/// `keyset inspect VERSION`
pub(super) fn inspect(cx: &Context, version: u64) -> Result<()> {
    let found = cx.perform(version::Inspect { version })?;
    cx.out.show(&found, || {
        let v = &found.view;
        let id = |e: &serde_json::Value| {
            let id = e.get("id").and_then(serde_json::Value::as_str);
            id.unwrap_or_default().to_owned()
        };
        output::fields([
            ("version", v.version.to_string()),
            (
                "issued",
                format!(
                    "{} ({})",
                    when::short(v.issued_at.0),
                    when::relative(v.issued_at.0, cx.now())
                ),
            ),
            ("base", v.base.to_string()),
            ("keys", v.keys.to_string()),
            ("changed since", v.changed.to_string()),
            (
                "changed keys",
                found.entries.iter().map(id).collect::<Vec<_>>().join(" "),
            ),
            ("audit record", v.audit_seq.to_string()),
            ("why", why(v)),
        ])
    })
}

/// `keyset diff VERSION VERSION`
pub(super) fn diff(cx: &Context, version: u64, to: u64) -> Result<()> {
    let found = cx.perform(version::Diff { version, to })?;
    cx.out.show(&found, || words(&found))
}

fn why(v: &VersionView) -> String {
    let each = v.why.iter().map(|(action, times)| match times {
        1 => action.clone(),
        n => format!("{action} ×{n}"),
    });
    each.collect::<Vec<_>>().join(", ")
}

fn words(d: &DifferenceView) -> String {
    let mut out = format!("version {} -> {}\n", d.versions[0], d.versions[1]);
    let text = |v: &serde_json::Value, field: &str| {
        let text = v.get(field).and_then(serde_json::Value::as_str);
        text.unwrap_or_default().to_owned()
    };
    let change = |c: &ChangeView| format!("{}: {} -> {}\n", c.field, c.before, c.after);
    for (sign, list) in [("+", &d.added), ("-", &d.removed)] {
        for v in list {
            let line = format!("{sign} key {} of {}\n", text(v, "id"), text(v, "client"));
            out.push_str(&line);
        }
    }
    for key in &d.changed {
        for c in &key.changes {
            out.push_str(&format!("~ key {}  {}", key.id, change(c)));
        }
    }
    for c in &d.policy {
        out.push_str(&format!("~ policy  {}", change(c)));
    }
    if out.lines().count() == 1 {
        out.push_str("the same keys and the same policy\n");
    }
    if d.left_out > 0 {
        out.push_str(&format!("and {} keys more\n", d.left_out));
    }
    out
}
