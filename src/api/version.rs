//! The versions of the keyset that Envoys were sent: only the running server knows them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{Endpoint, Operation, STAFF};
use keystile_model::error::{Code, Error, Result, named, refuse};
use keystile_model::wire::Time;
use keystile_model::world::World;
use keystile_store::Store;

/// A version that Envoys were sent.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = KeysetPublished)]
pub struct VersionView {
    /// Milliseconds since the epoch; always increasing.
    pub version: u64,
    /// When the store last changed.
    pub issued_at: Time,
    /// The version of the base that this version is an overlay of.
    pub base: u64,
    /// How many keys the base holds.
    pub keys: u64,
    /// How many keys have changed since.
    pub changed: u64,
    /// The last record of the audit log in this version.
    pub audit_seq: u64,
    /// Actions since the previous version, with the number of each. Empty for the first version
    /// after a start of the server.
    pub why: BTreeMap<String, u64>,
}

/// Versions.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = KeysetVersions)]
pub struct Versions {
    /// Newest first.
    pub versions: Vec<VersionView>,
}

/// What is in a version.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = KeysetInspected)]
pub struct Inspected {
    /// The version.
    #[serde(flatten)]
    pub view: VersionView,
    /// The revision of the policy in it.
    #[schema(value_type = Object)]
    pub policy: Value,
    /// Keys that changed since its base was made, in their present state: at most a thousand and 4
    /// MiB.
    #[schema(value_type = Vec<Object>)]
    pub entries: Vec<Value>,
}

/// A field that differs.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = KeysetChange)]
pub struct ChangeView {
    /// Its path.
    pub field: String,
    /// In the first version; null if absent.
    pub before: Value,
    /// In the second version; null if absent.
    pub after: Value,
}

/// A key that differs.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = KeysetChangedKey)]
pub struct ChangedKey {
    /// Its id.
    pub id: String,
    /// The fields that differ.
    pub changes: Vec<ChangeView>,
}

/// The difference between two versions.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = KeysetDifference)]
pub struct DifferenceView {
    /// The first version and the second.
    pub versions: [u64; 2],
    /// Keys only in the second version.
    #[schema(value_type = Vec<Object>)]
    pub added: Vec<Value>,
    /// Keys only in the first version.
    #[schema(value_type = Vec<Object>)]
    pub removed: Vec<Value>,
    /// Keys in both that differ.
    pub changed: Vec<ChangedKey>,
    /// Differences of the policy.
    pub policy: Vec<ChangeView>,
    /// How many keys were left out, because each list holds at most a thousand keys and 4 MiB.
    pub left_out: u64,
}

/// Lists the versions that Envoys were sent since the server started, at most the last 200.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = KeysetVersionsList)]
pub struct List {}

/// Shows a version that Envoys were sent.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = KeysetInspect)]
pub struct Inspect {
    /// The version.
    pub version: u64,
}

/// Shows what changed from one version to another.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = KeysetDiff)]
pub struct Diff {
    /// The old version.
    pub version: u64,
    /// The new version.
    pub to: u64,
}

impl Operation for List {
    type Output = Versions;
    const ENDPOINT: Endpoint = Endpoint::get(
        "keyset.versions",
        "/v1/keyset/versions",
        STAFF,
        "List the versions that Envoys were sent, and why",
    )
    .live();

    fn run(self, _: &mut Store, _: &World) -> Result<Versions> {
        Err(unknown())
    }
}

impl Operation for Inspect {
    type Output = Inspected;
    const ENDPOINT: Endpoint = Endpoint::get(
        "keyset.inspect",
        "/v1/keyset/versions/{version}",
        STAFF,
        "Show a version that Envoys were sent",
    )
    .live();

    fn run(self, _: &mut Store, _: &World) -> Result<Inspected> {
        Err(unknown())
    }
}

impl Operation for Diff {
    type Output = DifferenceView;
    const ENDPOINT: Endpoint = Endpoint::get(
        "keyset.diff",
        "/v1/keyset/versions/{version}/diff",
        STAFF,
        "Show what changed from one version to another",
    )
    .live();

    fn run(self, _: &mut Store, _: &World) -> Result<DifferenceView> {
        Err(unknown())
    }
}

fn unknown() -> Error {
    refuse(
        Code::ServerOnly,
        "only a server knows which versions Envoys were sent",
        keystile_model::next![
            "name the server with ",
            named("server"),
            " or KEYSTILE_SERVER; files are compared without one"
        ],
    )
}
