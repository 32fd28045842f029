//! `keystilectl key update`, `revoke`, `rotate`

use clap::Args;
use ipnet::IpNet;
use keystile::key::KeyId;
use keystile::policy::RawLimit;
use serde_json::json;

use super::{fields, print, with_secret};
use crate::commands::{Context, key_id};
use crate::error::{Result, refuse};
use crate::registry::key::{self, Patch};
use crate::registry::rules;
use crate::when::{self, When};

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
}

/// Replace a key by a new one with the same rules; both work for a while
#[derive(Args)]
#[command(after_help = "\
Examples:
  keystilectl key rotate 0Ab3dEfGh1                 # the old one works for 24 hours more
  keystilectl key rotate 0Ab3dEfGh1 --grace 7d --expires 90d
  keystilectl key rotate 0Ab3dEfGh1 --grace 0       # the old one ends with the next push

Both share their buckets: rotating gives nobody a second allowance.")]
pub struct Rotate {
    /// Its id
    #[arg(value_parser = key_id)]
    key: KeyId,
    /// How long the old one works on
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = when::span)]
    grace: u64,
    /// When the new one ends [default: when the old one would]
    #[arg(long, value_name = "WHEN")]
    expires: Option<When>,
    /// The new one never ends by itself
    #[arg(long, conflicts_with = "expires")]
    no_expiry: bool,
}

impl Update {
    pub(super) fn run(self, cx: &Context) -> Result<()> {
        let time = |w: Option<When>, none: bool| {
            if none {
                Some(None)
            } else {
                w.map(|w| Some(w.at(cx.now())))
            }
        };
        let patch = Patch {
            name: self.name,
            scopes: self.scope,
            add_scopes: self.add_scope,
            remove_scopes: self.remove_scope,
            any_scope: self.allow_unknown_scope,
            plan: if self.no_plan {
                Some(None)
            } else {
                self.plan.map(Some)
            },
            limits: or_none(self.limit, self.no_limit),
            expires: time(self.expires, self.no_expiry),
            not_before: time(self.not_before, self.no_not_before),
            allow: or_none(self.cidr, self.no_cidr),
            deny: or_none(self.deny_cidr, self.no_deny_cidr),
            origins: or_none(self.origin, self.no_origin),
            labels: self.label.into_iter().collect(),
            remove_labels: self.remove_label,
        };
        let key = key::update(&mut cx.store()?, &cx.world, self.key, patch)?;
        print(cx, &key)
    }
}

fn or_none<T>(list: Option<Vec<T>>, none: bool) -> Option<Vec<T>> {
    if none { Some(Vec::new()) } else { list }
}

impl Revoke {
    pub(super) fn run(self, cx: &Context) -> Result<()> {
        if self.reason.len() > 500 || self.reason.chars().any(char::is_control) {
            return Err(refuse(
                "the reason is longer than 500 bytes or holds control characters",
                "say it shorter",
            ));
        }
        let mut store = cx.store()?;
        let keys = key::revoke_all(&mut store, &cx.world, &self.key, &self.reason)?;
        let json = match keys.as_slice() {
            [one] => one.json(cx.now()),
            all => all.iter().map(|k| k.json(cx.now())).collect(),
        };
        cx.out.show(&json, || {
            keys.iter()
                .map(|k| format!("key {} of {} revoked\n", k.id, k.client))
                .collect()
        })?;
        if !cx.out.is_json() {
            cx.out.note("`keystilectl push` puts it in force");
        }
        Ok(())
    }
}

impl Rotate {
    pub(super) fn run(self, cx: &Context) -> Result<()> {
        let now = cx.now();
        let expires = if self.no_expiry {
            Some(None)
        } else {
            self.expires.map(|w| Some(w.at(now)))
        };
        let (new, old) = key::rotate(&mut cx.store()?, &cx.world, self.key, self.grace, expires)?;
        let until = old.ends();
        let mut json = with_secret(&new, now);
        if let Some(map) = json.as_object_mut() {
            map.insert(
                "old".to_owned(),
                json!({"id": old.id.to_string(), "works_until": until.map(when::rfc3339)}),
            );
        }
        let show = cx.out.show(&json, || {
            let end = until.map(|t| format!("{} ({})", when::short(t), when::relative(t, now)));
            format!(
                "key  {}\n\n{}\nthe old one, {}, works until {}\n",
                new.text.expose_secret(),
                fields(&new.key, now),
                old.id,
                end.unwrap_or_default()
            )
        });
        show.map_err(|e| {
            refuse(
                format_args!("key {} was issued but not shown: {e}", new.key.id),
                format_args!(
                    "rotate it at once: `keystilectl key rotate {} --grace 0`",
                    new.key.id
                ),
            )
        })?;
        if !cx.out.is_json() {
            cx.out.note(
                "keep the new one now, it is not shown again; `keystilectl push` puts it in force",
            );
        }
        Ok(())
    }
}
