//! `keystilectl init`

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::Context;
use crate::output;
use keystile_api::signing_key::SigningAlgorithm;
use keystile_model::error::Result;
use keystile_policy::file::{self as policy_file, PolicyFile};
use keystile_registry::policy::check_text;
use keystile_registry::signing;

/// Create an encrypted store, with a master key, a signing key and a policy
#[derive(Args)]
#[command(after_help = "\
Examples:
  keystilectl init
  keystilectl init --policy policy.yaml --home /var/lib/keystile
  keystilectl --master-key-command 'pass show keystile' init
  keystilectl init --algorithm ed25519

Without KEYSTILE_MASTER_KEY or a command, a master key is generated and written to master.key in the
store's folder, readable only by you. Keep a copy elsewhere: without it the store is lost. With
--algorithm ed25519 Envoys get a public key only (`signing-key export --public`), which signs no
keyset; for reports, each then needs a secret of its own (`node enroll`).")]
pub struct Init {
    /// The policy to start with [default: a commented one to edit later]
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// How the first signing key signs keysets
    #[arg(long, value_name = "ALGORITHM", default_value = "hmac-sha256")]
    algorithm: SigningAlgorithm,
    /// Do nothing if there is a store already: for scripts that run before every start
    #[arg(long)]
    unless_there: bool,
}

impl Init {
    /// Runs it.
    pub fn run(self, cx: &Context) -> Result<()> {
        cx.local()?;
        if self.unless_there && cx.home.exists()? {
            return Ok(());
        }
        let file = match &self.policy {
            Some(path) => policy_file::read(path)?,
            None => policy_file::parse("default policy", policy_file::DEFAULT.to_owned())?,
        };
        let kid = create(cx, &file, self.algorithm)?;
        let folder = cx.home.folder().display().to_string();
        cx.out
            .show(&json!({"home": folder, "signing_key": kid}), || {
                let policy = self.policy.as_ref().map_or_else(
                    || "a commented default (`keystilectl policy show`)".to_owned(),
                    |p| p.display().to_string(),
                );
                output::fields([
                    ("store", folder.clone()),
                    ("policy", policy),
                    ("signing key", kid.clone()),
                    ("next", "keystilectl client create NAME".to_owned()),
                ])
            })
    }
}

/// Creates a store with a policy and a signing key, whose id it gives.
pub(super) fn create(
    cx: &Context,
    file: &PolicyFile,
    algorithm: SigningAlgorithm,
) -> Result<String> {
    check_text(file)?;
    let world = &cx.world;
    let mut kid = String::new();
    cx.home.create(world, |store| {
        store.write(world, |tx| {
            let revision = tx.insert_policy(&file.text, world.now.seconds())?;
            let policy = json!({"revision": revision, "policy": file.text});
            let store = json!({"store": tx.meta().store.to_string()});
            tx.audit(world, "store.create", "store", None, Some(&store))?;
            tx.audit(
                world,
                "policy.apply",
                &revision.to_string(),
                None,
                Some(&policy),
            )?;
            kid = signing::insert_as(tx, world, algorithm.into())?;
            Ok(())
        })
    })?;
    Ok(kid)
}
