//! Restoring a store from a backup.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use keystile_core::key::KeyId;
use serde_json::json;

use super::backup::{USAGE, verified};
use super::published::{self, Last};
use super::{Home, cannot_make};
use crate::audit::Timelines;
use crate::signing;
use keystile_model::audit::{self, Broken};
use keystile_model::error::{Act, Code, Error, Result, named, refuse};
use keystile_model::world::World;
use keystile_store::master_key::{self as seal, MasterKey};
use keystile_store::{LostKey, Store, Timeline};
use keystile_system::file::{self, PartialFolder};

/// Where the end of the audit log is noted.
const CHECKPOINT: &str = "audit.head";

/// A store that was restored.
pub struct Restored {
    /// The end of the audit log in the backup.
    pub head: audit::Head,
    /// The version of the keyset in the backup.
    pub backed_up: u64,
    /// The version of the keyset from now on, above all that were published.
    pub version: u64,
    /// The timeline of the store from now on.
    pub timeline: Timeline,
    /// Keys of the last published keyset that are unknown to the store, or valid again.
    pub lost: Vec<LostKey>,
    /// Keys that were in use, according to the usage counts, but are unknown to the store.
    pub in_use: Vec<KeyId>,
    /// Why the last published keyset could not be read, if it exists.
    pub unreadable: Option<String>,
    /// What was published last is known, so that what is lost of it is, too.
    pub is_known: bool,
}

impl Home {
    /// Restores a store from a backup, into a folder that has none. It leaves the timeline of the
    /// backup: the keyset is reissued with a version above all that are known to have been
    /// published, and nothing in the folder is published or built upon.
    ///
    /// # Errors
    /// If there is a store, a server runs on the folder, the backup is damaged, or the master key
    /// is not the one that it was encrypted with.
    pub fn restore(&self, world: &World, from: &Path) -> Result<Restored> {
        self.must_be_file()?;
        let (shown, path) = (self.folder.display(), self.store());
        let cannot = |e| cannot_make(&self.folder, &e);
        self.make_folder()?;
        // A server would keep using the store that it has open, even after that was moved.
        let _alone = self.hold()?;
        let _turn = file::turn(&self.folder)?;
        if path.exists() {
            return Err(refuse(
                Code::StoreExists,
                format_args!("there is a store in `{shown}` already"),
                keystile_model::next![
                    "name another folder with ",
                    named("home"),
                    ", or move that store away: the file and what begins with its name"
                ],
            ));
        }
        let key = self.key_to_restore()?;
        let beside = PartialFolder::new(&self.folder).map_err(cannot)?;
        let new = beside.path().join("store.db");
        fs::copy(from, &new).map_err(|e| {
            refuse(
                Code::FileUnreadable,
                format_args!("`{}` cannot be read ({e})", from.display()),
                keystile_model::next!["name a file that ", Act::BackupMake, " made"],
            )
        })?;
        let mut store = Store::open_copy(&new, &key).map_err(|e| {
            let fingerprint = key.fingerprint();
            wrong_key(e, &fingerprint).at(from.display())
        })?;
        let (head, backed_up) = verified(&mut store).map_err(|e| e.at(from.display()))?;
        let kept = store.head_file();
        let usage = self.restored_usage(&mut store, from, beside.path())?;
        let counted = match (&usage, self.folder.join("usage.db")) {
            (Some(new), _) => Some(new.clone()),
            (None, there) => there.exists().then_some(there),
        };
        let restored =
            self.begin_timeline(world, &mut store, counted.as_deref(), head, backed_up)?;
        store.close()?;
        File::open(&new)
            .and_then(|f| f.sync_all())
            .map_err(cannot)?;
        self.write_fingerprints(&[key.fingerprint()])?;
        // The checkpoint first: otherwise the store would look as if it had never had one.
        fs::rename(kept, self.folder.join(CHECKPOINT)).map_err(cannot)?;
        if let Some(usage) = usage {
            fs::rename(usage, self.folder.join("usage.db")).map_err(cannot)?;
        }
        for name in [published::BASE, published::OVERLAY] {
            self.put_former(name)?;
        }
        fs::hard_link(&new, &path).map_err(cannot)?;
        Ok(restored)
    }

    /// Takes up a database that was restored by its own means, as [`Home::restore`] does with a
    /// backup: until then, no server works on it.
    ///
    /// # Errors
    /// If the store is not in a database, a server works on it, or it is damaged.
    pub fn restore_in_place(&self, world: &World) -> Result<Restored> {
        if self.database.is_none() {
            return Err(refuse(
                Code::FieldMissing,
                "no backup is named",
                keystile_model::next!["name a file that ", Act::BackupMake, " made"],
            ));
        }
        let home = self.held(&self.hold()?);
        self.is_left_alone()?;
        let (mut store, _) = home.unlock()?;
        let (head, backed_up) = verified(&mut store)?;
        let restored = self.begin_timeline(world, &mut store, None, head, backed_up)?;
        for name in [CHECKPOINT, published::BASE, published::OVERLAY] {
            self.put_former(name)?;
        }
        // The checkpoint of the new timeline.
        store.note();
        Ok(restored)
    }

    /// Checks that a database holds all that this folder has seen of it.
    ///
    /// # Errors
    /// If it was put back to an earlier state, and nobody has said that this was meant.
    pub fn follows(&self, store: &mut Store) -> Result<()> {
        let file = self.folder.join(CHECKPOINT);
        if self.database.is_none() {
            return Ok(());
        }
        let Some(seen) = store.checkpoint_kept()? else {
            return Ok(());
        };
        let noted = keystile_store::checkpoint::kept_timeline(&file);
        let (broken, was_taken_up) = store.read(|tx| {
            let all = Timelines::read(tx, 0)?;
            Ok((
                tx.holds(&seen)?,
                noted.is_some_and(|noted| all.has_ended(&noted)),
            ))
        })?;
        if broken.is_none() {
            return Ok(());
        }
        if broken == Some(Broken::ForgedKept) {
            return Err(refuse(
                Code::FileInvalid,
                format_args!("`{}` is not of this store", file.display()),
                keystile_model::next![
                    "move it away if it is of another store, or name another folder with ",
                    named("home")
                ],
            ));
        }
        // Its restore was taken up on another machine: the timeline that this folder knows has ended.
        if was_taken_up {
            self.put_former(CHECKPOINT)?;
            store.note();
            return Ok(());
        }
        Err(refuse(
            Code::StoreAccess,
            format_args!(
                "the database lacks audit record {}, which this folder has seen: it was put back to an earlier state, or somebody changed it",
                seen.head.seq
            ),
            keystile_model::next![
                "nothing was changed; if it was restored, stop all its servers, and run ",
                Act::Restore,
                " without a file, which says what is lost; then start them"
            ],
        ))
    }

    fn key_to_restore(&self) -> Result<MasterKey> {
        let key = seal::find(&self.master_key(), self.master_key_command.as_deref())?;
        key.ok_or_else(|| {
            refuse(
                Code::MasterKeyMissing,
                "there is no master key to read the backup with",
                format_args!(
                    "put the one of the lost store into `{}`, or name it as usual",
                    self.master_key().display()
                ),
            )
        })
    }

    /// Starts a new timeline for a restored store, and finds what it lacks of the lost one.
    /// `usage` is the file with the counts, if there is one.
    fn begin_timeline(
        &self,
        world: &World,
        store: &mut Store,
        usage: Option<&Path>,
        head: audit::Head,
        backed_up: u64,
    ) -> Result<Restored> {
        let (id, signers) = store.read(|tx| Ok((tx.meta().store, signing::accepted(tx)?)))?;
        let last = Last::read(&self.folder, id, &signers, world.now);
        let (in_use, last_client) = match usage {
            None => (Vec::new(), 0),
            Some(file) => store.used_and_unknown(file)?,
        };
        let checkpoint = fs::read_to_string(self.folder.join(CHECKPOINT)).ok();
        store.write(world, |tx| {
            let former = tx.meta().timeline;
            tx.rise_above(last.version);
            let timeline = tx.begin_timeline(world)?;
            tx.skip_client_numbers(last_client.max(last.last_client()))?;
            let lost = last.lost_by(tx)?;
            for key in &lost {
                tx.insert_lost_key(key)?;
            }
            let said = json!({
                "head": head.to_string(),
                "checkpoint_of_the_lost_store": checkpoint.as_deref().map(str::trim),
                "timeline": timeline.to_string(),
                "former_timeline": former.to_string(),
                "last_published": last.version,
                "unknown_keys": lost.iter().filter(|k| !k.revoked).count(),
                "good_again": lost.iter().filter(|k| k.revoked).count(),
                "unknown_keys_in_use": in_use.len(),
            });
            tx.audit(world, "store.restore", "store", None, Some(&said))?;
            signing::renew_in(tx, world)?;
            Ok(Restored {
                head,
                backed_up,
                version: tx.next_version(),
                timeline,
                lost,
                in_use,
                is_known: last.is_known(),
                unreadable: last.unreadable,
            })
        })
    }

    /// Moves a file out of the way, so that a new one is not mistaken for it, and keeps it beside
    /// those of earlier restores: each is evidence.
    fn put_former(&self, name: &str) -> Result<()> {
        let numbered = (2..).map(|n: u64| format!("{name}.former.{n}"));
        let mut names = std::iter::once(format!("{name}.former")).chain(numbered);
        let free = names.find_map(|name| {
            let path = self.folder.join(name);
            (!path.exists()).then_some(path)
        });
        let Some(former) = free else {
            return Ok(());
        };
        match fs::rename(self.folder.join(name), former) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(cannot_make(&self.folder, &e)),
            _ => Ok(()),
        }
    }

    /// The usage of a backup, copied into a folder, if it is to be used: usage of this store that
    /// exists already has counted more.
    fn restored_usage(
        &self,
        store: &mut Store,
        from: &Path,
        folder: &Path,
    ) -> Result<Option<PathBuf>> {
        let cannot = |e| cannot_make(&self.folder, &e);
        let there = self.folder.join("usage.db");
        if there.exists() {
            if store.is_usage(&there)? {
                return Ok(None);
            }
            // It belongs to another store; its log would be mistaken for that of the new one.
            for end in ["", "-wal", "-shm"] {
                let of = |name: &str| self.folder.join(format!("{name}{end}"));
                match fs::rename(of("usage.db"), of("usage.db.former")) {
                    Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(cannot(e)),
                    _ => {}
                }
            }
        }
        let mut kept = from.as_os_str().to_owned();
        kept.push(USAGE);
        if !Path::new(&kept).exists() {
            return Ok(None);
        }
        let new = folder.join("usage.db");
        fs::copy(&kept, &new).map_err(cannot)?;
        if !store.is_usage(&new)? {
            return Err(refuse(
                Code::FileInvalid,
                format_args!(
                    "`{}` does not hold the usage of this store",
                    Path::new(&kept).display()
                ),
                keystile_model::next![
                    "put back the file that ",
                    Act::BackupMake,
                    " wrote beside the backup, or move it away to restore without usage"
                ],
            ));
        }
        File::open(&new)
            .and_then(|f| f.sync_all())
            .map_err(cannot)?;
        Ok(Some(new))
    }
}

fn wrong_key(error: Error, fingerprint: &str) -> Error {
    if !error.is(Code::StoreUndecryptable) {
        return error;
    }
    refuse(
        Code::MasterKeyWrong,
        format_args!(
            "this is not a backup, it is damaged, or it needs another master key than {fingerprint}"
        ),
        keystile_model::next![
            "give the master key that ",
            Act::BackupMake,
            " named when it was made"
        ],
    )
    .with_kind(error.kind())
}
