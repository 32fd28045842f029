//! The Envoys that a server knows, and what they have in force.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::wire::Span;
use super::{ANYBODY, Method, OWNERS, Operation, Route, STAFF};
use crate::caller::Role;
use crate::delivery::{Delivery, Missing, NodeView};
use crate::error::{Error, Kind, Result, refuse};
use crate::store::Store;
use crate::world::World;

/// How long to wait if nothing is said, and at most, in seconds.
const PATIENCE: u64 = 10;
const LONGEST: u64 = 120;
/// Envoys forgotten at once.
const FORGOTTEN: usize = 1000;

/// Lists the Envoys that are known, connected or not.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = FleetList)]
pub struct List {}

/// Envoys.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = Fleet)]
pub struct Fleet {
    /// The version that all of them should have; 0 before there is one.
    pub version: u64,
    /// By node id.
    pub nodes: Vec<NodeView>,
}

/// Waits until every Envoy that is known, connected or not, has proved to have a version in
/// force.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = FleetWait)]
pub struct Wait {
    /// Version of the keyset; the store's own if it is not said.
    #[serde(default)]
    pub version: Option<u64>,
    /// How long to wait at most; 10 seconds if it is not said.
    #[serde(default)]
    pub patience: Option<Span>,
}

/// How the waiting ended.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = FleetWaited)]
pub struct Waited {
    /// The version that was waited for.
    pub version: u64,
    /// Every Envoy that is known has it in force, in every worker, and there is one.
    pub done: bool,
    /// How many have.
    pub in_force: usize,
    /// Those that have not, and why. Tokens of the role `client` are told no names.
    pub missing: Vec<Missing>,
}

/// Forgets Envoys that are gone for good: nobody waits for them any more.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = FleetForget)]
pub struct Forget {
    /// Their node ids.
    #[schema(min_items = 1, max_items = 1000)]
    pub nodes: Vec<String>,
}

/// Who was forgotten.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = FleetForgotten)]
pub struct Forgotten {
    /// Their node ids.
    pub nodes: Vec<String>,
}

impl Operation for List {
    type Output = Fleet;
    const ROUTE: Route = Route::get(
        "fleet.list",
        "/v1/fleet",
        STAFF,
        "List Envoys: what they were sent, and what they have in force",
    )
    .live();

    fn run(self, _: &mut Store, _: &World) -> Result<Fleet> {
        Err(unknown())
    }
}

impl Operation for Wait {
    type Output = Waited;
    const ROUTE: Route = Route::get(
        "fleet.wait",
        "/v1/fleet/in-force",
        ANYBODY,
        "Wait until every Envoy that is known has proved to have a version in force",
    )
    .live();

    fn run(self, _: &mut Store, _: &World) -> Result<Waited> {
        Err(unknown())
    }
}

impl Operation for Forget {
    type Output = Forgotten;
    const ROUTE: Route = Route::change(
        Method::Post,
        "fleet.forget",
        "/v1/fleet/forget",
        OWNERS,
        "Forget Envoys that are gone for good, so that nobody waits for them",
    )
    .live();

    fn run(self, _: &mut Store, _: &World) -> Result<Forgotten> {
        Err(unknown())
    }
}

impl Forget {
    /// Forgets them at a server.
    ///
    /// # Errors
    /// One is not known, or is connected; those of the store.
    pub async fn at(self, delivery: &Delivery, world: World) -> Result<Forgotten> {
        if self.nodes.is_empty() || self.nodes.len() > FORGOTTEN {
            return Err(refuse(
                format_args!("`nodes` names {} Envoys", self.nodes.len()),
                format_args!("name 1 to {FORGOTTEN} at a time"),
            ));
        }
        delivery.forget(world, self.nodes.clone()).await?;
        Ok(Forgotten { nodes: self.nodes })
    }
}

impl Fleet {
    /// What a server knows.
    pub fn of(delivery: &Delivery) -> Self {
        Self {
            version: delivery.version().unwrap_or(0),
            nodes: delivery.fleet(),
        }
    }
}

impl Wait {
    /// Waits at a server.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn at(self, delivery: &Delivery, world: World) -> Result<Waited> {
        let version = match self.version {
            Some(version) => version,
            None => delivery.store_version().await?,
        };
        let patience = self.patience.map_or(PATIENCE, |s| s.0.min(LONGEST));
        let waited = delivery
            .in_force(version, Duration::from_secs(patience))
            .await;
        let mut missing = waited.missing;
        if world.caller.role() == Role::Client {
            for one in &mut missing {
                one.node = "an Envoy".to_owned();
            }
        }
        Ok(Waited {
            version,
            done: missing.is_empty() && !waited.in_force.is_empty(),
            in_force: waited.in_force.len(),
            missing,
        })
    }
}

fn unknown() -> Error {
    refuse(
        "only a server knows which Envoys there are",
        "name the server with `--server` or KEYSTILE_SERVER; without one, each Envoy's `keystile_keyset_version` gauge tells",
    )
    .of(Kind::Unavailable)
}
