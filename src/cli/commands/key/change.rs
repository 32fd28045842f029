//! `keystilectl key update`, `revoke`, `rotate`

use clap::Args;
use keystile_core::key::KeyId;

use super::options::ChangedOptions;
use super::shown::print;
use crate::commands::{Context, fleet, key_id};
use keystile_api::key;
use keystile_model::error::Result;
use keystile_model::plural;
use keystile_model::when;
use keystile_model::wire::Id;

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
    #[command(flatten)]
    changed: ChangedOptions,
    /// A scope to add; can be repeated
    #[arg(long, value_name = "SCOPE")]
    add_scope: Vec<String>,
    /// A scope to remove; can be repeated
    #[arg(long, value_name = "SCOPE")]
    remove_scope: Vec<String>,
    /// Accept scopes that no route of the policy asks for
    #[arg(long)]
    allow_unknown_scope: bool,
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
        let mut update = key::Update {
            add_scopes: self.add_scope,
            remove_scopes: self.remove_scope,
            allow_unknown_scope: self.allow_unknown_scope,
            remove_labels: self.remove_label,
            ..key::Update::nothing_for(self.key)
        };
        self.changed.tell(&mut update)?;
        print(cx, &cx.perform(update)?)
    }
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
                .map(|k| {
                    let name = match k.name.as_str() {
                        "" => String::new(),
                        name => format!(" ({name})"),
                    };
                    format!("key {}{name} of {} revoked\n", k.id.0, k.client)
                })
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
            None => cx.out.note(cx.in_force("it")),
        }
        Ok(())
    }
}
