//! Backing up a store, restoring it, and encrypting it with another master key.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use keystile_core::key::KeyId;
use serde_json::json;

use super::published::{self, Last};
use super::{Home, cannot_make};
use crate as registry;
use crate::signing;
use keystile_model::audit;
use keystile_model::error::{Act, Code, Error, Kind, Result, Trouble, named, refuse};
use keystile_model::world::World;
use keystile_store::master_key::{self as seal, MasterKey};
use keystile_store::{LostKey, Store, Timeline};
use keystile_system::file::{self, Partial, PartialFolder};

/// The suffix of a backup's file with usage.
const USAGE: &str = ".usage";

/// A backup that was made and verified.
pub struct Kept {
    /// The end of the audit log in it.
    pub head: audit::Head,
    /// The version of the keyset in it.
    pub version: u64,
    /// Its size.
    pub bytes: u64,
    /// The fingerprint of the master key that it needs.
    pub master_key: String,
    /// Why the usage counts are missing, if they are damaged.
    pub usage_damaged: Option<String>,
}

/// A copy of a store in temporary files.
pub struct Copied {
    /// The store.
    pub store: Partial,
    /// The usage counts, if there are any.
    pub usage: Option<Partial>,
    /// The end of the audit log in it.
    pub head: audit::Head,
    /// The version of the keyset in it.
    pub version: u64,
    /// The fingerprint of the master key that it needs.
    pub master_key: String,
    /// Why the usage counts are missing, if they are damaged.
    pub usage_damaged: Option<String>,
}

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
}

/// Where the next master key comes from.
pub enum NewKey<'c> {
    /// It is made, and kept in the store's folder.
    File,
    /// A command prints it.
    Command(&'c str),
}

/// A master key that was rotated.
pub struct Rotated {
    /// The fingerprint of the old key.
    pub former: String,
    /// The fingerprint of the new key.
    pub new: String,
    /// Where the old key is kept, if it was in the store's folder.
    pub kept: Option<PathBuf>,
}

impl Home {
    /// Copies the store consistently into files of a folder, encrypted with the same master key,
    /// and verifies them. `name` is its name in the audit log.
    ///
    /// # Errors
    /// If the store cannot be read, or the folder cannot be written to.
    pub fn copy(&self, world: &World, folder: &Path, name: &str) -> Result<Copied> {
        self.copy_for(world, folder, name, folder)
    }

    /// The same; a failure names the file that it is for.
    fn copy_for(&self, world: &World, folder: &Path, name: &str, to: &Path) -> Result<Copied> {
        world.caller.owner("back the store up")?;
        let (mut store, key) = self.unlock()?;
        store.write(world, |tx| {
            tx.audit(world, "store.backup", name, None, None)
        })?;
        let cannot = |e: io::Error| cannot_write(to, &e);
        let mut copy = Partial::new(folder).map_err(cannot)?;
        store.copy_to(copy.path(), &key)?;
        let mut copied = Store::open(copy.path(), &key)?;
        let (head, version) = verified(&mut copied)?;
        copied.close()?;
        copy.file().sync_all().map_err(cannot)?;
        let mut usage = Partial::new(folder).map_err(cannot)?;
        // The store matters more, so it is saved without them.
        let (counted, usage_damaged) = match store.copy_usage_to(usage.path()) {
            Ok(counted) => (counted, None),
            Err(e) if e.kind() == Kind::Store(Trouble::Damaged) => (false, Some(e.to_string())),
            Err(e) => return Err(e),
        };
        usage.file().sync_all().map_err(cannot)?;
        Ok(Copied {
            store: copy,
            usage: counted.then_some(usage),
            head,
            version,
            master_key: key.fingerprint(),
            usage_damaged,
        })
    }

    /// Writes a consistent copy of the store to a file, encrypted with the same master key: first
    /// beside it, and only after verification in its place.
    ///
    /// # Errors
    /// If the store cannot be read, or the file cannot be written; the file is then unchanged.
    pub fn backup(&self, world: &World, to: &Path) -> Result<Kept> {
        let name = to.file_name().unwrap_or_default().to_string_lossy();
        let copied = self.copy_for(world, folder_of(to), &name, to)?;
        let bytes = put_backup(copied.store, copied.usage, to)?;
        Ok(Kept {
            head: copied.head,
            version: copied.version,
            bytes,
            master_key: copied.master_key,
            usage_damaged: copied.usage_damaged,
        })
    }

    /// Restores a store from a backup, into a folder that has none. It leaves the timeline of the
    /// backup: the keyset is reissued with a version above all that are known to have been
    /// published, and nothing in the folder is published or built upon.
    ///
    /// # Errors
    /// If there is a store, a server runs on the folder, the backup is damaged, or the master key
    /// is not the one that it was encrypted with.
    pub fn restore(&self, world: &World, from: &Path) -> Result<Restored> {
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
        fs::rename(kept, self.folder.join("audit.head")).map_err(cannot)?;
        if let Some(usage) = usage {
            fs::rename(usage, self.folder.join("usage.db")).map_err(cannot)?;
        }
        for name in [published::BASE, published::OVERLAY] {
            self.put_former(name)?;
        }
        fs::hard_link(&new, &path).map_err(cannot)?;
        Ok(restored)
    }

    fn key_to_restore(&self) -> Result<MasterKey> {
        let key = seal::find(&self.master_key(), self.master_key_command.as_deref())?;
        key.ok_or_else(|| {
            refuse(
                Code::MasterKeyMissing,
                "there is no master key to read the backup with",
                format_args!(
                    "put the one of the lost store into `{}`, or name it as you always do",
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
        let checkpoint = fs::read_to_string(self.folder.join("audit.head")).ok();
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
                unreadable: last.unreadable,
            })
        })
    }

    /// Moves a file out of the way, so that a new one is not mistaken for it, and keeps it.
    fn put_former(&self, name: &str) -> Result<()> {
        let former = self.folder.join(format!("{name}.former"));
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
                format_args!("`{}` is no usage of this store", Path::new(&kept).display()),
                keystile_model::next![
                    "put back the file that ",
                    Act::BackupMake,
                    " wrote beside the backup, or move it away to go without"
                ],
            ));
        }
        File::open(&new)
            .and_then(|f| f.sync_all())
            .map_err(cannot)?;
        Ok(Some(new))
    }

    /// Encrypts the store with another master key. Whenever it is interrupted, the store opens with
    /// either the old key or the new one, and both exist.
    ///
    /// # Errors
    /// If the store cannot be opened or written, or there is nothing to change.
    pub fn rotate_master_key(&self, world: &World, new: Option<NewKey<'_>>) -> Result<Rotated> {
        world.caller.owner("rotate the master key")?;
        let _turn = file::turn(&self.folder)?;
        let (mut store, former) = self.unlock()?;
        let standing = seal::from_file(&self.master_key())?;
        let stood_here = |key: &Option<MasterKey>| {
            key.as_ref()
                .is_some_and(|k| k.fingerprint() == former.fingerprint())
        };
        let next = seal::from_file(&self.next_master_key())?;
        let is_next = stood_here(&next);
        let in_file = stood_here(&standing) || is_next;
        if is_next {
            // Completes an interrupted rotation.
            self.put_in_place(&standing)?;
        }
        let (key, to_file) = match new {
            Some(NewKey::Command(command)) => (seal::from_command(command)?, false),
            Some(NewKey::File) => (self.make_next(world)?, true),
            None if in_file => (self.make_next(world)?, true),
            None => {
                return Err(refuse(
                    Code::MasterKeyMissing,
                    "the master key does not stand in the store's folder",
                    keystile_model::next![
                        "say where the new one comes from: ",
                        named("new_key_command").value("CMD"),
                        ", or ",
                        named("to_file")
                    ],
                ));
            }
        };
        let (was, is) = (former.fingerprint(), key.fingerprint());
        if was == is {
            return Err(refuse(
                Code::MasterKeyInvalid,
                "the new master key is the one that the store has",
                "make another one, and let the command print that",
            ));
        }
        self.write_fingerprints(&[was.clone(), is.clone()])?;
        store.rekey(&key)?;
        self.write_fingerprints(std::slice::from_ref(&is))?;
        let standing = seal::from_file(&self.master_key())?;
        let kept = if to_file {
            self.put_in_place(&standing)?
        } else {
            self.put_aside(&standing)?
        };
        store.write(world, |tx| {
            let (before, after) = (json!({"fingerprint": was}), json!({"fingerprint": is}));
            tx.audit(
                world,
                "master-key.rotate",
                "master-key",
                Some(&before),
                Some(&after),
            )
        })?;
        Ok(Rotated {
            former: was,
            new: is,
            kept,
        })
    }

    /// Makes the next master key, in its own file.
    fn make_next(&self, world: &World) -> Result<MasterKey> {
        let file = self.next_master_key();
        // No store uses a leftover key.
        match fs::remove_file(&file) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(self.cannot_rename(&e)),
            _ => {}
        }
        let key = MasterKey::generate(world.entropy)?;
        seal::write_file(&file, &key)?;
        self.sync()?;
        Ok(key)
    }

    /// Puts the next master key in the place of the old one.
    fn put_in_place(&self, standing: &Option<MasterKey>) -> Result<Option<PathBuf>> {
        let aside = self.put_aside(standing)?;
        fs::rename(self.next_master_key(), self.master_key())
            .map_err(|e| self.cannot_rename(&e))?;
        self.sync()?;
        Ok(aside)
    }

    /// Keeps an old master key for the backups that need it.
    fn put_aside(&self, standing: &Option<MasterKey>) -> Result<Option<PathBuf>> {
        let Some(key) = standing else { return Ok(None) };
        let aside = self
            .folder
            .join(format!("master.key.{}", key.fingerprint()));
        fs::rename(self.master_key(), &aside).map_err(|e| self.cannot_rename(&e))?;
        self.sync()?;
        Ok(Some(aside))
    }

    fn write_fingerprints(&self, those: &[String]) -> Result<()> {
        let text = those.iter().map(|f| format!("{f}\n")).collect::<String>();
        file::replace(&self.fingerprint(), 0o600, text.as_bytes())
    }

    fn sync(&self) -> Result<()> {
        File::open(&self.folder)
            .and_then(|f| f.sync_all())
            .map_err(|e| self.cannot_rename(&e))
    }

    fn cannot_rename(&self, e: &io::Error) -> Error {
        refuse(
            Code::FileUnwritable,
            format_args!(
                "the master keys in `{}` cannot be put in their places ({e})",
                self.folder.display()
            ),
            "the store opens all the same; check the folder and do it again",
        )
    }
}

/// Where a backup is written before it takes its place.
///
/// # Errors
/// The folder cannot be written to.
pub fn beside_backup(to: &Path) -> Result<Partial> {
    Partial::new(folder_of(to)).map_err(|e| cannot_write(to, &e))
}

/// Puts a backup in its place; gives its size.
///
/// # Errors
/// If it cannot be written; the old file is then unchanged.
pub fn put_backup(store: Partial, usage: Option<Partial>, to: &Path) -> Result<u64> {
    let cannot = |e: io::Error| cannot_write(to, &e);
    // Usage first: if the second step fails, the old backup remains, with newer counts.
    if let Some(usage) = usage {
        let mut path = to.as_os_str().to_owned();
        path.push(USAGE);
        usage.persist(Path::new(&path)).map_err(cannot)?;
    }
    let written = store.persist(to).map_err(cannot)?;
    let bytes = written.metadata().map_err(cannot)?.len();
    File::open(folder_of(to))
        .and_then(|f| f.sync_all())
        .map_err(cannot)?;
    Ok(bytes)
}

fn cannot_write(to: &Path, e: &io::Error) -> Error {
    refuse(
        Code::FileUnwritable,
        format_args!("`{}` cannot be written ({})", to.display(), e.kind()),
        "nothing was replaced; check the folder and its free space",
    )
}

/// Checks every page and the audit log; gives where that ends, and the keyset's version.
fn verified(store: &mut Store) -> Result<(audit::Head, u64)> {
    store.check()?;
    store.read(|tx| {
        let found = registry::audit::verify_chain(tx, None)?;
        Ok((found.head, tx.meta().version))
    })
}

fn wrong_key(error: Error, fingerprint: &str) -> Error {
    if !error.is(Code::StoreUndecryptable) {
        return error;
    }
    refuse(
        Code::MasterKeyWrong,
        format_args!(
            "this is no backup, it is damaged, or it needs another master key than {fingerprint}"
        ),
        keystile_model::next![
            "give the master key that ",
            Act::BackupMake,
            " named when it was made"
        ],
    )
    .of(error.kind())
}

fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    }
}
