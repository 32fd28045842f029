//! One transaction: what it has changed, what it writes down, and how it ends.

use crate::sql::params;
use keystile_model::audit::{Outcome, Record};
use keystile_model::error::{Code, Result, refuse};
use keystile_model::record::Key;
use keystile_model::world::World;
use serde_json::Value;
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use zeroize::Zeroizing;

use super::column;
use super::meta::Meta;
use super::scope::TransactionScope;
use super::seal::Seal;
use super::shared;

/// A transaction: a consistent view for reading, all or nothing for writing.
pub struct Tx<'s> {
    pub(super) tx: TransactionScope<'s>,
    pub(super) meta: Meta,
    /// There is no secret for signing checkpoints yet.
    pub(super) unsealed: bool,
    /// The version that a change in this transaction gives the keyset.
    pub(super) next: u64,
    /// The keyset differs from the one of `meta.version`.
    pub(super) changed: bool,
    pub(super) stop: Arc<AtomicBool>,
    /// Seals secrets, unless the whole store is encrypted.
    pub(super) seal: Option<Arc<Seal>>,
    /// Audit records that are chained but not yet written; see [`Tx::audit`].
    pub(super) unwritten: RefCell<Vec<Record>>,
}

impl Tx<'_> {
    /// What the store knows about itself; before this transaction's own change.
    pub fn meta(&self) -> Meta {
        self.meta
    }

    /// Checks for an interruption. Every audit record does; a loop that may run long without one
    /// has to call this itself.
    ///
    /// # Errors
    /// If it is to be interrupted. It is not committed then, even if somebody goes on.
    pub fn go_on(&self) -> Result<()> {
        go_on(&self.stop)
    }

    /// Notes that this transaction changes the keyset.
    pub fn keyset_changed(&mut self) {
        self.changed = true;
    }

    /// The version that the keyset has after this transaction if that changes it.
    pub fn next_version(&self) -> u64 {
        self.next
    }

    /// Adds an audit record. Every operation that changes anything calls this. Records are written
    /// in groups of some dozens, at the latest when they are read or committed.
    pub fn audit(
        &mut self,
        world: &World,
        action: &str,
        subject: &str,
        before: Option<&Value>,
        after: Option<&Value>,
    ) -> Result<()> {
        let text = |v: Option<&Value>| v.map(ToString::to_string).unwrap_or_default();
        let client = match after.or(before).and_then(|v| v.get("client")) {
            Some(Value::String(client)) => client.as_str(),
            _ if action.starts_with("client.") => subject,
            _ => "",
        };
        self.append(Record {
            action: action.to_owned(),
            subject: subject.to_owned(),
            client: client.to_owned(),
            before: text(before),
            after: text(after),
            ..Record::new(world)
        })
    }

    /// Adds the audit record of a change to a key, with [`Key::audit_text`] of its former state, if
    /// any, and of its new state.
    pub fn audit_key(
        &mut self,
        world: &World,
        action: &str,
        key: &Key,
        before: String,
        after: String,
    ) -> Result<()> {
        self.append(Record {
            action: action.to_owned(),
            subject: key.id.to_string(),
            client: key.client.clone(),
            before,
            after,
            ..Record::new(world)
        })
    }

    /// Writes the record of a refused attempt; `client` is the client concerned, if known.
    pub fn audit_refused(
        &mut self,
        world: &World,
        action: &str,
        subject: &str,
        client: &str,
        reason: &str,
    ) -> Result<()> {
        self.append(Record {
            action: action.to_owned(),
            subject: subject.to_owned(),
            client: client.to_owned(),
            outcome: Outcome::Refused,
            reason: reason.to_owned(),
            ..Record::new(world)
        })
    }

    /// A secret, as it is kept in a place: a column, and what names its row.
    pub(super) fn sealed(&self, place: &str, secret: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        match &self.seal {
            Some(seal) => seal.close(place, secret).map(Zeroizing::new),
            None => Ok(Zeroizing::new(secret.to_vec())),
        }
    }

    /// The secret that is kept in a place.
    pub(super) fn revealed(&self, place: &str, kept: Vec<u8>) -> Result<Zeroizing<Vec<u8>>> {
        let kept = Zeroizing::new(kept);
        match &self.seal {
            Some(seal) => seal.reveal(place, &kept),
            None => Ok(kept),
        }
    }

    /// Whether no change was noted.
    pub(super) fn is_untouched(&self) -> bool {
        !self.changed && self.unwritten.borrow().is_empty()
    }

    pub(super) fn commit(mut self, world: &World) -> Result<()> {
        self.go_on()?;
        self.write_audit()?;
        if self.unsealed {
            self.insert_audit_secret(world)?;
        }
        if self.changed {
            self.meta.version = self.next;
            self.meta.issued_at = world.now.seconds();
        }
        let Meta {
            version,
            issued_at,
            head,
            ..
        } = self.meta;
        self.tx.execute(
            "UPDATE meta SET version = ?, issued_at = ?, audit_seq = ?, audit_hash = ?",
            params![
                column::signed(version),
                column::signed(issued_at),
                column::signed(head.seq),
                head.link.0,
            ],
        )?;
        shared::tell(&self.tx, shared::STORE)?;
        self.tx.commit()
    }
}

pub(super) fn go_on(stop: &AtomicBool) -> Result<()> {
    match stop.load(Ordering::Relaxed) {
        false => Ok(()),
        true => Err(refuse(
            Code::Interrupted,
            "it was interrupted",
            "nothing was changed; try again",
        )),
    }
}
