//! `keystilectl client …`

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::Context;
use crate::error::Result;
use crate::output::{self, cell};
use crate::record::{self, Labels, Status};
use crate::registry::client::{self, Draft, Patch};
use crate::registry::key::count;
use crate::registry::{self, rules};
use crate::when;

/// Clients: who holds keys
#[derive(Subcommand)]
pub enum Client {
    Create(Create),
    List(List),
    Show(Show),
    Update(Update),
    Delete(Delete),
}

/// Add a client
#[derive(Args)]
#[command(after_help = "\
Examples:
  keystilectl client create acme --plan gold
  keystilectl client create acme --description 'Acme Corp.' --label team=payments")]
pub struct Create {
    /// Its name: unique, fit for headers and logs
    name: String,
    /// The plan of keys that have none of their own
    #[arg(long)]
    plan: Option<String>,
    /// Free text
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    description: String,
    /// A free pair; can be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = rules::label)]
    label: Vec<(String, String)>,
}

/// List clients
#[derive(Args)]
#[command(after_help = "\
Examples:
  keystilectl client list
  keystilectl client list --plan gold --output json")]
pub struct List {
    /// Only those on this plan
    #[arg(long)]
    plan: Option<String>,
    /// Only those with this label; can be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = rules::label)]
    label: Vec<(String, String)>,
}

/// Show a client and its keys
#[derive(Args)]
#[command(after_help = "\
Example:
  keystilectl client show acme")]
pub struct Show {
    /// Its name
    name: String,
}

/// Change a client
#[derive(Args)]
#[command(after_help = "\
Examples:
  keystilectl client update acme --plan free
  keystilectl client update acme --label tier=2 --remove-label team")]
pub struct Update {
    /// Its name
    name: String,
    /// Another plan
    #[arg(long)]
    plan: Option<String>,
    /// No plan: its keys are limited by their own plans and by routes only
    #[arg(long, conflicts_with = "plan")]
    no_plan: bool,
    /// Free text
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// A free pair to set; can be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = rules::label)]
    label: Vec<(String, String)>,
    /// The name of a pair to remove; can be repeated
    #[arg(long, value_name = "NAME")]
    remove_label: Vec<String>,
}

/// Delete a client and revoke its keys
#[derive(Args)]
#[command(after_help = "\
Examples:
  keystilectl client delete acme
  keystilectl client delete acme --yes    # it has keys, and they are to be revoked")]
pub struct Delete {
    /// Its name
    name: String,
    /// Revoke its keys without asking back
    #[arg(long, short)]
    yes: bool,
}

impl Client {
    /// Runs it.
    pub fn run(self, cx: &Context) -> Result<()> {
        match self {
            Self::Create(c) => c.run(cx),
            Self::List(c) => c.run(cx),
            Self::Show(c) => c.run(cx),
            Self::Update(c) => c.run(cx),
            Self::Delete(c) => c.run(cx),
        }
    }
}

impl Create {
    fn run(self, cx: &Context) -> Result<()> {
        let draft = Draft {
            name: self.name,
            plan: self.plan,
            description: self.description,
            labels: self.label.into_iter().collect(),
        };
        let client = client::create(&mut cx.store()?, &cx.world, draft)?;
        print(cx, &client, &[])
    }
}

impl List {
    fn run(self, cx: &Context) -> Result<()> {
        let mut clients = cx.store()?.read(|tx| tx.clients())?;
        clients.retain(|(c, _)| self.plan.is_none() || c.plan == self.plan);
        clients.retain(|(c, _)| self.label.iter().all(|(k, v)| c.labels.get(k) == Some(v)));
        let json: Vec<Value> = clients
            .iter()
            .map(|(c, keys)| {
                let mut v = c.json();
                if let Some(map) = v.as_object_mut() {
                    map.insert("keys".to_owned(), json!(keys));
                }
                v
            })
            .collect();
        cx.out.show(&Value::Array(json), || {
            output::table(
                ["client", "plan", "keys", "created", "labels"],
                clients.iter().map(|(c, keys)| {
                    [
                        cell(&c.name),
                        cell(c.plan.as_deref().unwrap_or("-")),
                        cell(keys),
                        cell(when::short(c.created)),
                        cell(label_words(&c.labels)),
                    ]
                }),
            )
        })
    }
}

impl Show {
    fn run(self, cx: &Context) -> Result<()> {
        let (client, keys) = cx.store()?.read(|tx| {
            let client = registry::client(tx, &self.name)?;
            let mut keys = tx.keys_of(client.number)?;
            keys.sort_by_key(|k| (k.created, k.id));
            Ok((client, keys))
        })?;
        print(cx, &client, &keys)
    }
}

impl Update {
    fn run(self, cx: &Context) -> Result<()> {
        let patch = Patch {
            plan: if self.no_plan {
                Some(None)
            } else {
                self.plan.map(Some)
            },
            description: self.description,
            labels: self.label.into_iter().collect(),
            remove_labels: self.remove_label,
        };
        let client = client::update(&mut cx.store()?, &cx.world, &self.name, patch)?;
        print(cx, &client, &[])
    }
}

impl Delete {
    fn run(self, cx: &Context) -> Result<()> {
        let revoked = client::delete(&mut cx.store()?, &cx.world, &self.name, self.yes)?;
        let json = json!({"client": self.name, "deleted": true, "keys_revoked": revoked});
        cx.out.show(&json, || match revoked {
            0 => format!("client {} deleted\n", self.name),
            n => format!(
                "client {} deleted, {} revoked; push to put that in force\n",
                self.name,
                count(n)
            ),
        })
    }
}

fn print(cx: &Context, client: &record::Client, keys: &[record::Key]) -> Result<()> {
    let mut json = client.json();
    if let Some(map) = json.as_object_mut()
        && !keys.is_empty()
    {
        map.insert(
            "keys".to_owned(),
            keys.iter().map(|k| k.json(cx.now())).collect(),
        );
    }
    cx.out.show(&json, || {
        let mut out = output::fields([
            ("client", client.name.clone()),
            (
                "plan",
                client.plan.clone().unwrap_or_else(|| "-".to_owned()),
            ),
            ("description", client.description.clone()),
            ("labels", label_words(&client.labels)),
            ("created", when::short(client.created)),
        ]);
        let living = keys
            .iter()
            .filter(|k| k.status(cx.now()) != Status::Revoked)
            .count();
        if !keys.is_empty() {
            out.push_str(&format!("\n{} ({living} not revoked)\n", count(keys.len())));
            out.push_str(&super::key::list_table(keys, cx.now(), false));
        }
        out
    })
}

/// Labels in one cell.
pub fn label_words(labels: &Labels) -> String {
    let words: Vec<String> = labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    words.join(" ")
}
