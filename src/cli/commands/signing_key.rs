//! `keystilectl signing-key …`

use clap::{Args, Subcommand};
use serde_json::json;
use zeroize::Zeroizing;

use super::Context;
use crate::output::{self, cell};
use keystile_api::signing_key::{self, RotatedSigningKey, SigningAlgorithm};
use keystile_core::keyset::Algorithm;
use keystile_model::error::{Code, Result, refuse};
use keystile_model::record::SigningState;
use keystile_model::when;
use keystile_render::ecds::{SIGNING_KEYS, VERIFY_KEYS};

/// Signing keys, with which keysets are signed for the filter
#[derive(Subcommand)]
pub enum SigningKeyCommand {
    List(List),
    Create(Create),
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

/// Create a signing key of a given algorithm; the old one is accepted until it is retired
#[derive(Args)]
#[command(after_help = "\
Example, from HMAC to Ed25519 without rejected keysets at any time:
  keystilectl signing-key create --algorithm ed25519
  # add `signing-key export --public` to every Envoy's environment and restart it, one by one
  keystilectl signing-key retire k20270131-0a1b2c
  # take KEYSTILE_SIGNING_KEYS out of every Envoy's environment

With Ed25519, Envoys hold public keys, which check keysets and cannot sign any. Until the old key is
retired, every push is signed with both. Reports need a secret: see `node enroll`.")]
pub struct Create {
    /// The algorithm that it signs with
    #[arg(long, value_name = "ALGORITHM")]
    algorithm: SigningAlgorithm,
}

/// Create a new signing key of the same algorithm; the old one is accepted until it is retired
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

/// Print signing keys for Envoy's environment: the secret KEYSTILE_SIGNING_KEYS, or public keys
#[derive(Args)]
#[command(after_help = "\
Examples:
  export \"$(keystilectl signing-key export)\"
  keystilectl signing-key export > /etc/envoy/keystile.env    # EnvironmentFile= of systemd
  kubectl create secret generic keystile --from-literal=\"$(keystilectl signing-key export)\"
  keystilectl signing-key export --public                     # KEYSTILE_VERIFY_KEYS=…")]
pub struct Export {
    /// Print only the value, without the name of the variable
    #[arg(long)]
    value: bool,
    /// Print KEYSTILE_VERIFY_KEYS: the public keys of Ed25519 signing keys
    #[arg(long)]
    public: bool,
}

impl SigningKeyCommand {
    /// Runs it.
    pub fn run(self, cx: &Context) -> Result<()> {
        match self {
            Self::List(_) => list(cx),
            Self::Create(c) => {
                let algorithm = c.algorithm;
                created(cx, &cx.perform(signing_key::Create { algorithm })?)
            }
            Self::Rotate(_) => created(cx, &cx.perform(signing_key::Rotate {})?),
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
            ["kid", "algorithm", "state", "created", "retired"],
            all.iter().map(|k| {
                let retired = k.retired.as_ref().map(|t| when::short(t.0));
                [
                    cell(&k.kid),
                    cell(Algorithm::from(k.algorithm).as_str()),
                    cell(&k.state),
                    cell(when::short(k.created.0)),
                    cell(retired.unwrap_or_default()),
                ]
            }),
        )
    })
}

fn created(cx: &Context, rotated: &RotatedSigningKey) -> Result<()> {
    cx.out.show(rotated, || {
        format!(
            "{} signs from now on, {} is accepted until it is retired\n",
            rotated.active, rotated.accepted
        )
    })?;
    if !cx.out.is_json() {
        cx.out.note(
            "give every Envoy the new output of `keystilectl signing-key export` (with --public for Ed25519) when it next restarts; until the old key is retired, every push is signed with both",
        );
    }
    Ok(())
}

impl Export {
    fn run(self, cx: &Context) -> Result<()> {
        let (variable, entries) = match self.public {
            true => (VERIFY_KEYS, public(cx)?),
            false => (SIGNING_KEYS, secret(cx)?),
        };
        let mut line = Zeroizing::new(String::new());
        if !self.value && !cx.out.is_json() {
            line.push_str(variable);
            line.push('=');
        }
        line.push_str(&joined(&entries));
        if cx.out.is_json() {
            return cx.out.json(&json!({variable: line.as_str()}));
        }
        line.push('\n');
        output::raw(line.as_bytes())
    }
}

/// The value of `KEYSTILE_SIGNING_KEYS`.
pub(super) fn secret_value(cx: &Context) -> Result<Zeroizing<String>> {
    Ok(joined(&secret(cx)?))
}

fn joined(entries: &[Zeroizing<String>]) -> Zeroizing<String> {
    let mut all = Zeroizing::new(String::new());
    for (i, entry) in entries.iter().enumerate() {
        if i > 0 {
            all.push(',');
        }
        all.push_str(entry);
    }
    all
}

/// The secrets, which leave the store only on its own machine; that of the active key first.
fn secret(cx: &Context) -> Result<Vec<Zeroizing<String>>> {
    let mut all = cx.store_as_it_is()?.read(|tx| tx.signing_keys())?;
    all.sort_by_key(|k| k.state != SigningState::Active);
    let keys = all.iter().filter_map(|k| k.key.as_ref());
    let secrets: Vec<_> = keys
        .filter(|k| k.algorithm() == Algorithm::HmacSha256)
        .map(keystile_core::keyset::SigningKey::expose_secret)
        .collect();
    match secrets.is_empty() {
        false => Ok(secrets),
        true => Err(refuse(
            Code::SigningKeyNotFound,
            "no signing key is an HMAC secret",
            "give Envoys the public keys with `keystilectl signing-key export --public`",
        )),
    }
}

/// The public keys, which any server may tell.
fn public(cx: &Context) -> Result<Vec<Zeroizing<String>>> {
    let all = cx.perform(signing_key::List {})?.signing_keys;
    let public: Vec<_> = all
        .into_iter()
        .filter_map(|k| k.verify_key)
        .map(Zeroizing::new)
        .collect();
    match public.is_empty() {
        false => Ok(public),
        true => Err(refuse(
            Code::SigningKeyNotFound,
            "no signing key has a public key",
            "create one with `keystilectl signing-key create --algorithm ed25519`",
        )),
    }
}
