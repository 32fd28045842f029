//! `keystilectl webhook …`

use clap::{Args, Subcommand};
use ipnet::IpNet;

use super::Context;
use crate::output::{self, cell};
use keystile_api::webhook::{self, WebhookView};
use keystile_model::error::{Code, Result, refuse};
use keystile_model::reach::Reach;
use keystile_model::wire::Secret;
use keystile_model::world::World;
use keystile_system as system;

/// Webhooks: notify other programs of events
#[derive(Subcommand)]
pub enum WebhookCommand {
    Create(Create),
    List(List),
    Delete(Delete),
}

/// Create a webhook; its secret is shown only once
#[derive(Args)]
#[command(after_help = "\
Examples:
  keystilectl webhook create siem https://siem.example.com/keystile
  keystilectl webhook create chat https://hooks.example.com/a --event key.expiring --event key.leak
  KEYSTILE_WEBHOOK_SECRET=whsec_… keystilectl webhook create own https://example.com/hook

Events are the actions of the audit log (`keystilectl audit list`), among them key.expiring,
key.due, key.hand-over, key.leak and key.exposed. Messages are signed as defined by Standard Webhooks, and resent for
three days until they are accepted. `keystilectl serve` sends them.")]
pub struct Create {
    /// The name of the webhook
    name: String,
    /// The URL to which messages are sent
    url: String,
    /// An event to send: an action, or `key.*`; can be repeated [default: everything]
    #[arg(long, value_name = "EVENT")]
    event: Vec<String>,
    /// A private network that the receiver may be in; can be repeated. With --server, the option of
    /// `keystilectl serve` applies instead
    #[arg(long, value_name = "CIDR", value_parser = super::serve::network, env = "KEYSTILE_WEBHOOK_ALLOW", value_delimiter = ',')]
    webhook_allow: Vec<IpNet>,
}

/// List webhooks
#[derive(Args)]
#[command(after_help = "\
Example:
  keystilectl webhook list")]
pub struct List {}

/// Remove a webhook, with the messages that it has not received yet
#[derive(Args)]
#[command(after_help = "\
Example:
  keystilectl webhook delete siem")]
pub struct Delete {
    /// The name of the webhook
    name: String,
}

impl WebhookCommand {
    /// Runs it.
    pub fn run(self, cx: &Context) -> Result<()> {
        match self {
            Self::Create(c) => c.run(cx),
            Self::List(_) => {
                let all = cx.perform(webhook::List {})?.webhooks;
                cx.out.show(&all, || table(&all, cx.now()))
            }
            Self::Delete(c) => {
                let done = cx.perform(webhook::Delete { name: c.name })?;
                cx.out
                    .show(&done, || format!("webhook {} deleted\n", done.name))
            }
        }
    }
}

impl Create {
    fn run(self, cx: &Context) -> Result<()> {
        let given = system::secret_variable("KEYSTILE_WEBHOOK_SECRET");
        let world = World {
            reach: Reach::with(self.webhook_allow),
            ..cx.world.clone()
        };
        let made = cx.make_in(
            &world,
            webhook::Create {
                name: self.name,
                url: self.url,
                events: self.event,
                secret: given.map(|s| Secret::new(&s)),
            },
        )?;
        let name = &made.view.name;
        cx.out
            .show(&made, || {
                let text = made.secret.as_ref().map_or("-", Secret::expose_secret);
                let view = &made.view;
                let fields = output::fields([
                    ("name", view.name.clone()),
                    ("url", view.url.clone()),
                    ("events", view.events.join(" ")),
                ]);
                format!("secret  {text}\n\n{fields}")
            })
            .map_err(|e| {
                refuse(
                    Code::SecretNotShown,
                    format_args!("webhook {name} was created, but its secret not shown: {e}"),
                    format_args!(
                        "delete it and create it again: `keystilectl webhook delete {name}`"
                    ),
                )
            })?;
        if !cx.out.is_json() {
            cx.out
                .note("give the secret to the receiver now: it is not shown again");
        }
        Ok(())
    }
}

fn table(all: &[WebhookView], now: u64) -> String {
    output::table(
        ["name", "url", "events", "waiting", "created"],
        all.iter().map(|w| {
            [
                cell(&w.name),
                cell(&w.url),
                cell(w.events.join(" ")),
                cell(w.waiting),
                cell(keystile_model::when::relative(w.created.0, now)),
            ]
        }),
    )
}
