//! The folder of a store.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keystile_core::keyset::StoreId;

use keystile_model::error::{Act, Code, Error, Kind, Result, Trouble, named, refuse};
use keystile_model::world::World;
use keystile_store::master_key::{self as seal, MasterKey};
use keystile_store::shared::SharedTables;
use keystile_store::{DatabaseAddress, ExclusiveHold, Store};
use keystile_system as system;
use keystile_system::file::{self, PartialFolder};

mod backup;
mod copy;
mod lock;
mod master_key;
pub mod published;
mod restore;

pub use backup::{KeptBackup, beside_backup, put_backup};
pub use copy::CopiedStore;
pub use lock::Serving;
pub use master_key::NewKey;
pub use restore::Restored;

/// The folder: the store, its master key unless that is kept elsewhere, and the fingerprint of the
/// master key, which distinguishes a wrong key from a damaged store.
#[derive(Clone)]
pub struct Home {
    folder: PathBuf,
    master_key_command: Option<String>,
    /// The database that the store is in, unless it is in the folder.
    database: Option<Arc<DatabaseAddress>>,
    /// This process holds the folder: see [`Home::hold`].
    held: Option<Serving>,
}

/// Distinguishes a file from another with the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId(u64, u64);

impl Home {
    /// The folder, and the command that prints the master key, if any.
    pub fn new(folder: PathBuf, master_key_command: Option<String>) -> Self {
        Self {
            folder,
            master_key_command,
            database: None,
            held: None,
        }
    }

    /// The same for a store in a database; the folder has what is kept on this machine.
    pub fn in_database(self, address: Arc<DatabaseAddress>) -> Self {
        Self {
            database: Some(address),
            ..self
        }
    }

    /// The database that the store is in, unless it is in the folder.
    pub fn database(&self) -> Option<&Arc<DatabaseAddress>> {
        self.database.as_ref()
    }

    /// Takes the folder for a server, or for something that must not happen beside one.
    ///
    /// # Errors
    /// If a server has it.
    pub fn hold(&self) -> Result<Serving> {
        Serving::take(&self.folder)
    }

    /// The same for a process that holds it.
    pub fn held(&self, by: &Serving) -> Self {
        Self {
            held: Some(by.clone()),
            ..self.clone()
        }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether there is a store.
    ///
    /// # Errors
    /// If its database cannot be reached.
    pub fn exists(&self) -> Result<bool> {
        match &self.database {
            Some(address) => Store::is_in(address),
            None => Ok(self.store().exists()),
        }
    }

    /// Checks that the store is in the folder.
    ///
    /// # Errors
    /// If it is in a database.
    fn must_be_file(&self) -> Result<()> {
        match &self.database {
            None => Ok(()),
            Some(address) => Err(refuse(
                Code::StoreInDatabase,
                format_args!("the store is in {address}, not in the folder"),
                "back it up and restore it by the database's own means",
            )),
        }
    }

    fn store(&self) -> PathBuf {
        self.folder.join("store.db")
    }

    fn master_key(&self) -> PathBuf {
        self.folder.join("master.key")
    }

    /// Where a new master key is kept until the store is encrypted with it.
    fn next_master_key(&self) -> PathBuf {
        self.folder.join("master.key.new")
    }

    fn fingerprint(&self) -> PathBuf {
        self.folder.join("master.id")
    }

    /// Checks that this process still holds the folder.
    ///
    /// # Errors
    /// If another process holds it.
    pub fn still_held(&self) -> Result<()> {
        self.held.as_ref().map_or(Ok(()), Serving::renew)
    }

    /// The identity of the store's file.
    ///
    /// # Errors
    /// If it does not exist.
    pub fn file(&self) -> Result<FileId> {
        if self.database.is_some() {
            // It cannot be put in the place of another one.
            return Ok(FileId(0, 0));
        }
        self.must_exist()?;
        let found = fs::metadata(self.store()).map_err(|e| cannot_make(&self.folder, &e))?;
        Ok(FileId(found.dev(), found.ino()))
    }

    /// Opens the store, and updates it if it has an earlier version and no server has it open.
    /// A database that was put back to an earlier state is refused.
    pub fn open(&self) -> Result<Store> {
        let (mut store, _) = self.unlock()?;
        self.follows(&mut store)?;
        Ok(store)
    }

    /// Opens the store, and updates nothing.
    pub fn open_as_it_is(&self) -> Result<Store> {
        self.unlock_beside(None).map(|(store, _)| store)
    }

    /// Keeps servers out while a schema changes.
    fn alone(&self) -> ExclusiveHold {
        let home = self.clone();
        Arc::new(move || {
            home.is_left_alone()?;
            match home.held {
                Some(_) => Ok(Box::new(()) as Box<dyn Send>),
                None => home.hold().map(|held| Box::new(held) as Box<dyn Send>),
            }
        })
    }

    /// Checks that no server, of any machine, works on the store if it is in a database.
    pub(super) fn is_left_alone(&self) -> Result<()> {
        match &self.database {
            Some(address) if SharedTables::any_lives(address)? => Err(refuse(
                Code::ServerRunning,
                format_args!("a server works on the store in {address}"),
                "stop all its servers first; one that was killed counts as running for some seconds",
            )),
            _ => Ok(()),
        }
    }

    /// Checks that there is a store.
    fn must_exist(&self) -> Result<()> {
        let path = self.store();
        if let Err(e) = fs::metadata(&path) {
            return Err(if e.kind() == std::io::ErrorKind::NotFound {
                refuse(
                    Code::StoreMissing,
                    format_args!("there is no store in `{}`", self.folder.display()),
                    keystile_model::next![
                        "make one with ",
                        Act::Init,
                        ", or name its folder with ",
                        named("home"),
                        " or KEYSTILE_HOME"
                    ],
                )
            } else {
                refuse(
                    Code::StoreMissing,
                    format_args!("`{}` cannot be reached ({e})", path.display()),
                    "run as the user who made it",
                )
            }
            .with_kind(Kind::Store(Trouble::Access)));
        }
        Ok(())
    }

    /// Opens the store with the master key that fits.
    fn unlock(&self) -> Result<(Store, MasterKey)> {
        self.unlock_beside(Some(self.alone()))
    }

    fn unlock_beside(&self, alone: Option<ExclusiveHold>) -> Result<(Store, MasterKey)> {
        if self.database.is_none() {
            self.must_exist()?;
        }
        let given = seal::find(&self.master_key(), self.master_key_command.as_deref())?;
        // An interrupted rotation may have left the store encrypted with the next one.
        let next = seal::from_file(&self.next_master_key());
        let mut failed = seal::missing(&self.master_key());
        if let Some(key) = given {
            match self.open_with(&key, alone.clone()) {
                Ok(store) => return Ok((store, key)),
                Err(e) => failed = e,
            }
        }
        if let Some(key) = next?
            && let Ok(store) = self.open_with(&key, alone)
        {
            return Ok((store, key));
        }
        Err(failed)
    }

    fn open_with(&self, key: &MasterKey, alone: Option<ExclusiveHold>) -> Result<Store> {
        if let Some(address) = &self.database {
            return Store::open_in(address, &self.folder, key, system::local().entropy, alone);
        }
        let path = self.store();
        Store::open_beside(&path, key, alone).map_err(|e| self.explain(e, key).at(path.display()))
    }

    /// Distinguishes a wrong master key from a damaged store.
    fn explain(&self, error: Error, key: &MasterKey) -> Error {
        if !error.is(Code::StoreUndecryptable) {
            return error;
        }
        let kind = error.kind();
        let told = match fs::read_to_string(self.fingerprint()) {
            Ok(known) if known.lines().count() > 1 => refuse(
                Code::MasterKeyWrong,
                format_args!(
                    "this is not the master key of the store (its fingerprint is {}): a rotation was interrupted between {}",
                    key.fingerprint(),
                    known.lines().collect::<Vec<_>>().join(" and ")
                ),
                "give the other one of the two",
            ),
            Ok(known) if known.trim() == key.fingerprint() => refuse(
                Code::StoreDamaged,
                "the store is damaged: the master key is right, but the file cannot be decrypted",
                "nothing was changed; restore the folder from a backup",
            ),
            Ok(known) => refuse(
                Code::MasterKeyWrong,
                format_args!(
                    "this is not the master key of the store (its fingerprint is {}, not {})",
                    key.fingerprint(),
                    known.trim()
                ),
                "give the key that `init` made or was given",
            ),
            Err(_) => error,
        };
        told.with_kind(kind)
    }

    /// Creates the folder, a master key and an empty store, which `fill` fills; either all of it
    /// appears, or nothing.
    pub fn create(&self, world: &World, fill: impl FnOnce(&mut Store) -> Result<()>) -> Result<()> {
        let (place, path) = (self.place(), self.store());
        let cannot = |e| cannot_make(&self.folder, &e);
        self.make_folder()?;
        let taken = || {
            refuse(
                Code::StoreExists,
                format_args!("there is a store in `{place}` already"),
                keystile_model::next!["use it, or name another folder with ", named("home")],
            )
        };
        if self.exists()? {
            return Err(taken());
        }
        seal::check_owner(&self.master_key())?;
        let key = match seal::find(&self.master_key(), self.master_key_command.as_deref())? {
            Some(key) => key,
            None => {
                let key = MasterKey::generate(world.entropy)?;
                seal::write_file(&self.master_key(), &key)?;
                key
            }
        };
        let mut id = [0; 8];
        (world.entropy)(&mut id)?;
        let id = StoreId(id);
        let fingerprint = format!("{}\n", key.fingerprint());
        if let Some(address) = &self.database {
            Store::create_in(address, &self.folder, &key, id, world.entropy, fill)?;
            return file::replace(&self.fingerprint(), 0o600, fingerprint.as_bytes());
        }
        // Created beside and linked into place, so that no incomplete store is ever found.
        let beside = PartialFolder::new(&self.folder).map_err(cannot)?;
        let new = beside.path().join("store.db");
        let mut store = Store::create(&new, &key, id).map_err(|e| e.at(path.display()))?;
        fill(&mut store)?;
        store.close()?;
        let usage = beside.path().join("usage.db");
        if usage.exists() {
            fs::rename(usage, self.folder.join("usage.db")).map_err(cannot)?;
        }
        // Replaces what is there: a link would lead elsewhere.
        file::replace(&self.fingerprint(), 0o600, fingerprint.as_bytes())?;
        fs::hard_link(&new, &path).map_err(|e| match e.kind() {
            std::io::ErrorKind::AlreadyExists => taken(),
            _ => cannot(e),
        })
    }
    fn make_folder(&self) -> Result<()> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.folder)
            .map_err(|e| cannot_make(&self.folder, &e))?;
        self.check_folder()
    }

    /// Checks that nobody else can replace our files.
    fn check_folder(&self) -> Result<()> {
        let shown = self.folder.display();
        let found = fs::metadata(&self.folder).map_err(|e| cannot_make(&self.folder, &e))?;
        let (owner, mode) = (found.uid(), found.mode() & 0o777);
        if owner != system::user_id() {
            return Err(refuse(
                Code::FolderUnsafe,
                format_args!(
                    "`{shown}` belongs to another user (uid {owner}), who could replace what is in it"
                ),
                keystile_model::next![
                    "run as that user, or name another folder with ",
                    named("home"),
                    ": it is made if it does not exist"
                ],
            ));
        }
        if mode & 0o022 != 0 {
            return Err(refuse(
                Code::FolderUnsafe,
                format_args!("other users may write to `{shown}` (mode {mode:04o})"),
                keystile_model::next![
                    format_args!("run `chmod 700 {shown}`, or name another folder with "),
                    named("home"),
                    ": it is made if it does not exist"
                ],
            ));
        }
        Ok(())
    }
}

fn cannot_make(folder: &Path, e: &std::io::Error) -> Error {
    refuse(
        Code::FileUnwritable,
        format_args!("`{}` cannot be made ({e})", folder.display()),
        keystile_model::next!["choose another folder with ", named("home")],
    )
}
