//! Any order of requests, receipts and failures.

use super::*;

#[derive(Clone, Debug)]
pub(super) enum Step {
    Ask(u8, u8, u8, u8),
    Tick,
    Wait(u64),
    /// The clock is set.
    Set(i64),
    /// The batch in the air arrives, and its receipt does.
    Confirm,
    /// It arrives, and its receipt does not, or another does.
    Unheard,
    Other,
    /// It does not arrive.
    Lost,
    Never,
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => any::<(u8, u8, u8, u8)>().prop_map(|(a, b, c, n)| Step::Ask(a, b, c, n)),
        8 => Just(Step::Tick),
        5 => (1u64..40).prop_map(Step::Wait),
        1 => (-200i64..200).prop_map(Step::Set),
        4 => Just(Step::Confirm),
        1 => Just(Step::Unheard),
        1 => Just(Step::Other),
        1 => Just(Step::Lost),
        1 => Just(Step::Never),
    ]
}

proptest! {
    #![proptest_config(crate::seeded())]

    /// Whatever happens in between: received once, waiting and dropped make up what was
    /// decided, at every moment and in the end.
    #[test]
    fn nothing_is_lost_and_nothing_doubled(steps in proptest::collection::vec(step(), 1..200)) {
        const ROUTES: [Option<(u64, &str)>; 3] = [None, Some((1, "GET /a")), Some((2, "/b"))];
        const CODES: [&str; 3] = ["ok", "rate_limited", "revoked_api_key"];
        let mut w = World::new();
        let mut air: Option<Batch> = None;
        let mut refused = 0;
        for step in steps {
            match step {
                Step::Ask(key, route, code, n) => {
                    for _ in 0..=n % 4 {
                        let key = (key % 5 != 0).then_some(u64::from(key % 5));
                        w.ask(key, ROUTES[usize::from(route % 3)], CODES[usize::from(code % 3)]);
                    }
                }
                Step::Tick => air = w.tick().or(air),
                Step::Wait(n) => w.wait(n),
                Step::Set(by) => w.now.wall = w.now.wall.saturating_add_signed(by),
                Step::Confirm => {
                    if let Some(batch) = air.take() {
                        w.confirm(&batch);
                    }
                }
                Step::Unheard => {
                    if let Some(batch) = air.take() {
                        w.take(&batch);
                        w.ledger.answered(ReportAnswer::Nothing, w.now);
                    }
                }
                Step::Other => {
                    if let Some(batch) = air.take() {
                        let mut receipt = w.take(&batch);
                        receipt.claimed ^= 1;
                        w.ledger.answered(ReportAnswer::Receipt(&receipt), w.now);
                    }
                }
                Step::Lost => air = None,
                Step::Never => {
                    // Who refuses for good has not taken it before either.
                    if let Some(batch) = air.take_if(|b| !w.received.contains_key(&b.seq)) {
                        refused += 1;
                        w.ledger.answered(ReportAnswer::Refusal(&batch.name()), w.now);
                    }
                }
            }
            let known: u64 = w.received() + w.ledger.unconfirmed();
            let flying = w.ledger.flight.as_ref().filter(|f| w.received.contains_key(&f.head.seq));
            prop_assert_eq!(known - flying.map_or(0, |f| f.requests), w.decided());
        }
        if w.ledger.flight.as_ref().is_some_and(|f| f.until.is_some()) {
            w.ledger.answered(ReportAnswer::Nothing, w.now);
        }
        // One more, so that there is a batch to tell of what was dropped.
        w.ask(None, None, "ok");
        w.settle();
        prop_assert_eq!(w.received(), w.decided());
        prop_assert_eq!(w.ledger.unconfirmed(), 0);
        if refused == 0 {
            prop_assert_eq!(w.rows(), w.decided.clone());
        }
    }
}
