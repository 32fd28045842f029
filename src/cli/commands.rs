//! One file for each noun: what is typed, what is done, what is printed.

use std::path::PathBuf;
use std::sync::OnceLock;

use keystile_core::key::{KeyId, Parsed};
use zeroize::Zeroizing;

use crate::output::Output;
use crate::remembered::LoggedIn;
use keystile_api::Operation;
use keystile_api::remote::{self, Remote};
use keystile_model::error::{Code, Result, refuse};
use keystile_model::world::World;
use keystile_registry::home::Home;
use keystile_store::Store;
use keystile_system as system;

pub mod audit;
pub mod backup;
pub mod client;
pub mod dev;
pub mod doctor;
pub mod explain;
pub mod fleet;
pub mod import;
pub mod init;
mod interrupt;
pub mod key;
pub mod keyset;
mod labels;
mod likely;
pub mod login;
pub mod master_key;
pub mod node;
mod pages;
pub mod policy;
pub mod push;
pub mod quota;
pub mod render;
pub mod serve;
pub mod session;
pub mod signing_key;
pub mod status;
pub mod store;
pub mod token;
pub mod usage;
pub mod webhook;

/// The environment variable that says which server to work through.
const SERVER: &str = "KEYSTILE_SERVER";

/// What a command runs with.
pub struct Context {
    /// The time, the actor and randomness.
    pub world: World,
    /// The folder of the store.
    pub home: Home,
    /// Where the output goes.
    pub out: Output,
    /// The server that works on the store instead of this process.
    pub server: Option<Through>,
}

/// A server by its address. The address is checked only when the server is used, so that commands
/// which work on the store itself do not depend on it.
pub struct Through {
    url: String,
    ca: Option<PathBuf>,
    /// What `login` keeps.
    token: Option<Zeroizing<String>>,
    /// Named by `login`, not for this command.
    is_remembered: bool,
    remote: OnceLock<Remote>,
}

impl Through {
    /// One by its address; `ca` as [`Remote::new`] has it.
    pub fn new(url: String, ca: Option<PathBuf>) -> Self {
        Self {
            url,
            ca,
            token: None,
            is_remembered: false,
            remote: OnceLock::new(),
        }
    }

    /// The server of `login`.
    pub fn remembered(kept: &LoggedIn, ca: Option<PathBuf>) -> Self {
        Self {
            token: Some(kept.token()),
            is_remembered: true,
            ..Self::new(kept.server.clone(), ca.or_else(|| kept.ca.clone()))
        }
    }

    /// The same with the token of `login`, if this is its server.
    #[must_use]
    pub fn or_token_of(self, kept: Option<&LoggedIn>) -> Self {
        let same = kept.filter(|kept| kept.server == self.url);
        Self {
            token: same.map(LoggedIn::token),
            ..self
        }
    }

    /// Why commands work through it.
    pub fn because(&self) -> &'static str {
        match self.is_remembered {
            true => "`keystilectl login`",
            false => "`--server` or KEYSTILE_SERVER",
        }
    }

    /// The token, if there is one.
    pub fn token(&self) -> Option<Zeroizing<String>> {
        system::secret_variable(remote::TOKEN).or_else(|| self.token.clone())
    }

    /// Its address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A client that is ready to send requests.
    ///
    /// # Errors
    /// Those of [`Remote::new`].
    pub fn remote(&self) -> Result<&Remote> {
        if let Some(remote) = self.remote.get() {
            return Ok(remote);
        }
        let made = Remote::new(&self.url, self.ca.as_deref(), self.token())?;
        Ok(self.remote.get_or_init(|| made))
    }
}

impl Context {
    /// Opens the store.
    pub fn store(&self) -> Result<Store> {
        self.only_local()?;
        self.home.open()
    }

    /// Opens the store without updating its schema: for commands that read it, even if they reissue
    /// the keyset when that is due.
    pub fn store_as_it_is(&self) -> Result<Store> {
        self.only_local()?;
        self.home.open_as_it_is()
    }

    /// Opens the store, likewise, for what Envoys are to have: a database that was put back to an
    /// earlier state is refused.
    pub fn store_to_publish(&self) -> Result<Store> {
        let mut store = self.store_as_it_is()?;
        self.home.follows(&mut store)?;
        Ok(store)
    }

    /// Checks that no server is meant, not even that of `login`: what belongs to one store must not be
    /// taken from another.
    fn only_local(&self) -> Result<()> {
        self.local()?;
        match &self.server {
            None => Ok(()),
            Some(server) => Err(refuse(
                Code::FieldsConflict,
                format_args!(
                    "this command works on a store itself, but you are logged in to `{}`",
                    server.url
                ),
                "name the store with `--home` or `--store`, or run `keystilectl logout`",
            )),
        }
    }

    /// Checks that this process works on the store itself.
    pub fn local(&self) -> Result<()> {
        let Some(server) = self.server.as_ref().filter(|s| !s.is_remembered) else {
            return Ok(());
        };
        let (said, next) = match system::variable(SERVER) {
            Some(said) if said == server.url => (SERVER, "`unset KEYSTILE_SERVER`"),
            _ => ("`--server`", "leave out `--server`"),
        };
        Err(refuse(
            Code::FieldsConflict,
            format_args!(
                "this command works on the store itself, but {said} says to work through `{}`",
                server.url
            ),
            format_args!("{next}, and run it on the machine that has the store"),
        ))
    }

    /// Performs an operation: on the store, or through the server.
    pub fn perform<O: Operation>(&self, operation: O) -> Result<O::Output> {
        self.perform_in(&self.world, operation)
    }

    /// The same in a given world; through a server, in the world of the server.
    pub fn perform_in<O: Operation>(&self, world: &World, operation: O) -> Result<O::Output> {
        let _waiting = self.out.waiting(O::ENDPOINT.summary);
        match &self.server {
            Some(server) => server.remote()?.perform(&operation),
            None if operation.updates_store() => operation.run(&mut self.store()?, world),
            None => operation.run(&mut self.store_as_it_is()?, world),
        }
    }

    /// What puts a change in force, for a note below it: a push, or nothing more if a server does it.
    pub fn in_force(&self, it: &str) -> String {
        match self.server {
            None => format!("`keystilectl push` puts {it} in force"),
            Some(_) => format!("the server sends {it} to its Envoys now"),
        }
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
