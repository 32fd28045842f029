//! A file that records are appended to.

use keystile_model::error::{Code, Result, refuse};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

pub(super) fn append(path: &Path, lines: &[u8]) -> Result<()> {
    let write = || -> std::io::Result<()> {
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(path)?;
        end_last_line(path, &mut file)?;
        let written = file.write_all(lines).and_then(|()| file.sync_data());
        if written.is_err() {
            // It is tried again before the next batch.
            let _ = end_last_line(path, &mut file);
        }
        written
    };
    write().map_err(|e| {
        refuse(
            Code::FileUnwritable,
            format_args!("`{}` cannot be written ({e})", path.display()),
            "check its folder, and that there is room on the disk",
        )
    })
}

/// Removes an incomplete line that a full disk or a crash left at the end of a file: otherwise the
/// next record would look like the rest of it. The record is sent again as a whole.
fn end_last_line(path: &Path, file: &mut std::fs::File) -> std::io::Result<()> {
    let found = file.metadata()?;
    if !found.is_file() || found.len() == 0 {
        return Ok(());
    }
    let reader = std::fs::File::open(path)?;
    let mut chunk = [0; 1 << 16];
    let mut end = found.len();
    let whole = loop {
        let from = end.saturating_sub(chunk.len() as u64);
        let part = chunk
            .get_mut(..usize::try_from(end - from).unwrap_or(0))
            .unwrap_or_default();
        reader.read_exact_at(part, from)?;
        if let Some(at) = part.iter().rposition(|b| *b == b'\n') {
            break from + at as u64 + 1;
        }
        end = from;
        if end == 0 {
            break 0;
        }
    };
    if whole == found.len() {
        return Ok(());
    }
    // An append-only file gets an extra line break instead.
    file.set_len(whole).or_else(|_| file.write_all(b"\n"))
}
