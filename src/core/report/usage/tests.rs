use super::*;
use crate::damage::damage;
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

fn receipt() -> Receipt {
    Receipt {
        node: "edge-1".into(),
        seq: 3,
        ..Receipt::default()
    }
}

fn reopened(batch: &Batch) -> Result<Batch, MessageError> {
    let s = seal_batch(batch, &keys()).unwrap();
    open_batch(&s.body, &s.kid, &s.tag, &keys())
}

/// Nobody has signed it yet: `crate::json` would refuse the fraction, because it reads everything.
#[test]
fn of_a_message_that_is_not_verified_nothing_but_the_name_is_read() {
    let named = |text: &str| super::super::message::node_of(text.as_bytes());
    let found = named(r#"{"other":[1.5,{"node":"no"}],"node":"edge-7","more":1e400}"#);
    assert_eq!(found.as_deref(), Some("edge-7"));
    assert_eq!(named(r#"{"node":7}"#), None);
    assert_eq!(named(r#"{"other":"edge-7"}"#), None);
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
    let receipt = receipt();
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
    fn a_message_with_one_place_damaged_is_refused(damage in damage(), part in 0..3, which in 0..3usize) {
        let sealed = match which {
            0 => seal_batch(&batch(), &keys()),
            1 => seal_receipt(&receipt(), &keys()),
            _ => seal_refusal(&batch().name(), &keys()),
        }
        .unwrap();
        let mut changed = sealed.clone();
        match part {
            0 => changed.body = damage.apply(&sealed.body),
            1 => changed.kid = damage.of_text(&sealed.kid),
            _ => changed.tag = damage.of_text(&sealed.tag),
        }
        let is_same = changed == sealed;
        let Sealed { body, kid, tag } = &changed;
        let accepted = [
            open_batch(body, kid, tag, &keys()).is_ok_and(|read| read == batch()),
            open_receipt(body, kid, tag, &keys()).is_ok_and(|read| read == receipt()),
            open_refusal(body, kid, tag, &keys()).is_ok_and(|read| read == batch().name()),
        ];
        for (kind, accepted) in accepted.into_iter().enumerate() {
            prop_assert_eq!(accepted, is_same && kind == which);
        }
        prop_assert!(is_same || open_batch(body, kid, tag, &keys()).is_err());
        prop_assert!(is_same || open_receipt(body, kid, tag, &keys()).is_err());
        prop_assert!(is_same || open_refusal(body, kid, tag, &keys()).is_err());
    }

    /// Behind the signature: what is read is what is written, and every index leads somewhere.
    #[test]
    fn a_batch_that_was_signed_damaged_says_what_is_written_or_is_refused(damage in damage()) {
        let body = damage.apply(&serde_json::to_vec(&batch()).unwrap());
        let s = message::sign(Domain::Usage, body.clone(), &keys()).unwrap();
        if let Ok(read) = open_batch(&s.body, &s.kid, &s.tag, &keys()) {
            let written: serde_json::Value = serde_json::from_slice(&body).unwrap();
            prop_assert_eq!(serde_json::to_value(&read).unwrap(), written);
            for row in &read.rows {
                prop_assert!(row.key.is_none_or(|key| read.keys.get(key as usize).is_some()));
                prop_assert!(row.route.is_none_or(|route| read.routes.get(route as usize).is_some()));
                prop_assert!(read.outcomes.get(row.outcome as usize).is_some());
            }
        }
    }
}
