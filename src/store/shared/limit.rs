//! Buckets that all replicas take from.

use keystile_core::limit::bucket::Bucket;
use keystile_model::error::Result;

use super::SharedTables;
use crate::column;
use crate::sql::params;

/// The database's clock, in nanoseconds.
const NANOSECONDS: &str =
    "CAST(floor(extract(epoch FROM clock_timestamp()) * 1000000) AS BIGINT) * 1000";

impl SharedTables {
    /// Takes one from each of these buckets; gives the seconds until it may be tried again if one
    /// is empty.
    ///
    /// # Errors
    /// Those of the database.
    pub fn take(&mut self, buckets: &[(String, Bucket)]) -> Result<std::result::Result<(), u64>> {
        self.change(|db| {
            let sql = format!("SELECT {NANOSECONDS}");
            let now = db.one(&sql, &[], |r| column::unsigned(r, 0))?;
            // Full buckets say nothing that new ones would not.
            let sql = "DELETE FROM bucket WHERE stored < ?";
            db.execute(sql, params![column::signed(now)])?;
            // A refusal takes from none of them.
            let mut all = Vec::new();
            for (who, bucket) in buckets {
                let sql = "SELECT stored FROM bucket WHERE who = ? FOR UPDATE";
                let stored = db.optional(sql, params![who], |r| column::unsigned(r, 0))?;
                match bucket.take(1, stored.unwrap_or(0), now) {
                    Ok(taken) => all.push((who, taken.stored)),
                    Err(refused) => return Ok(Err(refused.retry_after())),
                }
            }
            for (who, taken) in all {
                db.execute(
                    "INSERT INTO bucket VALUES (?, ?) ON CONFLICT (who) DO UPDATE
                       SET stored = greatest(bucket.stored, excluded.stored)",
                    params![who, column::signed(taken)],
                )?;
            }
            Ok(Ok(()))
        })
    }
}
