//! `keystilectl backup` and `keystilectl restore`

use std::io::Write as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use keystile_core::hex;
use keystile_core::key::KeyId;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::{Context, interrupt};
use keystile_api::backup::{self, BackupPart};
use keystile_api::remote::Remote;
use keystile_model::error::{Code, Error, Result, refuse};
use keystile_model::plural;
use keystile_model::words;
use keystile_registry::home::{self, KeptBackup, Restored};
use keystile_store::LostKey;
use keystile_system::file::Partial;

/// How many ids a warning names.
const SHOWN: usize = 20;

/// Write a copy of the store to a file, even while it is in use
#[derive(Args)]
#[command(after_help = "\
Example:
  keystilectl backup /backup/keystile-$(date +%F).db

The copy is a consistent snapshot, verified, and encrypted with the store's master key. Keep that key
too, but not beside the copy. With `--server`, the server makes the copy and this command downloads it,
which needs a token of the role `owner`.")]
pub struct Backup {
    /// The file to write; an existing one is replaced once the copy is complete
    file: PathBuf,
}

/// Restore a store from a backup, or take up a database that was restored
#[derive(Args)]
#[command(after_help = "\
Example, on a new machine:
  install -D -m 600 master.key ~/.keystile/master.key
  keystilectl restore /backup/keystile-2027-01-31.db
  keystilectl push --ecds-file keystile.json

Changes since the backup are undone: keys that were revoked are valid again, and keys that were
issued are unknown. If you have the folder of the lost store, leave the other files in it: from the
last published keyset and the usage counts, `keystilectl key lost` lists these keys. The version of
the next keyset is higher than all that were published, so that Envoys accept it, and nothing that was
published before is built upon. No server may be running on the folder.

A store in PostgreSQL is restored by the database's own means. Its servers notice that it went back, and
work on it only after this, on one machine, with all of them stopped:
  keystilectl --store postgres://keystile@db.example.com/keystile restore")]
pub struct Restore {
    /// The file that `backup` wrote. Without it, the database that the store is in was restored by
    /// its own means, and is taken up as it is
    file: Option<PathBuf>,
}

impl Backup {
    /// Runs it.
    pub fn run(self, cx: &Context) -> Result<()> {
        interrupt::leave_nothing()?;
        let waiting = cx.out.waiting("Write and verify the copy");
        let kept = match &cx.server {
            Some(server) => fetched(server.remote()?, &self.file)?,
            None => Saved::from_kept(&cx.home.backup(&cx.world, &self.file)?),
        };
        drop(waiting);
        let shown = self.file.display().to_string();
        let json = json!({
            "file": shown,
            "bytes": kept.bytes,
            "version": kept.version,
            "head": kept.head,
            "master_key": kept.master_key,
            "usage_damaged": kept.usage_damaged,
        });
        if let Some(why) = &kept.usage_damaged {
            cx.out.warn(format_args!(
                "this backup holds the store without the usage counts, which are damaged ({why}); to count again, stop the server, move `usage.db*` out of the folder and start the server"
            ));
        }
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
        interrupt::leave_nothing()?;
        let waiting = cx.out.waiting("Restore and verify the store");
        let restored = match &self.file {
            Some(file) => cx.home.restore(&cx.world, file)?,
            None => cx.home.restore_in_place(&cx.world)?,
        };
        drop(waiting);
        let (again, unknown): (Vec<_>, Vec<_>) = restored.lost.iter().partition(|k| k.revoked);
        let named = |keys: &[&LostKey]| {
            let each = keys.iter();
            each.map(|k| json!({"id": k.id.to_string(), "client": k.client}))
                .collect::<Vec<_>>()
        };
        let json = json!({
            "home": cx.home.folder().display().to_string(),
            "head": restored.head.to_string(),
            "backed_up_version": restored.backed_up,
            "version": restored.version,
            "timeline": restored.timeline.to_string(),
            "unknown_keys": named(&unknown),
            "keys_good_again": named(&again),
            "unknown_keys_in_use": restored.in_use.iter().map(KeyId::to_string).collect::<Vec<_>>(),
            "last_keyset_unreadable": restored.unreadable,
        });
        cx.out.show(&json, || {
            format!(
                "restored with version {}, up to audit record {}; push version {} next\n",
                restored.backed_up, restored.head.seq, restored.version
            )
        })?;
        if !cx.out.is_json() {
            tell_what_is_lost(cx, &restored, &unknown, &again);
        }
        Ok(())
    }
}

/// The result of a backup.
struct Saved {
    bytes: u64,
    version: u64,
    head: String,
    master_key: String,
    usage_damaged: Option<String>,
}

impl Saved {
    fn from_kept(kept: &KeptBackup) -> Self {
        Self {
            bytes: kept.bytes,
            version: kept.version,
            head: kept.head.to_string(),
            master_key: kept.master_key.clone(),
            usage_damaged: kept.usage_damaged.clone(),
        }
    }
}

/// Makes the server write a backup, and downloads it.
fn fetched(server: &Remote, to: &Path) -> Result<Saved> {
    let name = to.file_name().unwrap_or_default().to_string_lossy();
    // Files may have names that no audit log keeps, such as those made of a digest.
    let name = match words::check("name", &name, words::NAME) {
        Ok(()) => name.into_owned(),
        Err(_) => String::new(),
    };
    let made = server.perform(&backup::Make { name })?;
    let saved = || {
        let store = part(server, &made.id, BackupPart::Store, &made.store, to)?;
        let usage = made.usage.as_ref();
        let usage = usage.map(|u| part(server, &made.id, BackupPart::Usage, u, to));
        home::put_backup(store, usage.transpose()?, to)
    };
    let saved = saved();
    // It would be removed there in a minute anyway.
    let _ = server.perform(&backup::End {
        id: made.id.clone(),
    });
    Ok(Saved {
        bytes: saved?,
        version: made.version,
        head: made.head,
        master_key: made.master_key,
        usage_damaged: made.usage_damaged,
    })
}

fn part(
    server: &Remote,
    id: &str,
    part: BackupPart,
    want: &backup::BackupFile,
    to: &Path,
) -> Result<Partial> {
    let mut file = home::beside_backup(to)?;
    let mut digest = Sha256::new();
    let (mut offset, mut bytes) = (0, 0);
    loop {
        let piece = server.perform(&backup::Read {
            id: id.to_owned(),
            part,
            offset,
        })?;
        let data = STANDARD.decode(&piece.data).map_err(|_| broken(to))?;
        digest.update(&data);
        bytes += data.len() as u64;
        file.file().write_all(&data).map_err(|e| {
            refuse(
                Code::FileUnwritable,
                format_args!("`{}` cannot be written ({})", to.display(), e.kind()),
                "nothing was replaced; check the folder and its free space",
            )
        })?;
        match piece.next {
            // Nothing that goes round in a circle.
            Some(next) if next == bytes => offset = next,
            Some(_) => return Err(broken(to)),
            None => break,
        }
    }
    let sha256 = hex::text(digest.finalize());
    if bytes != want.bytes || sha256 != want.sha256 {
        return Err(broken(to));
    }
    file.file().sync_all().map_err(|_| broken(to))?;
    Ok(file)
}

fn broken(to: &Path) -> Error {
    refuse(
        Code::FileInvalid,
        format_args!(
            "the backup arrived damaged, and `{}` was not changed",
            to.display()
        ),
        "run the command again",
    )
}

/// Warns of what would otherwise go unnoticed until a caller is affected.
fn tell_what_is_lost(cx: &Context, restored: &Restored, unknown: &[&LostKey], again: &[&LostKey]) {
    cx.out.warn(match cx.home.database() {
        None => "changes since the backup are undone: revoke again the keys that were revoked since, then push",
        Some(_) => "changes since that point in time are undone: revoke again the keys that were revoked since, then start the servers",
    });
    if !restored.is_known && restored.unreadable.is_none() {
        cx.out.warn("no published keyset was found in this folder, so it is not known what the restore loses; compare the audit log with an exported one, or, if the store is in a database, restore in the folder of a server");
    }
    let some = |ids: Vec<String>| {
        let more = ids.len().saturating_sub(SHOWN);
        let shown = ids.into_iter().take(SHOWN).collect::<Vec<_>>().join(" ");
        match more {
            0 => shown,
            more => format!("{shown} and {more} more"),
        }
    };
    let ids = |keys: &[&LostKey]| some(keys.iter().map(|k| k.id.to_string()).collect());
    if !again.is_empty() {
        cx.out.warn(format_args!(
            "{} of the last published keyset, revoked or disabled since, valid again: {}",
            many(again.len()),
            ids(again)
        ));
    }
    if !unknown.is_empty() {
        cx.out.warn(format_args!(
            "{} of the last published keyset, unknown to this store, refused from now on: {}",
            many(unknown.len()),
            ids(unknown)
        ));
    }
    if !restored.in_use.is_empty() {
        cx.out.warn(format_args!(
            "{} in use, unknown to this store, refused from now on: {}",
            many(restored.in_use.len()),
            some(restored.in_use.iter().map(KeyId::to_string).collect())
        ));
    }
    if let Some(why) = &restored.unreadable {
        cx.out.warn(format_args!(
            "the last published keyset, `base.keyset.former`, cannot be read ({why}): the keys in it are not known"
        ));
    }
    if !restored.lost.is_empty() || !restored.in_use.is_empty() {
        cx.out.note("`keystilectl key lost` lists them");
    }
}

fn many(n: usize) -> String {
    plural::count(n, "key")
}
