//! Searching the audit log.

use super::*;

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn records_are_found_by_every_field() {
    let mut b = Bench::new();
    b.client("other");
    let ids: Vec<_> = b.issue(&system::at(NOON + 1), 2);
    let id = ids[0].key.id;
    key::revoke_all(&mut b.store, &system::at(NOON + 2), &[id], "").unwrap();
    let eve = system::by(
        NOON + 3,
        keystile_model::caller::Grant {
            name: "eve".to_owned(),
            ..keystile_model::caller::Grant::nothing()
        },
    );
    log::refused(&mut b.store, &eve, "key.revoke", "x", "acme", "no").unwrap();
    let mut find = |query: Query| {
        let found = b.store.read(|tx| tx.last_audit(&query, 100)).unwrap();
        // The same in small steps, the other way round.
        let mut each = Vec::new();
        let mut step = query.clone();
        loop {
            let page = b.store.read(|tx| tx.audit_forth(&step, 1, 2)).unwrap();
            each.extend(page.records);
            if page.next.is_none() {
                break;
            }
            step.after = page.next;
        }
        each.reverse();
        assert_eq!(found, each, "the same, the other way round");
        let actions = found.iter().map(|r| r.action.clone());
        actions.collect::<Vec<_>>().join(" ")
    };
    let any = Query::default;
    let some = |text: &str| Some(text.to_owned());
    let revoked = "key.revoke key.revoke";
    for (query, want) in [
        (
            Query {
                subject: Some(id.to_string()),
                ..any()
            },
            "key.revoke key.issue",
        ),
        (
            Query {
                client: some("other"),
                ..any()
            },
            "client.create",
        ),
        (
            Query {
                client: some("acme"),
                ..any()
            },
            "key.revoke key.revoke key.issue key.issue client.create",
        ),
        (
            Query {
                actor: some("token eve"),
                ..any()
            },
            "key.revoke",
        ),
        (
            Query {
                action: some("key.revoke"),
                ..any()
            },
            revoked,
        ),
        (
            Query {
                action: some("key."),
                ..any()
            },
            "key.revoke key.revoke key.issue key.issue",
        ),
        (
            Query {
                since: Some((NOON + 2) * 1000),
                ..any()
            },
            revoked,
        ),
        (
            Query {
                since: Some((NOON + 1) * 1000),
                until: Some((NOON + 3) * 1000),
                ..any()
            },
            "key.revoke key.issue key.issue",
        ),
        (
            Query {
                outcome: Some(Outcome::Refused),
                ..any()
            },
            "key.revoke",
        ),
        (
            Query {
                before: Some(3),
                outcome: Some(Outcome::Done),
                ..any()
            },
            "client.create signing-key.create",
        ),
        (
            Query {
                client: some("acme"),
                action: some("key.revoke"),
                outcome: Some(Outcome::Done),
                ..any()
            },
            "key.revoke",
        ),
        (
            Query {
                subject: some("nobody"),
                ..any()
            },
            "",
        ),
    ] {
        assert_eq!(find(query.clone()), want, "{query:?}");
    }
    let last = b.store.read(|tx| tx.last_audit(&any(), 1)).unwrap();
    assert_eq!(last[0].actor.address, "127.0.0.1");
    assert_eq!(
        (last[0].actor.request.as_str(), last[0].reason.as_str()),
        ("r-1", "no")
    );
    assert_eq!(b.verify(), Ok(()));
}

#[test]
fn every_way_to_search_for_a_few_uses_an_index() {
    let mut b = Bench::in_file();
    for n in 1..3 {
        did(&mut b, &format!("token x ({n})"), "client.create");
    }
    let any = Query::default;
    let some = |text: &str| Some(text.to_owned());
    for query in [
        Query {
            subject: some("x"),
            ..any()
        },
        Query {
            client: some("x"),
            ..any()
        },
        Query {
            actor: some("x"),
            ..any()
        },
        Query {
            action: some("x"),
            ..any()
        },
        Query {
            action: some("client."),
            ..any()
        },
        Query {
            actor: some("token x"),
            ..any()
        },
        Query {
            actor: some("token x"),
            action: some("client."),
            ..any()
        },
        Query {
            outcome: Some(Outcome::Refused),
            ..any()
        },
        Query {
            subject: some("x"),
            client: some("x"),
            actor: some("x"),
            action: some("x"),
            since: Some(1),
            until: Some(2),
            outcome: Some(Outcome::Refused),
            ..any()
        },
    ] {
        let plan = b.store.audit_plan(&query);
        assert!(plan.contains("USING COVERING INDEX"), "{query:?}: {plan}");
        assert!(!plan.contains("TEMP B-TREE"), "{query:?}: {plan}");
    }
}

/// A token that is renewed each day has had hundreds of ids in two years.
#[test]
fn what_a_token_did_is_found_by_its_name_however_many_ids_it_had() {
    let mut b = Bench::new();
    for (ids, want) in [(3, "test.b test.b test.b"), (700, "test.b test.b test.b")] {
        let write = |tx: &mut Tx<'_>| {
            for (n, name) in (0..ids).flat_map(|n| ["ci", "cis", "c"].map(|name| (n, name))) {
                let mut world = system::at(NOON);
                world.actor.user = format!("token {name} ({n:010})");
                tx.audit(&world, "test.b", "x", None, None)?;
            }
            Ok(())
        };
        b.store.write(&system::at(NOON), write).unwrap();
        did(&mut b, "token ci", "test.a");
        for action in [None, Some("test.b".to_owned()), Some("test.".to_owned())] {
            let query = Query {
                actor: Some("token ci".to_owned()),
                action,
                ..Query::default()
            };
            let named = query.action.as_deref() == Some("test.b");
            let mut found = b.store.read(|tx| tx.last_audit(&query, 4)).unwrap();
            if !named {
                assert_eq!(found.remove(0).action, "test.a", "{query:?}");
            }
            let users = found.iter().map(|r| r.actor.user.as_str());
            assert!(users.clone().all(|u| u.starts_with("token ci (")));
            let actions: Vec<_> = found.iter().map(|r| r.action.as_str()).collect();
            assert!(actions.join(" ").starts_with(want), "{query:?}");
            assert!(found.is_sorted_by(|a, b| a.seq > b.seq), "the latest first");
        }
        let one = Query {
            actor: Some("token ci (0000000001)".to_owned()),
            ..Query::default()
        };
        assert!(
            !b.store
                .read(|tx| tx.last_audit(&one, 9))
                .unwrap()
                .is_empty()
        );
    }
}

#[test]
fn a_search_for_few_among_many_looks_at_so_many_and_says_where_to_go_on() {
    let mut b = Bench::new();
    b.issue(&system::at(NOON + 10), 60);
    let any = Query::default;
    for query in [
        Query {
            until: Some(1),
            ..any()
        },
        Query {
            since: Some(u64::MAX / 2),
            ..any()
        },
        Query {
            client: Some("acme".to_owned()),
            actor: Some("nobody".to_owned()),
            ..any()
        },
        Query {
            client: Some("acme".to_owned()),
            action: Some("webhook.".to_owned()),
            ..any()
        },
    ] {
        let found = b.store.read(|tx| tx.audit_back(&query, 5, 20)).unwrap();
        assert!(found.records.is_empty(), "{query:?}");
        let next = found.next.expect("there are more to look at");
        let last = b.store.read(|tx| Ok(tx.meta().head.seq)).unwrap();
        assert_eq!(next, last - 19, "{query:?}");
    }
}
