//! `keystilectl webhook …`

use clap::{Args, Subcommand};
use ipnet::IpNet;

use super::Context;
use crate::output::{self, cell};
use keystile_api::webhook::{self, DeliveryView, QueuedEvent, WebhookView};
use keystile_model::error::{Code, Result, refuse};
use keystile_model::reach::Reach;
use keystile_model::when;
use keystile_model::wire::Secret;
use keystile_model::world::World;
use keystile_system as system;

/// Webhooks: notify other programs of events
#[derive(Subcommand)]
pub enum WebhookCommand {
    Create(Create),
    List(List),
    Deliveries(Deliveries),
    Test(Test),
    Resend(Resend),
    Pause(Pause),
    Resume(Resume),
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

/// List the last attempts to deliver messages to a webhook
#[derive(Args)]
#[command(after_help = "\
Example:
  keystilectl webhook deliveries siem

The last 200 attempts are kept.")]
pub struct Deliveries {
    /// The name of the webhook
    name: String,
    /// The most attempts to list, up to 200
    #[arg(long, default_value_t = 50)]
    limit: u32,
}

/// Send a test event to a webhook
#[derive(Args)]
#[command(after_help = "\
Example:
  keystilectl webhook test siem")]
pub struct Test {
    /// The name of the webhook
    name: String,
}

/// Send a message to a webhook once more, or now instead of later
#[derive(Args)]
#[command(after_help = "\
Example:
  keystilectl webhook resend siem 1742")]
pub struct Resend {
    /// The name of the webhook
    name: String,
    /// Number of the audit record that the message is about, as `webhook deliveries` lists it
    audit_seq: u64,
}

/// Pause a webhook: its messages wait
#[derive(Args)]
#[command(after_help = "\
Example:
  keystilectl webhook pause siem")]
pub struct Pause {
    /// The name of the webhook
    name: String,
}

/// Resume a paused webhook: the messages that waited are sent
#[derive(Args)]
#[command(after_help = "\
Example:
  keystilectl webhook resume siem")]
pub struct Resume {
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
            Self::Deliveries(c) => {
                let (name, limit) = (c.name, Some(c.limit));
                let all = cx.perform(webhook::Deliveries { name, limit })?.deliveries;
                cx.out.show(&all, || attempts(&all, cx.now()))
            }
            Self::Test(c) => queued(cx, &cx.perform(webhook::Test { name: c.name })?),
            Self::Resend(c) => {
                let (name, audit_seq) = (c.name, c.audit_seq);
                queued(cx, &cx.perform(webhook::Resend { name, audit_seq })?)
            }
            Self::Pause(c) => {
                let done = cx.perform(webhook::Pause { name: c.name })?;
                cx.out.show(&done, || {
                    format!("webhook {} paused: its messages wait\n", done.name)
                })
            }
            Self::Resume(c) => {
                let done = cx.perform(webhook::Resume { name: c.name })?;
                cx.out
                    .show(&done, || format!("webhook {} resumed\n", done.name))
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

fn queued(cx: &Context, event: &QueuedEvent) -> Result<()> {
    cx.out.show(&event, || {
        format!(
            "message about audit record {} queued for webhook {}\n",
            event.audit_seq, event.name
        )
    })?;
    if !cx.out.is_json() {
        cx.out.note(format_args!(
            "`keystilectl serve` sends it; `keystilectl webhook deliveries {}` shows the answer",
            event.name
        ));
    }
    Ok(())
}

/// What a receiver answered, in a few words.
fn outcome(one: &DeliveryView) -> String {
    match (&one.reason, one.status) {
        (Some(reason), _) => reason.clone(),
        (None, Some(status)) => format!("accepted ({status})"),
        (None, None) => "accepted".to_owned(),
    }
}

fn attempts(all: &[DeliveryView], now: u64) -> String {
    output::table(
        ["record", "event", "attempt", "at", "answer", "took", "next"],
        all.iter().map(|d| {
            let next = d.next.as_ref().map(|t| when::relative(t.0, now));
            [
                cell(d.audit_seq),
                cell(&d.event),
                cell(d.attempt),
                cell(when::relative(d.at.0, now)),
                cell(outcome(d)),
                cell(format!("{} ms", d.took_ms)),
                cell(next.unwrap_or_else(|| "-".to_owned())),
            ]
        }),
    )
}

fn table(all: &[WebhookView], now: u64) -> String {
    output::table(
        [
            "name",
            "url",
            "events",
            "state",
            "waiting",
            "last answer",
            "created",
        ],
        all.iter().map(|w| {
            [
                cell(&w.name),
                cell(&w.url),
                cell(w.events.join(" ")),
                cell(if w.paused.is_some() {
                    "paused"
                } else {
                    "active"
                }),
                cell(w.waiting),
                cell(w.last_delivery.as_ref().map_or("-".to_owned(), outcome)),
                cell(when::relative(w.created.0, now)),
            ]
        }),
    )
}
