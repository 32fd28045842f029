//! The versions of the keyset that Envoys were sent: only the running server knows them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::wire::Time;
use super::{Operation, Route, STAFF};
use crate::audit::Outcome;
use crate::delivery::Delivery;
use crate::delivery::history::Version;
use crate::error::{Error, Kind, Result, refuse};
use crate::inspect;
use crate::store::{Store, Tx};
use crate::world::World;

/// Keys told of in one answer.
const KEYS: usize = 1_000;
/// Audit records looked at for the reasons of one version.
const RECORDS: u32 = 1_000;

/// A version that Envoys were sent.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = KeysetPublished)]
pub struct VersionView {
    /// Milliseconds since the epoch, always rising.
    pub version: u64,
    /// When the store last changed.
    pub issued_at: Time,
    /// The version of the keyset that it is told as changes of.
    pub base: u64,
    /// How many keys that holds.
    pub keys: u64,
    /// How many keys have changed since.
    pub changed: u64,
    /// The audit log's last record of it.
    pub audit_seq: u64,
    /// Actions since the version before, and how often each. Empty for the first version
    /// after a start of the server.
    pub why: BTreeMap<String, u64>,
}

/// Versions.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = KeysetVersions)]
pub struct Versions {
    /// The newest first.
    pub versions: Vec<VersionView>,
}

/// What is in a version.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = KeysetInspected)]
pub struct Inspected {
    /// The version.
    #[serde(flatten)]
    pub view: VersionView,
    /// The policy in it.
    #[schema(value_type = Object)]
    pub policy: Value,
    /// Keys that changed since its base was made, as they are: a thousand at most.
    #[schema(value_type = Vec<Object>)]
    pub entries: Vec<Value>,
}

/// A field that differs.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = KeysetChange)]
pub struct Change {
    /// Its path.
    pub field: String,
    /// In the first; null if it is not there.
    pub before: Value,
    /// In the second; null if it is not there.
    pub after: Value,
}

/// A key that differs.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = KeysetChangedKey)]
pub struct ChangedKey {
    /// Its id.
    pub id: String,
    /// Field by field.
    pub changes: Vec<Change>,
}

/// What sets one version apart from another.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = KeysetDifference)]
pub struct Difference {
    /// The first version and the second.
    pub versions: [u64; 2],
    /// Keys only in the second.
    #[schema(value_type = Vec<Object>)]
    pub added: Vec<Value>,
    /// Keys only in the first.
    #[schema(value_type = Vec<Object>)]
    pub removed: Vec<Value>,
    /// Keys in both.
    pub changed: Vec<ChangedKey>,
    /// Of the policy.
    pub policy: Vec<Change>,
    /// Keys left out, because each list holds a thousand at most.
    pub left_out: u64,
}

/// Lists the versions that Envoys were sent since the server started, the last 200 at most.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = KeysetVersionsList)]
pub struct List {}

/// Shows one of them.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = KeysetInspect)]
pub struct Inspect {
    /// Which.
    pub version: u64,
}

/// Shows what changed from one of them to another.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = KeysetDiff)]
pub struct Diff {
    /// The former.
    pub version: u64,
    /// The latter.
    pub to: u64,
}

impl Operation for List {
    type Output = Versions;
    const ROUTE: Route = Route::get(
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
    const ROUTE: Route = Route::get(
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
    type Output = Difference;
    const ROUTE: Route = Route::get(
        "keyset.diff",
        "/v1/keyset/versions/{version}/diff",
        STAFF,
        "Show what changed from one version to another",
    )
    .live();

    fn run(self, _: &mut Store, _: &World) -> Result<Difference> {
        Err(unknown())
    }
}

impl List {
    /// Asks a server.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn at(self, delivery: Arc<Delivery>, world: World) -> Result<Versions> {
        let all = delivery.history().all();
        let views = move |tx: &Tx<'_>| all.iter().map(|v| view(tx, v)).collect();
        let ask = move |store: &mut Store| store.read(views);
        let versions = delivery.desk().ask(&world, ask).await?;
        Ok(Versions { versions })
    }
}

impl Inspect {
    /// Asks a server.
    ///
    /// # Errors
    /// If it does not know the version; and those of the store.
    pub async fn at(self, delivery: Arc<Delivery>, world: World) -> Result<Inspected> {
        let version = delivery.history().get(self.version)?;
        let inspected = move |tx: &Tx<'_>| {
            let content = version.open()?;
            let policy = serde_json::to_value(&content.base.manifest.policy);
            Ok(Inspected {
                view: view(tx, &version)?,
                policy: policy.unwrap_or_default(),
                entries: content.changed().into_values().take(KEYS).collect(),
            })
        };
        let ask = move |store: &mut Store| store.read(inspected);
        delivery.desk().ask(&world, ask).await
    }
}

impl Diff {
    /// Asks a server.
    ///
    /// # Errors
    /// If it does not know one of the versions.
    pub async fn at(self, delivery: Arc<Delivery>, world: World) -> Result<Difference> {
        let history = delivery.history();
        let (a, b) = (history.get(self.version)?, history.get(self.to)?);
        let differ = move |_: &mut Store| {
            let difference = a.open()?.difference(&b.open()?);
            Ok(Difference::of([a.version(), b.version()], difference))
        };
        delivery.desk().ask(&world, differ).await
    }
}

fn view(tx: &Tx<'_>, version: &Version) -> Result<VersionView> {
    let (keys, changed) = version.keys();
    let mut why = BTreeMap::new();
    if let Some(since) = version.since {
        let records = tx.audit_after(since, RECORDS)?;
        let records = records
            .into_iter()
            .take_while(|r| r.seq <= version.audit_seq);
        for record in records.filter(|r| r.outcome == Outcome::Done) {
            *why.entry(record.action).or_default() += 1;
        }
    }
    Ok(VersionView {
        version: version.version(),
        issued_at: Time(version.issued_at),
        base: version.base(),
        keys: keys as u64,
        changed: changed as u64,
        audit_seq: version.audit_seq,
        why,
    })
}

impl Difference {
    fn of(versions: [u64; 2], difference: inspect::Difference) -> Self {
        let mut left_out = 0;
        let mut cut = |all: usize| left_out += all.saturating_sub(KEYS) as u64;
        cut(difference.added.len());
        cut(difference.removed.len());
        cut(difference.changed.len());
        let values = |list: Vec<(_, Value)>| list.into_iter().map(|(_, v)| v).take(KEYS).collect();
        let changed = difference.changed.into_iter().take(KEYS);
        Self {
            versions,
            added: values(difference.added),
            removed: values(difference.removed),
            changed: changed
                .map(|(id, changes)| ChangedKey {
                    id: id.to_string(),
                    changes: fields(changes),
                })
                .collect(),
            policy: fields(difference.policy),
            left_out,
        }
    }
}

fn fields(changes: Vec<inspect::Change>) -> Vec<Change> {
    let field = |c: inspect::Change| Change {
        field: c.field,
        before: c.before,
        after: c.after,
    };
    changes.into_iter().map(field).collect()
}

fn unknown() -> Error {
    refuse(
        "only a server knows which versions Envoys were sent",
        "name the server with `--server` or KEYSTILE_SERVER; files are compared without one",
    )
    .of(Kind::Unavailable)
}
