//! `keystilectl backup` and `keystilectl restore`

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::Context;
use crate::error::Result;

/// Write a copy of the store to a file, while others read and write
#[derive(Args)]
#[command(after_help = "\
Example:
  keystilectl backup /backup/keystile-$(date +%F).db

The copy is of one moment, verified, and encrypted with the store's master key. Keep that key too,
and not beside the copy.")]
pub struct Backup {
    /// The file; what is there gives way when the copy is whole
    file: PathBuf,
}

/// Make a store from a backup, in a folder that has none
#[derive(Args)]
#[command(after_help = "\
Example, on a new machine:
  install -D -m 600 master.key ~/.keystile/master.key
  keystilectl restore /backup/keystile-2027-01-31.db
  keystilectl push --ecds-file keystile.json

What was done since the backup is undone: keys that were revoked are good again, and keys that were
issued are not known. The keyset's version rises above all that were ever issued, so that Envoys
take it.")]
pub struct Restore {
    /// The file that `backup` wrote
    file: PathBuf,
}

impl Backup {
    /// Runs it.
    pub fn run(self, cx: &Context) -> Result<()> {
        cx.local()?;
        let kept = cx.home.backup(&cx.world, &self.file)?;
        let shown = self.file.display().to_string();
        let json = json!({
            "file": shown,
            "bytes": kept.bytes,
            "version": kept.version,
            "head": kept.head.to_string(),
            "master_key": kept.master_key,
        });
        cx.out.show(&json, || {
            format!(
                "{shown}: {} bytes, version {}, verified; it needs the master key {}\n",
                kept.bytes, kept.version, kept.master_key
            )
        })
    }
}

impl Restore {
    /// Runs it.
    pub fn run(self, cx: &Context) -> Result<()> {
        cx.local()?;
        let restored = cx.home.restore(&cx.world, &self.file)?;
        let json = json!({
            "home": cx.home.folder().display().to_string(),
            "head": restored.head.to_string(),
            "backed_up_version": restored.backed_up,
            "version": restored.version,
        });
        cx.out.show(&json, || {
            format!(
                "restored with version {}, up to audit record {}; version {} is to be pushed\n",
                restored.backed_up, restored.head.seq, restored.version
            )
        })?;
        if !cx.out.is_json() {
            cx.out.warn(
                "what was done since the backup is undone: revoke again what was revoked since, then push",
            );
        }
        Ok(())
    }
}
