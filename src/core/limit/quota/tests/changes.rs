//! From one quota to another and back.

use super::*;

proptest! {
    #![proptest_config(crate::seeded())]

    #[test]
    fn windows_hold_the_instant_and_follow_each_other(
        month: bool, day in 1u8..=28, hour in 0u8..24, at in 0u64..100_000_000_000,
    ) {
        let q = match month {
            true => quota(QuotaPeriod::Month, day, hour),
            false => quota(QuotaPeriod::Day, 1, hour),
        };
        let w = q.window(at).unwrap();
        // Before 1970 there is nothing; the first window is cut there.
        prop_assert!(w.start <= at && at < w.end);
        prop_assert_eq!(q.window(w.end).unwrap().start, w.end);
        let days = (w.end - w.start) / 86_400;
        let fits = if month { 28..=31 } else { 1..=1 };
        prop_assert!(w.start == 0 || fits.contains(&days));
    }

    #[test]
    fn tallies_are_read_back(all in proptest::collection::vec(any::<[u32; 6]>(), 1..20)) {
        let mut counts = Counts::default();
        for [rule, start, length, own, others, given_back] in all {
            let window = window(u64::from(start), u64::from(start) + u64::from(length));
            if let Some((tally, _)) = counts.open(u64::from(rule), window) {
                (tally.own, tally.others) = (u64::from(own), u64::from(others));
                tally.given_back = u64::from(given_back);
            }
        }
        prop_assert_eq!(Counts::from_bytes(&counts.to_bytes()), Some(counts));
    }

    #[test]
    fn bytes_of_another_length_are_nobodys(bytes: Vec<u8>) {
        let counts = Counts::from_bytes(&bytes);
        let fits = !bytes.is_empty() && bytes.len() % 48 == 0 && bytes.len() <= MAX_TALLIES * 48;
        prop_assert_eq!(counts.is_some(), fits);
        if let Some(counts) = counts {
            prop_assert_eq!(Counts::from_bytes(&counts.to_bytes()), Some(counts));
        }
    }
}

#[test]
fn going_to_and_fro_between_quotas_gives_no_more_than_either() {
    // 5 a day by two clocks, as the review tried it: the second day begins under another plan.
    let mut tallies = MemoryBuckets::default();
    let (utc, berlin) = (DAY_RULE, MONTH_RULE);
    assert_eq!(taken(&mut tallies, utc, window(0, 100), 5), 5);
    let (there, here) = (window(90, 190), window(100, 200));
    assert_eq!(
        taken(&mut tallies, berlin, there, 5),
        0,
        "the first day's count"
    );
    let mut tallies = MemoryBuckets::default();
    assert_eq!(taken(&mut tallies, utc, window(0, 100), 3), 3);
    let there = window(190, 290);
    assert_eq!(taken(&mut tallies, berlin, there, 5), 5);
    assert_eq!(taken(&mut tallies, utc, window(200, 300), 5), 0);
    // And within one window of each.
    let mut tallies = MemoryBuckets::default();
    let mut both = 0;
    for limit in 1..=5 {
        both += taken(&mut tallies, utc, here, limit);
        both += taken(&mut tallies, berlin, window(90, 190), limit);
    }
    assert_eq!(both, 5);
}

/// When the months from August to December of 2001 begin, as a calendar says.
const MONTHS: [u64; 5] = [
    996_624_000,
    999_302_400,
    1_001_894_400,
    1_004_572_800,
    1_007_164_800,
];

/// Period, hours east of UTC, roll-over.
const RULES: [(char, i64, u8, u8); 6] = [
    ('d', 0, 1, 0),
    ('d', 2, 1, 0),
    ('d', 0, 1, 6),
    ('m', 0, 1, 0),
    ('m', -5, 1, 0),
    ('m', 0, 15, 12),
];

fn quota_of((per, east, day, hour): (char, i64, u8, u8), requests: u64) -> Quota {
    let per = match per {
        'd' => QuotaPeriod::Day,
        _ => QuotaPeriod::Month,
    };
    let mut raw = raw(per, day, hour);
    raw.time_zone = format!("Etc/{east}");
    raw.requests = requests;
    let zone = Zone(i32::try_from(east * 3600).unwrap(), Vec::new());
    Quota::new(&raw, &Zones::from([(raw.time_zone.clone(), zone)])).unwrap()
}

/// When the window of a rule began that holds an instant, by the list of months alone.
fn began((per, east, day, hour): (char, i64, u8, u8), at: u64) -> u64 {
    let shift = u64::from(hour) * 3600 + u64::from(day - 1) * 86_400;
    let local = at.checked_add_signed(east * 3600).unwrap() - shift;
    let start = match per {
        'd' => local / 86_400 * 86_400,
        _ => *MONTHS.iter().rfind(|start| **start <= local).unwrap(),
    };
    (start + shift).checked_add_signed(-east * 3600).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..crate::seeded() })]

    /// Whoever is let in under a quota has taken less than it allows since its window began:
    /// under any rule, in the order that the plans were changed.
    #[test]
    fn no_schedule_of_plans_lets_in_more_in_a_window_than_its_rule_says(
        acts in proptest::collection::vec(
            (0..RULES.len(), 1..40u64, 0..12u64, prop_oneof![0..7_200u64, 0..200_000u64]), 1..60),
        stays in 1..4usize,
    ) {
        let mut tallies = MemoryBuckets::default();
        let mut takings: Vec<u64> = Vec::new();
        let mut now = MONTHS[1] + 20 * 86_400;
        let mut rule = RULES[0];
        for (n, (next, requests, times, pause)) in acts.into_iter().enumerate() {
            if n % stays == 0 {
                rule = RULES[next];
            }
            now = (now + pause).min(MONTHS[4] - 86_400);
            let quota = quota_of(rule, requests);
            let draw = Draw {
                key: TallyKey::new([1; 8], 7),
                rule: quota.rule(),
                window: quota.window(now).unwrap(),
                requests,
            };
            for _ in 0..times {
                let since = began(rule, now);
                let before = takings.iter().filter(|at| **at >= since).count() as u64;
                if let Ok(drawn) = draw.take(&mut tallies) {
                    prop_assert!(before < requests, "{before} of {requests} under {rule:?}");
                    prop_assert!(drawn.remaining < requests - before);
                    takings.push(now);
                }
            }
        }
    }
}

#[test]
fn a_month_that_follows_days_begins_with_what_each_of_them_counted() {
    let day = |n: u64| window(n * 100, n * 100 + 100);
    let month = window(0, 3000);
    // As many days as the list keeps apart, and more.
    for days in [1, 3, 7, 20] {
        let mut tallies = MemoryBuckets::default();
        for n in 0..days {
            assert_eq!(taken(&mut tallies, DAY_RULE, day(n), 3), 3);
        }
        assert_eq!(taken(&mut tallies, MONTH_RULE, month, 3 * days), 0);
        assert_eq!(taken(&mut tallies, MONTH_RULE, month, 3 * days + 2), 2);
        // And back: what the month took counts today, and what today takes counts in it.
        let today = day(days - 1);
        assert_eq!(taken(&mut tallies, DAY_RULE, today, 6), 1, "{days} days");
        assert_eq!(taken(&mut tallies, MONTH_RULE, month, 3 * days + 3), 0);
        // Tomorrow is another day, but for the month.
        assert_eq!(taken(&mut tallies, DAY_RULE, day(days), 3), 3);
        assert_eq!(taken(&mut tallies, MONTH_RULE, month, 3 * days + 7), 1);
    }
}

/// Each day's takings of other Envoys, and what was given back, as the control plane told.
#[test]
fn a_month_that_follows_days_begins_with_what_others_took_in_them() {
    let day = |n: u64| window(n * 100, n * 100 + 100);
    let mut counts = Counts::default();
    for n in 0..3 {
        counts.open(DAY_RULE, day(n)).unwrap().0.own = 1;
        counts.hear(day(n).start, 4, 2);
    }
    let used = |counts: &mut Counts| counts.open(MONTH_RULE, window(0, 3000)).unwrap().0.used();
    assert_eq!(used(&mut counts), 3 * (1 + 4 - 2));
    // The first day's receipt is the month's as well: it counts once.
    counts.hear(0, 4, 2);
    assert_eq!(used(&mut counts), 9);
    counts.hear(0, 5, 2);
    assert_eq!(used(&mut counts), 10);
    // Told late of a day that it began with.
    counts.hear(100, 6, 2);
    assert_eq!(used(&mut counts), 12);
}

/// A key that had a quota by day for years: its month holds no more than what some weeks took.
#[test]
fn days_that_are_long_past_do_not_count_in_a_month() {
    const DAY: u64 = 86_400;
    let day = |n: u64| window(n * DAY, n * DAY + DAY);
    for years in [100, 365, 731] {
        let mut counts = Counts::default();
        for n in 0..years {
            counts.open(DAY_RULE, day(n)).unwrap().0.own = 1;
        }
        let month = window((years - 12) * DAY, (years + 18) * DAY);
        let (tally, _) = counts.open(MONTH_RULE, month).unwrap();
        assert!((12..=44).contains(&tally.used()), "{}", tally.used());
    }
}
