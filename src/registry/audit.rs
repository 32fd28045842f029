//! The audit log: search, verify, prune.

use std::path::Path;

use serde_json::json;

use crate::webhook;
use keystile_model::audit::{Chain, Checkpoint, Head};
use keystile_model::caller::Caller;
use keystile_model::error::{Code, Result, refuse};
use keystile_model::plural::count;
use keystile_model::room::Room;
use keystile_model::when;
use keystile_model::world::World;
use keystile_store::{FoundRecords, Query, Store, Tx};

/// Records a refused attempt; `client` is the client concerned, if known.
///
/// # Errors
/// Those of the store.
pub fn refused(
    store: &mut Store,
    world: &World,
    action: &str,
    subject: &str,
    client: &str,
    reason: &str,
) -> Result<()> {
    store.write(world, |tx| {
        tx.audit_refused(world, action, subject, client, reason)
    })
}

/// How many records are examined for one page of a search.
const LOOK: u32 = 10_000;

/// A page of the matching records that the caller may see: latest first if `back`. It is short if
/// records are large; if few of many match, it may be empty and still have a next one.
///
/// # Errors
/// Those of the store.
pub fn page(
    tx: &Tx<'_>,
    caller: &Caller,
    mut query: Query,
    back: bool,
    room: impl Into<Room>,
) -> Result<FoundRecords> {
    query.client = caller.narrowed(query.client.as_deref()).map(str::to_owned);
    match back {
        true => tx.audit_back(&query, room, LOOK),
        false => tx.audit_forth(&query, room, LOOK),
    }
}

/// The timelines that records were written on.
pub struct Timelines {
    /// The first record after each restore, and the timeline that ended before it.
    cuts: Vec<(u64, Option<String>)>,
    current: String,
}

impl Timelines {
    /// For record `seq` and those after it.
    ///
    /// # Errors
    /// Those of the store.
    pub fn read(tx: &Tx<'_>, seq: u64) -> Result<Self> {
        Ok(Self {
            cuts: tx.restores_after(seq)?,
            current: tx.meta().timeline.to_string(),
        })
    }

    /// Whether a timeline has ended with a restore.
    pub fn has_ended(&self, timeline: &str) -> bool {
        let mut all = self.cuts.iter();
        timeline != self.current && all.any(|(_, ended)| ended.as_deref() == Some(timeline))
    }

    /// The timeline of a record; `None` if a restore by an old release did not record which one it
    /// ended.
    pub fn at(&self, seq: u64) -> Option<String> {
        let next = self.cuts.iter().find(|(cut, _)| *cut > seq);
        next.map_or_else(|| Some(self.current.clone()), |(_, ended)| ended.clone())
    }
}

/// The result of a verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Where the log begins: after this record.
    pub start: Head,
    /// Where it ends.
    pub head: Head,
    /// The checkpoint that was kept beside the store, if there is one.
    pub kept: Option<Checkpoint>,
}

/// Verifies the whole log: no record was changed, removed, inserted or moved, and it contains the
/// checkpoint that is kept beside the store, and `expect`.
///
/// # Errors
/// The first thing that is wrong.
pub fn verify(store: &mut Store, expect: Option<Head>) -> Result<Verified> {
    let file = store.head_file();
    // The checkpoint is read first: it is written after the record that it names, so a log that is
    // read later contains that record. The other way round, any change in between would look like a
    // removed record.
    let kept = keystile_store::checkpoint::kept(&file)?;
    store.read(|tx| {
        let found = verify_chain(tx, expect)?;
        match kept.map(|k| tx.holds(&k)).transpose()?.flatten() {
            Some(b) => Err(refuse(Code::AuditBroken, b, format_args!(
                    "compare with an exported log or a backup; if the folder was put back from an older copy, move `{}` away",
                    file.display()
                ))),
            None => Ok(Verified { kept, ..found }),
        }
    })
}

/// The same for a copy, which has no checkpoint beside it.
///
/// # Errors
/// The first thing that is wrong.
pub fn verify_chain(tx: &Tx<'_>, expect: Option<Head>) -> Result<Verified> {
    let broken = |b| {
        refuse(
            Code::AuditBroken,
            b,
            "compare with an exported log or a backup",
        )
    };
    if let Some(b) = tx.check_audit_start()? {
        return Err(broken(b));
    }
    let meta = tx.meta();
    let start = meta.start;
    if expect.is_some_and(|e| e.seq < start.seq) {
        return Err(refuse(
            Code::AuditBroken,
            format_args!(
                "the record that was expected is gone: those up to {} were pruned",
                start.seq
            ),
            "compare with a head that was printed since",
        ));
    }
    let mut chain = Chain::new(start);
    let mut expected = expect.is_none_or(|e| e.seq == 0 || e == start);
    tx.each_audit(|r| {
        chain.follow(&r).map_err(broken)?;
        expected |= expect == Some(r.head());
        Ok(())
    })?;
    chain.end(meta.head).map_err(broken)?;
    match expect {
        Some(e) if !expected => Err(refuse(
            Code::AuditBroken,
            format_args!(
                "audit record {} is not the one that was expected: the log was written anew",
                e.seq
            ),
            "compare with an exported log or a backup",
        )),
        _ => Ok(Verified {
            start,
            head: meta.head,
            kept: None,
        }),
    }
}

/// The file in the store's folder with the last record that `serve --audit-export` has sent:
/// `SEQ:HASH`.
pub const SENT: &str = "audit.sent";

/// The last record that was sent, from that file; `None` if the log is not sent anywhere.
///
/// # Errors
/// It cannot be read.
pub fn sent(noted: &Path) -> Result<Option<Head>> {
    let text = match std::fs::read_to_string(noted) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => {
            return Err(refuse(
                Code::FileUnreadable,
                format_args!("`{}` cannot be read ({e})", noted.display()),
                "check owner and mode of the folder and its files",
            ));
        }
    };
    // The next line has the destination.
    let head = text.lines().next().unwrap_or_default();
    head.trim().parse().map(Some).map_err(|_| {
        refuse(
            Code::FileInvalid,
            format_args!("`{}` does not say what was sent", noted.display()),
            "move the file away: then the whole log is sent again",
        )
    })
}

/// How far a log has been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Records up to this one were removed or sent.
    pub seq: u64,
    /// The last record that was sent is in the log, or lies before its beginning.
    pub known: bool,
}

/// How far this log has been sent, if that record was the last one sent. A record of another log,
/// such as a lost one, says nothing about this one.
///
/// # Errors
/// Those of the store.
pub fn reached(tx: &Tx<'_>, sent: Option<Head>) -> Result<Reached> {
    let start = tx.meta().start.seq;
    let Some(sent) = sent.filter(|sent| sent.seq > start) else {
        let (seq, known) = (start, true);
        return Ok(Reached { seq, known });
    };
    let known = tx.audit_record(sent.seq)?.map(|r| r.head()) == Some(sent);
    let seq = if known { sent.seq } else { start };
    Ok(Reached { seq, known })
}

/// The result of pruning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// How many records were removed.
    pub removed: u64,
    /// How many webhook messages will not be delivered, because their records were removed.
    pub undelivered: u64,
    /// How many records stay because they have not been sent yet.
    pub unsent: u64,
}

/// Removes the records before a time, in seconds, up to the first that is not older or, if the log
/// is sent elsewhere, has not been sent. The chain continues from the last one removed, whose hash
/// the store signs.
///
/// # Errors
/// If the caller is not an owner; those of the store.
pub fn prune(store: &mut Store, world: &World, before: u64) -> Result<Pruned> {
    world.caller.owner("remove audit records")?;
    let sent = sent(&store.head_file().with_file_name(SENT))?;
    store.write(world, |tx| {
        let start = tx.meta().start;
        let Some(old) = tx.last_audit_before(before.saturating_mul(1000))? else {
            return Ok(Pruned::default());
        };
        let most = match sent {
            None => old.seq,
            Some(_) => reached(tx, sent)?.seq,
        };
        let unsent = old.seq.saturating_sub(most.max(start.seq));
        let last = match unsent {
            0 => Some(old),
            _ => tx.audit_record(most)?.map(|r| r.head()),
        };
        let Some(last) = last.filter(|last| last.seq > start.seq) else {
            return Ok(Pruned {
                unsent,
                ..Pruned::default()
            });
        };
        let passed_over = webhook::pass_over(tx, last.seq)?;
        let removed = tx.prune_audit(last)?;
        let undelivered = passed_over + tx.drop_lost_messages()?;
        let said = json!({
            "before": when::rfc3339(before),
            "removed": count(usize::try_from(removed).unwrap_or(usize::MAX), "record"),
            "from": start.seq + 1,
            "to": last.to_string(),
            "undelivered": undelivered,
            "unsent": unsent,
        });
        tx.audit(world, "audit.prune", "audit", None, Some(&said))?;
        Ok(Pruned {
            removed,
            undelivered,
            unsent,
        })
    })
}
