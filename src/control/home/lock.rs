//! One server for one folder: two would send each message twice, and neither would know
//! the other's Envoys.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;

use super::Home;
use crate::error::{Kind, Result, refuse};

/// The right to serve a folder, given back when it is dropped or its process ends.
pub struct Serving {
    _file: File,
}

impl Home {
    /// Takes the folder for a server, or for what must not happen beside one.
    ///
    /// # Errors
    /// A server has it.
    pub fn hold(&self) -> Result<Serving> {
        let path = self.folder.join("serve.lock");
        let cannot = |e: std::io::Error| {
            refuse(
                format_args!("`{}` cannot be locked ({e})", path.display()),
                "put the folder on a local file system that this user may write to",
            )
        };
        // Never removed: whoever has it open would hold a lock on nothing.
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(cannot)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::Error(e)) => return Err(cannot(e)),
            Err(TryLockError::WouldBlock) => {
                let mut process = String::new();
                let _ = file.read_to_string(&mut process);
                let process = process.trim();
                let named = match process.parse::<u32>() {
                    Ok(n) => format!(" (process {n})"),
                    Err(_) => String::new(),
                };
                return Err(refuse(
                    format_args!(
                        "a `keystilectl serve` is running on `{}` already{named}",
                        self.folder.display()
                    ),
                    "stop it first, or name another folder with `--home`",
                )
                .of(Kind::Conflict));
            }
        }
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(cannot)?;
        Ok(Serving { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
