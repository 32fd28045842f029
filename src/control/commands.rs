//! One file for each noun: what is typed, what is done, what is printed.

use keystile::key::{KeyId, Parsed};

use crate::error::Result;
use crate::home::Home;
use crate::output::Output;
use crate::store::Store;
use crate::world::World;

pub mod audit;
pub mod client;
pub mod explain;
pub mod init;
pub mod key;
pub mod keyset;
pub mod policy;
pub mod push;
pub mod render;
pub mod signing_key;

/// Where a command stands.
pub struct Context {
    /// When, who, randomness.
    pub world: World,
    /// The folder of the store.
    pub home: Home,
    /// Where its answer goes.
    pub out: Output,
}

impl Context {
    /// Opens the store.
    pub fn store(&self) -> Result<Store> {
        self.home.open()
    }

    /// Seconds since the epoch.
    pub fn now(&self) -> u64 {
        self.world.now.seconds()
    }
}

/// Reads a key's id; from a whole key, the id inside.
pub fn key_id(text: &str) -> std::result::Result<KeyId, String> {
    if let Ok(key) = Parsed::parse(text.as_bytes()) {
        return Ok(key.id());
    }
    text.parse()
        .map_err(|e| format!("{e}; see `keystilectl key list`"))
}
