//! `keystilectl master-key …`

use clap::{Args, Subcommand};
use serde_json::json;

use super::Context;
use keystile_model::error::Result;
use keystile_registry::home::NewKey;

/// The master key, which encrypts the store
#[derive(Subcommand)]
pub enum MasterKeyCommand {
    Rotate(Rotate),
}

/// Encrypt the store with another master key
#[derive(Args)]
#[command(after_help = "\
Examples:
  keystilectl master-key rotate
  keystilectl --master-key-command 'pass show keystile' master-key rotate \\
    --new-key-command 'pass show keystile-2'

If this is interrupted, the store opens with either the old key or the new one, and both are still
there. Backups need the key that they were made with: if the old key was in the folder, it is kept as
master.key.<fingerprint>.")]
pub struct Rotate {
    /// A command that prints the new master key, so that it is not kept in the store's folder
    #[arg(long, value_name = "CMD", conflicts_with = "to_file")]
    new_key_command: Option<String>,
    /// Generate the new master key and keep it in master.key in the store's folder, wherever the
    /// old one is kept
    #[arg(long)]
    to_file: bool,
}

impl MasterKeyCommand {
    /// Runs it.
    pub fn run(self, cx: &Context) -> Result<()> {
        match self {
            Self::Rotate(c) => c.run(cx),
        }
    }
}

impl Rotate {
    fn run(self, cx: &Context) -> Result<()> {
        cx.local()?;
        let new = match &self.new_key_command {
            Some(command) => Some(NewKey::Command(command)),
            None if self.to_file => Some(NewKey::File),
            None => None,
        };
        let waiting = cx.out.waiting("Encrypt the store with another key");
        let done = cx.home.rotate_master_key(&cx.world, new);
        drop(waiting);
        let done = done?;
        let kept = done.kept.map(|p| p.display().to_string());
        let json = json!({"former": done.former, "new": done.new, "former_kept_as": kept});
        cx.out.show(&json, || {
            let mut out = format!(
                "the store is encrypted with {} instead of {}\n",
                done.new, done.former
            );
            if let Some(kept) = &kept {
                out.push_str(&format!(
                    "the old key is kept for backups in {kept}; delete it when no backup needs it\n"
                ));
            }
            out
        })
    }
}
