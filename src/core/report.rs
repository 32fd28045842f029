//! What a VM reports to the control plane: which version it actually has in force.
//!
//! An acknowledged push shows that Envoy's main thread accepted it, not that the workers have it.
//! Reports come from the workers themselves and are signed ([`crate::report::message`]), so that
//! nobody without a secret can claim that a revocation is in force.

pub mod message;
pub mod usage;

use serde::{Deserialize, Serialize};

use crate::keyset::signing::Domain;
use crate::keyset::{Holding, SigningKeys, StoreId};
use crate::report::message::{MessageError, Sealed};

/// What the log says about an Envoy that should report but has nothing to sign reports with.
pub const UNSIGNED: &str = "keystile: the policy asks for reports, and this Envoy has no secret to sign them with, because public keys sign nothing: enroll it with `keystilectl node enroll`, and give it the `KEYSTILE_NODE_KEY` that this prints";
/// Where reports are posted.
pub const PATH: &str = "/v1/reports";
/// The longest report, in bytes.
pub const MAX_BYTES: usize = 64 * 1024;
/// The longest node id, in bytes.
pub const MAX_NODE: usize = 256;
/// The most stores in one report.
pub const MAX_STORES: usize = 256;

/// What one VM has in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// Envoy's `node.id`; at most [`MAX_NODE`] bytes.
    pub node: String,
    /// Distinguishes the Envoy process from all others, even from one with the same node id; the
    /// same for all of its VMs. Older filters do not send it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<u64>,
    /// The VM's number within its Envoy.
    pub vm: u32,
    /// How many VMs this Envoy has, as far as this one can see: one per worker, and one for the
    /// main thread.
    pub vms: u32,
    /// Wall-clock seconds.
    pub sent: u64,
    /// Distinguishes this VM from those that had its number before: nanoseconds of Envoy's
    /// monotonic clock at which it claimed the number.
    pub claimed: u64,
    /// What is in force, by store; at most [`MAX_STORES`].
    pub stores: Vec<StoreState>,
}

/// What one VM has in force of one store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreState {
    /// The store, sixteen hexadecimal digits.
    pub store: String,
    /// The version in force; zero for none, in which case the VM refuses everything.
    pub version: u64,
    /// The version of the base that is loaded; zero for none.
    pub base: u64,
    /// An overlay is here without its base, which should be pushed again.
    pub missing_base: bool,
}

impl StoreState {
    /// What is held of a store.
    pub fn from_holding(store: StoreId, held: &Holding) -> Self {
        Self {
            store: store.to_string(),
            version: held.version(),
            base: held.base_version(),
            missing_base: held.waiting().is_some(),
        }
    }
}

/// Signs a report with the first of the keys. `None` if there is no key or the report
/// cannot be written.
pub fn seal(report: &Report, keys: &SigningKeys) -> Option<Sealed> {
    message::seal(Domain::Report, report, keys)
}

/// Verifies and reads a report. Nothing in it is read before the signature is verified.
///
/// # Errors
/// [`MessageError`].
pub fn open(body: &[u8], kid: &str, tag: &str, keys: &SigningKeys) -> Result<Report, MessageError> {
    let report: Report = message::open(Domain::Report, MAX_BYTES, body, kid, tag, keys)?;
    if report.node.len() > MAX_NODE || report.stores.len() > MAX_STORES {
        return Err(MessageError::Shape);
    }
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::damage::damage;
    use crate::keyset::SigningKey;
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use proptest::prelude::*;
    use zeroize::Zeroizing;

    fn key(kid: &str, byte: u8) -> SigningKey {
        SigningKey::new(kid, Zeroizing::new(vec![byte; 32])).unwrap()
    }

    fn keys() -> SigningKeys {
        SigningKeys::new(vec![key("new", 2), key("old", 1)])
    }

    fn report() -> Report {
        Report {
            node: "edge-1".into(),
            process: Some(5),
            vm: 1,
            vms: 3,
            sent: 1_800_000_000,
            claimed: 7,
            stores: vec![StoreState {
                store: "0102030405060708".into(),
                version: 42,
                base: 40,
                missing_base: false,
            }],
        }
    }

    fn reopened(s: &Sealed, keys: &SigningKeys) -> Result<Report, MessageError> {
        open(&s.body, &s.kid, &s.tag, keys)
    }

    #[test]
    fn a_report_is_signed_with_the_first_key_and_read_by_who_lists_it() {
        let sealed = seal(&report(), &keys()).unwrap();
        assert_eq!(sealed.kid, "new");
        assert_eq!(reopened(&sealed, &keys()), Ok(report()));
        let other_order = SigningKeys::new(vec![key("old", 1), key("new", 2)]);
        assert_eq!(reopened(&sealed, &other_order), Ok(report()));
        let retired = SigningKeys::new(vec![key("old", 1)]);
        assert_eq!(reopened(&sealed, &retired), Err(MessageError::UnknownKid));
        let stranger = SigningKeys::new(vec![key("new", 9)]);
        assert_eq!(reopened(&sealed, &stranger), Err(MessageError::Signature));
        assert_eq!(seal(&report(), &SigningKeys::new(Vec::new())), None);
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let sealed = seal(&report(), &keys()).unwrap();
        for at in 0..sealed.body.len() * 8 {
            let mut changed = sealed.clone();
            changed.body[at / 8] ^= 1 << (at % 8);
            assert_eq!(reopened(&changed, &keys()), Err(MessageError::Signature));
        }
        for tag in ["", "*", "AAAA", &sealed.tag[1..]] {
            let changed = Sealed {
                tag: tag.to_owned(),
                ..sealed.clone()
            };
            assert_eq!(reopened(&changed, &keys()), Err(MessageError::Signature));
        }
    }

    #[test]
    fn a_tag_made_for_a_keyset_is_none_for_a_report() {
        let key = key("new", 2);
        let body = serde_json::to_vec(&report()).unwrap();
        for domain in [Domain::Keyset, Domain::Overlay] {
            let tag = URL_SAFE_NO_PAD.encode(key.tag(domain, &body));
            assert_eq!(
                open(&body, "new", &tag, &keys()),
                Err(MessageError::Signature)
            );
        }
    }

    #[test]
    fn what_is_signed_but_no_report_or_too_large_is_refused() {
        let signed = |body: &[u8]| {
            let tag = URL_SAFE_NO_PAD.encode(key("new", 2).tag(Domain::Report, body));
            open(body, "new", &tag, &keys())
        };
        assert_eq!(signed(b"{}"), Err(MessageError::Shape));
        let mut extra = serde_json::to_value(report()).unwrap();
        extra["more"] = 1.into();
        assert_eq!(
            signed(extra.to_string().as_bytes()),
            Err(MessageError::Shape)
        );
        let long = Report {
            node: "n".repeat(MAX_NODE + 1),
            ..report()
        };
        let sealed = seal(&long, &keys()).unwrap();
        assert_eq!(reopened(&sealed, &keys()), Err(MessageError::Shape));
        assert_eq!(
            signed(&vec![b' '; MAX_BYTES + 1]),
            Err(MessageError::TooLong(MAX_BYTES))
        );
    }

    proptest! {
        #![proptest_config(crate::seeded())]

        #[test]
        fn whatever_is_sealed_is_read_back(
            node in "\\PC{0,60}", process: Option<u64>, vm: u32, vms: u32, sent: u64, claimed: u64,
            stores in proptest::collection::vec(("[0-9a-f]{16}", any::<(u64, u64, bool)>()), 0..5),
        ) {
            let report = Report {
                node, process, vm, vms, sent, claimed,
                stores: stores
                    .into_iter()
                    .map(|(store, (version, base, missing_base))| StoreState { store, version, base, missing_base })
                    .collect(),
            };
            let sealed = seal(&report, &keys()).unwrap();
            prop_assert_eq!(reopened(&sealed, &keys()), Ok(report));
        }

        #[test]
        fn a_report_with_one_place_damaged_is_refused(damage in damage(), part in 0..3) {
            let sealed = seal(&report(), &keys()).unwrap();
            let mut changed = sealed.clone();
            match part {
                0 => changed.body = damage.apply(&sealed.body),
                1 => changed.kid = damage.of_text(&sealed.kid),
                _ => changed.tag = damage.of_text(&sealed.tag),
            }
            let expected = (changed == sealed).then(report);
            prop_assert_eq!(reopened(&changed, &keys()).ok(), expected);
        }

        /// Behind the signature: what is read is what is written, and nothing is read into it.
        #[test]
        fn a_report_that_was_signed_damaged_says_what_is_written_or_is_refused(damage in damage()) {
            let body = damage.apply(&serde_json::to_vec(&report()).unwrap());
            let sealed = message::sign(Domain::Report, body.clone(), &keys()).unwrap();
            if let Ok(report) = reopened(&sealed, &keys()) {
                let written: serde_json::Value = serde_json::from_slice(&body).unwrap();
                prop_assert_eq!(serde_json::to_value(report).unwrap(), written);
            }
        }
    }
}
