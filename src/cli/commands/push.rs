//! `keystilectl push`

use std::path::{self, Path, PathBuf};

use clap::{Args, ValueEnum};
use keystile_core::keyset::Built;
use serde_json::json;

use super::Context;
use keystile_api::keyset;
use keystile_model::error::{Code, Result, refuse};
use keystile_registry::key::count;
use keystile_registry::publish;
use keystile_render::ecds::{EcdsPush as Resource, module_name};
use keystile_system as system;
use keystile_system::file;

/// The native module, as `scripts/build` names it.
const MODULE: &str = "libkeystile.so";

/// Hand the keyset to Envoy: write the file that it watches
#[derive(Args)]
#[command(after_help = "\
Examples:
  keystilectl push --ecds-file /var/lib/keystile/ecds.json
  keystilectl push --ecds-file /var/lib/keystile/ecds.pb --wasm /usr/lib/keystile/keystile.wasm

The file is written under another name and renamed. Envoy applies it at once, on open connections too.
If its name ends in .pb it is written as protobuf, which Envoy reads much faster; use that for 10,000
keys or more.")]
pub struct PushArgs {
    /// The file to write; .pb for protobuf, otherwise JSON
    #[arg(long, value_name = "FILE")]
    ecds_file: PathBuf,
    #[command(flatten)]
    filter: Filter,
    /// Name of the filter in Envoy's configuration
    #[arg(long, value_name = "NAME", default_value = "keystile")]
    name: String,
}

impl PushArgs {
    /// Runs it.
    pub fn run(self, cx: &Context) -> Result<()> {
        let wasm = self.filter.file(cx)?;
        if cx.server.is_some() {
            return self.fetch_and_write(cx, &wasm);
        }
        // One push at a time: of two, the later to write must not be the earlier to read.
        let _turn = file::turn(cx.home.folder())?;
        let ready = publish::ready(&mut cx.store_to_publish()?, &cx.world)?;
        let nonce = publish::nonce(&cx.world)?;
        let version_info = format!("{}-{nonce:x}", ready.built.version);
        let push = Resource {
            name: &self.name,
            wasm: &wasm,
            version_info: version_info.clone(),
        };
        let bytes = if self.is_protobuf() {
            push.protobuf(ready.seal_raw(nonce))
        } else {
            push.json(&ready.seal(nonce))
        };
        let Built { version, keys, .. } = ready.built;
        self.write(cx, version, keys, &version_info, &bytes)
    }

    /// The same with a keyset from a server: for an Envoy's machine, where there is no store.
    fn fetch_and_write(self, cx: &Context, wasm: &Path) -> Result<()> {
        let built = cx.perform(keyset::Build {})?;
        let version_info = format!("{}-{:x}", built.version, publish::nonce(&cx.world)?);
        let push = Resource {
            name: &self.name,
            wasm,
            version_info: version_info.clone(),
        };
        let bytes = if self.is_protobuf() {
            push.protobuf(built.configuration.into_bytes())
        } else {
            push.json(&built.configuration)
        };
        let keys = usize::try_from(built.keys).unwrap_or(usize::MAX);
        self.write(cx, built.version, keys, &version_info, &bytes)
    }

    fn is_protobuf(&self) -> bool {
        self.ecds_file.extension().is_some_and(|e| e == "pb")
    }

    fn write(
        self,
        cx: &Context,
        version: u64,
        keys: usize,
        version_info: &str,
        bytes: &[u8],
    ) -> Result<()> {
        // Digests only: Envoy may run as another user.
        file::replace(&self.ecds_file, 0o644, bytes)?;
        let json = json!({
            "file": self.ecds_file.display().to_string(),
            "version": version,
            "version_info": version_info,
            "keys": keys,
            "bytes": bytes.len(),
        });
        cx.out.show(&json, || {
            format!(
                "pushed version {version} with {} to {} ({} bytes)\n",
                count(keys),
                self.ecds_file.display(),
                bytes.len()
            )
        })
    }
}

/// The two forms that the filter comes in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// In WebAssembly: portable, and in a sandbox of Envoy's
    #[default]
    Wasm,
    /// As a native module: faster, trusted code, for Envoy 1.38 and later
    Module,
}

/// Which filter Envoy runs, and where it finds it.
#[derive(Args, Clone)]
pub struct Filter {
    /// Which filter Envoy runs: keystile.wasm, or libkeystile.so
    #[arg(
        long,
        value_enum,
        default_value_t,
        env = "KEYSTILE_SHELL",
        hide_env = true
    )]
    pub shell: Shell,
    /// Where Envoy finds the filter [default: keystile.wasm next to keystilectl; with --shell module
    /// libkeystile.so, which Envoy looks for in ENVOY_DYNAMIC_MODULES_SEARCH_PATH]
    #[arg(long, value_name = "FILE")]
    pub wasm: Option<PathBuf>,
}

impl Filter {
    /// Where Envoy finds it.
    pub fn file(&self, cx: &Context) -> Result<PathBuf> {
        match self.shell {
            Shell::Wasm => wasm(cx, self.wasm.clone()),
            Shell::Module => self.module(),
        }
    }

    /// The module's file. Envoy looks for its name, wherever that lies here.
    pub fn module(&self) -> Result<PathBuf> {
        let file = self.wasm.clone().unwrap_or_else(|| MODULE.into());
        match module_name(&file) {
            Some(_) => Ok(file),
            None => Err(refuse(
                Code::InvalidName,
                format_args!("`{}` is not the name of a module", file.display()),
                "Envoy looks for `lib<name>.so`: write `--wasm libkeystile.so`",
            )),
        }
    }
}

/// Where Envoy finds the filter, absolute: Envoy may be started in another folder.
pub fn wasm(cx: &Context, given: Option<PathBuf>) -> Result<PathBuf> {
    if let Some(given) = given {
        if module_name(&given).is_some() {
            return Err(refuse(
                Code::FieldsConflict,
                format_args!("`{}` is a native module", given.display()),
                "add `--shell module`, or name keystile.wasm",
            ));
        }
        let wasm = path::absolute(&given).map_err(|e| {
            refuse(
                Code::FileUnreadable,
                format_args!("`{}` is not a path ({e})", given.display()),
                "name the filter's file",
            )
        })?;
        if !wasm.exists() {
            cx.out.warn(format_args!(
                "`{}` does not exist on this machine",
                wasm.display()
            ));
        }
        return Ok(wasm);
    }
    let beside = system::executable_folder().map(|f| f.join("keystile.wasm"));
    match beside {
        Some(wasm) if wasm.exists() => Ok(wasm),
        _ => Err(refuse(
            Code::FileUnreadable,
            "there is no keystile.wasm beside keystilectl",
            "build it with `scripts/build`, or say where Envoy finds it with `--wasm FILE`",
        )),
    }
}
