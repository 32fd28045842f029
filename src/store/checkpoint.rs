//! Checkpoints of the audit log in files, outside of the store.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use super::meta::Timeline;
use keystile_model::audit::Checkpoint;
use keystile_model::error::{Code, Result, refuse};
use keystile_system::file::Partial;

/// Writes a checkpoint to another file and renames it, without waiting for the disk: after a power
/// failure there may be an older one, which covers less.
///
/// # Errors
/// If the file cannot be written.
pub fn keep(file: &Path, checkpoint: &Checkpoint) -> Result<()> {
    let write = || -> io::Result<()> {
        let folder = file.parent().unwrap_or(Path::new("."));
        let mut beside = Partial::new(folder)?;
        writeln!(beside.file(), "{checkpoint}")?;
        beside.persist(file)?;
        Ok(())
    };
    write().map_err(|e| {
        refuse(
            Code::FileUnwritable,
            format_args!("`{}` cannot be written ({})", file.display(), e.kind()),
            "check its folder",
        )
    })
}

/// Writes the timeline that a checkpoint is of beside it.
///
/// # Errors
/// If the file cannot be written.
pub fn keep_timeline(file: &Path, timeline: Timeline) -> Result<()> {
    let beside = file.with_extension("timeline");
    let text = format!("{timeline}\n");
    if fs::read_to_string(&beside).is_ok_and(|kept| kept == text) {
        return Ok(());
    }
    keystile_system::file::replace(&beside, 0o600, text.as_bytes())
}

/// The timeline that a checkpoint is of, if that was noted.
pub fn kept_timeline(file: &Path) -> Option<String> {
    let text = fs::read_to_string(file.with_extension("timeline")).ok()?;
    Some(text.trim().to_owned())
}

/// Reads the checkpoint in a file; nothing if there is no file, or an empty one, as after a power
/// failure.
///
/// # Errors
/// If the file cannot be read, or contains something else.
pub fn kept(file: &Path) -> Result<Option<Checkpoint>> {
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => {
            return Err(refuse(
                Code::FileUnreadable,
                format_args!("`{}` cannot be read ({e})", file.display()),
                "run as the user who made it",
            ));
        }
    };
    if text.trim().is_empty() {
        return Ok(None);
    }
    text.trim().parse().map(Some).map_err(|e: String| {
        refuse(
            Code::FileInvalid,
            format_args!("`{}` holds no checkpoint: {e}", file.display()),
            "somebody wrote to it; compare the log with an exported one, then move the file away",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use keystile_core::keyset::StoreId;
    use keystile_model::audit::{CheckpointSecret, Head, Link};
    use zeroize::Zeroizing;

    #[test]
    fn a_file_holds_what_was_written_to_it() {
        let head = Head {
            seq: 7,
            link: Link([9; 32]),
        };
        let made =
            CheckpointSecret::new(Zeroizing::new(vec![1; 32])).checkpoint(StoreId([1; 8]), head);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("audit.head");
        assert_eq!(kept(&file), Ok(None));
        keep(&file, &made).unwrap();
        assert_eq!(kept(&file), Ok(Some(made)));
    }

    #[test]
    fn a_file_with_something_else_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("audit.head");
        fs::write(&file, "").unwrap();
        assert_eq!(kept(&file), Ok(None));
        for text in ["7", "7:00", &format!("7:{0}:{0}0", "a".repeat(64))] {
            fs::write(&file, text).unwrap();
            assert!(kept(&file).is_err(), "{text}");
        }
    }
}
