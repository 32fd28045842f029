//! Backing up a store.

use std::fs::File;
use std::io;
use std::path::Path;

use super::Home;
use crate as registry;
use keystile_model::audit;
use keystile_model::error::{Code, Error, Kind, Result, Trouble, refuse};
use keystile_model::world::World;
use keystile_store::Store;
use keystile_system::file::Partial;

/// The suffix of a backup's file with usage.
pub(super) const USAGE: &str = ".usage";

/// A backup that was made and verified.
pub struct KeptBackup {
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
        self.must_be_file()?;
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
    pub fn backup(&self, world: &World, to: &Path) -> Result<KeptBackup> {
        let name = to.file_name().unwrap_or_default().to_string_lossy();
        let copied = self.copy_for(world, folder_of(to), &name, to)?;
        let bytes = put_backup(copied.store, copied.usage, to)?;
        Ok(KeptBackup {
            head: copied.head,
            version: copied.version,
            bytes,
            master_key: copied.master_key,
            usage_damaged: copied.usage_damaged,
        })
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
pub(super) fn verified(store: &mut Store) -> Result<(audit::Head, u64)> {
    store.check()?;
    store.read(|tx| {
        let found = registry::audit::verify_chain(tx, None)?;
        Ok((found.head, tx.meta().version))
    })
}

fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    }
}
