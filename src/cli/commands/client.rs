//! `keystilectl client …`

use clap::{Args, Subcommand};

use super::Context;
use super::labels::{label_words, words};
use super::pages::AllPages;
use crate::output::{self, cell};
use keystile_api::client::{self, ClientRow, ClientView};
use keystile_api::key::KeyView;
use keystile_model::error::Result;
use keystile_model::record::Status;
use keystile_model::rules;
use keystile_model::when;
use keystile_model::wire::PAGE;
use keystile_registry::key::count;

/// Clients: the holders of keys
#[derive(Subcommand)]
pub enum ClientCommand {
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
    /// The name of the client: unique, and safe in headers and logs
    name: String,
    /// The plan for keys that have none of their own
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
    /// A label of your choice; can be repeated
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
    /// Only clients on this plan
    #[arg(long)]
    plan: Option<String>,
    /// Only clients with this label; can be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = rules::label)]
    label: Vec<(String, String)>,
    /// List this many at most [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
}

/// Show a client and its keys
#[derive(Args)]
#[command(after_help = "\
Example:
  keystilectl client show acme")]
pub struct Show {
    /// The name of the client
    name: String,
}

/// Change a client
#[derive(Args)]
#[command(after_help = "\
Examples:
  keystilectl client update acme --plan free
  keystilectl client update acme --label tier=2 --remove-label team")]
pub struct Update {
    /// The name of the client
    name: String,
    /// A new plan
    #[arg(long)]
    plan: Option<String>,
    /// Remove the plan: keys are then limited only by their own plans and by routes
    #[arg(long, conflicts_with = "plan")]
    no_plan: bool,
    /// Free text
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// A label to set; can be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = rules::label)]
    label: Vec<(String, String)>,
    /// The name of a label to remove; can be repeated
    #[arg(long, value_name = "NAME")]
    remove_label: Vec<String>,
}

/// Delete a client and revoke its keys
#[derive(Args)]
#[command(after_help = "\
Examples:
  keystilectl client delete acme
  keystilectl client delete acme --yes    # if it has keys, which will be revoked")]
pub struct Delete {
    /// The name of the client
    name: String,
    /// Confirm that its keys will be revoked
    #[arg(long, short)]
    yes: bool,
}

impl ClientCommand {
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
        let client = cx.perform(client::Create {
            name: self.name,
            plan: self.plan,
            description: self.description,
            labels: self.label.into_iter().collect(),
        })?;
        cx.out.show(&client, || fields(&client))
    }
}

impl List {
    fn run(self, cx: &Context) -> Result<()> {
        let filtered = self.plan.is_some() || !self.label.is_empty();
        let page = client::List {
            plan: self.plan,
            label: words(&self.label),
            limit: Some(PAGE),
            ..client::List::default()
        };
        let most = self.limit.map(|n| n as usize);
        let pages = AllPages::first(cx.out, most, |cursor| {
            let found = cx.perform(client::List {
                cursor,
                ..page.clone()
            })?;
            Ok((found.clients, found.next))
        })?;
        let next = match filtered {
            true => "no client fits; `keystilectl client list` lists all",
            false => "`keystilectl client create NAME` creates a client",
        };
        pages.end_or(next, |all| table(&all))
    }
}

fn table(clients: &[ClientRow]) -> String {
    output::table(
        ["client", "plan", "keys", "created", "labels"],
        clients.iter().map(|row| {
            let c = &row.client;
            [
                cell(&c.client),
                cell(c.plan.as_deref().unwrap_or("-")),
                cell(row.keys),
                cell(when::short(c.created.0)),
                cell(label_words(&c.labels)),
            ]
        }),
    )
}

impl Show {
    fn run(self, cx: &Context) -> Result<()> {
        let shown = cx.perform(client::Show::with_keys(self.name))?;
        cx.out.show(&shown, || {
            let mut out = fields(&shown.client);
            let keys = &shown.keys;
            let revoked = |k: &&KeyView| k.status.0 == Status::Revoked;
            let living = keys.len() - keys.iter().filter(revoked).count();
            if !keys.is_empty() {
                let first = if shown.next.is_some() {
                    "the first "
                } else {
                    ""
                };
                let many = count(keys.len());
                out.push_str(&format!("\n{first}{many} ({living} not revoked)\n"));
                out.push_str(&super::key::list_table(keys, cx.now(), false));
            }
            out
        })?;
        if shown.next.is_some() && !cx.out.is_json() {
            cx.out.note(format_args!(
                "there are more; `keystilectl key list --client {}` lists all of them",
                shown.client.client
            ));
        }
        Ok(())
    }
}

impl Update {
    fn run(self, cx: &Context) -> Result<()> {
        let client = cx.perform(client::Update {
            name: self.name,
            plan: if self.no_plan {
                Some(None)
            } else {
                self.plan.map(Some)
            },
            description: self.description,
            labels: self.label.into_iter().collect(),
            remove_labels: self.remove_label,
        })?;
        cx.out.show(&client, || fields(&client))
    }
}

impl Delete {
    fn run(self, cx: &Context) -> Result<()> {
        let done = cx.perform(client::Delete {
            name: self.name,
            sure: self.yes,
        })?;
        cx.out.show(&done, || match done.keys_revoked {
            0 => format!("client {} deleted\n", done.client),
            n => format!(
                "client {} deleted, {} revoked; {}\n",
                done.client,
                count(usize::try_from(n).unwrap_or(usize::MAX)),
                cx.in_force("that")
            ),
        })
    }
}

fn fields(client: &ClientView) -> String {
    output::fields([
        ("client", client.client.clone()),
        (
            "plan",
            client.plan.clone().unwrap_or_else(|| "-".to_owned()),
        ),
        ("description", client.description.clone()),
        ("labels", label_words(&client.labels)),
        ("created", when::short(client.created.0)),
    ])
}
