//! `keystilectl signing-key …`

use clap::{Args, Subcommand};
use serde_json::json;

use super::Context;
use crate::output::{self, cell};
use keystile_api::signing_key;
use keystile_model::error::Result;
use keystile_model::record::SigningState;
use keystile_model::when;
use keystile_render::ecds::SIGNING_KEYS;

/// Signing keys, by which the filter trusts keysets
#[derive(Subcommand)]
pub enum SigningKeyCommand {
    List(List),
    Rotate(Rotate),
    Retire(Retire),
    Export(Export),
}

/// List signing keys
#[derive(Args)]
#[command(after_help = "\
Example:
  keystilectl signing-key list")]
pub struct List {}

/// Create a new signing key; the old one is accepted until it is retired
#[derive(Args)]
#[command(after_help = "\
Example, without rejected keysets at any time:
  keystilectl signing-key rotate
  # give every Envoy the new environment (`signing-key export`) and restart it, one by one
  keystilectl signing-key retire k20270131-0a1b2c

Envoy reads its environment when it starts. Until the old key is retired, every push is signed with
both, so that Envoys with the old environment and Envoys with the new one accept it.")]
pub struct Rotate {}

/// Erase an old signing key
#[derive(Args)]
#[command(after_help = "\
Example:
  keystilectl signing-key retire k20270131-0a1b2c")]
pub struct Retire {
    /// The id of the signing key
    kid: String,
}

/// Print KEYSTILE_SIGNING_KEYS for Envoy's environment: a secret
#[derive(Args)]
#[command(after_help = "\
Examples:
  export \"$(keystilectl signing-key export)\"
  keystilectl signing-key export > /etc/envoy/keystile.env    # EnvironmentFile= of systemd
  kubectl create secret generic keystile --from-literal=\"$(keystilectl signing-key export)\"")]
pub struct Export {
    /// Print only the value, without `KEYSTILE_SIGNING_KEYS=`
    #[arg(long)]
    value: bool,
}

impl SigningKeyCommand {
    /// Runs it.
    pub fn run(self, cx: &Context) -> Result<()> {
        match self {
            Self::List(_) => list(cx),
            Self::Rotate(_) => rotate(cx),
            Self::Retire(c) => {
                let retired = cx.perform(signing_key::Retire { kid: c.kid })?;
                cx.out.show(&retired, || {
                    format!(
                        "{} retired: take it out of Envoy's environment too\n",
                        retired.kid
                    )
                })
            }
            Self::Export(c) => c.run(cx),
        }
    }
}

fn list(cx: &Context) -> Result<()> {
    let all = cx.perform(signing_key::List {})?.signing_keys;
    cx.out.show(&all, || {
        output::table(
            ["kid", "state", "created", "retired"],
            all.iter().map(|k| {
                let retired = k.retired.as_ref().map(|t| when::short(t.0));
                [
                    cell(&k.kid),
                    cell(&k.state),
                    cell(when::short(k.created.0)),
                    cell(retired.unwrap_or_default()),
                ]
            }),
        )
    })
}

fn rotate(cx: &Context) -> Result<()> {
    let rotated = cx.perform(signing_key::Rotate {})?;
    cx.out.show(&rotated, || {
        format!(
            "{} signs from now on, {} is accepted until it is retired\n",
            rotated.active, rotated.accepted
        )
    })?;
    if !cx.out.is_json() {
        cx.out.note(
            "give every Envoy the new `keystilectl signing-key export` when it next restarts; until the old key is retired, every push is signed with both",
        );
    }
    Ok(())
}

impl Export {
    fn run(self, cx: &Context) -> Result<()> {
        let mut all = cx.store_as_it_is()?.read(|tx| tx.signing_keys())?;
        all.sort_by_key(|k| k.state != SigningState::Active);
        let keys: Vec<_> = all
            .iter()
            .filter_map(|k| k.key.as_ref())
            .map(|k| k.expose_secret())
            .collect();
        let mut line = zeroize::Zeroizing::new(String::new());
        if !self.value && !cx.out.is_json() {
            line.push_str(SIGNING_KEYS);
            line.push('=');
        }
        for (i, key) in keys.iter().enumerate() {
            if i > 0 {
                line.push(',');
            }
            line.push_str(key);
        }
        if cx.out.is_json() {
            return cx.out.json(&json!({SIGNING_KEYS: line.as_str()}));
        }
        line.push('\n');
        output::raw(line.as_bytes())
    }
}
