//! The audit log: search, export, verify, prune.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{AUDITORS, Endpoint, Method, OWNERS, Operation};
use crate::Pace;
use keystile_model::audit::{Outcome, Record};
use keystile_model::error::{Act, Code, Result, refuse};
use keystile_model::room::Room;
use keystile_model::wire::{self, Time, TimeWords};
use keystile_model::world::World;
use keystile_registry::audit;
use keystile_registry::audit::Timelines;
use keystile_store::{Query, Store};

mod verify;

pub use verify::{Checkpointed, MakeCheckpoint, VerifiedView, Verify};

/// A record of an action that was done or refused.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = AuditRecord)]
pub struct RecordView {
    /// Sequence number, from 1 without gaps.
    pub seq: u64,
    /// The time, to the millisecond (RFC 3339).
    pub at: String,
    /// The user id, for actions on the store's own machine.
    pub uid: Option<u32>,
    /// The user; for a token, `token NAME (ID)`.
    pub user: String,
    /// The host name of the machine.
    pub host: String,
    /// The network address that the request came from.
    pub address: String,
    /// The id of the request.
    pub request: String,
    /// The action, such as `key.revoke`.
    pub action: String,
    /// What the action was done to: a client, a key id.
    pub subject: String,
    /// The client concerned.
    pub client: String,
    /// `done` or `refused`.
    pub outcome: String,
    /// The reason for a refusal.
    pub reason: String,
    /// The state before.
    #[schema(value_type = Option<Object>)]
    pub before: Value,
    /// The state after.
    #[schema(value_type = Option<Object>)]
    pub after: Value,
    /// Hash of the previous record.
    pub prev: String,
    /// Hash of this record.
    pub hash: String,
    /// The timeline of the store when this was written: a restore begins a new one. Absent if the
    /// store does not know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeline: Option<String>,
}

impl RecordView {
    fn from_record(record: &Record, timelines: &Timelines) -> Result<Self> {
        let mut view: Self = serde_json::from_value(record.json()).map_err(|e| {
            refuse(
                Code::AuditBroken,
                format_args!("audit record {} cannot be shown ({e})", record.seq),
                keystile_model::next!["check it with ", Act::AuditVerify],
            )
        })?;
        view.timeline = timelines.at(record.seq);
        Ok(view)
    }
}

/// A page of records.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = AuditRecords)]
pub struct Records {
    /// In the requested order: latest or oldest first. If records are large (a page has at most 4
    /// MiB) or few of many match, a page may be short or empty although there is a next one.
    pub records: Vec<RecordView>,
    /// For the next page: `before` of a list, or `after` of an export; null at the end.
    pub next: Option<u64>,
}

/// A query for records: the filters that all queries share, and fields of its own. They are in one
/// struct because serde cannot reject unknown fields across flattened structs.
macro_rules! question {
    ($(#[$about:meta])* $name:ident { $($own:tt)* }) => {
        #[derive(Clone, Default, Serialize, Deserialize, ToSchema)]
        #[serde(deny_unknown_fields)]
        $(#[$about])*
        pub struct $name {
            /// Only changes to this client, key id, signing key or token.
            #[serde(default)]
            pub subject: Option<String>,
            /// Only records about this client and its keys.
            #[serde(default)]
            pub client: Option<String>,
            /// Only actions of this user; for a token, `token NAME` or `token NAME (ID)`.
            #[serde(default)]
            pub actor: Option<String>,
            /// Only this action, such as `key.revoke`; `key.` for all actions on keys.
            #[serde(default)]
            pub action: Option<String>,
            /// Only since this time: `7d` ago, a date or a time.
            #[serde(default)]
            pub since: Option<TimeWords>,
            /// Only before this time.
            #[serde(default)]
            pub until: Option<TimeWords>,
            /// Only actions that were `done`, or only those that were `refused`.
            #[serde(default)]
            pub outcome: Option<String>,
            $($own)*
        }

        impl $name {
            /// The query for the store, without the position.
            fn query(self, now: u64) -> Result<Query> {
                Ok(Query {
                    outcome: outcome(self.outcome.as_deref())?,
                    subject: self.subject,
                    client: self.client,
                    actor: self.actor,
                    action: self.action,
                    since: ms(self.since, now),
                    until: ms(self.until, now),
                    ..Query::default()
                })
            }
        }
    };
}

question! {
    /// Searches the records, latest first.
    #[schema(as = AuditList)]
    List {
        /// Only records with a smaller number: `next` of the previous page.
        #[serde(default)]
        pub before: Option<u64>,
        /// How many at most: 1 to 10,000; 100 by default.
        #[serde(default)]
        pub limit: Option<u32>,
    }
}

question! {
    /// Exports records, oldest first.
    #[schema(as = AuditExport)]
    Export {
        /// Only records with a greater number: `next` of the previous page.
        #[serde(default)]
        pub after: Option<u64>,
        /// How many at most: 1 to 10,000; 1,000 by default.
        #[serde(default)]
        pub limit: Option<u32>,
    }
}

/// Removes old records; the rest still verifies.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AuditPrune)]
pub struct Prune {
    /// Records older than this: `365d`, a date or a time.
    pub before: TimeWords,
}

/// The result of pruning.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = AuditPruned)]
pub struct PrunedView {
    /// How many records were removed.
    pub removed: u64,
    /// How many webhook messages will not be delivered, because their records were removed.
    #[serde(default)]
    pub undelivered: u64,
    /// How many old records stay because `serve --audit-export` has not sent them yet.
    #[serde(default)]
    pub unsent: u64,
    /// Records older than this were removed.
    pub before: Time,
}

fn outcome(word: Option<&str>) -> Result<Option<Outcome>> {
    word.map(|word| {
        Outcome::from_word(word).ok_or_else(|| {
            refuse(
                Code::InvalidValue,
                format_args!("`{word}` is not an outcome"),
                "write `done` or `refused`",
            )
            .field("outcome")
        })
    })
    .transpose()
}

fn ms(when: Option<TimeWords>, now: u64) -> Option<u64> {
    when.map(|w| w.0.ago(now).saturating_mul(1000))
}

impl Operation for List {
    type Output = Records;
    const ENDPOINT: Endpoint =
        Endpoint::get("audit.list", "/v1/audit", AUDITORS, "Search the audit log");

    fn run(self, store: &mut Store, world: &World) -> Result<Records> {
        let now = world.now.seconds();
        let room = wire::page(self.limit, 100, "`next` of this one")?;
        let query = Query {
            before: self.before,
            ..self.query(now)?
        };
        Records::read(store, world, query, true, room)
    }
}

impl Records {
    /// The records after a given one, oldest first.
    ///
    /// # Errors
    /// Those of the store.
    pub fn after(store: &mut Store, world: &World, seq: u64, room: Room) -> Result<Self> {
        let query = Query {
            after: Some(seq),
            ..Query::default()
        };
        Self::read(store, world, query, false, room)
    }

    fn read(
        store: &mut Store,
        world: &World,
        query: Query,
        back: bool,
        room: Room,
    ) -> Result<Self> {
        let (found, timelines) = store.read(|tx| {
            let found = audit::page(tx, &world.caller, query, back, room)?;
            let first = found.records.iter().map(|r| r.seq).min();
            let timelines = Timelines::read(tx, first.unwrap_or(u64::MAX))?;
            Ok((found, timelines))
        })?;
        let records = found.records.iter();
        let records = records.map(|r| RecordView::from_record(r, &timelines));
        Ok(Self {
            records: records.collect::<Result<_>>()?,
            next: found.next,
        })
    }
}

impl Operation for Export {
    type Output = Records;
    const ENDPOINT: Endpoint = Endpoint::get(
        "audit.export",
        "/v1/audit/export",
        AUDITORS,
        "Export the audit log, oldest record first",
    );

    fn run(self, store: &mut Store, world: &World) -> Result<Records> {
        let now = world.now.seconds();
        let room = wire::page(self.limit, 1000, "`next` of this one")?;
        let query = Query {
            after: self.after,
            ..self.query(now)?
        };
        Records::read(store, world, query, false, room)
    }
}

impl Operation for Prune {
    type Output = PrunedView;
    const ENDPOINT: Endpoint = Endpoint::change(
        Method::Post,
        "audit.prune",
        "/v1/audit/prune",
        OWNERS,
        "Remove old records from the audit log",
    );

    fn pace(&self) -> Pace {
        Pace::Long
    }

    fn run(self, store: &mut Store, world: &World) -> Result<PrunedView> {
        let before = self.before.0.ago(world.now.seconds());
        let pruned = audit::prune(store, world, before)?;
        if pruned.undelivered > 0 {
            tracing::warn!(
                undelivered = pruned.undelivered,
                "webhook messages will not be delivered: their audit records were pruned"
            );
        }
        if pruned.unsent > 0 {
            tracing::warn!(
                unsent = pruned.unsent,
                "old audit records are kept: they have not been sent yet"
            );
        }
        Ok(PrunedView {
            removed: pruned.removed,
            undelivered: pruned.undelivered,
            unsent: pruned.unsent,
            before: Time(before),
        })
    }
}
