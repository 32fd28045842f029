use super::*;
use crate::limit::bucket::MemoryBuckets;
use proptest::prelude::*;

mod changes;
mod tallies;

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
