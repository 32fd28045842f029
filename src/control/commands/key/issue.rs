//! `keystilectl key issue`

use clap::{Args, ValueEnum};
use ipnet::IpNet;
use keystile::key::Name;
use keystile::policy::{Policy, RawLimit};
use serde_json::Value;

use super::{fields, with_secret};
use crate::commands::Context;
use crate::error::{Error, Result, refuse};
use crate::output;
use crate::registry::key::{self, Draft, Issued, count};
use crate::registry::rules;
use crate::when::When;

/// Issue a key; it is shown once, now
#[derive(Args)]
#[command(after_help = "\
Examples:
  keystilectl key issue acme --scope read:users --expires 90d
  keystilectl key issue acme --name ci --env test --cidr 10.0.0.0/8 --label team=build
  keystilectl key issue acme --type publishable --origin https://www.example.com
  keystilectl key issue acme --limit 100/1m:20 --limit 5000/1d@client
  keystilectl key issue acme --count 1000 --output json > keys.json

Times are `90d` or `24h` from now, `2027-01-31` (midnight, UTC) or `2027-01-31T12:00:00Z`.
Keys are printed when they are stored, never before, and cannot be shown again.")]
pub struct Issue {
    /// The client that gets it
    client: String,
    /// Free text, to tell keys apart
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    name: String,
    /// Where it is good [default: the first of the policy]
    #[arg(long, value_name = "ENV")]
    env: Option<Name>,
    /// For servers, or for browsers
    #[arg(long = "type", value_name = "TYPE", default_value = "secret")]
    kind: Kind,
    /// A permission; can be repeated
    #[arg(long, value_name = "SCOPE")]
    scope: Vec<String>,
    /// Take scopes that no route of the policy asks for
    #[arg(long)]
    allow_unknown_scope: bool,
    /// A plan of its own, in place of its client's
    #[arg(long)]
    plan: Option<String>,
    /// A limit of its own, in place of the plan's: 100/1m, 100/1m:20 with a burst, 100/1m@client
    /// for all keys of the client together; can be repeated
    #[arg(long, value_name = "LIMIT", value_parser = rules::limit)]
    limit: Vec<RawLimit>,
    /// When it ends
    #[arg(long, value_name = "WHEN")]
    expires: Option<When>,
    /// When it begins
    #[arg(long, value_name = "WHEN")]
    not_before: Option<When>,
    /// An address range that it may be used from; can be repeated
    #[arg(long, value_name = "CIDR", value_parser = rules::cidr)]
    cidr: Vec<IpNet>,
    /// An address range that it may not be used from; can be repeated
    #[arg(long, value_name = "CIDR", value_parser = rules::cidr)]
    deny_cidr: Vec<IpNet>,
    /// A web page's origin that it may be used from; can be repeated
    #[arg(long, value_name = "ORIGIN", value_parser = rules::origin)]
    origin: Vec<String>,
    /// A free pair; can be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = rules::label)]
    label: Vec<(String, String)>,
    /// How many that are alike
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    count: Option<u32>,
}

/// For servers, or for browsers.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Kept secret on a server
    Secret,
    /// Visible in a web page, and bound to its origin
    Publishable,
}

impl Issue {
    pub(super) fn run(self, cx: &Context) -> Result<()> {
        let now = cx.now();
        let draft = Draft {
            name: self.name,
            environment: self.env,
            publishable: self.kind == Kind::Publishable,
            scopes: self.scope,
            any_scope: self.allow_unknown_scope,
            plan: self.plan,
            limits: self.limit,
            expires: self.expires.map(|w| w.at(now)),
            not_before: self.not_before.map(|w| w.at(now)),
            allow: self.cidr,
            deny: self.deny_cidr,
            origins: self.origin,
            labels: self.label.into_iter().collect(),
        };
        let total = self.count.unwrap_or(1);
        let bar = cx.out.progress(total);
        let mut store = cx.store()?;
        let issued = key::issue(&mut store, &cx.world, &self.client, draft, total, |n| {
            bar.set_position(u64::from(n))
        });
        bar.finish_and_clear();
        let (issued, policy) = issued?;
        // Waiting writers first: printing may take as long as it likes.
        drop(store);
        print(cx, &issued, self.count.is_some()).map_err(|e| lost(&e, &issued))?;
        if let Some(first) = issued.first() {
            advise(cx, first, &policy, issued.len() > 1);
        }
        Ok(())
    }
}

fn print(cx: &Context, issued: &[Issued], many: bool) -> Result<()> {
    let now = cx.now();
    match (cx.out.is_json(), issued) {
        (true, [one]) if !many => cx.out.json(&with_secret(one, now)),
        (true, all) => cx.out.json(&Value::Array(
            all.iter().map(|i| with_secret(i, now)).collect(),
        )),
        (false, [one]) => {
            let key = format!("key  {}\n\n", one.text.expose_secret());
            output::text(&key)?;
            output::text(&fields(&one.key, now))
        }
        (false, all) => {
            let lines = all
                .iter()
                .map(|i| format!("{}  {}\n", i.key.id, i.text.expose_secret()));
            output::text(&lines.collect::<String>())
        }
    }
}

fn lost(e: &Error, issued: &[Issued]) -> Error {
    let first = issued
        .first()
        .map(|i| i.key.id.to_string())
        .unwrap_or_default();
    refuse(
        format_args!("{} issued but not shown: {e}", count(issued.len())),
        format_args!("revoke what nobody has seen (the first is {first}) and issue again"),
    )
}

fn advise(cx: &Context, issued: &Issued, policy: &Policy, many: bool) {
    let environment = &issued.key.rules.environment;
    if !policy.environments.contains(environment) {
        cx.out.warn(format_args!(
            "the policy does not accept environment `{environment}`, so this key answers 403 `environment_denied` here"
        ));
    }
    if !cx.out.is_json() {
        let (it, is) = if many {
            ("them", "they are")
        } else {
            ("it", "it is")
        };
        cx.out.note(format_args!(
            "keep {it} now, {is} not shown again; `keystilectl push` puts {it} in force"
        ));
    }
}
