//! The operations of the companion: one struct each, from which the command line, the REST routes,
//! the OpenAPI document and the table of roles are derived.
//!
//! [`for_each_operation!`] is the only list of them. An operation is sent as JSON: fields that its
//! path names go into the path; the others go into the query for `GET` and `DELETE`, and otherwise
//! into the body.
//!
//! Holds requests and answers, and [`remote`], which calls a server. Never serves a request, prints
//! anything or touches a row: each operation calls one function of the registry.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

use keystile_core::hex;
use keystile_model::error::Result;
use keystile_model::world::World;
use keystile_store::Store;

pub mod audit;
pub mod backup;
pub mod client;
pub mod explain;
pub mod fleet;
pub mod guide;
pub mod import;
pub mod key;
pub mod keyset;
pub mod lost;
pub mod node;
mod operations;
pub mod overview;
mod pace;
pub mod policy;
mod prefetch;
pub mod quota;
pub mod remote;
mod request;
mod route;
pub mod session;
pub mod signing_key;
mod text;
pub mod token;
pub mod usage;
pub mod version;
pub mod webhook;

pub use pace::{Begun, Pace};
pub use prefetch::Ahead;
pub use request::{
    RequestParts, encoded, from_words, put_together, read_again, take_apart, words, written,
};
pub use route::{ANYBODY, AUDITORS, Endpoint, HOLDERS, ISSUERS, Method, OWNERS, STAFF};

/// An operation of the API.
pub trait Operation: Serialize + DeserializeOwned + ToSchema + Send + 'static {
    /// The answer.
    type Output: Serialize + DeserializeOwned + ToSchema + Send + 'static;
    /// Its route and roles.
    const ENDPOINT: Endpoint;

    /// Performs it.
    ///
    /// # Errors
    /// Its refusals, worded for people.
    fn run(self, store: &mut Store, world: &World) -> Result<Self::Output>;

    /// Whether it reads ahead: what it looks at before it writes grows with the number of keys.
    const READS_AHEAD: bool = false;

    /// Reads ahead, before its turn to write.
    ///
    /// # Errors
    /// Its refusals, if they are certain already.
    fn read_ahead(&self, _store: &mut Store, _world: &World) -> Result<Ahead> {
        Ok(Ahead::default())
    }

    /// Performs it after what it has read ahead, if that is anything.
    ///
    /// # Errors
    /// Those of [`Operation::run`].
    fn run_after(self, store: &mut Store, world: &World, _ahead: &Ahead) -> Result<Self::Output> {
        self.run(store, world)
    }

    /// Whether it changes anything.
    fn writes(&self) -> bool {
        Self::ENDPOINT.writes
    }

    /// Whether it updates the schema of a store that an earlier version wrote.
    fn updates_store(&self) -> bool {
        self.writes()
    }

    /// Its priority, if it changes anything.
    fn pace(&self) -> Pace {
        Pace::Usual
    }

    /// What `If-Match` is compared with: the answer to a `GET` of the same resource.
    fn current(&self, _store: &mut Store, _world: &World) -> Result<Option<Value>> {
        Ok(None)
    }

    /// Refuses what may be done on the store itself, but is too large for a request to a server.
    fn check_size(&self) -> Result<()> {
        Ok(())
    }
}

/// From this many items on, an operation counts as long.
const MANY: usize = 100;

/// The answer to another operation, as JSON.
fn shown<O: Operation>(other: O, store: &mut Store, world: &World) -> Result<Option<Value>> {
    let answer = other.run(store, world)?;
    Ok(Some(serde_json::to_value(answer).unwrap_or_default()))
}

/// The strong validator of an answer. It changes with everything except usage and the part that is
/// shown.
pub fn tag(value: &Value) -> String {
    let mut value = value.clone();
    if let Value::Object(fields) = &mut value {
        for use_of_it in ["usage", "exposed", "last_used", "waiting", "last_delivery"] {
            fields.remove(use_of_it);
        }
        // For a client, `revision` stands for all its keys, not only for those of one page.
        if fields.contains_key("revision") && fields.contains_key("client") {
            fields.remove("keys");
            fields.remove("next");
        }
    }
    let digest = Sha256::digest(value.to_string().as_bytes());
    format!("\"{}\"", hex::start(digest, 16))
}

#[cfg(test)]
mod tests;
