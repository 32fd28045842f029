//! `keystilectl key import`

use std::path::PathBuf;

use clap::Args;

use crate::commands::Context;
use keystile_api::key;
use keystile_model::error::{Code, Result, refuse};
use keystile_registry::import::COLUMNS;
use keystile_registry::key::count;
use keystile_system::file;

/// Import keys from elsewhere by their SHA-256 digests: all keys of a file or none
#[derive(Args)]
#[command(after_help = format!("\
Examples:
  keystilectl key import keys.csv --dry-run
  keystilectl key import keys.json --create-clients

CSV has a header line; JSON is an array of objects, or one object per line. Columns, of which the
first two are required: {}.
`sha256` is the digest of the whole key, as 64 hexadecimal digits or base64url. Lists are separated by
spaces or `;`. A digest protects only a key that cannot be guessed: do not import keys shorter than
some 20 random characters.", COLUMNS.join(", ")))]
pub struct Import {
    /// The file to import
    file: PathBuf,
    /// Check everything, but change nothing
    #[arg(long)]
    dry_run: bool,
    /// Create clients that do not exist yet
    #[arg(long)]
    create_clients: bool,
    /// Accept scopes that no route of the policy asks for
    #[arg(long)]
    allow_unknown_scope: bool,
}

impl Import {
    pub(super) fn run(self, cx: &Context) -> Result<()> {
        let name = self.file.display().to_string();
        let text = String::from_utf8(file::read(&self.file)?).map_err(|_| {
            refuse(
                Code::FileInvalid,
                format_args!("`{name}` is not UTF-8"),
                "save it as UTF-8",
            )
        })?;
        let done = cx.perform(key::Import {
            name,
            text,
            dry_run: self.dry_run,
            create_clients: self.create_clients,
            allow_unknown_scope: self.allow_unknown_scope,
        })?;
        cx.out.show(&done, || {
            let clients = match done.clients_created.len() {
                0 => String::new(),
                1 => ", 1 new client".to_owned(),
                n => format!(", {n} new clients"),
            };
            let number = count(usize::try_from(done.imported).unwrap_or(usize::MAX));
            if self.dry_run {
                format!("{number}{clients} would be imported; nothing was changed\n")
            } else {
                format!("{number}{clients} imported; {}\n", cx.in_force("them"))
            }
        })
    }
}
