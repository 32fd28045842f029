//! `keystilectl key issue`

use clap::Args;
use keystile_core::key::Name;

use super::options::RuleOptions;
use super::shown::fields;
use crate::commands::Context;
use crate::output;
use keystile_api::key::{self, IssuedKey, IssuedKeys};
use keystile_model::error::{Code, Error, Result, refuse};
use keystile_model::key::KeyType;
use keystile_model::wire::{Environment, Secret};
use keystile_registry::key::count;

/// Issue a key; it is shown only once
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
Keys are printed only after they are stored, and cannot be shown again.")]
pub struct Issue {
    /// The client that gets the key
    client: String,
    /// The environment in which the key works [default: the first of the policy]
    #[arg(long, value_name = "ENV")]
    env: Option<Name>,
    /// `secret` for servers, `publishable` for browsers
    #[arg(long = "type", value_name = "TYPE", default_value = "secret")]
    kind: KeyType,
    #[command(flatten)]
    given: RuleOptions,
    /// Accept scopes that no route of the policy asks for
    #[arg(long)]
    allow_unknown_scope: bool,
    /// How many identical keys to issue
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    count: Option<u32>,
}

impl Issue {
    pub(super) fn run(self, cx: &Context) -> Result<()> {
        let bar = cx.out.progress(self.count.unwrap_or(1));
        let progress = bar.clone();
        let mut issue = key::Issue {
            client: self.client,
            environment: self.env.map(Environment),
            kind: self.kind,
            allow_unknown_scope: self.allow_unknown_scope,
            count: self.count,
            progress: Some(Box::new(move |n| progress.set_position(u64::from(n)))),
            ..key::Issue::default()
        };
        self.given.tell(&mut issue)?;
        let issued = cx.make(issue);
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

/// Shows the key, the only time that it is shown.
pub(super) fn shown(issued: &IssuedKey) -> &str {
    issued.key.as_ref().map_or("-", Secret::expose_secret)
}

fn print(cx: &Context, issued: &IssuedKeys) -> Result<()> {
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
            "save {it} now: {is} not shown again; {}",
            cx.in_force(it)
        ));
    }
}
