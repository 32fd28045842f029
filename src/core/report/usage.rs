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

pub use ledger::{Answer, Ledger, Moment, Sender, TIMEOUT, WAITING, WAITING_ROWS};
pub use table::{Origin, Use};

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
pub struct Refusal {
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
    pub fn name(&self) -> Refusal {
        Refusal {
            node: self.node.clone(),
            epoch: self.epoch,
            vm: self.vm,
            claimed: self.claimed,
            seq: self.seq,
        }
    }

    /// Whether every index in its rows is valid, and nothing is too long.
    fn holds(&self) -> bool {
        self.node.len() <= crate::report::MAX_NODE
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
    pub fn name(&self) -> Refusal {
        Refusal {
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
    let signer = keys.by_kid(kid)?.clone();
    seal_refusal(&batch.name(), &SigningKeys::new(vec![signer]))
}

/// Signs a refusal, as [`seal_batch`].
pub fn seal_refusal(refusal: &Refusal, keys: &SigningKeys) -> Option<Sealed> {
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
) -> Result<Refusal, MessageError> {
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
mod tests {
    use super::*;
    use crate::keyset::SigningKey;
    use proptest::prelude::*;
    use zeroize::Zeroizing;

    fn keys() -> SigningKeys {
        let key = SigningKey::new("one", Zeroizing::new(vec![1; 32])).unwrap();
        SigningKeys::new(vec![key])
    }

    fn batch() -> Batch {
        Batch {
            node: "edge-1".into(),
            epoch: 9,
            vm: 1,
            claimed: 7,
            seq: 3,
            store: "0102030405060708".into(),
            at: 1_800_000_000,
            routes: vec!["GET /orders".into()],
            outcomes: vec!["ok".into(), "unknown_api_key".into()],
            keys: vec![KeyUse {
                id: "0123456789".into(),
                last: 1_800_000_012,
                address: Some("192.0.2.7".into()),
                agent: None,
            }],
            rows: vec![
                Row {
                    key: Some(0),
                    route: Some(0),
                    outcome: 0,
                    requests: 12,
                },
                Row {
                    key: None,
                    route: None,
                    outcome: 1,
                    requests: 1,
                },
            ],
            dropped: 0,
        }
    }

    fn reopened(batch: &Batch) -> Result<Batch, MessageError> {
        let s = seal_batch(batch, &keys()).unwrap();
        open_batch(&s.body, &s.kid, &s.tag, &keys())
    }

    #[test]
    fn a_batch_is_read_back_and_its_rows_are_arrays() {
        assert_eq!(reopened(&batch()), Ok(batch()));
        let body = serde_json::to_value(batch()).unwrap();
        assert_eq!(
            body["rows"],
            serde_json::json!([[0, 0, 0, 12], [null, null, 1, 1]])
        );
    }

    #[test]
    fn an_index_that_points_nowhere_is_refused() {
        let changes: [fn(&mut Batch); 6] = [
            |b| b.rows[0].key = Some(1),
            |b| b.rows[0].route = Some(1),
            |b| b.rows[0].outcome = 2,
            |b| b.at += 1,
            |b| b.node = "n".repeat(257),
            |b| b.rows = vec![b.rows[0]; MAX_ROWS + 1],
        ];
        for change in changes {
            let mut changed = batch();
            change(&mut changed);
            assert_eq!(reopened(&changed), Err(MessageError::Shape));
        }
    }

    #[test]
    fn neither_a_batch_nor_a_receipt_passes_for_the_other_or_for_a_report() {
        let receipt = Receipt {
            node: "edge-1".into(),
            seq: 3,
            ..Receipt::default()
        };
        let b = seal_batch(&batch(), &keys()).unwrap();
        let r = seal_receipt(&receipt, &keys()).unwrap();
        assert_eq!(open_receipt(&r.body, &r.kid, &r.tag, &keys()), Ok(receipt));
        let refused = Err(MessageError::Signature);
        assert_eq!(open_batch(&r.body, &r.kid, &r.tag, &keys()), refused);
        let refused = Err(MessageError::Signature);
        assert_eq!(open_receipt(&b.body, &b.kid, &b.tag, &keys()), refused);
        let refused = Err(MessageError::Signature);
        let report = crate::report::open(&b.body, &b.kid, &b.tag, &keys());
        assert_eq!(report, refused);
    }

    #[test]
    fn only_what_can_be_read_and_contradicts_itself_is_refused_for_good() {
        let answer = |batch: &Batch, keys: &SigningKeys| {
            let s = seal_batch(batch, keys).unwrap();
            final_refusal(&s.body, &s.kid, &s.tag, &self::keys())
        };
        assert_eq!(answer(&batch(), &keys()), None, "this one is good");
        let mut broken = batch();
        broken.rows[0].key = Some(1);
        let r = answer(&broken, &keys()).unwrap();
        let opened = open_refusal(&r.body, &r.kid, &r.tag, &keys());
        assert_eq!(opened, Ok(broken.name()));
        let others = SigningKey::new("one", Zeroizing::new(vec![2; 32])).unwrap();
        assert_eq!(answer(&broken, &SigningKeys::new(vec![others])), None);
        let newer = br#"{"node":"edge-1","of":"tomorrow"}"#;
        let s = sign_batch(newer, &keys()).unwrap();
        assert_eq!(final_refusal(&s.body, &s.kid, &s.tag, &keys()), None);
        // It is not accepted as anything else, and nothing else is accepted as it.
        let as_receipt = open_receipt(&r.body, &r.kid, &r.tag, &keys());
        assert_eq!(as_receipt, Err(MessageError::Signature));
        let b = seal_batch(&broken, &keys()).unwrap();
        let as_refusal = open_refusal(&b.body, &b.kid, &b.tag, &keys());
        assert_eq!(as_refusal, Err(MessageError::Signature));
    }

    proptest! {
        #![proptest_config(crate::seeded())]

        #[test]
        fn any_bytes_are_refused_without_a_panic(body: Vec<u8>, tag in "\\PC{0,50}") {
            prop_assert!(open_batch(&body, "one", &tag, &keys()).is_err());
            prop_assert!(open_receipt(&body, "one", &tag, &keys()).is_err());
            prop_assert!(open_refusal(&body, "one", &tag, &keys()).is_err());
        }
    }
}
