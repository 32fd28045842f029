//! Retention of usage: settings, anomalies, removal of old rows.

use crate::sql::{SqlRow, params};
use keystile_core::key::KeyId;

use super::super::column;
use super::Step;
use super::UsageTx;
use keystile_model::error::Result;

/// How many rows one transaction removes; the next batch waits for it.
const STEP: i64 = 20_000;

/// An anomaly in the use of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anomaly {
    /// The key.
    pub key: KeyId,
    /// Number of its client; -1 if unknown.
    pub client: i64,
    /// Which rule.
    pub rule: String,
    /// Seconds.
    pub at: u64,
    /// JSON: its figures.
    pub detail: String,
}

/// An anomaly that is not in the audit log yet.
pub struct Untold {
    /// It.
    pub anomaly: Anomaly,
    /// Names it in its table.
    pub day: u64,
    /// The key's number.
    pub number: i64,
}

impl UsageTx<'_> {
    /// The settings as JSON; nothing if they are the defaults.
    pub fn usage_settings(&self) -> Result<String> {
        self.tx.one("SELECT settings FROM about", &[], |r| r.get(0))
    }

    /// Changes the settings.
    pub fn set_usage_settings(&mut self, json: &str) -> Result<()> {
        self.tx
            .execute("UPDATE about SET settings = ?", params![json])?;
        Ok(())
    }

    /// Since when something has been counted, in seconds.
    pub fn began(&self) -> Result<Option<u64>> {
        self.tx
            .one("SELECT began FROM about", &[], |r| column::optional(r, 0))
    }

    /// Anomalies since a time, of a client if given, latest first.
    pub fn anomalies(&self, client: Option<i64>, since: u64, most: u32) -> Result<Vec<Anomaly>> {
        self.tx.all(
            "SELECT key.id, key.client, rule, at, detail FROM anomaly
               JOIN key ON key.number = anomaly.key
             WHERE day >= ?1 / 86400 AND at >= ?1 AND (?2 IS NULL OR key.client = ?2)
             ORDER BY day DESC, at DESC, key.id, rule LIMIT ?3",
            params![column::signed(since), client, most],
            anomaly,
        )
    }

    /// Anomalies that are not in the audit log yet.
    pub fn untold(&self, most: u32) -> Result<Vec<Untold>> {
        self.tx.all(
            "SELECT key.id, key.client, rule, at, detail, day, key FROM anomaly
               JOIN key ON key.number = anomaly.key WHERE NOT told ORDER BY at LIMIT ?",
            params![most],
            |r| {
                Ok(Untold {
                    anomaly: anomaly(r)?,
                    day: column::unsigned(r, 5)?,
                    number: r.get(6)?,
                })
            },
        )
    }

    /// When a key was last found by a rule, in seconds.
    pub fn last_anomaly(&self, key: KeyId, rule: &str) -> Result<Option<u64>> {
        self.tx.one(
            "SELECT max(at) FROM anomaly JOIN key ON key.number = anomaly.key
             WHERE key.id = ? AND rule = ?",
            params![column::signed(key.as_u64()), rule],
            |r| column::optional(r, 0),
        )
    }

    /// Marks them as written to the audit log.
    pub fn set_told(&mut self, those: &[Untold]) -> Result<()> {
        for one in those {
            self.tx.execute(
                "UPDATE anomaly SET told = TRUE WHERE day = ? AND key = ? AND rule = ?",
                params![column::signed(one.day), one.number, one.anomaly.rule],
            )?;
        }
        Ok(())
    }

    /// Removes some of the counts before a unit of time since the epoch; gives whether there may be
    /// more.
    pub fn prune_counts(&mut self, step: Step, before: u64) -> Result<bool> {
        let unit = step.name();
        let mut more = false;
        for table in [format!("client_{unit}"), format!("key_{unit}")] {
            // Up to the end of the unit that contains the last row of the step: rows of one unit
            // are adjacent, and the key needs no rowid.
            let until: Option<i64> = self.tx.one(&format!(
                    "SELECT max(t) FROM (SELECT t FROM {table} WHERE t < ?1 ORDER BY t LIMIT {STEP}) AS first"
                ), params![column::signed(before)], |r| r.get(0))?;
            if let Some(until) = until {
                self.tx
                    .execute(&format!("DELETE FROM {table} WHERE t <= ?"), params![until])?;
                more = true;
            }
        }
        Ok(more)
    }

    /// Deletes what is no longer needed: VMs that have been silent since `vms`, quotas whose
    /// windows began before `windows`, and networks, losses and anomalies from before `others`; all
    /// in seconds.
    pub fn prune_others(&mut self, vms: u64, windows: u64, others: u64) -> Result<()> {
        let at = column::signed(vms);
        self.tx
            .execute("DELETE FROM vm WHERE seen < ?", params![at])?;
        self.tx.execute("DELETE FROM source WHERE seen < ?1 AND NOT EXISTS (SELECT 1 FROM vm WHERE source = number)
               AND NOT EXISTS (SELECT 1 FROM quota WHERE quota.source = number)", params![at])?;
        self.tx.execute(
            "DELETE FROM quota WHERE \"window\" < ?",
            params![column::signed(windows)],
        )?;
        let at = column::signed(others);
        self.tx
            .execute("DELETE FROM network WHERE last < ?", params![at])?;
        self.tx
            .execute("DELETE FROM lost WHERE t < ? / 3600", params![at])?;
        self.tx.execute(
            "DELETE FROM anomaly WHERE told AND day < ? / 86400",
            params![at],
        )?;
        Ok(())
    }

    /// Deletes the addresses and user agents that used keys.
    pub fn forget_places(&mut self) -> Result<()> {
        self.tx.batch(
            "DELETE FROM network;
             UPDATE key SET first_address = NULL, last_address = NULL, agent = NULL
               WHERE first_address IS NOT NULL OR last_address IS NOT NULL OR agent IS NOT NULL;",
        )?;
        Ok(())
    }

    /// Bytes of the database.
    pub fn bytes(&self) -> Result<u64> {
        self.tx.bytes()
    }
}

fn anomaly(r: &SqlRow<'_>) -> Result<Anomaly> {
    Ok(Anomaly {
        key: column::id(r, 0)?,
        client: r.get(1)?,
        rule: r.get(2)?,
        at: column::unsigned(r, 3)?,
        detail: r.get(4)?,
    })
}
