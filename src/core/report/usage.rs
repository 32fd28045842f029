//! What a VM reports to the control plane about the requests that it decided, and what it is told
//! about quotas in return.
//!
//! A batch is made once and sent unchanged until its receipt arrives; `seq` increases with every
//! batch of a VM, so that a batch that is sent twice is counted once. Batches and receipts are
//! signed ([`crate::report::message`]): nobody without the secret can add to a count, use up a
//! quota or reset one.

use serde::{Deserialize, Serialize};

mod ledger;
mod table;

pub use ledger::{BatchSender, Ledger, ReportAnswer, TIMEOUT, TickTime, WAITING, WAITING_ROWS};
pub use table::{Use, UsedFrom};

use crate::keyset::SigningKeys;
use crate::keyset::signing::Domain;
use crate::report::message::{self, MessageError, Sealed};

/// Where batches are posted.
pub const PATH: &str = "/v1/usage";
/// The longest batch or receipt, in bytes.
pub const MAX_BYTES: usize = 1024 * 1024;
/// The most rows of one batch.
pub const MAX_ROWS: usize = 16_384;
/// The longest user agent that is passed on, in bytes.
pub const MAX_AGENT: usize = 128;
/// Seconds that the counts of one batch belong to, at most.
pub const GRAIN: u64 = 60;

/// Counts of one VM, one store and one minute.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    /// Envoy's `node.id`; at most [`crate::report::MAX_NODE`] bytes.
    pub node: String,
    /// Distinguishes this run of Envoy from earlier ones on the same node; the same for all VMs of
    /// a process.
    pub epoch: u64,
    /// The VM's number within its Envoy.
    pub vm: u32,
    /// Distinguishes the VM from those that had its number before, as in a
    /// [`crate::report::Report`].
    pub claimed: u64,
    /// Increases with every batch of this VM, with gaps if it also serves other stores.
    pub seq: u64,
    /// The store, sixteen hexadecimal digits.
    pub store: String,
    /// The minute that these requests were decided in: wall-clock seconds, a multiple of
    /// [`GRAIN`].
    pub at: u64,
    /// Names of routes, as [`Row::route`] numbers them.
    pub routes: Vec<String>,
    /// Codes, `ok` for what was let through, as [`Row::outcome`] numbers them.
    pub outcomes: Vec<String>,
    /// Keys, as [`Row::key`] numbers them.
    pub keys: Vec<KeyUse>,
    /// The counts; at most [`MAX_ROWS`].
    pub rows: Vec<Row>,
    /// Requests since the previous batch that are in no row, for lack of room.
    pub dropped: u64,
}

/// A key that was used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyUse {
    /// Its id.
    pub id: String,
    /// When it was last used, to the tick: wall-clock seconds.
    pub last: u64,
    /// The address of its last use, as far as the policy passes that on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The user agent of its last use, likewise; at most [`MAX_AGENT`] bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
}

/// A count. In JSON an array, `[key, route, outcome, requests]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "RowTuple", into = "RowTuple")]
pub struct Row {
    /// Index into [`Batch::keys`]; `None` where no key was recognised.
    pub key: Option<u32>,
    /// Index into [`Batch::routes`]; `None` where none matched.
    pub route: Option<u32>,
    /// Index into [`Batch::outcomes`].
    pub outcome: u32,
    /// Requests, each as one, whatever it cost.
    pub requests: u64,
}

type RowTuple = (Option<u32>, Option<u32>, u32, u64);

impl From<RowTuple> for Row {
    fn from((key, route, outcome, requests): RowTuple) -> Self {
        Self {
            key,
            route,
            outcome,
            requests,
        }
    }
}

impl From<Row> for RowTuple {
    fn from(row: Row) -> Self {
        (row.key, row.route, row.outcome, row.requests)
    }
}

/// The answer to a batch that has been counted, now or earlier.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// The batch's node.
    pub node: String,
    /// The batch's epoch.
    pub epoch: u64,
    /// The batch's VM.
    pub vm: u32,
    /// The batch's claim.
    pub claimed: u64,
    /// The batch's number, so that a receipt for another batch does not count.
    pub seq: u64,
    /// Every quota that a key of the batch draws on.
    pub quotas: Vec<QuotaUse>,
}

/// The batch that a refusal is about: everything that identifies a batch. As a message, it says
/// that the control plane will never count that batch. An answer without such a signature proves
/// nothing, whatever its status: anybody on the network path can send one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchRefusal {
    /// The batch's node.
    pub node: String,
    /// The batch's epoch.
    pub epoch: u64,
    /// The batch's VM.
    pub vm: u32,
    /// The batch's claim.
    pub claimed: u64,
    /// The batch's number.
    pub seq: u64,
}

impl Batch {
    /// What distinguishes it from every other batch.
    pub fn name(&self) -> BatchRefusal {
        BatchRefusal {
            node: self.node.clone(),
            epoch: self.epoch,
            vm: self.vm,
            claimed: self.claimed,
            seq: self.seq,
        }
    }

    /// Whether every index in its rows is valid, nothing is too long, and all is text that any
    /// database takes.
    fn holds(&self) -> bool {
        let names = self.routes.iter().chain(&self.outcomes);
        self.node.len() <= crate::report::MAX_NODE
            && names.chain([&self.node]).all(|text| !text.contains('\0'))
            && self.rows.len() <= MAX_ROWS
            && self.at.is_multiple_of(GRAIN)
            && self.rows.iter().all(|row| {
                let within = |i: Option<u32>, n: usize| i.is_none_or(|i| (i as usize) < n);
                within(row.key, self.keys.len())
                    && within(row.route, self.routes.len())
                    && within(Some(row.outcome), self.outcomes.len())
            })
    }
}

impl Receipt {
    /// The batch that it is for.
    pub fn name(&self) -> BatchRefusal {
        BatchRefusal {
            node: self.node.clone(),
            epoch: self.epoch,
            vm: self.vm,
            claimed: self.claimed,
            seq: self.seq,
        }
    }
}

/// What others have taken of a quota.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuotaUse {
    /// The owner of the quota: the id of the first key in a chain of rotations.
    pub lineage: String,
    /// When its window began: wall-clock seconds.
    pub window: u64,
    /// Requests let through in this window that the control plane has counted from everywhere
    /// except the batch's node and epoch.
    pub others: u64,
    /// Requests of this window that the operator gave back. Left out if there are none, because
    /// older filters do not know the field.
    #[serde(default, skip_serializing_if = "is_none")]
    pub given_back: u64,
}

fn is_none(n: &u64) -> bool {
    *n == 0
}

/// Signs the bytes of a batch as they are. A batch that is sent again after the signing keys were
/// rotated is the same batch with a new signature. `None` if there is no key.
pub fn sign_batch(body: &[u8], keys: &SigningKeys) -> Option<Sealed> {
    message::sign(Domain::Usage, body.to_vec(), keys)
}

/// Signs a batch. `None` if there is no key or the batch cannot be written.
pub fn seal_batch(batch: &Batch, keys: &SigningKeys) -> Option<Sealed> {
    message::seal(Domain::Usage, batch, keys)
}

/// Verifies and reads a batch. Every index in its rows is valid.
///
/// # Errors
/// [`MessageError`].
pub fn open_batch(
    body: &[u8],
    kid: &str,
    tag: &str,
    keys: &SigningKeys,
) -> Result<Batch, MessageError> {
    let batch: Batch = message::open(Domain::Usage, MAX_BYTES, body, kid, tag, keys)?;
    match batch.holds() {
        true => Ok(batch),
        false => Err(MessageError::Shape),
    }
}

/// The signed refusal of a batch that [`open_batch`] will always refuse: it is signed and readable,
/// but contradicts itself. A batch that cannot be read may come from a newer filter, and can be
/// sent again once the companion is updated: `None`.
pub fn final_refusal(body: &[u8], kid: &str, tag: &str, keys: &SigningKeys) -> Option<Sealed> {
    let batch: Batch = message::open(Domain::Usage, MAX_BYTES, body, kid, tag, keys).ok()?;
    if batch.holds() {
        return None;
    }
    // With the key that signed the batch, because its Envoy may not know any other.
    let signer = keys.shared(kid)?.clone();
    seal_refusal(&batch.name(), &SigningKeys::new(vec![signer]))
}

/// Signs a refusal, as [`seal_batch`].
pub fn seal_refusal(refusal: &BatchRefusal, keys: &SigningKeys) -> Option<Sealed> {
    message::seal(Domain::Refusal, refusal, keys)
}

/// Verifies and reads a refusal.
///
/// # Errors
/// [`MessageError`].
pub fn open_refusal(
    body: &[u8],
    kid: &str,
    tag: &str,
    keys: &SigningKeys,
) -> Result<BatchRefusal, MessageError> {
    message::open(Domain::Refusal, MAX_BYTES, body, kid, tag, keys)
}

/// Signs a receipt, as [`seal_batch`].
pub fn seal_receipt(receipt: &Receipt, keys: &SigningKeys) -> Option<Sealed> {
    message::seal(Domain::Receipt, receipt, keys)
}

/// Verifies and reads a receipt.
///
/// # Errors
/// [`MessageError`].
pub fn open_receipt(
    body: &[u8],
    kid: &str,
    tag: &str,
    keys: &SigningKeys,
) -> Result<Receipt, MessageError> {
    message::open(Domain::Receipt, MAX_BYTES, body, kid, tag, keys)
}

#[cfg(test)]
mod tests;
