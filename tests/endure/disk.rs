//! A small disk for a store, which can be filled.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::network::run;

/// Enough for the store of a run.
const SIZE: &str = "64m";
const CHUNK: usize = 1 << 16;

/// The disk.
pub struct Disk {
    filler: PathBuf,
}

impl Disk {
    /// Mounts one here; the folder is made.
    pub fn mount(folder: &Path) -> Self {
        fs::create_dir_all(folder).unwrap();
        let words = format!("-t tmpfs -o size={SIZE} none {}", folder.display());
        run("mount", &words);
        Self {
            filler: folder.join("filler"),
        }
    }

    /// Not a byte is left.
    pub fn fill(&self) {
        let mut file = File::create(&self.filler).unwrap();
        let mut chunk = CHUNK;
        while chunk > 0 {
            if file.write_all(&vec![7; chunk]).is_err() {
                chunk /= 2;
            }
        }
    }

    /// There is room again.
    pub fn empty(&self) {
        // Two faults at once may be the same one.
        let _ = fs::remove_file(&self.filler);
    }
}
