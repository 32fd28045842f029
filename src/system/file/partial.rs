//! Files that are being written, and are not whole yet.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use tempfile::{NamedTempFile, TempDir};

/// The prefix of their names, so that an operator who finds one knows what it is.
const PREFIX: &str = ".keystile-partial-";
/// Files that the database puts beside one.
const COMPANIONS: [&str; 3] = ["-journal", "-wal", "-shm"];
/// A file younger than this may not have been locked yet.
const YOUNG: Duration = Duration::from_secs(60);

static OURS: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// A file beside the one that it is to replace; removed if it is dropped before that.
pub struct Partial {
    file: NamedTempFile,
    ours: Ours,
}

/// A folder of such files; removed when it is dropped.
pub struct PartialFolder {
    folder: TempDir,
    _lock: Option<File>,
    _ours: Ours,
}

/// A name that is among [`OURS`].
struct Ours(PathBuf);

impl Ours {
    fn new(path: &Path) -> Self {
        ours().insert(path.to_owned());
        Self(path.to_owned())
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        ours().remove(&self.0);
    }
}

impl PartialFolder {
    /// An empty one in a folder.
    pub fn new(folder: &Path) -> io::Result<Self> {
        sweep(folder);
        let folder = TempDir::with_prefix_in(PREFIX, folder)?;
        let lock = File::open(folder.path()).ok();
        let _ = lock.as_ref().map(File::try_lock);
        Ok(Self {
            _ours: Ours::new(folder.path()),
            _lock: lock,
            folder,
        })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

impl Partial {
    /// An empty file in a folder. Files that killed processes have left there are removed.
    pub fn new(folder: &Path) -> io::Result<Self> {
        sweep(folder);
        let file = tempfile::Builder::new()
            .prefix(PREFIX)
            .tempfile_in(folder)?;
        // On a file system without locks, the files of killed processes remain.
        let _ = file.as_file().try_lock();
        let ours = Ours::new(file.path());
        Ok(Self { file, ours })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// The file.
    pub fn file(&mut self) -> &mut File {
        self.file.as_file_mut()
    }

    /// Puts it in the place of another file.
    pub fn persist(self, path: &Path) -> io::Result<File> {
        let Self { file, ours } = self;
        let file = file.persist(path).map_err(|e| e.error)?;
        drop(ours);
        let _ = file.unlock();
        Ok(file)
    }
}

/// Removes what this process is writing, before it ends.
pub fn remove_all() {
    for path in ours().iter() {
        remove(path);
    }
}

fn remove(path: &Path) {
    let _ = match path.is_dir() {
        true => fs::remove_dir_all(path),
        false => fs::remove_file(path),
    };
    for end in COMPANIONS {
        let mut beside = path.as_os_str().to_owned();
        beside.push(end);
        let _ = fs::remove_file(PathBuf::from(beside));
    }
}

fn sweep(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|n| n.starts_with(PREFIX)) else {
            continue;
        };
        let main = COMPANIONS.iter().find_map(|end| name.strip_suffix(end));
        let path = folder.join(main.unwrap_or(name));
        if is_left(&path, &entry) {
            remove(&path);
        }
    }
}

/// Whether nobody writes to it any more: a writer keeps it locked.
fn is_left(path: &Path, entry: &fs::DirEntry) -> bool {
    if ours().contains(path) {
        return false;
    }
    let since = entry.metadata().and_then(|m| m.modified());
    let since = since.ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok());
    let old = |since: Duration| {
        let now = Duration::from_millis(crate::now().ms());
        now.saturating_sub(since) >= YOUNG
    };
    if !since.is_some_and(old) {
        return false;
    }
    match File::open(path) {
        Ok(file) => file.try_lock().is_ok(),
        Err(e) => e.kind() == io::ErrorKind::NotFound,
    }
}

fn ours() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    OURS.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn age(path: &Path) {
        let file = File::options().write(true).open(path).unwrap();
        let old = SystemTime::now() - 2 * YOUNG;
        file.set_modified(old).unwrap();
    }

    #[test]
    fn what_a_killed_process_left_is_removed_and_what_another_one_writes_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let named = |name: &str| folder.path().join(format!("{PREFIX}{name}"));
        for name in [
            "left",
            "left-journal",
            "alone-wal",
            "locked",
            "locked-journal",
            "young",
        ] {
            fs::write(named(name), "x").unwrap();
            if name != "young" {
                age(&named(name));
            }
        }
        fs::create_dir(named("folder")).unwrap();
        File::open(named("folder"))
            .unwrap()
            .set_modified(SystemTime::now() - 2 * YOUNG)
            .unwrap();
        fs::write(folder.path().join("other"), "x").unwrap();
        let locked = File::open(named("locked")).unwrap();
        locked.try_lock().unwrap();
        let ours = Partial::new(folder.path()).unwrap();
        let new = Partial::new(folder.path()).unwrap();
        let kept: BTreeSet<PathBuf> = fs::read_dir(folder.path())
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect();
        let want = [
            named("locked"),
            named("locked-journal"),
            named("young"),
            folder.path().join("other"),
            ours.path().to_owned(),
            new.path().to_owned(),
        ];
        assert_eq!(kept, want.into());
        let written = folder.path().join("whole");
        ours.persist(&written).unwrap();
        drop(new);
        assert!(written.exists());
        assert!(!named("left").exists());
    }
}
