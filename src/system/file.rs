//! Files written whole or not at all.

use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use keystile_model::error::{Code, Error, Result, refuse};

mod partial;

pub use partial::{Partial, PartialFolder, remove_all as remove_partials};

/// Writes another file and renames it, so that readers find either the old content or the new, and
/// so that Envoy, which watches for renames, notices.
pub fn replace(path: &Path, mode: u32, content: &[u8]) -> Result<()> {
    put(path, mode, content, true)
}

/// Bytes that the file system of a folder has left for this user; unknown if it does not say.
pub fn room(folder: &Path) -> Option<u64> {
    let found = nix::sys::statvfs::statvfs(folder).ok()?;
    found.blocks_available().checked_mul(found.fragment_size())
}

/// The same without waiting for the disk: a power failure may cost the file.
pub fn replace_lazily(path: &Path, mode: u32, content: &[u8]) -> Result<()> {
    put(path, mode, content, false)
}

fn put(path: &Path, mode: u32, content: &[u8], sync: bool) -> Result<()> {
    let folder = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    if !folder.is_dir() {
        return Err(refuse(
            Code::FileUnwritable,
            format_args!("the folder `{}` does not exist", folder.display()),
            format_args!("make it with `mkdir -p {}`", folder.display()),
        ));
    }
    if path.is_dir() {
        return Err(refuse(
            Code::FileUnwritable,
            format_args!("`{}` is a folder", path.display()),
            "name a file in it",
        ));
    }
    let write = || -> io::Result<()> {
        let mut beside = Partial::new(folder)?;
        let file = beside.file();
        file.write_all(content)?;
        file.set_permissions(Permissions::from_mode(mode))?;
        if sync {
            // On disk before it replaces what is there.
            file.sync_all()?;
        }
        beside.persist(path)?;
        if sync {
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    };
    write().map_err(|e| cannot_write(path, &e))
}

/// Says only the kind: the rest would name a temporary file.
fn cannot_write(path: &Path, e: &io::Error) -> Error {
    let next = match e.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            "the file is as it was; free some space and try again"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "the file is as it was; run as a user who may write to its folder"
        }
        _ => "the file is as it was; check its folder and try again",
    };
    refuse(
        Code::FileUnwritable,
        format_args!("`{}` cannot be written ({})", path.display(), e.kind()),
        next,
    )
}

/// Waits for the lock of a folder, and holds it until dropped.
pub fn turn(folder: &Path) -> Result<File> {
    let hold = || -> io::Result<File> {
        let file = File::open(folder)?;
        file.lock()?;
        Ok(file)
    };
    hold().map_err(|e| {
        refuse(
            Code::SystemFailed,
            format_args!("the folder `{}` cannot be locked ({e})", folder.display()),
            "put it on a local file system",
        )
    })
}

/// Reads a file.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|e| {
        refuse(
            Code::FileUnreadable,
            format_args!("`{}` cannot be read ({e})", path.display()),
            "name a file that exists",
        )
    })
}
