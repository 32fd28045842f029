use super::*;
use crate::limit::bucket::MemoryBuckets;
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

/// Dates as somebody counts them on a calendar, from 1600 to 2500.
#[test]
fn days_and_dates_are_those_of_the_gregorian_calendar() {
    let mut day = -135_140;
    for year in 1600..2500 {
        let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let february = if is_leap { 29 } else { 28 };
        let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        for (month, days) in (1..).zip(months) {
            for date in 1..=days {
                assert_eq!(year_and_month(day), (year, month), "{year}-{month}-{date}");
                assert_eq!(days_to(year, month, date), day, "{year}-{month}-{date}");
                day += 1;
            }
        }
    }
    assert_eq!(days_to(1970, 1, 1), 0);
}

/// 2027 in Berlin: clocks skip from two to three on 28 March and show the hour before three twice
/// on 31 October.
fn berlin(per: QuotaPeriod, day: u8, hour: u8) -> Quota {
    let mut raw = raw(per, day, hour);
    raw.time_zone = "Europe/Berlin".into();
    let zone = Zone(3600, vec![(SPRING, 7200), (AUTUMN, 3600)]);
    let zones = Zones::from([("Europe/Berlin".to_owned(), zone)]);
    Quota::new(&raw, &zones).unwrap()
}

const SPRING: u64 = 1_806_195_600; // 2027-03-28T01:00:00Z
const AUTUMN: u64 = 1_824_944_400; // 2027-10-31T01:00:00Z

#[test]
fn days_in_a_time_zone_begin_when_its_clocks_say_so() {
    const HOUR: u64 = 3600;
    // The hour at which days begin, an instant, and the window that it lies in.
    for (hour, at, start, end) in [
        // Days of 23 and of 25 hours.
        (0, SPRING, SPRING - 2 * HOUR, SPRING + 21 * HOUR),
        (0, SPRING - 1, SPRING - 2 * HOUR, SPRING + 21 * HOUR),
        (0, AUTUMN, AUTUMN - 3 * HOUR, AUTUMN + 22 * HOUR),
        (0, AUTUMN - 1, AUTUMN - 3 * HOUR, AUTUMN + 22 * HOUR),
        // Days before and after.
        (0, SPRING - 3 * HOUR, SPRING - 26 * HOUR, SPRING - 2 * HOUR),
        (
            0,
            SPRING + 21 * HOUR,
            SPRING + 21 * HOUR,
            SPRING + 45 * HOUR,
        ),
        (0, AUTUMN - 4 * HOUR, AUTUMN - 27 * HOUR, AUTUMN - 3 * HOUR),
        (
            0,
            AUTUMN + 22 * HOUR,
            AUTUMN + 22 * HOUR,
            AUTUMN + 46 * HOUR,
        ),
        // There is no two o'clock: clocks would have shown it then, had they not been set.
        (2, SPRING - 1, SPRING - 24 * HOUR, SPRING),
        (2, SPRING, SPRING, SPRING + 23 * HOUR),
        (3, SPRING, SPRING, SPRING + 24 * HOUR),
        (3, SPRING - 1, SPRING - 23 * HOUR, SPRING),
        // Of two instants that show two o'clock, the first counts.
        (2, AUTUMN - HOUR, AUTUMN - HOUR, AUTUMN + 24 * HOUR),
        (2, AUTUMN, AUTUMN - HOUR, AUTUMN + 24 * HOUR),
        (2, AUTUMN - HOUR - 1, AUTUMN - 25 * HOUR, AUTUMN - HOUR),
        (3, AUTUMN, AUTUMN - 24 * HOUR, AUTUMN + HOUR),
        (3, AUTUMN + HOUR, AUTUMN + HOUR, AUTUMN + 25 * HOUR),
    ] {
        let found = berlin(QuotaPeriod::Day, 1, hour).window(at);
        assert_eq!(found, Some(window(start, end)), "{hour}:00, {at}");
    }
}

#[test]
fn a_period_begins_so_many_days_or_months_after_that_of_a_day() {
    let date = |(year, month, day)| days_to(year, month, day) * DAY;
    let (of_day, of_month) = (
        quota(QuotaPeriod::Day, 1, 5),
        quota(QuotaPeriod::Month, 20, 5),
    );
    for (step, day, month) in [
        (-2, (2026, 12, 31), (2026, 11, 20)),
        (-1, (2027, 1, 1), (2026, 12, 20)),
        (0, (2027, 1, 2), (2027, 1, 20)),
        (1, (2027, 1, 3), (2027, 2, 20)),
        (13, (2027, 1, 15), (2028, 2, 20)),
    ] {
        let second = days_to(2027, 1, 2);
        assert_eq!(of_day.begin(second, step), date(day) + 5 * HOUR);
        assert_eq!(of_month.begin(second, step), date(month) + 5 * HOUR);
    }
}

/// Behind UTC, and as far from it as any zone may be.
#[test]
fn days_begin_where_clocks_are_set_in_any_zone() {
    const HOUR: u64 = 3600;
    const NEW_YORK: u64 = 1_805_007_600; // 2027-03-14T07:00:00Z
    const M: u64 = MIDNIGHT;
    for (first, since, then, hour, before, after) in [
        (-5, NEW_YORK, -4, 3, 23, 24),
        (-5, NEW_YORK, -4, 2, 24, 23),
        (25, M, 26, 1, 24, 23),
        (-26, M, -25, 23, 23, 24),
    ] {
        let mut raw = raw(QuotaPeriod::Day, 1, hour);
        raw.time_zone = "Here".into();
        let zone = Zone(first * 3600, vec![(since, then * 3600)]);
        let q = Quota::new(&raw, &Zones::from([("Here".to_owned(), zone)])).unwrap();
        let earlier = window(since - before * HOUR, since);
        let later = window(since, since + after * HOUR);
        assert_eq!(q.window(since - 1), Some(earlier), "{first} {hour}");
        assert_eq!(q.window(since), Some(later), "{first} {hour}");
    }
}

/// Samoa had no 30 December 2011: its clocks went from one side of the date line to the other.
#[test]
fn a_day_that_clocks_skip_is_no_window_and_none_is_counted_twice() {
    const HOUR: u64 = 3600;
    const SKIP: u64 = 1_325_239_200; // 2011-12-30T10:00:00Z
    let zone = Zone(-10 * 3600, vec![(SKIP, 14 * 3600)]);
    let mut raw = raw(QuotaPeriod::Day, 1, 5);
    raw.time_zone = "Pacific/Apia".into();
    let q = Quota::new(&raw, &Zones::from([(raw.time_zone.clone(), zone)])).unwrap();
    let before = window(SKIP - 19 * HOUR, SKIP + 5 * HOUR);
    let after = window(SKIP + 5 * HOUR, SKIP + 29 * HOUR);
    for (at, want) in [
        (SKIP - 1, before),
        (SKIP, before),
        (before.end - 1, before),
        (after.start, after),
        (after.end - 1, after),
    ] {
        assert_eq!(q.window(at), Some(want), "{at}");
    }
}

#[test]
fn months_in_a_time_zone_begin_when_its_clocks_say_so() {
    const DAY: u64 = 86_400;
    let march = SPRING - 2 * 3600 - 27 * DAY;
    let april = SPRING + 21 * 3600 + 3 * DAY;
    let q = berlin(QuotaPeriod::Month, 1, 0);
    for at in [march, SPRING - 1, SPRING, april - 1] {
        assert_eq!(q.window(at), Some(window(march, april)), "{at}");
    }
    assert_eq!(q.window(march - 1), Some(window(march - 28 * DAY, march)));
    assert_eq!(q.window(april), Some(window(april, april + 30 * DAY)));
    // The year's end.
    let q = berlin(QuotaPeriod::Month, 20, 0);
    let january = days_to(2027, 1, 20) as u64 * DAY - 3600;
    assert_eq!(
        q.window(days_to(2027, 1, 5) as u64 * DAY),
        Some(window(january - 31 * DAY, january))
    );
}

#[test]
fn a_quota_is_shown_as_it_is_written() {
    let shown = |per| quota(per, 1, 0).to_string();
    assert_eq!(shown(QuotaPeriod::Day), "3 per day");
    assert_eq!(shown(QuotaPeriod::Month), "3 per month");
}

/// Shared data keeps them over versions of the filter.
#[test]
fn tallies_are_named_by_store_and_lineage() {
    let name = |store: u8, lineage| TallyKey::new([store; 8], lineage).as_bytes().to_vec();
    let want = b"keystile/t/\x07\x07\x07\x07\x07\x07\x07\x07\0\0\0\0\0\0\x01\x02";
    assert_eq!(name(7, 0x102), want);
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
    assert!(with(Zone(OFFSET_MAX, vec![(5, -OFFSET_MAX)])).is_some());
    assert!(with(Zone(0, (0..1024).map(|n| (n, 0)).collect())).is_some());
    assert!(with(Zone(0, (0..1025).map(|n| (n, 0)).collect())).is_none());
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
        rule: q.rule(),
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
    // A worker whose clock was read a moment earlier is in the window that is used up.
    assert_eq!(draw(end - 1).take(&mut tallies), Err(NotDrawn::UsedUp(end)));
    assert_eq!(draw(end).take(&mut tallies).unwrap().remaining, 1);
    assert_eq!(draw(end).take(&mut tallies).unwrap().remaining, 0);
}

const DAY_RULE: u64 = 1;
const MONTH_RULE: u64 = 2;

/// Takes until refused; how many were let through.
fn taken(tallies: &mut MemoryBuckets, rule: u64, window: Window, requests: u64) -> u64 {
    let draw = draw(rule, window, requests);
    (0..)
        .take_while(|_| draw.take(tallies).is_ok())
        .fold(0, |n, _| n + 1)
}

fn draw(rule: u64, window: Window, requests: u64) -> Draw {
    Draw {
        key: TallyKey::new([1; 8], 7),
        rule,
        window,
        requests,
    }
}

#[test]
fn what_others_took_counts_in_its_own_window_and_never_less() {
    let w = window(100, 200);
    let mut counts = Counts::default();
    counts.open(DAY_RULE, w).unwrap().0.own = 1;
    let mut left = |start, others| {
        let is_news = counts.hear(start, others, 0);
        (is_news, counts.open(DAY_RULE, w).unwrap().0.remaining(5))
    };
    assert_eq!(left(100, 2), (true, 2));
    assert_eq!(left(100, 2), (false, 2), "the same receipt again");
    assert_eq!(left(100, 1), (false, 2), "an old receipt");
    assert_eq!(left(0, 9), (false, 2), "another window");
    assert_eq!(left(200, 9), (false, 2), "another window");
    let (next, carried) = counts.open(DAY_RULE, window(200, 300)).unwrap();
    assert_eq!((next.used(), carried), (0, false));
}

#[test]
fn what_was_given_back_can_be_taken_again_once_whatever_order_receipts_come_in() {
    let w = window(100, 200);
    let mut counts = Counts::default();
    counts.open(DAY_RULE, w).unwrap().0.own = 5;
    let mut left = |others, given_back| {
        let is_news = counts.hear(100, others, given_back);
        (is_news, counts.open(DAY_RULE, w).unwrap().0.remaining(5))
    };
    assert_eq!(left(2, 0), (true, 0));
    assert_eq!(left(2, 7), (true, 5));
    assert_eq!(left(2, 0), (false, 5), "an old receipt");
    assert_eq!(left(2, 7), (false, 5));
    assert_eq!(left(4, 7), (true, 3));
    assert_eq!(Counts::from_bytes(&counts.to_bytes()), Some(counts));
}

#[test]
fn tallies_of_a_former_version_are_read_with_nothing_given_back() {
    let numbers = [7u64, 100, 200, 3, 2, 1];
    let former: Vec<u8> = numbers.iter().flat_map(|n| n.to_be_bytes()).collect();
    let mut counts = Counts::from_bytes(&former).unwrap();
    let (tally, _) = counts.open(7, window(100, 200)).unwrap();
    assert_eq!((tally.used(), tally.carried, tally.given_back), (5, 1, 0));
}

#[test]
fn rules_that_differ_count_apart() {
    let mut tallies = MemoryBuckets::default();
    // 5 in a month and 1000 in a day, one line of keys that alternates between them.
    let (mut by_month, mut by_day) = (0, 0);
    let month = window(0, 3000);
    for round in 0..3 {
        by_month += taken(&mut tallies, MONTH_RULE, month, 5);
        let day = window(round * 100, round * 100 + 100);
        by_day += taken(&mut tallies, DAY_RULE, day, 1000);
    }
    assert_eq!((by_month, by_day), (5, 995 + 1000 + 1000));
}

#[test]
fn a_rule_that_is_new_begins_with_what_was_taken_in_windows_that_share_a_moment() {
    for (old, new, left) in [
        (window(100, 200), window(0, 1000), 2),
        (window(0, 1000), window(100, 200), 2),
        (window(100, 200), window(101, 201), 2),
        (window(100, 200), window(200, 300), 5),
        (window(200, 300), window(100, 200), 5),
    ] {
        let mut tallies = MemoryBuckets::default();
        assert_eq!(taken(&mut tallies, DAY_RULE, old, 3), 3);
        assert_eq!(taken(&mut tallies, MONTH_RULE, new, 5), left, "{new:?}");
        assert_eq!(taken(&mut tallies, DAY_RULE, old, 3), 0);
    }
}

#[test]
fn a_clock_that_steps_forward_and_back_gives_no_window_anew() {
    let day = |n: u64| window(n * 100, n * 100 + 100);
    for ahead in [
        vec![8],
        vec![365],
        vec![365, 366, 367, 368, 369],
        vec![9, 30, 400],
    ] {
        let mut tallies = MemoryBuckets::default();
        assert_eq!(taken(&mut tallies, DAY_RULE, day(7), 3), 3);
        for n in &ahead {
            assert_eq!(taken(&mut tallies, DAY_RULE, day(*n), 3), 3);
        }
        for n in ahead.iter().chain(&[7]) {
            assert_eq!(taken(&mut tallies, DAY_RULE, day(*n), 3), 0, "{n}");
        }
        // Refused until the window ends that the clock shows.
        let refused = draw(DAY_RULE, day(7), 3).take(&mut tallies);
        assert_eq!(refused, Err(NotDrawn::UsedUp(day(7).end)));
    }
}

#[test]
fn what_was_taken_ahead_counts_today_and_not_tomorrow_again() {
    let day = |n: u64| window(n * 100, n * 100 + 100);
    let mut tallies = MemoryBuckets::default();
    assert_eq!(taken(&mut tallies, DAY_RULE, day(365), 3), 3);
    assert_eq!(taken(&mut tallies, DAY_RULE, day(7), 3), 0);
    assert_eq!(taken(&mut tallies, DAY_RULE, day(8), 3), 3);
    assert_eq!(taken(&mut tallies, DAY_RULE, day(365), 3), 0);
}

#[test]
fn windows_kept_are_few_and_the_past_gives_nothing_back() {
    let day = |n: u64| window(n * 100, n * 100 + 100);
    let mut counts = Counts::default();
    for n in 0..400 {
        let (tally, _) = counts.open(DAY_RULE, day(n)).unwrap();
        assert_eq!(tally.used(), 0, "{n}");
        tally.own = 3;
        assert!(counts.to_bytes().len() <= 8 + 4 * 64);
    }
    for n in 0..400 {
        let (tally, _) = counts
            .clone()
            .open(DAY_RULE, day(n))
            .map(|(t, c)| (*t, c))
            .unwrap();
        assert!(tally.used() >= 3, "{n}");
    }
    // Rules are few, too: of others, windows that are past make room; else there is none.
    for rule in 2..200 {
        counts.open(rule, day(399 + rule)).unwrap();
        assert!(counts.to_bytes().len() <= 8 + MAX_TALLIES * 64);
    }
    let mut full = Counts::default();
    (0..32).for_each(|rule| assert!(full.open(rule, day(9)).is_some()));
    assert!(full.open(32, day(9)).is_none());
    let bytes = full.to_bytes();
    assert_eq!(Counts::from_bytes(&bytes).as_ref(), Some(&full));
    assert_eq!(
        Counts::from_bytes(&[&bytes[..], &bytes[8..72]].concat()),
        None
    );
    assert!(full.open(32, day(10)).is_some());
}

#[test]
fn three_windows_are_kept_beside_the_present_each_with_its_own_count() {
    let day = |n: u64| window(n * 100, n * 100 + 100);
    let mut counts = Counts::default();
    for (n, kept) in [(1, 1), (2, 2), (3, 3), (4, 4), (5, 4), (6, 4)] {
        counts.open(DAY_RULE, day(n)).unwrap().0.own = n;
        assert_eq!(counts.to_bytes().len(), 8 + kept * 64, "{n}");
    }
}

#[test]
fn what_counts_in_an_earlier_window_as_well_is_not_given_back() {
    let (today, ahead) = (window(100, 200), window(900, 1000));
    let mut counts = Counts::default();
    counts.open(DAY_RULE, ahead).unwrap().0.own = 2;
    // The clock is set back: both count today, too.
    let (tally, carried) = counts.open(DAY_RULE, today).unwrap();
    assert_eq!((tally.own, carried), (2, true));
    assert!(!counts.give_back(DAY_RULE, ahead));
    counts.open(DAY_RULE, ahead).unwrap().0.own = 3;
    assert!(counts.give_back(DAY_RULE, ahead));
    assert!(!counts.give_back(DAY_RULE, ahead));
    assert_eq!(counts.open(DAY_RULE, ahead).unwrap().0.own, 2);
}

#[test]
fn what_is_given_back_after_the_window_ended_is_not_given_to_the_next() {
    let mut counts = Counts::default();
    counts.open(DAY_RULE, window(100, 200)).unwrap().0.own = 5;
    let before = counts.clone();
    assert!(!counts.give_back(DAY_RULE, window(0, 100)));
    assert!(!counts.give_back(MONTH_RULE, window(100, 200)));
    assert_eq!(counts, before);
    assert!(counts.give_back(DAY_RULE, window(100, 200)));
    let (tally, _) = counts.open(DAY_RULE, window(100, 200)).unwrap();
    assert_eq!(tally.own, 4);
}

#[test]
fn a_rule_is_period_time_zone_and_roll_over_but_not_the_number() {
    let rule = |change: fn(&mut RawQuota)| {
        let mut raw = raw(QuotaPeriod::Month, 1, 0);
        change(&mut raw);
        super::rule(&raw)
    };
    let same = rule(|_| {});
    assert_eq!(quota(QuotaPeriod::Month, 1, 0).rule(), same);
    assert_eq!(rule(|raw| raw.requests = 9), same);
    let others: [fn(&mut RawQuota); 4] = [
        |raw| raw.per = QuotaPeriod::Day,
        |raw| raw.time_zone = "Europe/Berlin".into(),
        |raw| raw.rolls_over.day = 2,
        |raw| raw.rolls_over.hour = 2,
    ];
    others
        .iter()
        .for_each(|change| assert_ne!(rule(*change), same));
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
