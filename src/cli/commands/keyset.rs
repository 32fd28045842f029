//! `keystilectl keyset …`

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use super::Context;
use crate::output;
use keystile_api::keyset;
use keystile_model::error::Result;
use keystile_registry::key::count;
use keystile_system::file;

mod read;
mod versions;

pub use read::{Diff, Inspect, Verify};
pub use versions::VersionsArgs;

/// Keysets, which Envoy's filter loads
#[derive(Subcommand)]
pub enum KeysetCommand {
    Build(Build),
    Verify(Verify),
    Inspect(Inspect),
    Diff(Diff),
    Versions(VersionsArgs),
    Renew(Renew),
}

/// Print the signed keyset: the plugin configuration for Envoy's StringValue
#[derive(Args)]
#[command(after_help = "\
Examples:
  keystilectl keyset build --out keyset.json
  keystilectl keyset build | wc -c

The same store always gives the same bytes.")]
pub struct Build {
    /// Write to this file, completely or not at all, instead of printing
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Reissue the keyset now: for policies that limit its age with `not_after`
#[derive(Args)]
#[command(after_help = "\
Example:
  keystilectl keyset renew && keystilectl push --ecds-file keystile.json

`keyset build` and `push` do this by themselves after half of that time.")]
pub struct Renew {}

impl KeysetCommand {
    /// Runs it.
    pub fn run(self, cx: &Context) -> Result<()> {
        match self {
            Self::Build(c) => c.run(cx),
            Self::Verify(c) => c.run(cx),
            Self::Inspect(c) => c.run(cx),
            Self::Diff(c) => c.run(cx),
            Self::Versions(c) => c.run(cx),
            Self::Renew(_) => renew(cx),
        }
    }
}

impl Build {
    fn run(self, cx: &Context) -> Result<()> {
        let built = cx.perform(keyset::Build {})?;
        let Some(path) = self.out else {
            output::raw(built.configuration.as_bytes())?;
            return output::raw(b"\n");
        };
        file::replace(&path, 0o644, built.configuration.as_bytes())?;
        let json = json!({
            "file": path.display().to_string(),
            "version": built.version,
            "keys": built.keys,
            "bytes": built.bytes,
        });
        cx.out.show(&json, || {
            format!(
                "{}: version {}, {}, {} bytes\n",
                path.display(),
                built.version,
                count(usize::try_from(built.keys).unwrap_or(usize::MAX)),
                built.bytes
            )
        })
    }
}

fn renew(cx: &Context) -> Result<()> {
    let renewed = cx.perform(keyset::Renew {})?;
    cx.out.show(&renewed, || {
        format!(
            "renewed as version {}; {}\n",
            renewed.version,
            cx.in_force("it")
        )
    })
}
