//! The audit log in the store.

use crate::sql::{SqlRow, params};
use zeroize::Zeroizing;

use super::rows::{self, Sql};
use super::{Tx, column};
use keystile_model::audit::{
    Broken, Checkpoint, CheckpointSecret, Format, Head, Link, Outcome, Record,
};
use keystile_model::error::Result;
use keystile_model::world::{Actor, Moment, World};

mod walk;

pub use walk::FoundRecords;

const COLUMNS: &str = "seq, at_ms, uid, \"user\", host, action, subject, before, after, prev, hash,
    format, address, request, client, outcome, reason";

const INSERT: Sql<'_> = Sql {
    head:
        "INSERT INTO audit (at_ms, uid, \"user\", host, address, request, seq, action, subject, before,
        after, prev, hash, format, client, outcome, reason) VALUES ",
    shared: 6,
    row: "(?1, ?2, ?3, ?4, ?5, ?6, #, #, #, #, #, #, #, #, #, #, #)",
    tail: "",
};

/// Where the secret of the log is kept.
const SECRET: &str = "meta.audit_secret";

/// How many records one statement removes.
const PRUNED_AT_ONCE: u64 = 5_000;

/// A filter for records: those that match every given condition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Only changes to this client, key id, signing key or token.
    pub subject: Option<String>,
    /// Only records about this client.
    pub client: Option<String>,
    /// Only actions of this user or `token <name>`, with or without the token's id.
    pub actor: Option<String>,
    /// Only this action; `key.` for all with this prefix.
    pub action: Option<String>,
    /// Not before, in milliseconds.
    pub since: Option<u64>,
    /// Before, in milliseconds.
    pub until: Option<u64>,
    /// Its outcome.
    pub outcome: Option<Outcome>,
    /// Only records with a smaller number: the cursor of a page.
    pub before: Option<u64>,
    /// Only records with a greater number: the cursor of a page, the oldest first.
    pub after: Option<u64>,
}

impl Query {
    /// The end of the range for a token that is given by name: records name it with its id, `token
    /// ci (0Ab3dEfGh1)`. Names of tokens contain no space.
    fn token_users(&self) -> Option<String> {
        let actor = self.actor.as_ref()?;
        let named = actor.starts_with("token ") && !actor.ends_with(')');
        named.then(|| format!("{actor})"))
    }
}

/// What a record is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deed {
    /// The record's number.
    pub seq: u64,
    /// The action, such as `key.revoke`.
    pub action: String,
    /// It was not refused.
    pub is_done: bool,
}

fn read(row: &SqlRow<'_>) -> Result<Record> {
    let uid: i64 = row.get(2)?;
    let format: u8 = row.get(11)?;
    let outcome: String = row.get(15)?;
    Ok(Record {
        seq: column::unsigned(row, 0)?,
        at: Moment::from_ms(column::unsigned(row, 1)?),
        actor: Actor {
            uid: u32::try_from(uid).ok(),
            user: row.get(3)?,
            host: row.get(4)?,
            address: row.get(12)?,
            request: row.get(13)?,
        },
        action: row.get(5)?,
        subject: row.get(6)?,
        before: row.get(7)?,
        after: row.get(8)?,
        prev: Link(row.get(9)?),
        hash: Link(row.get(10)?),
        format: if format == 1 {
            Format::One
        } else {
            Format::Two
        },
        client: row.get(14)?,
        outcome: Outcome::from_word(&outcome).unwrap_or(Outcome::Refused),
        reason: row.get(16)?,
    })
}

impl Tx<'_> {
    /// Appends a record to the log; it is written together with the following ones.
    pub(super) fn append(&mut self, mut record: Record) -> Result<()> {
        self.go_on()?;
        // PostgreSQL has no text with NUL, and an attempt is recorded whatever was tried.
        for text in [&mut record.subject, &mut record.client, &mut record.reason] {
            if text.contains('\0') {
                *text = text.replace('\0', "\u{fffd}");
            }
        }
        let record = record.after(self.meta.head);
        self.meta.head = record.head();
        let unwritten = self.unwritten.get_mut();
        unwritten.push(record);
        if unwritten.len() < rows::MANY {
            return Ok(());
        }
        self.write_audit()
    }

    /// Writes the records that are not written yet.
    pub(super) fn write_audit(&self) -> Result<()> {
        let records = self.unwritten.take();
        self.write_records(&records).inspect_err(|_| {
            // A transaction that continues nevertheless must not commit without them.
            self.unwritten.replace(records);
        })
    }

    fn write_records(&self, records: &[Record]) -> Result<()> {
        let mut left = records;
        while let Some(first) = left.first() {
            // Actor and time are the same for all records of an operation.
            let alike = |r: &&Record| r.at == first.at && r.actor == first.actor;
            let (now, later) = left.split_at(left.iter().take_while(alike).count());
            rows::write(
                &self.tx,
                &INSERT,
                now,
                |v| {
                    v.give(column::signed(first.at.ms()));
                    v.give(first.actor.uid.map_or(-1, i64::from));
                    v.push(&first.actor.user);
                    v.push(&first.actor.host);
                    v.push(&first.actor.address);
                    v.push(&first.actor.request);
                },
                |v, r| {
                    v.give(column::signed(r.seq));
                    v.push(&r.action);
                    v.push(&r.subject);
                    v.push(&r.before);
                    v.push(&r.after);
                    v.push(&r.prev.0);
                    v.push(&r.hash.0);
                    v.give(match r.format {
                        Format::One => 1,
                        Format::Two => 2,
                    });
                    v.push(&r.client);
                    v.push(r.outcome.as_str());
                    v.push(&r.reason);
                },
            )?;
            let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
            let refused = now.iter().filter(|r| r.outcome != Outcome::Done).count();
            self.tx.execute(
                "INSERT INTO audit_day VALUES (?1 / 86400000, ?2, ?3) ON CONFLICT (day) DO UPDATE
                     SET done = audit_day.done + excluded.done,
                       refused = audit_day.refused + excluded.refused",
                params![
                    column::signed(first.at.ms()),
                    count(now.len() - refused),
                    count(refused)
                ],
            )?;
            left = later;
        }
        Ok(())
    }

    /// Passes every record, in order, to `each` until that fails.
    pub fn each_audit(&self, mut each: impl FnMut(Record) -> Result<()>) -> Result<()> {
        self.write_audit()?;
        let sql = format!("SELECT {COLUMNS} FROM audit ORDER BY seq");
        self.tx.each(&sql, &[], |row| {
            each(read(row)?)?;
            Ok(true)
        })
    }

    /// What the first records after `seq` are about, oldest first, without the states before and
    /// after, which may be large.
    pub fn deeds_after(&self, seq: u64, most: u32) -> Result<Vec<Deed>> {
        self.write_audit()?;
        self.tx.all(
            "SELECT seq, action, outcome FROM audit WHERE seq > ? ORDER BY seq LIMIT ?",
            params![column::signed(seq), most],
            |row| {
                let outcome: String = row.get(2)?;
                Ok(Deed {
                    seq: column::unsigned(row, 0)?,
                    action: row.get(1)?,
                    is_done: Outcome::from_word(&outcome) == Some(Outcome::Done),
                })
            },
        )
    }

    /// Where restores cut the log, after a record: the number of the record that a restore left,
    /// and the timeline that it ended, if known.
    pub fn restores_after(&self, seq: u64) -> Result<Vec<(u64, Option<String>)>> {
        self.write_audit()?;
        self.tx.all(
            "SELECT seq, after FROM audit
             WHERE action = 'store.restore' AND outcome = 'done' AND seq > ? ORDER BY seq",
            params![column::signed(seq)],
            |r| {
                let after: serde_json::Value =
                    serde_json::from_str(column::text(r, 1)?).unwrap_or_default();
                let former = after.get("former_timeline").and_then(|t| t.as_str());
                Ok((column::unsigned(r, 0)?, former.map(str::to_owned)))
            },
        )
    }

    /// How many records there are of an action since a time in milliseconds whose JSON of the new
    /// state has this in it.
    pub fn audit_count(&self, action: &str, since_ms: u64, part: &str) -> Result<u64> {
        self.write_audit()?;
        self.tx.one(
            "SELECT count(*) FROM audit WHERE action = ? AND at_ms >= ? AND after LIKE ?",
            params![action, column::signed(since_ms), format!("%{part}%")],
            |r| column::unsigned(r, 0),
        )
    }

    /// One record.
    pub fn audit_record(&self, seq: u64) -> Result<Option<Record>> {
        self.write_audit()?;
        let sql = format!("SELECT {COLUMNS} FROM audit WHERE seq = ?");
        self.tx.optional(&sql, params![column::signed(seq)], read)
    }

    /// The last record of the first ones, all of which are older than a time in
    /// milliseconds.
    pub fn last_audit_before(&self, before_ms: u64) -> Result<Option<Head>> {
        self.write_audit()?;
        // The clock may have been set back, so the first recent record ends what may be removed.
        // Searched from the beginning: this costs as much as what is removed, however long the rest
        // is.
        let first_young: Option<i64> = self.tx.optional(
            "SELECT seq FROM audit WHERE +at_ms >= ? ORDER BY seq LIMIT 1",
            params![column::signed(before_ms)],
            |r| r.get(0),
        )?;
        let end = match first_young {
            Some(seq) => u64::try_from(seq).unwrap_or(0),
            None => self.meta.head.seq.saturating_add(1),
        };
        let Some(last) = end.checked_sub(1) else {
            return Ok(None);
        };
        Ok(self.audit_record(last)?.map(|r| r.head()))
    }

    /// Removes the records up to `start`, and signs that; gives their number.
    pub fn prune_audit(&mut self, start: Head) -> Result<u64> {
        self.write_audit()?;
        let tag = self
            .audit_secret()?
            .map(|s| s.tag_of_start(self.meta.store, start));
        let mut removed = 0;
        let mut until = self.meta.start.seq;
        while until < start.seq {
            // A few at a time, so that urgent changes need not wait for all.
            self.go_on()?;
            until = start.seq.min(until.saturating_add(PRUNED_AT_ONCE));
            removed += self.tx.execute(
                "DELETE FROM audit WHERE seq <= ?",
                params![column::signed(until)],
            )?;
        }
        self.tx.execute(
            "UPDATE meta SET audit_start = ?, audit_start_hash = ?, audit_start_tag = ?",
            params![
                column::signed(start.seq),
                start.link.0,
                tag.map(|t| t.to_vec())
            ],
        )?;
        self.meta.start = start;
        Ok(removed)
    }

    /// Whether the beginning of the log is the first record, or where it was cut by
    /// [`Tx::prune_audit`].
    pub fn check_audit_start(&self) -> Result<Option<Broken>> {
        let start = self.meta.start;
        if start.seq == 0 && start.link == Link::GENESIS {
            return Ok(None);
        }
        let tag: Option<Vec<u8>> = self
            .tx
            .one("SELECT audit_start_tag FROM meta", &[], |r| r.get(0))?;
        let good = match (self.audit_secret()?, tag) {
            (Some(secret), Some(tag)) => secret.signed_start(self.meta.store, start, &tag),
            _ => false,
        };
        Ok((!good).then_some(Broken::Start(start.seq)))
    }

    /// The signed end of the log; nothing before the first change.
    pub fn checkpoint(&self) -> Result<Option<Checkpoint>> {
        Ok(self
            .audit_secret()?
            .map(|s| s.checkpoint(self.meta.store, self.meta.head)))
    }

    /// What is wrong if the log does not contain what a checkpoint names.
    pub fn holds(&self, checkpoint: &Checkpoint) -> Result<Option<Broken>> {
        let head = checkpoint.head;
        let signed = self
            .audit_secret()?
            .is_some_and(|s| s.signed(self.meta.store, checkpoint));
        if !signed {
            return Ok(Some(Broken::ForgedKept));
        }
        let there = self.continues(head)?;
        Ok((!there).then_some(Broken::Kept(head.seq)))
    }

    /// Whether the log goes on from where it once ended.
    pub(super) fn continues(&self, head: Head) -> Result<bool> {
        // What was removed since is covered by the beginning, which is checked separately.
        Ok(head.seq < self.meta.start.seq
            || head == self.meta.start
            || (head.seq <= self.meta.head.seq
                && self.audit_record(head.seq)?.map(|r| r.head()) == Some(head)))
    }

    fn audit_secret(&self) -> Result<Option<CheckpointSecret>> {
        Ok(self.own_secret()?.map(CheckpointSecret::new))
    }

    /// What only this store has, and never changes.
    pub(super) fn own_secret(&self) -> Result<Option<Zeroizing<Vec<u8>>>> {
        let secret: Option<Vec<u8>> = self
            .tx
            .one("SELECT audit_secret FROM meta", &[], |r| r.get(0))?;
        secret.map(|s| self.revealed(SECRET, s)).transpose()
    }

    /// Creates the secret that signs checkpoints.
    pub(super) fn insert_audit_secret(&mut self, world: &World) -> Result<()> {
        let mut secret = Zeroizing::new([0u8; 32]);
        (world.entropy)(secret.as_mut_slice())?;
        self.tx.execute(
            "UPDATE meta SET audit_secret = ? WHERE audit_secret IS NULL",
            params![self.sealed(SECRET, secret.as_slice())?],
        )?;
        Ok(())
    }
}
