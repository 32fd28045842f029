//! Counting compared with a model that keeps every request by hand.

use super::*;

/// What a test keeps by hand: requests by minute, key, route and outcome.
type Model = BTreeMap<(u64, Option<u32>, Option<u32>, u32), u64>;

/// Only requests of this route, and with this outcome.
type Filter = (Option<u32>, Option<u32>);

fn learn(model: &mut Model, batch: &Batch) {
    for r in &batch.rows {
        *model
            .entry((batch.at, r.key, r.route, r.outcome))
            .or_default() += r.requests;
    }
}

/// Every table says what the model says, asked for in every way.
fn check(b: &mut Bench, model: &Model, ids: &[String], now: u64) {
    let numbers = numbers(b, ids);
    for step in Step::ALL {
        let since = now - if step == Step::Day { 5 * DAY } else { DAY };
        let span = Span::new((since, None), Some(step), &UsageSettings::default(), now).unwrap();
        let mut whoses = vec![(Whose::All, None)];
        for (i, (key, client)) in numbers.iter().enumerate().filter(|(_, (n, _))| *n > 0) {
            let whose = Whose::Key {
                client: *client,
                key: *key,
            };
            whoses.push((whose, Some(i as u32)));
        }
        // All of them, those of a route, those with an outcome, and both.
        let filters = [
            (None, None),
            (Some(0), None),
            (None, Some(1)),
            (Some(1), Some(0)),
        ];
        let asks = whoses
            .iter()
            .flat_map(|w| filters.map(|filter| (*w, filter)));
        for ((whose, key), filter) in asks {
            let (all, mut wanted) = expected(model, ids, &span, key, filter);
            for by in [Breakdown::Route, Breakdown::Outcome, Breakdown::Key] {
                let (answer, names) = asked(b, whose, filter, span, by);
                assert_eq!(answer.sum.requests, all, "{step:?} {whose:?}");
                let sum: u64 = answer.course.iter().map(|s| s.requests).sum();
                assert_eq!(sum, all, "{step:?} {whose:?}");
                let mut wanted = wanted.remove(&(by as u8)).unwrap_or_default();
                if by == Breakdown::Key {
                    // Requests without a key are those of no key.
                    wanted.remove("");
                }
                assert_eq!(names, wanted, "{step:?} {whose:?} by {by:?}");
            }
        }
    }
}

/// The numbers that the tables have for keys and their clients.
fn numbers(b: &mut Bench, ids: &[String]) -> Vec<(i64, i64)> {
    let read = |tx: &UsageTx<'_>| {
        let mut out = Vec::new();
        for id in ids {
            let number = tx.key_usage(id.parse().unwrap())?.map_or(0, |(n, _)| n);
            let client = tx.key_of(number)?.map_or(NOBODY, |(_, c)| c);
            out.push((number, client));
        }
        Ok(out)
    };
    b.store
        .with_made_usage(|_, usage| usage.read(read))
        .unwrap()
}

/// What the model says of a span: all requests, and by dimension those of each name.
fn expected(
    model: &Model,
    ids: &[String],
    span: &Span,
    key: Option<u32>,
    (route, outcome): Filter,
) -> (u64, BTreeMap<u8, BTreeMap<String, u64>>) {
    let within = |at: u64| (span.from()..span.until()).contains(&at);
    let mine = model.iter().filter(|((at, k, r, o), _)| {
        let asked = (route.is_none() || *r == route) && outcome.is_none_or(|w| *o == w);
        within(*at) && (key.is_none() || *k == key) && asked
    });
    let mut wanted: BTreeMap<_, BTreeMap<String, u64>> = BTreeMap::new();
    let mut all = 0;
    for ((_, k, route, outcome), n) in mine {
        all += n;
        let route = route.map_or(String::new(), |r| ROUTES[r as usize].to_owned());
        let key = k.map_or(String::new(), |k| ids[k as usize].clone());
        let outcome = OUTCOMES[*outcome as usize].to_owned();
        for (by, name) in [
            (Breakdown::Route, route),
            (Breakdown::Outcome, outcome),
            (Breakdown::Key, key),
        ] {
            let names = wanted.entry(by as u8).or_default();
            *names.entry(name).or_default() += n;
        }
    }
    (all, wanted)
}

/// The answer to a question, and its groups by name.
fn asked(
    b: &mut Bench,
    whose: Whose,
    (route, outcome): Filter,
    span: Span,
    by: Breakdown,
) -> (question::UsageAnswer, BTreeMap<String, u64>) {
    let read = |tx: &UsageTx<'_>| {
        let number = |by, name: Option<&str>| -> keystile_model::error::Result<Option<i64>> {
            let Some(name) = name else { return Ok(None) };
            Ok(Some(tx.number_of(by, name)?.unwrap_or(OnlyThese::NEVER)))
        };
        let question = UsageQuestion {
            whose,
            only: OnlyThese {
                route: number(Dimension::Route, route.map(|r| ROUTES[r as usize]))?,
                outcome: number(Dimension::Outcome, outcome.map(|o| OUTCOMES[o as usize]))?,
            },
            span,
            by: Some(by),
            most: 50,
        };
        let answer = question::answer(tx, &question)?;
        let mut names = BTreeMap::new();
        for g in &answer.groups {
            let name = match by {
                Breakdown::Key => tx
                    .key_of(g.number)?
                    .map_or(String::new(), |k| k.0.to_string()),
                Breakdown::Route => tx.name_of(Dimension::Route, g.number)?,
                _ => tx.name_of(Dimension::Outcome, g.number)?,
            };
            assert_eq!(g.course.iter().sum::<u64>(), g.sum.requests);
            names.insert(name, g.sum.requests);
        }
        Ok((answer, names))
    };
    b.store.with_usage(|_, usage| usage.read(read)).unwrap()
}

#[derive(Clone, Debug)]
enum Move {
    /// A VM makes a batch and sends it; the answer may be lost.
    New(u32, u64, Vec<(Option<u32>, Option<u32>, u32, u64)>),
    /// A VM sends one of its last batches again.
    Again(u32, usize),
    /// What waits is counted in one transaction; the server may be killed in the middle.
    Turn { killed: bool },
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let rows = (
        prop::option::weighted(0.9, 0u32..3),
        prop::option::weighted(0.8, 0u32..2),
        0u32..3,
        1u64..1000,
    );
    let one = prop_oneof![
        4 => (0u32..4, 0u64..600, prop::collection::vec(rows, 0..5))
            .prop_map(|(vm, ago, rows)| Move::New(vm, ago, rows)),
        3 => (0u32..4, 0usize..5).prop_map(|(vm, back)| Move::Again(vm, back)),
        3 => any::<bool>().prop_map(|killed| Move::Turn { killed }),
    ];
    prop::collection::vec(one, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..seeded() })]

    #[test]
    fn every_request_is_counted_once_whatever_is_lost_repeated_or_killed(moves in moves()) {
        let mut b = Bench::new();
        let ids = ids(&mut b, 3);
        let now = NOON + 30;
        let mut model = Model::new();
        let mut sent: HashMap<u32, Vec<Batch>> = HashMap::new();
        let mut waiting: Vec<Batch> = Vec::new();
        let mut known: HashSet<(u32, u64)> = HashSet::new();
        let mut settle = |b: &mut Bench, waiting: &mut Vec<Batch>, killed: bool| {
            let done = try_counting(b, &HashMap::new(), waiting, now, killed);
            assert_eq!(done.is_err(), killed);
            let Ok(done) = done else { return };
            for (batch, done) in waiting.drain(..).zip(done) {
                assert_eq!(done.fresh, known.insert((batch.vm, batch.seq)));
                assert_eq!(done.receipt.seq, batch.seq);
                if done.fresh {
                    learn(&mut model, &batch);
                }
            }
        };
        for step in moves {
            match step {
                Move::New(vm, ago, rows) => {
                    let mine = sent.entry(vm).or_default();
                    // With gaps: a VM may serve other stores too.
                    let seq = mine.last().map_or(3, |b| b.seq + 1 + ago % 3);
                    let rows = rows.into_iter().map(|(k, r, o, n)| row(k, r, o, n)).collect();
                    let at = NOON - (ago * 60);
                    let made = batch(vm, seq, at, &ids, rows);
                    mine.push(made.clone());
                    waiting.push(made);
                }
                Move::Again(vm, back) => {
                    if let Some(old) = sent.get(&vm).and_then(|s| s.iter().rev().nth(back)) {
                        waiting.push(old.clone());
                    }
                }
                Move::Turn { killed } => {
                    settle(&mut b, &mut waiting, killed);
                    if killed {
                        // What was on its way when the server died comes again, with the rest.
                        b.store = b.open().ok().unwrap();
                    }
                }
            }
        }
        settle(&mut b, &mut waiting, false);
        // And all of it once more: nothing is counted twice.
        let mut again: Vec<Batch> = sent.into_values().flat_map(|all| all.into_iter().rev().take(60)).collect();
        settle(&mut b, &mut again, false);
        check(&mut b, &model, &ids, now);
    }
}
