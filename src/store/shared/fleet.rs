//! The replicas, and what each of them observes of its Envoys.

use std::sync::Arc;
use std::time::Duration;

use keystile_model::error::Result;

use super::{CLOCK, FLEET, SharedTables, tell};
use crate::column;
use crate::sql::postgres::DatabaseAddress;
use crate::sql::{Database, params};

/// For how long a replica that is not heard from may still be running. Each stops by itself well
/// before that.
pub const LEASE: Duration = Duration::from_secs(8);
/// Replicas that have been silent for this many milliseconds are removed.
const GONE_MS: i64 = 60_000;

/// Another replica.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OtherReplica {
    /// The number that it gave itself when it started.
    pub id: String,
    /// The version that it has published.
    pub published: u64,
    /// It may still be running.
    pub lives: bool,
}

/// What a replica observes of one Envoy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedRow {
    /// The Envoy's node id.
    pub node: String,
    /// Increases with each row that the replica writes.
    pub seq: u64,
    /// What it observes.
    pub body: String,
}

/// What a replica says to the others.
pub struct Announcement<'s> {
    /// Its number.
    pub id: &'s str,
    /// The version that it has published.
    pub published: u64,
    /// It renews its lease.
    pub renews: bool,
    /// What it has observed since.
    pub rows: &'s [ObservedRow],
}

impl SharedTables {
    /// Says something to the others; gives whether they had forgotten this replica, with all that
    /// it had said before.
    ///
    /// # Errors
    /// Those of the database.
    pub fn say(&mut self, said: &Announcement<'_>) -> Result<bool> {
        self.change(|db| {
            let mut forgotten = false;
            if said.renews {
                let sql = format!(
                    "INSERT INTO replica VALUES (?1, {CLOCK}, ?2) ON CONFLICT (id) DO UPDATE
                       SET seen = excluded.seen, published = excluded.published
                     RETURNING xmax = 0"
                );
                let published = column::signed(said.published);
                forgotten = db.one(&sql, params![said.id, published], |r| r.get(0))?;
                let sql = format!("DELETE FROM replica WHERE seen < {CLOCK} - ? AND id <> ?");
                db.execute(&sql, params![GONE_MS, said.id])?;
            }
            for row in said.rows {
                put(db, said.id, row)?;
            }
            if !said.rows.is_empty() || said.renews {
                tell(db, FLEET)?;
            }
            Ok(forgotten)
        })
    }

    /// The other replicas.
    ///
    /// # Errors
    /// Those of the database.
    pub fn others(&mut self, id: &str) -> Result<Vec<OtherReplica>> {
        let lease = i64::try_from(LEASE.as_millis()).unwrap_or(i64::MAX);
        let sql = format!(
            "SELECT id, published, seen > {CLOCK} - ? FROM replica WHERE id <> ? ORDER BY id"
        );
        self.db.all(&sql, params![lease, id], |r| {
            Ok(OtherReplica {
                id: r.get(0)?,
                published: column::unsigned(r, 1)?,
                lives: r.get(2)?,
            })
        })
    }

    /// Whether any replica uses the store.
    ///
    /// # Errors
    /// Those of the database.
    pub fn any_lives(address: &Arc<DatabaseAddress>) -> Result<bool> {
        let all = Self::open(address)?.others("")?;
        Ok(all.iter().any(|o| o.lives))
    }

    /// What a replica has observed since a row of it.
    ///
    /// # Errors
    /// Those of the database.
    pub fn observed(&mut self, replica: &str, since: u64) -> Result<Vec<ObservedRow>> {
        let sql = "SELECT node, seq, body FROM observed WHERE replica = ? AND seq > ? ORDER BY seq";
        self.db
            .all(sql, params![replica, column::signed(since)], |r| {
                Ok(ObservedRow {
                    node: r.get(0)?,
                    seq: column::unsigned(r, 1)?,
                    body: r.get(2)?,
                })
            })
    }

    /// A replica ends, so nobody waits for it.
    ///
    /// # Errors
    /// Those of the database.
    pub fn end(&mut self, id: &str) -> Result<()> {
        self.change(|db| {
            db.execute("DELETE FROM replica WHERE id = ?", params![id])?;
            tell(db, FLEET)
        })
    }
}

fn put(db: &Database, id: &str, row: &ObservedRow) -> Result<()> {
    db.execute(
        "INSERT INTO observed VALUES (?, ?, ?, ?) ON CONFLICT (replica, node) DO UPDATE
           SET seq = excluded.seq, body = excluded.body",
        params![id, row.node, column::signed(row.seq), row.body],
    )?;
    Ok(())
}
