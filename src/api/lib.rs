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
pub mod overview;
mod pace;
pub mod policy;
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
pub use request::{
    Parts, encoded, from_words, put_together, read_again, take_apart, words, written,
};
pub use route::{ANYBODY, AUDITORS, HOLDERS, ISSUERS, Method, OWNERS, Route, STAFF};

/// An operation of the API.
pub trait Operation: Serialize + DeserializeOwned + ToSchema + Send + 'static {
    /// The answer.
    type Output: Serialize + DeserializeOwned + ToSchema + Send + 'static;
    /// Its route and roles.
    const ROUTE: Route;

    /// Performs it.
    ///
    /// # Errors
    /// Its refusals, worded for people.
    fn run(self, store: &mut Store, world: &World) -> Result<Self::Output>;

    /// Whether it changes anything.
    fn writes(&self) -> bool {
        Self::ROUTE.writes
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
        for use_of_it in ["usage", "last_used", "waiting"] {
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

/// Hands each operation's type to `$then!`: the one table of the API.
#[macro_export]
macro_rules! for_each_operation {
    ($then:ident) => {
        $then! {
            $crate::client::Create,
            $crate::client::List,
            $crate::client::Show,
            $crate::client::Update,
            $crate::client::Delete,
            $crate::key::Issue,
            $crate::key::List,
            $crate::key::Show,
            $crate::key::Update,
            $crate::key::Disable,
            $crate::key::Enable,
            $crate::key::Revoke,
            $crate::key::RevokeAll,
            $crate::key::Rotate,
            $crate::key::Fetch,
            $crate::key::Import,
            $crate::lost::List,
            $crate::policy::Plans,
            $crate::policy::Show,
            $crate::policy::Check,
            $crate::policy::Compare,
            $crate::policy::Apply,
            $crate::policy::History,
            $crate::policy::Rollback,
            $crate::keyset::Show,
            $crate::keyset::Build,
            $crate::keyset::Renew,
            $crate::version::List,
            $crate::version::Inspect,
            $crate::version::Diff,
            $crate::signing_key::List,
            $crate::signing_key::Rotate,
            $crate::signing_key::Retire,
            $crate::explain::Explain,
            $crate::guide::Show,
            $crate::overview::Show,
            $crate::import::Import,
            $crate::audit::List,
            $crate::audit::Export,
            $crate::audit::Verify,
            $crate::audit::Checkpoint,
            $crate::audit::Prune,
            $crate::backup::Make,
            $crate::backup::Read,
            $crate::backup::End,
            $crate::token::Create,
            $crate::token::List,
            $crate::token::Show,
            $crate::token::Revoke,
            $crate::fleet::List,
            $crate::fleet::Wait,
            $crate::fleet::Forget,
            $crate::session::List,
            $crate::session::End,
            $crate::node::List,
            $crate::node::Enroll,
            $crate::node::Revoke,
            $crate::webhook::Create,
            $crate::webhook::List,
            $crate::webhook::Show,
            $crate::webhook::Delete,
            $crate::usage::Show,
            $crate::usage::Anomalies,
            $crate::usage::ShowQuota,
            $crate::quota::Show,
            $crate::quota::Reset,
            $crate::usage::ShowSettings,
            $crate::usage::Configure,
            $crate::usage::Forget,
        }
    };
}

#[cfg(test)]
mod tests;
