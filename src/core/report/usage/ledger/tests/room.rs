//! When there is more to tell than room to keep it: what was let in is kept.

use super::*;

const ROUTES: [(u64, &str); 5] = [(1, "/a"), (2, "/b"), (3, "/c"), (4, "/d"), (5, "/e")];
const REFUSALS: [&str; 3] = ["insufficient_scope", "rate_limited", "revoked_api_key"];

impl World {
    fn small() -> Self {
        let mut w = Self::new();
        w.ledger.bounds = Bounds {
            part: 8,
            waiting: 16,
        };
        w
    }
}

/// Requests by key and whether they were let in: all that folding leaves of a row.
type Sums = BTreeMap<(Option<String>, bool), u64>;

fn add(sums: &mut Sums, batch: &Batch) {
    for row in &batch.rows {
        let key = row.key.map(|i| batch.keys[i as usize].id.clone());
        let is_ok = batch.outcomes[row.outcome as usize] == "ok";
        *sums.entry((key, is_ok)).or_default() += row.requests;
    }
}

/// What was counted and is in no batch that was received, refused for good or not.
fn waiting(w: &World) -> Sums {
    let mut sums = Sums::new();
    let mut put = |row: &RowKey, requests: u64| {
        let key = row.key.map(|k| KeyId::from_u64(k).unwrap().to_string());
        *sums.entry((key, row.outcome == OK)).or_default() += requests;
    };
    for (row, count) in w.ledger.waiting.iter().flat_map(|m| &m.rows) {
        put(row, count.requests);
    }
    for kept in w.ledger.kept.sums() {
        let row = RowKey {
            key: Some(kept.key),
            route: 0,
            outcome: OK,
        };
        put(&row, kept.requests);
    }
    let tables = [Some(&w.ledger.open), w.ledger.over.as_ref()];
    for (row, count) in tables.into_iter().flatten().flat_map(Table::counts) {
        put(row, count.requests);
    }
    let flight = w.ledger.flight.as_ref();
    if let Some(flight) = flight.filter(|f| !w.received.contains_key(&f.head.seq)) {
        add(&mut sums, &serde_json::from_slice(&flight.body).unwrap());
    }
    sums
}

fn let_in(sums: &Sums) -> Sums {
    let all = sums.iter().filter(|((_, is_ok), _)| *is_ok);
    all.map(|(name, n)| (name.clone(), *n)).collect()
}

fn total(sums: &Sums, is_ok: bool) -> u64 {
    let of = sums.iter().filter(|((_, ok), _)| *ok == is_ok);
    of.map(|(_, n)| n).sum()
}

#[test]
fn refused_rows_lose_their_routes_first_then_their_keys_and_no_count() {
    let mut w = World::small();
    for key in 1..=2 {
        w.ask(Some(key), Some(ROUTES[0]), "ok");
        for route in ROUTES {
            for code in REFUSALS {
                w.ask(Some(key), Some(route), code);
            }
        }
    }
    w.settle();
    let rows = w.rows();
    let route = |(_, route, _): &(Option<String>, Option<String>, String)| route.clone();
    let mut kept = rows.keys().filter(|name| name.2 == "ok");
    assert!(kept.all(|name| route(name).is_some()), "{rows:?}");
    let refused = || rows.keys().filter(|name| name.2 != "ok");
    assert!(refused().any(|name| route(name).is_none()), "{rows:?}");
    assert!(refused().all(|name| name.0.is_some()), "{rows:?}");
    assert_eq!((w.received(), w.ledger.dropped()), (w.decided(), 0));

    let mut w = World::small();
    for key in 1..=30 {
        w.ask(Some(key), Some(ROUTES[0]), REFUSALS[0]);
    }
    w.ask(Some(99), Some(ROUTES[0]), "ok");
    w.settle();
    assert!(w.rows().contains_key(&(None, None, REFUSALS[0].into())));
    assert_eq!((w.received(), w.ledger.dropped()), (w.decided(), 0));
}

#[test]
fn what_was_let_in_loses_its_routes_before_its_minutes() {
    let mut w = World::small();
    for key in 1..=16 {
        for route in ROUTES {
            w.ask(Some(key), Some(route), "ok");
        }
    }
    w.settle();
    let sums = w
        .rows()
        .into_iter()
        .fold(BTreeMap::new(), |mut sums, ((key, ..), n)| {
            *sums.entry(key).or_insert(0) += n;
            sums
        });
    assert_eq!(sums.len(), 16);
    assert!(sums.values().all(|n| *n == ROUTES.len() as u64), "{sums:?}");
    assert_eq!(w.ledger.dropped(), 0);
}

#[test]
fn a_batch_that_is_refused_unsigned_for_ever_blocks_no_counting() {
    let mut w = World::small();
    w.ask(Some(1), Some(ROUTES[0]), "ok");
    let first = w.tick().unwrap();
    for minute in 0..500u64 {
        w.ledger.answered(ReportAnswer::Nothing, w.now);
        w.ask(Some(1), Some(ROUTES[0]), "ok");
        for n in 0..20 {
            w.ask(
                Some(1000 + n * minute),
                Some(ROUTES[(n % 5) as usize]),
                REFUSALS[0],
            );
        }
        w.wait(GRAIN);
        assert!(w.tick().is_none_or(|batch| batch == first));
        assert!(w.ledger.waiting_rows() <= 16);
    }
    assert_eq!(w.ledger.dropped(), 0);
    w.settle();
    let key = KeyId::from_u64(1).unwrap().to_string();
    let rows = w.rows();
    let of_key = rows
        .iter()
        .filter(|((k, _, code), _)| k.as_ref() == Some(&key) && code == "ok");
    assert_eq!(of_key.map(|(_, n)| n).sum::<u64>(), 501);
    assert_eq!(w.received(), w.decided());
}

#[derive(Clone, Debug)]
enum Step {
    Ask(u64, usize, usize),
    Tick,
    Wait(u64),
    Confirm,
    Nothing,
    Refuse,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        60 => (0u64..40, 0usize..5, 0usize..4).prop_map(|(k, r, c)| Step::Ask(k, r, c)),
        4 => Just(Step::Tick),
        3 => (1u64..70).prop_map(Step::Wait),
        1 => Just(Step::Confirm),
        2 => Just(Step::Nothing),
        1 => Just(Step::Refuse),
    ]
}

proptest! {
    #![proptest_config(crate::seeded())]

    /// Against a map of everything that was decided, at every moment: what was told and what waits
    /// make up, of each key, what was let in; and of all of them together, what was refused. Keys
    /// lose their times only when no row of a refusal holds room.
    #[test]
    fn what_was_let_in_is_never_dropped(steps in proptest::collection::vec(step(), 1..400)) {
        let mut w = World::small();
        let mut air: Option<Batch> = None;
        let mut decided = Sums::new();
        let mut refused = Sums::new();
        let mut kept_before = 0;
        for step in steps {
            match step {
                Step::Ask(key, route, code) => {
                    let code = *["ok"].iter().chain(&REFUSALS).nth(code).unwrap();
                    w.ask(Some(key), Some(ROUTES[route]), code);
                    let key = KeyId::from_u64(key).unwrap().to_string();
                    *decided.entry((Some(key), code == "ok")).or_default() += 1;
                }
                Step::Tick => air = w.tick().or(air),
                Step::Wait(n) => w.wait(n),
                Step::Confirm => {
                    if let Some(batch) = air.take() {
                        w.confirm(&batch);
                    }
                }
                Step::Nothing => {
                    if air.take().is_some() {
                        w.ledger.answered(ReportAnswer::Nothing, w.now);
                    }
                }
                Step::Refuse => {
                    if let Some(batch) = air.take() {
                        add(&mut refused, &batch);
                        w.ledger.answered(ReportAnswer::Refusal(&batch.name()), w.now);
                    }
                }
            }
            let mut known = waiting(&w);
            for batch in w.received.values() {
                add(&mut known, batch);
            }
            for (name, n) in &refused {
                *known.entry(name.clone()).or_default() += n;
            }
            prop_assert_eq!(let_in(&known), let_in(&decided));
            prop_assert_eq!(total(&known, false), total(&decided, false));
            prop_assert_eq!(w.ledger.dropped(), refused.values().sum::<u64>());
            let mut rows = w.ledger.waiting.iter().flat_map(|m| &m.rows);
            let kept = w.ledger.kept.requests();
            if kept > kept_before {
                prop_assert!(rows.all(|(row, _)| row.outcome == OK || row.key.is_none()));
            }
            kept_before = kept;
            prop_assert!(w.ledger.waiting_rows() <= 16);
        }
    }
}

/// More keys than there is room for rows, while nobody takes them: a quota sees each request.
#[test]
fn seventy_thousand_keys_are_each_told_to_the_last_request() {
    const KEYS: u64 = 70_000;
    let mut w = World::new();
    for round in 0..3 {
        for key in (1..=KEYS).step_by(1 + round) {
            w.ask(Some(key), Some(ROUTES[key as usize % 5]), "ok");
            w.ask(None, None, REFUSALS[0]);
        }
        w.wait(GRAIN);
        if w.tick().is_some() {
            w.ledger.answered(ReportAnswer::Nothing, w.now);
        }
    }
    assert!(KEYS as usize > WAITING_ROWS);
    assert!(w.ledger.waiting_rows() <= WAITING_ROWS);
    assert!(!w.ledger.kept.sums().is_empty());
    let mut rows = w.ledger.waiting.iter().flat_map(|minute| &minute.keys);
    let oldest = w.ledger.kept.sums().iter().map(|kept| kept.last).max();
    assert!(
        rows.all(|key| Some(key.last) >= oldest),
        "the least recently used go first"
    );
    assert_eq!(w.ledger.unconfirmed(), w.decided());
    w.settle();
    let by_key = |rows: BTreeMap<(Option<String>, _, _), u64>| {
        let mut sums = BTreeMap::new();
        for ((key, _, code), n) in rows {
            *sums.entry((key, code)).or_insert(0) += n;
        }
        sums
    };
    assert!(by_key(w.rows()) == by_key(w.decided.clone()));
    assert_eq!(w.ledger.dropped(), 0);
    // A key's last use is its own, whatever minute it is told under.
    let uses = w.received.values().flat_map(|batch| &batch.keys);
    assert!(
        uses.clone()
            .all(|key| key.last % GRAIN == 0 && key.last < T + 3 * GRAIN)
    );
    let id = KeyId::from_u64(2).unwrap().to_string();
    assert_eq!(
        uses.filter(|key| key.id == id).map(|key| key.last).max(),
        Some(T)
    );
}
