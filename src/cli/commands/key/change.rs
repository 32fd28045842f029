//! `keystilectl key update`, `revoke`, `rotate`

use clap::Args;
use ipnet::IpNet;
use keystile_core::key::KeyId;
use keystile_core::policy::RawLimit;
use keystile_core::request::certificate;

use super::issue::wrapped;
use super::print;
use crate::commands::{Context, fleet, key_id};
use keystile_api::key;
use keystile_model::error::Result;
use keystile_model::plural;
use keystile_model::rules;
use keystile_model::when::{self, When};
use keystile_model::wire::{Id, Span, TimeWords};

/// Change what a key may do; the key itself stays
#[derive(Args)]
#[command(after_help = "\
Examples:
  keystilectl key update 0Ab3dEfGh1 --add-scope write:users --expires 30d
  keystilectl key update 0Ab3dEfGh1 --scope read:users        # all its scopes from now on
  keystilectl key update 0Ab3dEfGh1 --no-limit --no-expiry --remove-label team")]
pub struct Update {
    /// Its id
    #[arg(value_parser = key_id)]
    key: KeyId,
    /// Free text
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// A permission; repeated, they replace all that it has
    #[arg(long, value_name = "SCOPE")]
    scope: Option<Vec<String>>,
    /// A permission more; can be repeated
    #[arg(long, value_name = "SCOPE")]
    add_scope: Vec<String>,
    /// A permission less; can be repeated
    #[arg(long, value_name = "SCOPE")]
    remove_scope: Vec<String>,
    /// Take scopes that no route of the policy asks for
    #[arg(long)]
    allow_unknown_scope: bool,
    /// A plan of its own
    #[arg(long)]
    plan: Option<String>,
    /// Back to its client's plan
    #[arg(long, conflicts_with = "plan")]
    no_plan: bool,
    /// A limit of its own; repeated, they replace all that it has
    #[arg(long, value_name = "LIMIT", value_parser = rules::limit)]
    limit: Option<Vec<RawLimit>>,
    /// Back to the limits of its plan
    #[arg(long, conflicts_with = "limit")]
    no_limit: bool,
    /// When it ends
    #[arg(long, value_name = "WHEN")]
    expires: Option<When>,
    /// It never ends by itself
    #[arg(long, conflicts_with = "expires")]
    no_expiry: bool,
    /// When it begins
    #[arg(long, value_name = "WHEN")]
    not_before: Option<When>,
    /// It is good at once
    #[arg(long, conflicts_with = "not_before")]
    no_not_before: bool,
    /// A range that it may be used from; repeated, they replace all that it has
    #[arg(long, value_name = "CIDR", value_parser = rules::cidr)]
    cidr: Option<Vec<IpNet>>,
    /// It may be used from everywhere
    #[arg(long, conflicts_with = "cidr")]
    no_cidr: bool,
    /// A range that it may not be used from; repeated, they replace all that it has
    #[arg(long, value_name = "CIDR", value_parser = rules::cidr)]
    deny_cidr: Option<Vec<IpNet>>,
    /// No range is excluded
    #[arg(long, conflicts_with = "deny_cidr")]
    no_deny_cidr: bool,
    /// An origin that it may be used from; repeated, they replace all that it has
    #[arg(long, value_name = "ORIGIN", value_parser = rules::origin)]
    origin: Option<Vec<String>>,
    /// It may be used from every page
    #[arg(long, conflicts_with = "origin")]
    no_origin: bool,
    /// An identity of a client certificate that it may be used with; repeated, they replace all
    /// that it has
    #[arg(long, value_name = "IDENTITY", value_parser = certificate::identity)]
    certificate: Option<Vec<String>>,
    /// It may be used without a client certificate
    #[arg(long, conflicts_with = "certificate")]
    no_certificate: bool,
    /// After how long it is to give way to a new one
    #[arg(long, value_name = "DURATION", value_parser = when::span)]
    rotate_every: Option<u64>,
    /// As its plan says
    #[arg(long, conflicts_with = "rotate_every")]
    no_rotate_every: bool,
    /// How long it then goes on
    #[arg(long, value_name = "DURATION", value_parser = when::span)]
    grace: Option<u64>,
    /// As its plan says
    #[arg(long, conflicts_with = "grace")]
    no_grace: bool,
    /// A free pair to set; can be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = rules::label)]
    label: Vec<(String, String)>,
    /// The name of a pair to remove; can be repeated
    #[arg(long, value_name = "NAME")]
    remove_label: Vec<String>,
}

/// Switch a key off for good
#[derive(Args)]
#[command(after_help = "\
Examples:
  keystilectl key revoke 0Ab3dEfGh1 --reason 'found in a public repository'
  keystilectl key revoke 0Ab3dEfGh1 && keystilectl push --ecds-file keystile.json")]
pub struct Revoke {
    /// Its id; can be repeated
    #[arg(value_parser = key_id, required = true)]
    key: Vec<KeyId>,
    /// For the audit log
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    reason: String,
    /// Return when every Envoy that is known has it in force, or fail after this time with the
    /// names of those that have not; needs a server [default: 10s]
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true,
          default_missing_value = "10s", value_parser = when::span)]
    wait: Option<u64>,
}

impl Update {
    pub(super) fn run(self, cx: &Context) -> Result<()> {
        let update = key::Update {
            id: Id(self.key),
            name: self.name,
            scopes: self.scope,
            add_scopes: self.add_scope,
            remove_scopes: self.remove_scope,
            allow_unknown_scope: self.allow_unknown_scope,
            plan: or_null(self.plan, self.no_plan),
            limits: or_none(self.limit, self.no_limit).map(wrapped),
            expires: or_null(self.expires.map(TimeWords), self.no_expiry),
            not_before: or_null(self.not_before.map(TimeWords), self.no_not_before),
            cidrs: or_none(self.cidr, self.no_cidr).map(wrapped),
            deny_cidrs: or_none(self.deny_cidr, self.no_deny_cidr).map(wrapped),
            origins: or_none(self.origin, self.no_origin),
            certificates: or_none(self.certificate, self.no_certificate),
            labels: self.label.into_iter().collect(),
            remove_labels: self.remove_label,
            rotate_every: or_null(self.rotate_every.map(Span), self.no_rotate_every),
            grace: or_null(self.grace.map(Span), self.no_grace),
        };
        print(cx, &cx.perform(update)?)
    }
}

fn or_none<T>(list: Option<Vec<T>>, none: bool) -> Option<Vec<T>> {
    if none { Some(Vec::new()) } else { list }
}

fn or_null<T>(value: Option<T>, null: bool) -> Option<Option<T>> {
    if null { Some(None) } else { value.map(Some) }
}

impl Revoke {
    pub(super) fn run(self, cx: &Context) -> Result<()> {
        let keys = cx
            .perform(key::RevokeAll {
                ids: self.key.into_iter().map(Id).collect(),
                reason: self.reason,
            })?
            .keys;
        let words = || {
            keys.iter()
                .map(|k| format!("key {} of {} revoked\n", k.id.0, k.client))
                .collect()
        };
        match keys.as_slice() {
            [one] => cx.out.show(one, words)?,
            all => cx.out.show(&all, words)?,
        }
        let waited = fleet::wait_if(cx, self.wait)?;
        if cx.out.is_json() {
            return Ok(());
        }
        match waited {
            Some(waited) => cx.out.note(format_args!(
                "in force on {}",
                plural::count(waited.in_force, "Envoy")
            )),
            None => cx.out.note("`keystilectl push` puts it in force"),
        }
        Ok(())
    }
}
