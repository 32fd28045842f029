//! The store in figures, for the start page.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::key::KeyView;
use super::{AUDITORS, Endpoint, Operation, STAFF};
use keystile_model::error::Result;
use keystile_model::wire::Time;
use keystile_model::world::World;
use keystile_store::Store;

/// How far ahead expiries are counted, in days.
const AHEAD: u64 = 30;
/// How far back the audit log is counted, in days, including today.
const BACK: u64 = 14;
/// How many expiring keys are listed.
const NAMED: u32 = 10;
const DAY: u64 = 86_400;

/// Shows the store in figures.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = OverviewShow)]
pub struct Show {}

/// The store in figures.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct Overview {
    /// Clients.
    pub clients: u64,
    /// Keys that are not revoked.
    pub keys: u64,
    /// Version of the keyset.
    pub version: u64,
    /// When it last changed.
    pub changed: Time,
    /// The policy in force.
    pub policy_revision: u64,
    /// The first keys to expire within 30 days, at most ten.
    pub expiring: Vec<KeyView>,
    /// How many keys expire on each of the next 30 days.
    pub expiring_by_day: Vec<DayCount>,
    /// How much was done and refused on each of the last 14 days; null for callers that may not
    /// read the audit log.
    pub activity: Option<Vec<DayActivity>>,
}

/// A day and a number.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct DayCount {
    /// Its midnight, UTC.
    pub day: Time,
    /// How many.
    pub count: u64,
}

/// A day of the audit log.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct DayActivity {
    /// Its midnight, UTC.
    pub day: Time,
    /// How many actions were done.
    pub done: u64,
    /// How many actions were refused.
    pub refused: u64,
}

impl Operation for Show {
    type Output = Overview;
    const ENDPOINT: Endpoint = Endpoint::get(
        "overview.show",
        "/v1/overview",
        STAFF,
        "Show the store in figures",
    );

    fn run(self, store: &mut Store, world: &World) -> Result<Overview> {
        let now = world.now.seconds();
        let today = now - now % DAY;
        let first = today.saturating_sub((BACK - 1) * DAY);
        let reads = AUDITORS.contains(&world.caller.role());
        store.read(|tx| {
            let numbers = tx.numbers()?;
            let until = today.saturating_add(AHEAD * DAY);
            let mut expiring = Vec::new();
            for id in tx.next_to_expire(now, until, NAMED)? {
                expiring.extend(tx.key(id)?.map(|k| KeyView::from_key(&k, now)));
            }
            let by_day = tx.expiring_by_day(today, AHEAD)?;
            let activity = if reads {
                let days = tx.audit_by_day(first / DAY, BACK)?.into_iter().zip(0..);
                let day = |((done, refused), n): ((u64, u64), u64)| DayActivity {
                    day: Time(first + n * DAY),
                    done,
                    refused,
                };
                Some(days.map(day).collect())
            } else {
                None
            };
            Ok(Overview {
                clients: numbers.clients,
                keys: numbers.keys,
                version: tx.meta().version,
                changed: Time(tx.meta().issued_at),
                policy_revision: tx.policy()?.revision,
                expiring,
                expiring_by_day: (0..)
                    .zip(by_day)
                    .map(|(n, count): (u64, u64)| DayCount {
                        day: Time(today + n * DAY),
                        count,
                    })
                    .collect(),
                activity,
            })
        })
    }
}
