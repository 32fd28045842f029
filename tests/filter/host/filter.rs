//! The module, compiled once for all VMs.

use std::path::Path;
use wasmi::{Engine, Error, Module};

/// A compiled module. Compiling is the slow part: do it once.
pub struct Filter {
    pub(super) engine: Engine,
    pub(super) module: Module,
}

impl Filter {
    pub fn load(path: &Path) -> Self {
        let wasm = std::fs::read(path)
            .unwrap_or_else(|error| panic!("{}: {error}; build the filter first", path.display()));
        Self::compile(&wasm).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    pub fn compile(wasm: &[u8]) -> Result<Self, Error> {
        let engine = Engine::default();
        let module = Module::new(&engine, wasm)?;
        Ok(Self { engine, module })
    }
}
