//! Files that Envoy watches.

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

use super::super::EcdsFile;
use super::setup::LISTENER;

/// The listeners of [`Setup::listeners_from_file`].
pub struct ListenerFile {
    pub(super) path: PathBuf,
}

impl ListenerFile {
    pub(super) fn new(dir: &Path) -> Self {
        Self {
            path: dir.join("lds.json"),
        }
    }

    pub(super) fn all(&self) -> PathBuf {
        self.path.with_extension("all")
    }

    /// Has them all.
    pub fn restore(&self) {
        let all = fs::read_to_string(self.all()).unwrap();
        self.write(&all);
    }

    /// Has this one alone.
    pub fn give(&self, listener: &Value) {
        let mut listener = listener.clone();
        listener["@type"] = LISTENER.into();
        self.write(&format!("[{listener}]"));
    }

    /// Takes them all away.
    pub fn remove(&self) {
        self.write("[]");
    }

    pub(super) fn write(&self, resources: &str) {
        let response = format!(r#"{{"version_info": "test", "resources": {resources}}}"#);
        EcdsFile::new(self.path.clone()).write(response);
    }
}
