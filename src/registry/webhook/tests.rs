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

fn accepted() -> Tried {
    Tried {
        status: Some(204),
        took_ms: 31,
        failure: None,
    }
}

fn failed(why: &str, status: Option<u16>) -> Tried {
    Tried {
        status,
        took_ms: 7,
        failure: Some(why.to_owned()),
    }
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
    tried(&mut b.store, &world, &messages[0], &accepted()).unwrap();
    let failed = failed("answered 500", Some(500));
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
        let failed = failed("cannot be reached", None);
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
fn events_that_cannot_happen_are_refused_with_what_was_meant() {
    for (bad, meant) in [("key.revoked", "key.revoke"), ("keys.*", "key.*")] {
        let refused = checked_events(vec![bad.to_owned()]).unwrap_err();
        assert!(refused.is(Code::UnknownEvent), "{bad}");
        let words = refused.to_string();
        assert!(
            words.contains(&format!("did you mean `{meant}`?")),
            "{words}"
        );
    }
    for good in ["*", "key.*", "key.hand-over", "signing-key.rotate"] {
        assert!(checked_events(vec![good.to_owned()]).is_ok(), "{good}");
    }
}

#[test]
fn attempts_are_kept_newest_first_and_no_more_than_the_last_200() {
    let mut b = Bench::new();
    hook(&mut b, &["key.issue"]);
    b.issue(&system::at(NOON), 1);
    let message = due(&mut b, NOON + 1).pop().unwrap();
    let world = system::at(NOON + 1);
    tried(
        &mut b.store,
        &world,
        &message,
        &failed("answered 500", Some(500)),
    )
    .unwrap();
    let all = control::deliveries(&mut b.store, &world, "siem", 10).unwrap();
    assert_eq!(all.len(), 1);
    assert_eq!((all[0].attempt, all[0].status), (1, Some(500)));
    assert_eq!(all[0].failure.as_deref(), Some("answered 500"));
    assert!(all[0].next.unwrap() >= NOON + 6, "it is sent again");
    let again = due(&mut b, NOON + 10).pop().unwrap();
    tried(&mut b.store, &system::at(NOON + 10), &again, &accepted()).unwrap();
    let all = control::deliveries(&mut b.store, &world, "siem", 10).unwrap();
    let seen: Vec<_> = all
        .iter()
        .map(|d| (d.attempt, d.failure.is_none(), d.next))
        .collect();
    assert_eq!(seen, [(2, true, None), (1, false, None)]);
    for _ in 0..205 {
        tried(&mut b.store, &world, &message, &accepted()).unwrap();
    }
    let all = control::deliveries(&mut b.store, &world, "siem", 1000).unwrap();
    assert_eq!(all.len(), 200);
    assert!(
        all.iter().all(|d| d.failure.is_none()),
        "the oldest are gone"
    );
}

#[test]
fn a_message_is_sent_again_when_asked_and_only_to_one_that_is_sent_that_event() {
    let mut b = Bench::new();
    hook(&mut b, &["key.issue"]);
    b.issue(&system::at(NOON), 1);
    let message = due(&mut b, NOON + 1).pop().unwrap();
    let (seq, world) = (message.record.seq, system::at(NOON + 1));
    tried(&mut b.store, &world, &message, &accepted()).unwrap();
    assert!(due(&mut b, NOON + 2).is_empty());
    control::resend(&mut b.store, &system::at(NOON + 3), "siem", seq).unwrap();
    assert_eq!(due(&mut b, NOON + 3).pop().unwrap().record.seq, seq);
    // One that waits for its next attempt is sent now.
    tried(
        &mut b.store,
        &system::at(NOON + 3),
        &message,
        &failed("x", None),
    )
    .unwrap();
    assert!(due(&mut b, NOON + 4).is_empty());
    control::resend(&mut b.store, &system::at(NOON + 4), "siem", seq).unwrap();
    assert_eq!(due(&mut b, NOON + 4).len(), 1);

    let refused =
        |b: &mut Bench, seq| control::resend(&mut b.store, &world, "siem", seq).unwrap_err();
    assert!(refused(&mut b, 1).is(Code::InvalidValue), "another event");
    assert!(refused(&mut b, 9_999).is(Code::RecordNotFound));
}

#[test]
fn a_test_reaches_its_webhook_once_whatever_that_is_sent_otherwise() {
    for events in [&["key.issue"][..], &["*"], &["webhook.*"]] {
        let mut b = Bench::new();
        hook(&mut b, events);
        let seq = control::test(&mut b.store, &system::at(NOON), "siem").unwrap();
        // The server may be quicker than its look through the log.
        let at_once = b.store.read(|tx| tx.due_messages(1, NOON, 10)).unwrap();
        for message in &at_once {
            tried(&mut b.store, &system::at(NOON), message, &accepted()).unwrap();
        }
        let later = due(&mut b, NOON + 1);
        let sent: Vec<u64> = at_once.iter().chain(&later).map(|m| m.record.seq).collect();
        assert_eq!(sent, [seq], "{events:?}");
        control::resend(&mut b.store, &system::at(NOON + 1), "siem", seq).unwrap();
    }
}

#[test]
fn a_paused_webhook_is_sent_nothing_and_everything_once_it_goes_on() {
    let mut b = Bench::new();
    hook(&mut b, &["key.issue"]);
    let at = system::at(NOON);
    let paused = control::pause(&mut b.store, &at, "siem", true).unwrap();
    assert_eq!(paused.paused, Some(NOON));
    b.issue(&at, 3);
    assert!(due(&mut b, NOON + 1).is_empty());
    assert_eq!(b.store.read(|tx| tx.webhooks()).unwrap()[0].waiting, 3);
    // Pausing once more changes nothing.
    let again = control::pause(&mut b.store, &system::at(NOON + 1), "siem", true).unwrap();
    assert_eq!(again.paused, Some(NOON));
    control::pause(&mut b.store, &at, "siem", false).unwrap();
    assert_eq!(due(&mut b, NOON + 2).len(), 3);
    let log = b
        .store
        .read(|tx| tx.last_audit(&Query::default(), 1))
        .unwrap();
    assert_eq!(log[0].action, "webhook.resume");
}
