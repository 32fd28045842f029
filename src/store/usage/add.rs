//! Counting: what a transaction of batches writes.

use crate::sql::params;
use keystile_core::key::KeyId;

use super::super::column;
use super::Step;
use super::UsageTx;
use keystile_model::error::Result;

/// What a count belongs to, as numbers of the dictionaries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cell {
    /// A client's number; -1 for none that is known, 0 for all.
    pub client: i64,
    /// A key's number; 0 for none.
    pub key: i64,
    /// A route's; 0 for none.
    pub route: i64,
    /// An outcome's; 0 for what was let through.
    pub outcome: i64,
}

/// A key that was let through.
#[derive(Clone, Copy, Debug)]
pub struct KeySeen<'b> {
    /// Seconds.
    pub last: u64,
    /// From where.
    pub address: Option<&'b str>,
    /// By what.
    pub agent: Option<&'b str>,
}

impl UsageTx<'_> {
    /// The number of a run of Envoy, seen at a time in seconds.
    pub fn source(&mut self, node: &str, epoch: u64, now: u64) -> Result<i64> {
        self.tx.one(
            "INSERT INTO source (node, epoch, seen) VALUES (?, ?, ?)
                 ON CONFLICT (node, epoch) DO UPDATE SET seen = max(source.seen, excluded.seen) RETURNING number", // Any bits: it is only compared, never used in arithmetic.
            params![node, epoch.cast_signed(), column::signed(now)],
            |r| r.get(0),
        )
    }

    /// The last batch that was counted for a VM, and which of the 64 before it.
    pub fn counted(&self, source: i64, vm: u32, claimed: u64) -> Result<Option<(u64, u64)>> {
        let row: Option<(i64, i64)> = self.tx.optional(
            "SELECT seq, before FROM vm WHERE source = ? AND vm = ? AND claimed = ?",
            params![source, vm, claimed.cast_signed()],
            |r| Ok((r.get(0)?, r.get(1)?)),
        )?;
        Ok(row.map(|(seq, before)| (seq.cast_unsigned(), before.cast_unsigned())))
    }

    /// Stores what was counted for a VM. `seen` is in seconds.
    pub fn set_counted(
        &mut self,
        source: i64,
        vm: u32,
        claimed: u64,
        (seq, before): (u64, u64),
        seen: u64,
    ) -> Result<()> {
        self.tx.execute(
            "INSERT INTO vm (source, vm, claimed, seq, before, seen) VALUES (?, ?, ?, ?, ?, ?)
                 ON CONFLICT (source, vm, claimed) DO UPDATE SET seq = excluded.seq, before = excluded.before,
                   seen = max(vm.seen, excluded.seen)",
            params![
                source,
                vm,
                claimed.cast_signed(),
                seq.cast_signed(),
                before.cast_signed(),
                column::signed(seen)
            ],
        )?;
        Ok(())
    }

    /// The number of a route; 0 for the one without a name.
    pub fn route(&mut self, name: &str) -> Result<i64> {
        self.word("route", name)
    }

    /// The number of an outcome; 0 for `ok`.
    pub fn outcome(&mut self, code: &str) -> Result<i64> {
        self.word("outcome", code)
    }

    fn word(&mut self, table: &str, word: &str) -> Result<i64> {
        let known = self.tx.optional(
            &format!("SELECT number FROM {table} WHERE name = ?"),
            params![word],
            |r| r.get(0),
        )?;
        match known {
            Some(number) => Ok(number),
            None => self.tx.one(
                &format!("INSERT INTO {table} (name) VALUES (?) RETURNING number"),
                params![word],
                |r| r.get(0),
            ),
        }
    }

    /// The number of a key of a client; -1 if the client is unknown.
    pub fn key_number(&mut self, id: KeyId, client: i64) -> Result<i64> {
        self.tx.one(
            "INSERT INTO key (id, client) VALUES (?, ?)
                 ON CONFLICT (id) DO UPDATE SET client = max(key.client, excluded.client) RETURNING number",
            params![column::signed(id.as_u64()), client],
            |r| r.get(0),
        )
    }

    /// A key was let through.
    pub fn key_seen(&mut self, key: i64, seen: KeySeen<'_>) -> Result<()> {
        self.tx.execute("UPDATE key SET
                   first_used = min(coalesce(first_used, ?2), ?2),
                   first_address = coalesce(first_address, ?3),
                   last_address = CASE WHEN coalesce(last_used, 0) <= ?2 THEN coalesce(?3, last_address) ELSE last_address END,
                   agent = CASE WHEN coalesce(last_used, 0) <= ?2 THEN coalesce(?4, agent) ELSE agent END,
                   last_used = max(coalesce(last_used, 0), ?2)
                 WHERE number = ?1", params![key, column::signed(seen.last), seen.address, seen.agent])?;
        Ok(())
    }

    /// Records that a key was used from a network; gives whether it is new, since when its networks
    /// are recorded, in seconds, and how many there are now.
    pub fn network_seen(
        &mut self,
        key: i64,
        network: &str,
        at: u64,
        most: u64,
    ) -> Result<Option<(u64, u64)>> {
        let known = self.tx.execute(
            "UPDATE network SET last = max(last, ?3) WHERE key = ?1 AND network = ?2",
            params![key, network, column::signed(at)],
        )?;
        if known > 0 {
            return Ok(None);
        }
        let (since, held) = self.tx.one(
            "SELECT coalesce(min(first), ?2), count(*) FROM network WHERE key = ?1",
            params![key, column::signed(at)],
            |r| Ok((column::unsigned(r, 0)?, column::unsigned(r, 1)?)),
        )?;
        if held >= most {
            return Ok(None);
        }
        self.tx.execute(
            "INSERT INTO network (key, network, first, last) VALUES (?1, ?2, ?3, ?3)",
            params![key, network, column::signed(at)],
        )?;
        Ok(Some((since, held + 1)))
    }

    /// Adds to the count of a client in one unit of time, counted from the epoch.
    pub fn add_client(&mut self, step: Step, t: u64, cell: Cell, n: u64) -> Result<()> {
        let sql = match step {
            Step::Minute => {
                "INSERT INTO client_minute AS c VALUES (?, ?, ?, ?, ?)
                 ON CONFLICT (t, client, route, outcome) DO UPDATE SET n = c.n + excluded.n"
            }
            Step::Hour => {
                "INSERT INTO client_hour AS c VALUES (?, ?, ?, ?, ?)
                 ON CONFLICT (t, client, route, outcome) DO UPDATE SET n = c.n + excluded.n"
            }
            Step::Day => {
                "INSERT INTO client_day AS c VALUES (?, ?, ?, ?, ?)
                 ON CONFLICT (t, client, route, outcome) DO UPDATE SET n = c.n + excluded.n"
            }
        };
        self.tx.execute(
            sql,
            params![
                column::signed(t),
                cell.client,
                cell.route,
                cell.outcome,
                column::signed(n)
            ],
        )?;
        Ok(())
    }

    /// The same of a key.
    pub fn add_key(&mut self, step: Step, t: u64, cell: Cell, n: u64) -> Result<()> {
        let sql = match step {
            Step::Minute => {
                "INSERT INTO key_minute AS c VALUES (?, ?, ?, ?, ?, ?)
                 ON CONFLICT (t, client, key, route, outcome) DO UPDATE SET n = c.n + excluded.n"
            }
            Step::Hour => {
                "INSERT INTO key_hour AS c VALUES (?, ?, ?, ?, ?, ?)
                 ON CONFLICT (t, client, key, route, outcome) DO UPDATE SET n = c.n + excluded.n"
            }
            Step::Day => {
                "INSERT INTO key_day AS c VALUES (?, ?, ?, ?, ?, ?)
                 ON CONFLICT (t, client, key, route, outcome) DO UPDATE SET n = c.n + excluded.n"
            }
        };
        self.tx.execute(
            sql,
            params![
                column::signed(t),
                cell.client,
                cell.key,
                cell.route,
                cell.outcome,
                column::signed(n)
            ],
        )?;
        Ok(())
    }

    /// Adds to the uncounted requests, in an hour since the epoch.
    pub fn add_lost(&mut self, hour: u64, dropped: u64, late: u64) -> Result<()> {
        if dropped == 0 && late == 0 {
            return Ok(());
        }
        self.tx.execute(
            "INSERT INTO lost AS l VALUES (?, ?, ?) ON CONFLICT (t) DO UPDATE
                 SET dropped = l.dropped + excluded.dropped, late = l.late + excluded.late",
            params![
                column::signed(hour),
                column::signed(dropped),
                column::signed(late)
            ],
        )?;
        Ok(())
    }

    /// Adds to what a run of Envoy let through in the window of a quota that began then.
    pub fn add_quota(&mut self, lineage: KeyId, window: u64, source: i64, n: u64) -> Result<()> {
        self.tx.execute(
            "INSERT INTO quota AS q VALUES (?, ?, ?, ?)
             ON CONFLICT (lineage, \"window\", source) DO UPDATE SET n = q.n + excluded.n",
            params![
                column::signed(lineage.as_u64()),
                column::signed(window),
                source,
                column::signed(n)
            ],
        )?;
        Ok(())
    }

    /// Gives back this much of the window of a quota that began then. Runs of Envoy are numbered
    /// from 1; 0 is the operator.
    pub fn give_back_quota(&mut self, lineage: KeyId, window: u64, n: u64) -> Result<()> {
        self.add_quota(lineage, window, 0, n)
    }

    /// Something has been counted since an instant, in seconds.
    pub fn begin(&mut self, now: u64) -> Result<()> {
        self.tx.execute(
            "UPDATE about SET began = ? WHERE began IS NULL",
            params![column::signed(now)],
        )?;
        Ok(())
    }

    /// Stores an anomaly, unless there is one for that key, rule and day.
    pub fn add_anomaly(&mut self, key: i64, rule: &str, at: u64, detail: &str) -> Result<bool> {
        let added = self.tx.execute(
            "INSERT INTO anomaly VALUES (?, ?, ?, ?, ?, FALSE) ON CONFLICT DO NOTHING",
            params![
                column::signed(at / 86_400),
                key,
                rule,
                column::signed(at),
                detail
            ],
        )?;
        Ok(added > 0)
    }
}
