//! `keystilectl key …`

use clap::{Args, Subcommand};
use keystile::key::{KeyId, Name};
use serde_json::{Value, json};

use super::client::label_words;
use super::{Context, key_id};
use crate::error::Result;
use crate::output::{self, cell};
use crate::record::{self, Status, limit_words, words};
use crate::registry;
use crate::registry::{key, rules};
use crate::when::{self, When};

mod change;
mod import;
mod issue;

pub use change::{Revoke, Rotate, Update};
pub use import::Import;
pub use issue::Issue;

/// Keys: issue, rotate, revoke
#[derive(Subcommand)]
pub enum Key {
    Issue(Box<Issue>),
    List(List),
    Show(Show),
    Update(Box<Update>),
    Disable(Disable),
    Enable(Enable),
    Revoke(Revoke),
    Rotate(Rotate),
    Import(Import),
}

/// List keys
#[derive(Args)]
#[command(after_help = "\
Examples:
  keystilectl key list --client acme
  keystilectl key list --status active --expiring 30d
  keystilectl key list --label team=payments --output json")]
pub struct List {
    /// Only those of this client
    #[arg(long, value_name = "CLIENT")]
    client: Option<String>,
    /// Only those with this status; can be repeated
    #[arg(long)]
    status: Vec<Status>,
    /// Only those of this environment
    #[arg(long, value_name = "ENV")]
    environment: Option<Name>,
    /// Only those that end before this time and have not ended yet
    #[arg(long, value_name = "WHEN")]
    expiring: Option<When>,
    /// Only those with this label; can be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = rules::label)]
    label: Vec<(String, String)>,
}

/// Show a key: all but the key itself, which is stored nowhere
#[derive(Args)]
#[command(after_help = "\
Example:
  keystilectl key show 0Ab3dEfGh1")]
pub struct Show {
    /// Its id
    #[arg(value_parser = key_id)]
    key: KeyId,
}

/// Switch a key off for now
#[derive(Args)]
#[command(after_help = "\
Example:
  keystilectl key disable 0Ab3dEfGh1")]
pub struct Disable {
    /// Its id
    #[arg(value_parser = key_id)]
    key: KeyId,
}

/// Switch a disabled key on again
#[derive(Args)]
#[command(after_help = "\
Example:
  keystilectl key enable 0Ab3dEfGh1")]
pub struct Enable {
    /// Its id
    #[arg(value_parser = key_id)]
    key: KeyId,
}

impl Key {
    /// Runs it.
    pub fn run(self, cx: &Context) -> Result<()> {
        match self {
            Self::Issue(c) => c.run(cx),
            Self::List(c) => c.run(cx),
            Self::Show(c) => c.run(cx),
            Self::Update(c) => c.run(cx),
            Self::Disable(c) => {
                let key = key::set_disabled(&mut cx.store()?, &cx.world, c.key, true)?;
                print(cx, &key)
            }
            Self::Enable(c) => {
                let key = key::set_disabled(&mut cx.store()?, &cx.world, c.key, false)?;
                print(cx, &key)
            }
            Self::Revoke(c) => c.run(cx),
            Self::Rotate(c) => c.run(cx),
            Self::Import(c) => c.run(cx),
        }
    }
}

impl List {
    fn run(self, cx: &Context) -> Result<()> {
        let now = cx.now();
        let mut keys = cx.store()?.read(|tx| match &self.client {
            Some(name) => tx.keys_of(registry::client(tx, name)?.number),
            None => tx.keys(),
        })?;
        keys.retain(|k| self.wants(k, now));
        keys.sort_by(|a, b| (&a.client, a.created, a.id).cmp(&(&b.client, b.created, b.id)));
        let json: Vec<Value> = if cx.out.is_json() {
            keys.iter().map(|k| k.json(now)).collect()
        } else {
            Vec::new()
        };
        cx.out
            .show(&Value::Array(json), || list_table(&keys, now, true))
    }

    fn wants(&self, k: &record::Key, now: u64) -> bool {
        let status = k.status(now);
        let expiring = |until: When| {
            !matches!(status, Status::Expired | Status::Revoked)
                && k.ends().is_some_and(|end| end <= until.at(now))
        };
        (self.status.is_empty() || self.status.contains(&status))
            && self
                .environment
                .as_ref()
                .is_none_or(|e| k.rules.environment == *e)
            && self.expiring.is_none_or(expiring)
            && self
                .label
                .iter()
                .all(|(name, v)| k.rules.labels.get(name) == Some(v))
    }
}

impl Show {
    fn run(self, cx: &Context) -> Result<()> {
        let key = cx.store()?.read(|tx| key::find(tx, self.key))?;
        print(cx, &key)
    }
}

/// Keys as a table.
pub fn list_table(keys: &[record::Key], now: u64, with_client: bool) -> String {
    let row = |k: &record::Key| {
        [
            cell(k.id),
            output::status(k.status(now)),
            cell(&k.rules.environment),
            cell(if k.rules.publishable {
                "publishable"
            } else {
                "secret"
            }),
            cell(k.effective_plan().unwrap_or("-")),
            cell(
                k.ends()
                    .map_or_else(|| "never".to_owned(), |t| when::relative(t, now)),
            ),
            cell(k.rules.scopes.join(" ")),
            cell(&k.rules.name),
        ]
    };
    let header = [
        "id", "status", "env", "type", "plan", "ends", "scopes", "name",
    ];
    if !with_client {
        return output::table(header, keys.iter().map(row));
    }
    let [a, b, c, d, e, f, g, h] = header;
    output::table(
        [a, "client", b, c, d, e, f, g, h],
        keys.iter().map(|k| {
            let [a, b, c, d, e, f, g, h] = row(k);
            [a, cell(&k.client), b, c, d, e, f, g, h]
        }),
    )
}

/// A key as a table of its fields.
pub fn fields(k: &record::Key, now: u64) -> String {
    let rules = &k.rules;
    let time = |t: Option<u64>| {
        t.map(|t| format!("{} ({})", when::short(t), when::relative(t, now)))
            .unwrap_or_default()
    };
    let mut kind = k.kind().to_owned();
    if k.imported {
        kind.push_str(", imported");
    }
    let plan = match (&rules.plan, &k.client_plan) {
        (Some(own), _) => own.clone(),
        (None, Some(client)) => format!("{client} (its client's)"),
        (None, None) => "-".to_owned(),
    };
    output::fields([
        ("id", k.id.to_string()),
        ("client", k.client.clone()),
        ("name", rules.name.clone()),
        ("status", k.status(now).to_string()),
        ("reason", k.reason.clone()),
        ("environment", rules.environment.to_string()),
        ("type", kind),
        ("scopes", rules.scopes.join(" ")),
        ("plan", plan),
        ("limits", limit_words(&rules.limits).join(" ")),
        ("not before", time(rules.not_before)),
        ("expires", time(rules.expires)),
        ("works until", time(k.overlap_end)),
        ("revoked", time(k.revoked)),
        ("networks", words(&rules.allow).join(" ")),
        ("not from", words(&rules.deny).join(" ")),
        ("origins", rules.origins.join(" ")),
        ("labels", label_words(&rules.labels)),
        (
            "rotated from",
            k.rotated_from.map(|i| i.to_string()).unwrap_or_default(),
        ),
        ("created", when::short(k.created)),
    ])
}

fn print(cx: &Context, key: &record::Key) -> Result<()> {
    cx.out.show(&key.json(cx.now()), || fields(key, cx.now()))
}

/// A key's JSON with the key itself in front.
fn with_secret(issued: &key::Issued, now: u64) -> Value {
    let mut json = json!({"key": issued.text.expose_secret()});
    if let (Some(map), Value::Object(rest)) = (json.as_object_mut(), issued.key.json(now)) {
        map.extend(rest);
    }
    json
}
