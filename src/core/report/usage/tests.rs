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
