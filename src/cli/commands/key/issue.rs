//! `keystilectl key issue`

use clap::Args;
use ipnet::IpNet;
use keystile_core::key::Name;
use keystile_core::policy::RawLimit;
use keystile_core::request::certificate;

use super::fields;
use crate::commands::Context;
use crate::output;
use keystile_api::key::{self, Issued, IssuedKey, Kind};
use keystile_model::error::{Code, Error, Result, refuse};
use keystile_model::rules;
use keystile_model::when::{self, When};
use keystile_model::wire::{Environment, Secret, Span, TimeWords};
use keystile_registry::key::count;

/// Issue a key; it is shown once, now
#[derive(Args)]
#[command(after_help = "\
Examples:
  keystilectl key issue acme --scope read:users --expires 90d
  keystilectl key issue acme --name ci --env test --cidr 10.0.0.0/8 --label team=build
  keystilectl key issue acme --type publishable --origin https://www.example.com
  keystilectl key issue acme --certificate spiffe://example.org/billing
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
    /// An identity of a client certificate that it may be used with, spiffe://example.org/billing
    /// or dns:api.example.com; can be repeated
    #[arg(long, value_name = "IDENTITY", value_parser = certificate::identity)]
    certificate: Vec<String>,
    /// A free pair; can be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = rules::label)]
    label: Vec<(String, String)>,
    /// After how long it is to give way to a new one [default: as its plan says]
    #[arg(long, value_name = "DURATION", value_parser = when::span)]
    rotate_every: Option<u64>,
    /// How long it then goes on [default: as its plan says]
    #[arg(long, value_name = "DURATION", value_parser = when::span)]
    grace: Option<u64>,
    /// How many that are alike
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    count: Option<u32>,
}

impl Issue {
    pub(super) fn run(self, cx: &Context) -> Result<()> {
        let bar = cx.out.progress(self.count.unwrap_or(1));
        let progress = bar.clone();
        let issued = cx.make(key::Issue {
            client: self.client,
            name: self.name,
            environment: self.env.map(Environment),
            kind: self.kind,
            scopes: self.scope,
            allow_unknown_scope: self.allow_unknown_scope,
            plan: self.plan,
            limits: wrapped(self.limit),
            expires: self.expires.map(TimeWords),
            not_before: self.not_before.map(TimeWords),
            cidrs: wrapped(self.cidr),
            deny_cidrs: wrapped(self.deny_cidr),
            origins: self.origin,
            certificates: self.certificate,
            labels: self.label.into_iter().collect(),
            rotate_every: self.rotate_every.map(Span),
            grace: self.grace.map(Span),
            count: self.count,
            progress: Some(Box::new(move |n| progress.set_position(u64::from(n)))),
        });
        bar.finish_and_clear();
        let mut issued = issued?;
        let mut warnings = Vec::new();
        for key in issued.keys_mut() {
            warnings.append(&mut key.warnings);
        }
        print(cx, &issued).map_err(|e| lost(&e, issued.keys()))?;
        for warning in warnings {
            cx.out.warn(warning);
        }
        advise(cx, issued.keys().len() > 1);
        Ok(())
    }
}

/// Things as they travel.
pub(super) fn wrapped<T: From<U>, U>(list: Vec<U>) -> Vec<T> {
    list.into_iter().map(T::from).collect()
}

/// The key, for the one time that it is shown.
pub(super) fn shown(issued: &IssuedKey) -> &str {
    issued.key.as_ref().map_or("-", Secret::expose_secret)
}

fn print(cx: &Context, issued: &Issued) -> Result<()> {
    if cx.out.is_json() {
        return cx.out.json(issued);
    }
    match issued.keys() {
        [one] => {
            output::text(&format!("key  {}\n\n", shown(one)))?;
            output::text(&fields(&one.view, cx.now()))
        }
        all => {
            let lines = all
                .iter()
                .map(|i| format!("{}  {}\n", i.view.id.0, shown(i)));
            output::text(&lines.collect::<String>())
        }
    }
}

fn lost(e: &Error, issued: &[IssuedKey]) -> Error {
    let first = issued
        .first()
        .map(|i| i.view.id.0.to_string())
        .unwrap_or_default();
    refuse(
        Code::SecretNotShown,
        format_args!("{} issued but not shown: {e}", count(issued.len())),
        format_args!("revoke what nobody has seen (the first is {first}) and issue again"),
    )
}

fn advise(cx: &Context, many: bool) {
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
