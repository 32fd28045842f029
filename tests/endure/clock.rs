//! A clock of its own for a server. Linux has none for a process (its time namespaces leave the
//! time of day alone), so libfaketime stands in, which Debian has: it answers the program instead of
//! the kernel. The monotonic clock stays as it is, as it does when a machine's clock is set.

use std::fs;
use std::path::{Path, PathBuf};

use crate::bed::Extra;

const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

/// The clock.
pub struct Clock {
    file: PathBuf,
}

impl Clock {
    /// One that is right, if the library is there.
    pub fn new(folder: &Path, name: &str) -> Option<Self> {
        let clock = Self {
            file: folder.join(format!("{name}.clock")),
        };
        clock.set(0);
        Path::new(LIBRARY).exists().then_some(clock)
    }

    /// What a program needs in its environment to go by it.
    pub fn environment(&self) -> Extra {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        vec![
            pair("LD_PRELOAD", LIBRARY),
            pair("FAKETIME_TIMESTAMP_FILE", &self.file.display().to_string()),
            pair("FAKETIME_NO_CACHE", "1"),
            pair("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            pair("NO_FAKE_STAT", "1"),
        ]
    }

    /// So many seconds fast, or slow.
    pub fn set(&self, seconds: i64) {
        // Renamed into place, because the program reads it all the time.
        let next = self.file.with_extension("next");
        fs::write(&next, format!("{seconds:+}\n")).unwrap();
        fs::rename(&next, &self.file).unwrap();
    }
}
