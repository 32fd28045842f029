//! Queries for what was counted.
//!
//! A query for one client or key jumps from one unit of time to the next, so its cost depends on
//! the number of units, not on what others have in them.

use crate::sql::{SqlRow, params};
use keystile_core::key::KeyId;

use super::super::column;
use super::Step;
use super::UsageTx;
use keystile_model::error::Result;

/// Units of time from the epoch, the first and the last of a range.
pub type Range = (u64, u64);

/// Whose requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Everybody's, those without a key too.
    All,
    /// A client's, by its number; -1 for what belongs to none.
    Client(i64),
    /// A key's.
    Key {
        /// Its client's number.
        client: i64,
        /// Its own.
        key: i64,
    },
}

/// Which of somebody's requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OnlyThese {
    /// Those that matched a route, by its number.
    pub route: Option<i64>,
    /// Those with an outcome, by its number.
    pub outcome: Option<i64>,
}

impl OnlyThese {
    /// The number of a name that nothing was counted for.
    pub const NEVER: i64 = -1;

    /// As a part of a condition. Numbers are ours, and few: they stand in the text.
    fn sql(self) -> String {
        let part = |column: &str, n: Option<i64>| {
            n.map_or(String::new(), |n| format!(" AND {column} = {n}"))
        };
        part("route", self.route) + &part("outcome", self.outcome)
    }
}

/// How requests are grouped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum These {
    /// Each client's, and those that belong to none.
    Clients,
    /// Each key's.
    Keys,
    /// Each key's of a client, by its number.
    KeysOf(i64),
}

impl These {
    /// In one unit of time, and the value for `?2`.
    pub(crate) fn sql(self, step: Step, only: OnlyThese) -> (String, i64) {
        let unit = step.name();
        let (name, table, which, group, client) = match self {
            Self::Clients => ("client", "client", "client <> ?2", "client", 0),
            Self::Keys => ("key", "key", "client <> ?2", "client, key", 0),
            Self::KeysOf(client) => ("key", "key", "client = ?2", "key", client),
        };
        let sql = format!(
            "SELECT t, {name}, {SUMS}
             FROM {table}_{unit} WHERE t = ?1 AND {which}{} GROUP BY t, {group}",
            only.sql()
        );
        (sql, client)
    }
}

/// What requests are broken down by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dimension {
    /// The route that they matched.
    Route,
    /// The outcome.
    Outcome,
}

/// Requests of one unit of time or of one group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Grouped {
    /// Units from the epoch; of a group, 0.
    pub t: u64,
    /// Number of the route, outcome, key or client; of a series, 0.
    pub number: i64,
    /// All requests.
    pub requests: u64,
    /// Those that were let through.
    pub allowed: u64,
}

/// A key that had many requests in an hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy {
    /// Its client's number.
    pub client: i64,
    /// Its own.
    pub key: i64,
    /// How many.
    pub requests: u64,
}

/// Requests that are in no count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UncountedRequests {
    /// VMs had no room for them.
    pub dropped: u64,
    /// VMs reported them months later.
    pub late: u64,
}

/// How a key was used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyUsage {
    /// When it was first let through; seconds.
    pub first_used: Option<u64>,
    /// When it was last let through; seconds.
    pub last_used: Option<u64>,
    /// From where at first.
    pub first_address: Option<String>,
    /// From where at last.
    pub last_address: Option<String>,
    /// By what at last.
    pub agent: Option<String>,
}

/// All requests of a group, and those that were let through. PostgreSQL's sums are no integers.
const SUMS: &str = "CAST(sum(n) AS BIGINT),
    CAST(coalesce(sum(n) FILTER (WHERE outcome = 0), 0) AS BIGINT)";

/// The units of a range, one per row.
const UNITS: &str =
    "WITH RECURSIVE unit(t) AS (SELECT ?1 UNION ALL SELECT t + 1 FROM unit WHERE t < ?2)";

impl UsageTx<'_> {
    /// Requests in each unit of a range that had any.
    pub fn series(
        &self,
        whose: Whose,
        only: OnlyThese,
        step: Step,
        (from, until): Range,
    ) -> Result<Vec<Grouped>> {
        let (table, condition, client, key) = place(whose, step);
        let sql = format!(
            "{UNITS} SELECT c.t, 0, {SUMS}
             FROM unit CROSS JOIN {table} c ON c.t = unit.t AND {condition}{} GROUP BY c.t",
            only.sql()
        );
        self.tx.all(
            &sql,
            params![column::signed(from), column::signed(until), client, key],
            grouped,
        )
    }

    /// The same, broken down.
    pub fn series_by(
        &self,
        whose: Whose,
        only: OnlyThese,
        by: Dimension,
        step: Step,
        (from, until): Range,
    ) -> Result<Vec<Grouped>> {
        let (table, condition, client, key) = place(whose, step);
        let by = match by {
            Dimension::Route => "route",
            Dimension::Outcome => "outcome",
        };
        let sql = format!(
            "{UNITS} SELECT c.t, c.{by}, {SUMS}
             FROM unit CROSS JOIN {table} c ON c.t = unit.t AND {condition}{} GROUP BY c.t, c.{by}",
            only.sql()
        );
        self.tx.all(
            &sql,
            params![column::signed(from), column::signed(until), client, key],
            grouped,
        )
    }

    /// Passes what each client, or each key of one or of all clients, had in each unit of a range
    /// to `each`. Unit by unit, because rows are then read in storage order and need not be sorted
    /// before they are summed.
    pub fn each_of(
        &self,
        these: These,
        only: OnlyThese,
        step: Step,
        (from, until): Range,
        mut each: impl FnMut(Grouped),
    ) -> Result<()> {
        let (sql, client) = these.sql(step, only);
        for t in from..=until {
            self.tx
                .each(&sql, params![column::signed(t), client], |row| {
                    each(grouped(row)?);
                    Ok(true)
                })?;
        }
        Ok(())
    }

    /// The keys that had more than this many requests in one hour since the epoch; with an outcome,
    /// only requests with that outcome count.
    pub fn busy_keys(&self, hour: u64, outcome: Option<&str>, more_than: u64) -> Result<Vec<Busy>> {
        self.tx.all(
            "SELECT client, key, CAST(sum(n) AS BIGINT) FROM key_hour
             WHERE t = ?1 AND (?2 IS NULL OR outcome = (SELECT number FROM outcome WHERE name = ?2))
             GROUP BY client, key HAVING sum(n) > ?3",
            params![column::signed(hour), outcome, column::signed(more_than)],
            |r| {
                Ok(Busy {
                    client: r.get(0)?,
                    key: r.get(1)?,
                    requests: column::unsigned(r, 2)?,
                })
            },
        )
    }

    /// Requests that are in no count, in hours from the epoch.
    pub fn lost(&self, (from, until): Range) -> Result<UncountedRequests> {
        self.tx.one("SELECT CAST(coalesce(sum(dropped), 0) AS BIGINT), CAST(coalesce(sum(late), 0) AS BIGINT) FROM lost WHERE t BETWEEN ? AND ?", params![column::signed(from), column::signed(until)], |r| {
                Ok(UncountedRequests {
                    dropped: column::unsigned(r, 0)?,
                    late: column::unsigned(r, 1)?,
                })
            })
    }

    /// How a key was used, if it ever was; and its number.
    pub fn key_usage(&self, id: KeyId) -> Result<Option<(i64, KeyUsage)>> {
        self.tx.optional(
            "SELECT number, first_used, last_used, first_address, last_address, agent
                 FROM key WHERE id = ?",
            params![column::signed(id.as_u64())],
            |r| {
                let usage = KeyUsage {
                    first_used: column::optional(r, 1)?,
                    last_used: column::optional(r, 2)?,
                    first_address: r.get(3)?,
                    last_address: r.get(4)?,
                    agent: r.get(5)?,
                };
                Ok((r.get(0)?, usage))
            },
        )
    }

    /// The id of a key, and its client's number.
    pub fn key_of(&self, number: i64) -> Result<Option<(KeyId, i64)>> {
        self.tx.optional(
            "SELECT id, client FROM key WHERE number = ?",
            params![number],
            |r| Ok((column::id(r, 0)?, r.get(1)?)),
        )
    }

    /// The name of a route or an outcome.
    pub fn name_of(&self, by: Dimension, number: i64) -> Result<String> {
        let sql = match by {
            Dimension::Route => "SELECT name FROM route WHERE number = ?",
            Dimension::Outcome => "SELECT name FROM outcome WHERE number = ?",
        };
        self.tx.one(sql, params![number], |r| r.get(0))
    }

    /// The number of a route or an outcome.
    pub fn number_of(&self, by: Dimension, name: &str) -> Result<Option<i64>> {
        let sql = match by {
            Dimension::Route => "SELECT number FROM route WHERE name = ?",
            Dimension::Outcome => "SELECT number FROM outcome WHERE name = ?",
        };
        self.tx.optional(sql, params![name], |r| r.get(0))
    }

    /// What was taken of a quota in the window that began then: what was let through minus what was
    /// given back.
    pub fn quota_taken(&self, lineage: KeyId, window: u64) -> Result<u64> {
        let used = self.quota_used(lineage, window, None)?;
        Ok(used.saturating_sub(self.quota_given_back(lineage, window)?))
    }

    /// What the operator gave back in the window of a quota that began then.
    pub fn quota_given_back(&self, lineage: KeyId, window: u64) -> Result<u64> {
        self.tx.one(
            "SELECT CAST(coalesce(sum(n), 0) AS BIGINT) FROM quota
                 WHERE lineage = ? AND \"window\" = ? AND source = 0",
            params![column::signed(lineage.as_u64()), column::signed(window)],
            |r| column::unsigned(r, 0),
        )
    }

    /// What was let through in the window of a quota that began then; without what one run
    /// of Envoy let through, if it is given.
    pub fn quota_used(&self, lineage: KeyId, window: u64, but: Option<i64>) -> Result<u64> {
        self.tx.one(
            "SELECT CAST(coalesce(sum(n), 0) AS BIGINT) FROM quota
                 WHERE lineage = ?1 AND \"window\" = ?2 AND source <> 0
                   AND (?3 IS NULL OR source <> ?3)",
            params![
                column::signed(lineage.as_u64()),
                column::signed(window),
                but
            ],
            |r| column::unsigned(r, 0),
        )
    }
}

/// The table, the condition, and the values for `?3` and `?4`.
fn place(whose: Whose, step: Step) -> (String, &'static str, i64, i64) {
    let unit = step.name();
    let of_client = "c.client = ?3 AND ?4 = 0";
    match whose {
        Whose::All => (format!("client_{unit}"), of_client, 0, 0),
        Whose::Client(client) => (format!("client_{unit}"), of_client, client, 0),
        Whose::Key { client, key } => (
            format!("key_{unit}"),
            "c.client = ?3 AND c.key = ?4",
            client,
            key,
        ),
    }
}

fn grouped(r: &SqlRow<'_>) -> Result<Grouped> {
    Ok(Grouped {
        t: column::unsigned(r, 0)?,
        number: r.get(1)?,
        requests: column::unsigned(r, 2)?,
        allowed: column::unsigned(r, 3)?,
    })
}
