//! `keystilectl usage …`

use clap::{Args, Subcommand};
use keystile_core::key::KeyId;

use super::{Context, key_id};
use crate::output::{self, cell};
use keystile_api::usage::{self, Anomalies, AnomalyViews, Configure, QuotaLeft};
use keystile_model::error::{Code, Result, refuse};
use keystile_model::when::{self, When};
use keystile_model::wire::{Id, Span, Time, TimeWords};
use keystile_registry::usage::UsageSettings;

mod counts;

use counts::{Show, number};

/// Show how many requests there were: in total, of a client or of a key
#[derive(Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  keystilectl usage                                # in total, 7 days
  keystilectl usage acme --since 24h --by outcome
  keystilectl usage 0Ab3dEfGh1 --since 2027-01-01 --until 2027-02-01 --step day
  keystilectl usage --by client --output csv > usage.csv

Days are in UTC. Envoys report about once a minute, so the counts of the last minutes still grow."
)]
pub struct UsageArgs {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    show: Show,
}

#[derive(Subcommand)]
enum Command {
    Anomalies(AnomaliesOf),
    Quota(Quota),
    Settings(Change),
    Forget(Forget),
}

/// List anomalies in the use of keys
#[derive(Args)]
#[command(after_help = "\
Examples:
  keystilectl usage anomalies
  keystilectl usage anomalies --client acme --since 30d

Rules: spike, new-network, scope-denials, rotated-key-used, revoked-key-tried. `keystilectl usage
settings` sets their thresholds; webhooks receive them as `anomaly.*` events.")]
struct AnomaliesOf {
    /// Only anomalies of this client's keys
    #[arg(long, value_name = "CLIENT")]
    client: Option<String>,
    /// Since this time: `24h` and `7d` are counted back from now
    #[arg(long, value_name = "WHEN", default_value = "7d")]
    since: When,
}

/// Show what is left of a key's quota
#[derive(Args)]
#[command(after_help = "\
Example:
  keystilectl usage quota 0Ab3dEfGh1")]
struct Quota {
    /// The id of the key
    #[arg(value_parser = key_id)]
    key: KeyId,
}

/// Show or change how long usage is kept, and what counts as an anomaly
#[derive(Args)]
#[command(after_help = "\
Examples:
  keystilectl usage settings
  keystilectl usage settings --minutes 1d --days 365d
  keystilectl usage settings --spike-factor 20 --network-learning 0    # 0: off

A running server removes older counts within minutes.")]
struct Change {
    /// How long counts by minute are kept [initially: 2d]
    #[arg(long, value_name = "DURATION", value_parser = when::span)]
    minutes: Option<u64>,
    /// How long counts by hour are kept [initially: 60d]
    #[arg(long, value_name = "DURATION", value_parser = when::span)]
    hours: Option<u64>,
    /// How long counts by day, networks and anomalies are kept [initially: 730d]
    #[arg(long, value_name = "DURATION", value_parser = when::span)]
    days: Option<u64>,
    /// Spike: the factor by which an hour exceeds the highest hour of the previous 7 days
    #[arg(long, value_name = "N")]
    spike_factor: Option<u64>,
    /// Spike: the least number of requests in the hour
    #[arg(long, value_name = "N")]
    spike_minimum: Option<u64>,
    /// New network: report none until this long after the first use
    #[arg(long, value_name = "DURATION", value_parser = when::span)]
    network_learning: Option<u64>,
    /// Scope denials: the number in an hour
    #[arg(long, value_name = "N")]
    scope_denials: Option<u64>,
    /// Rotated key used: the time before it expires
    #[arg(long, value_name = "DURATION", value_parser = when::span)]
    rotation_notice: Option<u64>,
    /// Revoked key tried: the number of times in an hour
    #[arg(long, value_name = "N")]
    revoked_tries: Option<u64>,
}

/// Forget the addresses and user agents from which keys were used; counts stay
#[derive(Args)]
#[command(after_help = "\
Example:
  keystilectl usage forget --yes

To record nothing in future, change `report` in the policy (`keystilectl policy show`).")]
struct Forget {
    /// Confirm
    #[arg(long)]
    yes: bool,
}

impl UsageArgs {
    /// Runs it.
    pub fn run(self, cx: &Context) -> Result<()> {
        if cx.out.is_csv() && self.command.is_some() {
            return Err(refuse(
                Code::OutputFailed,
                "only counts can be printed for spreadsheets",
                "use `--output json`",
            ));
        }
        match self.command {
            None => self.show.run(cx),
            Some(Command::Anomalies(c)) => c.run(cx),
            Some(Command::Quota(c)) => {
                let left = cx.perform(usage::ShowQuota { id: Id(c.key) })?;
                cx.out.show(&left, || quota(&left, cx.now()))
            }
            Some(Command::Settings(c)) => c.run(cx),
            Some(Command::Forget(c)) if c.yes => {
                cx.perform(usage::Forget {})?;
                cx.out.show(&serde_json::json!({"forgotten": true}), || {
                    "addresses, user agents and networks forgotten\n".to_owned()
                })
            }
            Some(Command::Forget(_)) => Err(refuse(
                Code::ConfirmationMissing,
                "this would permanently forget where keys were used from",
                "add `--yes` if that is intended",
            )),
        }
    }
}

impl AnomaliesOf {
    fn run(self, cx: &Context) -> Result<()> {
        let AnomalyViews { anomalies } = cx.perform(Anomalies {
            client: self.client,
            since: Some(TimeWords(self.since)),
        })?;
        cx.out.show_list(&anomalies, || {
            if anomalies.is_empty() {
                return "no anomalies\n".to_owned();
            }
            output::table(
                ["when", "rule", "key", "client", "detail"],
                anomalies.iter().map(|a| {
                    [
                        cell(when::relative(a.at.0, cx.now())),
                        cell(&a.rule),
                        cell(a.key.0),
                        cell(a.client.as_deref().unwrap_or("-")),
                        cell(a.words()),
                    ]
                }),
            )
        })
    }
}

/// `requests 12, network 192.0.2.0/24`
fn quota(left: &QuotaLeft, now: u64) -> String {
    let Some(requests) = left.requests else {
        return "its plan has no quota\n".to_owned();
    };
    output::fields([
        ("plan", left.plan.clone().unwrap_or_default()),
        (
            "quota",
            format!(
                "{} each {}",
                number(requests),
                left.per.as_deref().unwrap_or("")
            ),
        ),
        (
            "since",
            left.window
                .as_ref()
                .map(|Time(t)| format!("{} ({})", when::short(*t), when::relative(*t, now)))
                .unwrap_or_default(),
        ),
        (
            "until",
            left.until
                .as_ref()
                .map(|Time(t)| format!("{} ({})", when::short(*t), when::relative(*t, now)))
                .unwrap_or_default(),
        ),
        ("used", number(left.used)),
        ("remaining", number(left.remaining.unwrap_or(0))),
    ])
}

impl Change {
    fn run(self, cx: &Context) -> Result<()> {
        let asked = Configure {
            minutes: self.minutes.map(Span),
            hours: self.hours.map(Span),
            days: self.days.map(Span),
            spike_factor: self.spike_factor,
            spike_minimum: self.spike_minimum,
            network_learning: self.network_learning.map(Span),
            scope_denials: self.scope_denials,
            rotation_notice: self.rotation_notice.map(Span),
            revoked_tries: self.revoked_tries,
        };
        let settings = if asked == Configure::default() {
            cx.perform(usage::ShowSettings {})?
        } else {
            cx.perform(asked)?
        };
        cx.out.show(&settings, || settings_table(&settings))
    }
}

fn settings_table(s: &UsageSettings) -> String {
    let span = |s: &Span| match s.0 {
        0 => "never".to_owned(),
        n => when::duration(n),
    };
    let enough = |n: u64, text: String| if n == 0 { "never".to_owned() } else { text };
    output::fields([
        ("minutes are kept", span(&s.minutes)),
        ("hours are kept", span(&s.hours)),
        ("days are kept", span(&s.days)),
        (
            "spike",
            enough(
                s.spike_factor,
                format!(
                    "{} times the highest hour of 7 days, and more than {} requests an hour",
                    s.spike_factor,
                    number(s.spike_minimum)
                ),
            ),
        ),
        (
            "new network",
            enough(
                s.network_learning.0,
                format!("{} after the first use", span(&s.network_learning)),
            ),
        ),
        (
            "scope denials",
            enough(
                s.scope_denials,
                format!("{} an hour", number(s.scope_denials)),
            ),
        ),
        (
            "rotated key used",
            enough(
                s.rotation_notice.0,
                format!("{} before it ends", span(&s.rotation_notice)),
            ),
        ),
        (
            "revoked key tried",
            enough(
                s.revoked_tries,
                format!("{} an hour", number(s.revoked_tries)),
            ),
        ),
    ])
}
