//! The Envoys that a server knows, and what they have in force.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{ANYBODY, Endpoint, Method, OWNERS, Operation, STAFF};
use keystile_model::error::{Code, Error, Result, named, refuse};
use keystile_model::wire::Span;
use keystile_model::world::World;
use keystile_store::Store;

/// One Envoy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = NodeView)]
pub struct FleetNode {
    /// Its node id.
    pub id: String,
    /// Its cluster.
    pub cluster: String,
    /// The version that it reports.
    pub envoy: String,
    /// Where it connects from.
    pub address: Option<String>,
    /// `connected`, `lagging` (it has not answered a push in time) or `disconnected`.
    pub state: String,
    /// Since when it has been connected without interruption (RFC 3339).
    pub connected_since: Option<String>,
    /// Since when it has been gone (RFC 3339).
    pub disconnected_since: Option<String>,
    /// Discovery streams that it has open.
    pub streams: u32,
    /// The version that is proved to be in force in every VM; null if none is.
    pub in_force: Option<u64>,
    /// It has a secret of its own for its reports. Older servers do not say.
    #[serde(default)]
    pub enrolled: bool,
    /// When a report in its name was refused, because it was not signed as it has to be, unless one
    /// has been accepted since (RFC 3339). Older servers do not say.
    #[serde(default)]
    pub report_refused: Option<String>,
    /// Base and overlay.
    pub resources: Vec<ResourceView>,
    /// What each of its VMs last reported; Envoy has one per worker and one more.
    pub vms: Vec<VmView>,
}

/// What an Envoy was sent of one resource, and what it answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ResourceView {
    /// The resource.
    pub name: String,
    /// Version last sent.
    pub sent: Option<u64>,
    /// Version last acknowledged, by Envoy's main thread.
    pub acknowledged: Option<u64>,
    /// The last rejection, unless a push has been accepted since.
    pub refused: Option<RefusedView>,
    /// A push has not been answered in time.
    pub lagging: bool,
}

/// A push that an Envoy rejected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RefusedView {
    /// Version of the keyset.
    pub version: u64,
    /// Envoy's words.
    pub message: String,
    /// When (RFC 3339).
    pub at: String,
    /// How many times in a row.
    pub times: u64,
}

/// What one VM of an Envoy has in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VmView {
    /// Its number.
    pub vm: u32,
    /// Version in force; 0 while it refuses all requests.
    pub version: u64,
    /// Version of its base; 0 if it has none.
    pub base: u64,
    /// It refuses requests, or keeps what it has, because the base is missing.
    pub missing_base: bool,
    /// When it reported this (RFC 3339).
    pub at: String,
}

/// An Envoy that has not proved a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Missing {
    /// Node id.
    pub node: String,
    /// What is known about the reason.
    pub why: String,
    /// Since when (RFC 3339): the disconnection of an Envoy that is not connected, otherwise its
    /// last report or its connection.
    #[serde(default)]
    pub since: Option<String>,
}

/// Lists all known Envoys, connected or not.
#[derive(Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = FleetList)]
pub struct List {
    /// How many at most: 1 to 10,000; 1,000 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// `next` of the previous page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Envoys per page by default.
pub const NODES: u32 = 1_000;

/// The known Envoys.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = Fleet)]
pub struct FleetView {
    /// The version that all of them should have; 0 if there is none yet.
    pub version: u64,
    /// How keysets are signed: `hmac-sha256`, `ed25519`, or both during a change-over.
    #[serde(default)]
    pub signed_with: Vec<String>,
    /// Sorted by node id.
    pub nodes: Vec<FleetNode>,
    /// The `cursor` of the next page, if there is one.
    pub next: Option<String>,
}

/// Waits until every known Envoy, connected or not, has proved that it has a version in force.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = FleetWait)]
pub struct Wait {
    /// Version of the keyset; by default that of the store.
    #[serde(default)]
    pub version: Option<u64>,
    /// How long to wait at most; 10 seconds by default.
    #[serde(default)]
    pub patience: Option<Span>,
}

/// The result of the wait.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = FleetWaited)]
pub struct WaitedView {
    /// The version that was waited for.
    pub version: u64,
    /// Every known Envoy has it in force, in every worker, and there is at least one Envoy.
    pub done: bool,
    /// How many Envoys have it in force.
    pub in_force: usize,
    /// Those that do not, and why. Tokens of the role `client` are not told any names.
    pub missing: Vec<Missing>,
}

/// Forgets Envoys that will not come back, so that nothing waits for them.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = FleetForget)]
pub struct Forget {
    /// Their node ids.
    #[schema(min_items = 1, max_items = 1000)]
    pub nodes: Vec<String>,
}

/// The Envoys that were forgotten.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = FleetForgotten)]
pub struct ForgottenEnvoys {
    /// Their node ids.
    pub nodes: Vec<String>,
}

impl Operation for List {
    type Output = FleetView;
    const ENDPOINT: Endpoint = Endpoint::get(
        "fleet.list",
        "/v1/fleet",
        STAFF,
        "List Envoys: what they were sent, and what they have in force",
    )
    .live();

    fn run(self, _: &mut Store, _: &World) -> Result<FleetView> {
        Err(unknown())
    }
}

impl Operation for Wait {
    type Output = WaitedView;
    const ENDPOINT: Endpoint = Endpoint::get(
        "fleet.wait",
        "/v1/fleet/in-force",
        ANYBODY,
        "Wait until every known Envoy has proved that it has a version in force",
    )
    .live();

    fn run(self, _: &mut Store, _: &World) -> Result<WaitedView> {
        Err(unknown())
    }
}

impl Operation for Forget {
    type Output = ForgottenEnvoys;
    const ENDPOINT: Endpoint = Endpoint::change(
        Method::Post,
        "fleet.forget",
        "/v1/fleet/forget",
        OWNERS,
        "Forget Envoys that will not come back, so that nothing waits for them",
    )
    .live();

    fn run(self, _: &mut Store, _: &World) -> Result<ForgottenEnvoys> {
        Err(unknown())
    }
}

fn unknown() -> Error {
    refuse(
        Code::ServerOnly,
        "only a server knows which Envoys there are",
        keystile_model::next![
            "name the server with ",
            named("server"),
            " or KEYSTILE_SERVER; without one, each Envoy's `keystile_keyset_version` gauge tells"
        ],
    )
}
