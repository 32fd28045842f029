use super::*;
use crate::audit;
use crate::bench::{Bench, NOON};
use keystile_store::Query;
use keystile_system as system;

fn hook(b: &mut Bench, events: &[&str]) {
    let draft = WebhookDraft {
        name: "siem".to_owned(),
        url: "https://siem.example.com/keystile".to_owned(),
        events: events.iter().map(|e| (*e).to_owned()).collect(),
        secret: None,
    };
    create(&mut b.store, &system::at(NOON), draft).ok().unwrap();
}

fn due(b: &mut Bench, at: u64) -> Vec<DueMessage> {
    while collect(&mut b.store, &system::at(at)).unwrap().more {}
    b.store.read(|tx| tx.due_messages(1, at, 100)).unwrap()
}

#[test]
fn a_webhook_hears_what_it_wants_of_what_happens_after_it_was_made() {
    let mut b = Bench::new();
    b.issue(&system::at(NOON), 1);
    hook(&mut b, &["key.*"]);
    assert!(due(&mut b, NOON + 1).is_empty());
    b.issue(&system::at(NOON + 2), 2);
    b.client("pia");
    let messages = due(&mut b, NOON + 3);
    let actions: Vec<&str> = messages.iter().map(|m| m.record.action.as_str()).collect();
    assert_eq!(actions, ["key.issue", "key.issue"]);
    let (id, body) = content(&messages[0]);
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(id, format!("msg_1_{}", messages[0].record.seq));
    assert_eq!(body["type"], "key.issue");
    assert_eq!(body["data"]["client"], "acme");
}

#[test]
fn what_was_taken_is_not_sent_again_and_what_was_not_is_sent_later() {
    let mut b = Bench::new();
    hook(&mut b, &["key.issue"]);
    b.issue(&system::at(NOON), 2);
    let messages = due(&mut b, NOON + 1);
    let world = system::at(NOON + 1);
    tried(&mut b.store, &world, &messages[0], &Tried::Taken).unwrap();
    let failed = Tried::Failed("answered 500".to_owned());
    tried(&mut b.store, &world, &messages[1], &failed).unwrap();
    assert!(due(&mut b, NOON + 5).is_empty());
    let again = due(&mut b, NOON + 7);
    assert_eq!(again.len(), 1);
    assert_eq!(again[0].record.seq, messages[1].record.seq);
    assert_eq!(again[0].failures, 1);
}

#[test]
fn a_receiver_that_never_answers_is_given_up_and_the_log_says_so() {
    let mut b = Bench::new();
    hook(&mut b, &["key.issue"]);
    b.issue(&system::at(NOON), 1);
    let mut now = NOON + 1;
    let mut tries = 0;
    while let Some(message) = due(&mut b, now).pop() {
        let failed = Tried::Failed("cannot be reached".to_owned());
        tried(&mut b.store, &system::at(now), &message, &failed).unwrap();
        tries += 1;
        now += 100_000;
    }
    assert_eq!(tries, 9);
    let log = b
        .store
        .read(|tx| tx.last_audit(&Query::default(), 1))
        .unwrap();
    assert_eq!(log[0].action, "webhook.give-up");
    assert_eq!(b.verify(), Ok(()));
}

#[test]
fn messages_that_lost_their_records_to_a_pruning_hold_up_no_other() {
    let mut b = Bench::new();
    hook(&mut b, &["key.issue"]);
    b.issue(&system::at(NOON), 6);
    assert_eq!(due(&mut b, NOON + 1).len(), 6);
    // Two more that the webhook has not looked for yet.
    b.issue(&system::at(NOON + 2), 2);
    let pruned = audit::prune(&mut b.store, &system::at(NOON + 50), NOON + 10).unwrap();
    assert_eq!(pruned.undelivered, 8);
    b.issue(&system::at(NOON + 60), 1);
    while collect(&mut b.store, &system::at(NOON + 61)).unwrap().more {}
    let first = |tx: &Tx<'_>| tx.due_messages(1, NOON + 61, 4);
    assert_eq!(b.store.read(first).unwrap().len(), 1);
    assert_eq!(b.store.read(|tx| tx.webhooks()).unwrap()[0].waiting, 1);
    let log = b.store.read(|tx| {
        let query = Query {
            action: Some("audit.prune".to_owned()),
            ..Query::default()
        };
        tx.last_audit(&query, 1)
    });
    assert!(log.unwrap()[0].after.contains(r#""undelivered":8"#));
}

#[test]
fn messages_left_behind_by_a_former_version_are_given_up_and_counted() {
    let mut b = Bench::new();
    hook(&mut b, &["key.issue"]);
    b.issue(&system::at(NOON), 5);
    assert_eq!(due(&mut b, NOON + 1).len(), 5);
    audit::prune(&mut b.store, &system::at(NOON + 50), NOON + 10).unwrap();
    b.sql("INSERT INTO message (webhook, seq, failures, next) VALUES (1,1,0,0),(1,2,0,0),(1,3,0,0),(1,4,0,0)");
    b.issue(&system::at(NOON + 60), 1);
    let first = |tx: &Tx<'_>| tx.due_messages(1, NOON + 61, 4);
    let collected = collect(&mut b.store, &system::at(NOON + 61)).unwrap();
    assert_eq!(collected.dropped, 4);
    assert_eq!(b.store.read(first).unwrap().len(), 1);
}

#[test]
fn a_deleted_webhook_takes_its_messages_along() {
    let mut b = Bench::new();
    hook(&mut b, &["*"]);
    b.issue(&system::at(NOON), 3);
    assert!(!due(&mut b, NOON + 1).is_empty());
    delete(&mut b.store, &system::at(NOON + 2), "siem").unwrap();
    assert!(due(&mut b, NOON + 3).is_empty());
}

#[test]
fn events_that_cannot_happen_are_refused() {
    for bad in ["", "key", "key.", ".*", "Key.issue", "key.*.x", "**"] {
        assert!(checked_events(vec![bad.to_owned()]).is_err(), "{bad}");
    }
    for good in ["*", "key.*", "key.hand-over", "signing-key.rotate"] {
        assert!(checked_events(vec![good.to_owned()]).is_ok(), "{good}");
    }
}
