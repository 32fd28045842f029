//! One server per folder: two would send each message twice, and neither would know the other's
//! Envoys.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use keystile_model::error::{Code, Result, named, refuse};

/// The right to serve a folder, given back when it is dropped or its process ends.
#[derive(Clone)]
pub struct Serving(Arc<Held>);

struct Held {
    path: PathBuf,
    folder: PathBuf,
    file: Mutex<File>,
}

impl Serving {
    /// Takes a folder for this process.
    ///
    /// # Errors
    /// If another has it.
    pub(super) fn take(folder: &Path) -> Result<Self> {
        let path = folder.join("serve.lock");
        let file = locked(&path, folder)?;
        Ok(Self(Arc::new(Held {
            path,
            folder: folder.to_owned(),
            file: Mutex::new(file),
        })))
    }

    /// Takes the folder again if somebody removed the lock, which is then ineffective.
    ///
    /// # Errors
    /// If another server has taken the folder since.
    pub fn renew(&self) -> Result<()> {
        let held = &self.0;
        let mut file = held.file.lock().unwrap_or_else(PoisonError::into_inner);
        let mine = file.metadata().map(|m| (m.dev(), m.ino())).ok();
        let there = fs::metadata(&held.path).map(|m| (m.dev(), m.ino())).ok();
        if mine.is_some() && mine == there {
            return Ok(());
        }
        *file = locked(&held.path, &held.folder).map_err(|e| {
            refuse(
                Code::StoreAccess,
                "`serve.lock` was removed, and the folder cannot be locked again",
                "run one server per folder: stop this one or the other",
            )
            .because(&e)
        })?;
        tracing::warn!(
            "`serve.lock` was removed or replaced; it has been created and locked again"
        );
        Ok(())
    }
}

fn locked(path: &Path, folder: &Path) -> Result<File> {
    let cannot = |e: std::io::Error| {
        refuse(
            Code::SystemFailed,
            format_args!("`{}` cannot be locked ({e})", path.display()),
            "put the folder on a local file system that this user may write to",
        )
    };
    // Never removed: a process that has it open would hold a lock on nothing.
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(cannot)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::Error(e)) => return Err(cannot(e)),
        Err(TryLockError::WouldBlock) => {
            let mut process = String::new();
            let _ = file.read_to_string(&mut process);
            let process = process.trim();
            let holder = match process.parse::<u32>() {
                Ok(n) => format!(" (process {n})"),
                Err(_) => String::new(),
            };
            return Err(refuse(
                Code::ServerRunning,
                format_args!(
                    "a server is running on `{}` already{holder}",
                    folder.display()
                ),
                keystile_model::next!["stop it first, or name another folder with ", named("home")],
            ));
        }
    }
    file.set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(cannot)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::super::Home;
    use super::*;
    use keystile_model::error::{Kind, Trouble};
    use keystile_system as system;

    #[test]
    fn a_folder_is_held_by_one_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::new(folder.path().to_owned(), None);
        let held = home.hold().ok().unwrap();
        let words = home.hold().err().unwrap().to_string();
        let process = format!("(process {})", std::process::id());
        assert!(words.contains(&process), "{words}");
        drop(held);
        assert!(home.hold().is_ok());
    }

    #[test]
    fn a_lock_that_was_removed_is_made_again_or_the_server_stops_serving() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::new(folder.path().to_owned(), None);
        let path = folder.path().join("serve.lock");
        let first = home.hold().ok().unwrap();
        assert!(first.renew().is_ok());
        std::fs::remove_file(&path).unwrap();
        assert!(first.renew().is_ok());
        assert!(home.hold().is_err(), "it keeps others out again");

        std::fs::remove_file(&path).unwrap();
        let second = home.hold().ok().unwrap();
        let refused = first.renew().unwrap_err();
        assert_eq!(refused.kind(), Kind::Store(Trouble::Access));
        assert!(second.renew().is_ok());
        drop(second);
        assert!(first.renew().is_ok(), "the other one ended");
    }

    use keystile_store::Store;

    /// A store as the version before this one would have left it.
    fn earlier() -> (tempfile::TempDir, Home) {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::new(folder.path().to_owned(), None);
        home.create(&system::local(), |store| {
            store.batch(
                "ALTER TABLE signing_key DROP COLUMN algorithm;
                 DROP INDEX key_created; DROP INDEX key_client_created; DROP INDEX key_client_ends;
                 DROP INDEX key_client_endless; DROP INDEX key_endless;
                 DROP TABLE delivery; ALTER TABLE webhook DROP COLUMN paused; PRAGMA user_version = 11",
            );
            Ok(())
        })
        .unwrap();
        (folder, home)
    }

    fn version(home: &Home) -> Option<bool> {
        // Of this version, it opens without being updated.
        match home.open_as_it_is() {
            Ok(_) => Some(true),
            Err(e) if e.is(Code::StoreOlder) => Some(false),
            Err(_) => None,
        }
    }

    #[test]
    fn a_store_that_a_server_has_open_is_not_updated_under_it() {
        let (_folder, home) = earlier();
        let server = home.hold().ok().unwrap();
        assert!(home.open().err().unwrap().is(Code::StoreOlder));
        assert_eq!(version(&home), Some(false), "left as it is");
        // The server itself, of the new version, may.
        assert!(home.held(&server).open().is_ok());
        assert_eq!(version(&home), Some(true));
    }

    #[test]
    fn what_only_reads_updates_nothing_and_what_writes_does() {
        let (_folder, home) = earlier();
        assert_eq!(version(&home), Some(false));
        assert_eq!(version(&home), Some(false), "left as it is");
        assert!(home.open().is_ok());
        assert_eq!(version(&home), Some(true));
    }

    #[test]
    fn nothing_is_written_by_a_process_that_a_newer_one_updated_the_store_under() {
        let (_folder, home) = earlier();
        let mut open = home.open().ok().unwrap();
        home.open().ok().unwrap().batch("PRAGMA user_version = 99");
        let world = system::local();
        let write = |store: &mut Store| store.write(&world, |_| Ok(()));
        assert!(write(&mut open).unwrap_err().is(Code::StoreNewer));
    }
}
