use super::*;
use crate::bucket::MemoryBuckets;
use proptest::prelude::*;

const T: u64 = 1_800_000_000; // 2027-01-15T08:00:00Z
const MIDNIGHT: u64 = T - 8 * 3600;

fn raw(per: QuotaPeriod, day: u8, hour: u8) -> RawQuota {
    RawQuota {
        requests: 3,
        per,
        time_zone: "UTC".into(),
        rolls_over: RollOver { day, hour },
    }
}

fn quota(per: QuotaPeriod, day: u8, hour: u8) -> Quota {
    Quota::new(&raw(per, day, hour), &Zones::new()).unwrap()
}

fn window(start: u64, end: u64) -> Window {
    Window { start, end }
}

#[test]
fn a_day_and_a_month_begin_where_the_policy_says() {
    let days = |n: u64| n * 86_400;
    let at = |q: Quota| q.window(T).unwrap();
    assert_eq!(
        at(quota(QuotaPeriod::Day, 1, 0)),
        window(MIDNIGHT, MIDNIGHT + days(1))
    );
    assert_eq!(
        at(quota(QuotaPeriod::Day, 1, 8)),
        window(T, T + days(1)),
        "at eight the next day begins"
    );
    assert_eq!(at(quota(QuotaPeriod::Day, 1, 9)).end, T + 3600);
    let january = MIDNIGHT - days(14);
    assert_eq!(
        at(quota(QuotaPeriod::Month, 1, 0)),
        window(january, january + days(31))
    );
    assert_eq!(
        at(quota(QuotaPeriod::Month, 16, 0)),
        window(january - days(16), MIDNIGHT + days(1))
    );
}

#[test]
fn a_host_without_a_clock_is_in_no_window() {
    let q = quota(QuotaPeriod::Month, 1, 0);
    assert_eq!(q.window(u64::MAX), None);
    assert_eq!(q.window(FAR as u64), None);
    assert!(q.window(FAR as u64 - 1).is_some());
    assert!(q.window(0).is_some());
}

#[test]
fn a_zone_that_is_not_there_or_does_not_hold_makes_no_quota() {
    let mut raw = raw(QuotaPeriod::Day, 1, 0);
    assert!(Quota::new(&raw, &Zones::new()).is_some());
    raw.time_zone = "Europe/Berlin".into();
    assert!(Quota::new(&raw, &Zones::new()).is_none());
    let with = |zone| Quota::new(&raw, &Zones::from([("Europe/Berlin".to_owned(), zone)]));
    assert!(with(Zone(3600, vec![(5, 7200), (9, 3600)])).is_some());
    for bad in [
        Zone(i32::MIN, vec![]),
        Zone(200_000, vec![]),
        Zone(0, vec![(5, 200_000)]),
        Zone(0, vec![(5, 0), (5, 3600)]),
        Zone(0, vec![(9, 0), (5, 3600)]),
        Zone(0, (0..2000).map(|n| (n, 0)).collect()),
    ] {
        assert!(with(bad.clone()).is_none(), "{bad:?}");
    }
}

#[test]
fn a_quota_of_three_is_three_and_the_next_window_brings_three_more() {
    let q = quota(QuotaPeriod::Day, 1, 0);
    let mut tallies = MemoryBuckets::default();
    let draw = |at: u64| Draw {
        key: TallyKey::new([1; 8], 7),
        window: q.window(at).unwrap(),
        requests: q.requests,
    };
    let end = draw(T).window.end;
    let mut left = Vec::new();
    for _ in 0..3 {
        assert_eq!(draw(T).look(&mut tallies), Ok(()));
        left.push(draw(T).take(&mut tallies).unwrap().remaining);
    }
    assert_eq!(left, [2, 1, 0]);
    assert_eq!(draw(T).look(&mut tallies), Err(NotDrawn::UsedUp(end)));
    assert_eq!(draw(end - 1).take(&mut tallies), Err(NotDrawn::UsedUp(end)));
    assert_eq!(draw(end).take(&mut tallies).unwrap().remaining, 2);
    // A worker whose clock was read a moment earlier takes from the same.
    assert_eq!(draw(end - 1).take(&mut tallies).unwrap().remaining, 1);
    assert_eq!(draw(end).take(&mut tallies).unwrap().remaining, 0);
}

#[test]
fn what_others_took_counts_in_its_own_window_and_never_less() {
    let w = window(100, 200);
    let tally = Tally {
        window: w,
        own: 1,
        others: 0,
    };
    let heard = tally.hear(100, 2).unwrap();
    assert_eq!((heard.remaining(5), heard.take(3)), (2, Err(UsedUp)));
    assert_eq!(heard.hear(100, 1), None, "an old receipt");
    assert_eq!(heard.hear(0, 9), None, "another window");
    assert_eq!(heard.hear(200, 9), None, "another window");
    let next = heard.in_window(window(200, 300));
    assert_eq!((next.own, next.others), (0, 0));
}

#[test]
fn a_change_from_day_to_month_keeps_what_today_took() {
    let today = Tally {
        window: window(100, 200),
        own: 5,
        others: 3,
    };
    let month = today.in_window(window(0, 1000));
    assert_eq!((month.own, month.others), (5, 0));
    let back = month.in_window(window(100, 200));
    assert_eq!((back.own, back.others), (0, 0));
}

#[test]
fn what_is_given_back_after_the_window_ended_is_not_given_to_the_next() {
    let tally = Tally {
        window: window(100, 200),
        own: 5,
        others: 0,
    };
    assert_eq!(tally.give_back(window(100, 200)).unwrap().own, 4);
    assert_eq!(tally.give_back(window(0, 100)), None);
}

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
    fn a_tally_is_read_back(start: u64, end: u64, own: u64, others: u64) {
        let tally = Tally { window: Window { start, end }, own, others };
        prop_assert_eq!(Tally::from_bytes(&tally.to_bytes()), Some(tally));
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
        let tally = Tally::from_bytes(&bytes);
        prop_assert_eq!(tally.is_some(), bytes.len() == 32);
        if let Some(tally) = tally {
            let _ = tally.in_window(Window { start: 5, end: 9 }).take(u64::MAX);
        }
    }
}
