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

/// Change what a key may do; the key itself stays the same
#[derive(Args)]
#[command(after_help = "\
Examples:
  keystilectl key update 0Ab3dEfGh1 --add-scope write:users --expires 30d
  keystilectl key update 0Ab3dEfGh1 --scope read:users        # replaces all its scopes
  keystilectl key update 0Ab3dEfGh1 --no-limit --no-expiry --remove-label team")]
pub struct Update {
    /// The id of the key
    #[arg(value_parser = key_id)]
    key: KeyId,
    /// Free text
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// A scope; all scopes given replace the present ones
    #[arg(long, value_name = "SCOPE")]
    scope: Option<Vec<String>>,
    /// A scope to add; can be repeated
    #[arg(long, value_name = "SCOPE")]
    add_scope: Vec<String>,
    /// A scope to remove; can be repeated
    #[arg(long, value_name = "SCOPE")]
    remove_scope: Vec<String>,
    /// Accept scopes that no route of the policy asks for
    #[arg(long)]
    allow_unknown_scope: bool,
    /// A plan for this key
    #[arg(long)]
    plan: Option<String>,
    /// Use the client's plan again
    #[arg(long, conflicts_with = "plan")]
    no_plan: bool,
    /// A limit for this key; all limits given replace the present ones
    #[arg(long, value_name = "LIMIT", value_parser = rules::limit)]
    limit: Option<Vec<RawLimit>>,
    /// Use the limits of the plan again
    #[arg(long, conflicts_with = "limit")]
    no_limit: bool,
    /// When the key expires
    #[arg(long, value_name = "WHEN")]
    expires: Option<When>,
    /// The key never expires
    #[arg(long, conflicts_with = "expires")]
    no_expiry: bool,
    /// When the key becomes valid
    #[arg(long, value_name = "WHEN")]
    not_before: Option<When>,
    /// The key is valid immediately
    #[arg(long, conflicts_with = "not_before")]
    no_not_before: bool,
    /// An address range from which the key may be used; all given replace the present ones
    #[arg(long, value_name = "CIDR", value_parser = rules::cidr)]
    cidr: Option<Vec<IpNet>>,
    /// The key may be used from everywhere
    #[arg(long, conflicts_with = "cidr")]
    no_cidr: bool,
    /// An address range from which the key may not be used; all given replace the present ones
    #[arg(long, value_name = "CIDR", value_parser = rules::cidr)]
    deny_cidr: Option<Vec<IpNet>>,
    /// No address range is excluded
    #[arg(long, conflicts_with = "deny_cidr")]
    no_deny_cidr: bool,
    /// A web origin from which the key may be used; all given replace the present ones
    #[arg(long, value_name = "ORIGIN", value_parser = rules::origin)]
    origin: Option<Vec<String>>,
    /// The key may be used from any origin
    #[arg(long, conflicts_with = "origin")]
    no_origin: bool,
    /// An identity of a client certificate that the key is bound to; all given replace the
    /// present ones
    #[arg(long, value_name = "IDENTITY", value_parser = certificate::identity)]
    certificate: Option<Vec<String>>,
    /// The key may be used without a client certificate
    #[arg(long, conflicts_with = "certificate")]
    no_certificate: bool,
    /// How often the key is to be replaced
    #[arg(long, value_name = "DURATION", value_parser = when::span)]
    rotate_every: Option<u64>,
    /// As the plan says
    #[arg(long, conflicts_with = "rotate_every")]
    no_rotate_every: bool,
    /// How long the old key works after that
    #[arg(long, value_name = "DURATION", value_parser = when::span)]
    grace: Option<u64>,
    /// As the plan says
    #[arg(long, conflicts_with = "grace")]
    no_grace: bool,
    /// A label to set; can be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = rules::label)]
    label: Vec<(String, String)>,
    /// The name of a label to remove; can be repeated
    #[arg(long, value_name = "NAME")]
    remove_label: Vec<String>,
}

/// Revoke a key permanently
#[derive(Args)]
#[command(after_help = "\
Examples:
  keystilectl key revoke 0Ab3dEfGh1 --reason 'found in a public repository'
  keystilectl key revoke 0Ab3dEfGh1 && keystilectl push --ecds-file keystile.json")]
pub struct Revoke {
    /// The id of the key; can be repeated
    #[arg(value_parser = key_id, required = true)]
    key: Vec<KeyId>,
    /// The reason, for the audit log
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    reason: String,
    /// Return once the change is in force on every known Envoy; after this time, fail and name
    /// those on which it is not. Needs a server [default: 10s]
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
