//! What is asked for.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use keystile_tests::proxy::root;

/// The command line.
#[derive(Parser)]
#[command(name = "endure")]
pub struct Options {
    /// What to do
    pub what: What,
    /// For how long, as in 60s, 10m or 1h
    #[arg(long = "for", default_value = "60s", value_parser = span)]
    pub length: Duration,
    /// Where the store is
    #[arg(long, default_value = "file")]
    pub store: Where,
    /// Requests a second, over both Envoys
    #[arg(long, default_value_t = 3_000)]
    pub rate: u32,
    /// What is random comes from this number; a run with the same one does the same in the same order
    #[arg(long)]
    pub seed: Option<u64>,
    /// Only these faults, as the report names them; two at once as in kill:server-1+cut-off:edge-wasm
    #[arg(long, value_delimiter = ',')]
    pub faults: Vec<String>,
    #[arg(long, hide = true)]
    pub bench: bool,
}

/// What to do.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum What {
    /// A steady mix of requests and changes
    Soak,
    /// One fault after the other, in network namespaces
    Chaos,
}

/// Where the store is.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Where {
    /// SQLite, in a file of one server
    File,
    /// PostgreSQL, for several servers
    Postgres,
}

impl Options {
    /// The name of the run: of its folder and its report.
    pub fn name(&self) -> String {
        let what = match self.what {
            What::Soak => "soak",
            What::Chaos => "chaos",
        };
        let store = match self.store {
            Where::File => "file",
            Where::Postgres => "postgres",
        };
        format!("{what}-{store}")
    }

    /// A folder for the files of its programs, emptied.
    pub fn folder(&self) -> PathBuf {
        let folder = root().join("target/endure").join(self.name());
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        folder.canonicalize().unwrap()
    }
}

fn span(text: &str) -> Result<Duration, String> {
    let number = |unit: char| text.strip_suffix(unit)?.parse::<u64>().ok();
    let seconds = number('s')
        .or_else(|| number('m').map(|n| n * 60))
        .or_else(|| number('h').map(|n| n * 3_600));
    let seconds = seconds.ok_or("write 90s, 10m or 1h")?;
    Ok(Duration::from_secs(seconds))
}
