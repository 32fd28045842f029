//! Times as people write and read them.

use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use keystile_core::advice::Advice;
use keystile_core::policy;

/// The last second that a keyset's index can hold for an expiry: 2106-02-07.
const LAST: u64 = u32::MAX as u64 - 1;

/// A time as it is typed: `90d`, `24h` (from now), `2027-01-31` (midnight, UTC) or RFC 3339.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Seconds from now.
    After(u64),
    /// Seconds since the epoch.
    At(u64),
}

impl When {
    /// Seconds since the epoch.
    pub fn at(self, now: u64) -> u64 {
        match self {
            Self::After(s) => now.saturating_add(s).min(LAST),
            Self::At(t) => t,
        }
    }

    /// Seconds since the epoch, for a time in the past: `90d` is counted back from now.
    pub fn ago(self, now: u64) -> u64 {
        match self {
            Self::After(s) => now.saturating_sub(s),
            Self::At(t) => t,
        }
    }
}

impl FromStr for When {
    type Err = Advice;

    fn from_str(text: &str) -> Result<Self, Advice> {
        if let Some(s) = policy::seconds(text) {
            return Ok(Self::After(s));
        }
        let date = || {
            let date: Date = text.parse().ok()?;
            seconds(date.to_zoned(TimeZone::UTC).ok()?.timestamp())
        };
        // A date alone needs no time zone; a date with a time does.
        let found = if text.len() == 10 {
            date()
        } else {
            text.parse().ok().and_then(seconds)
        };
        match found {
            Some(t) if t > LAST => Err(Advice::from(format!(
                "`{text}` is later than 2106-02-07, the last day that a keyset can hold"
            ))),
            Some(t) => Ok(Self::At(t)),
            None => Err(Advice::new(
                format!("`{text}` is not a time"),
                "write `90d` or `24h` from now, `2027-01-31`, or `2027-01-31T12:00:00Z`",
            )),
        }
    }
}

/// Reads `90d`, `24h`, `30m`, and `0` for none at all.
pub fn span(text: &str) -> Result<u64, Advice> {
    if text == "0" {
        return Ok(0);
    }
    policy::seconds(text).ok_or_else(|| {
        Advice::new(
            format!("`{text}` is not a duration"),
            "write `24h`, `7d` or `30m`",
        )
    })
}

fn seconds(t: Timestamp) -> Option<u64> {
    u64::try_from(t.as_second()).ok()
}

/// `2027-01-31T12:00:00Z`.
pub fn rfc3339(seconds: u64) -> String {
    i64::try_from(seconds)
        .ok()
        .and_then(|s| Timestamp::from_second(s).ok())
        .map_or_else(|| seconds.to_string(), |t| t.to_string())
}

/// `2027-01-31T12:00:00.123Z`.
pub fn rfc3339_ms(ms: u64) -> String {
    i64::try_from(ms)
        .ok()
        .and_then(|s| Timestamp::from_millisecond(s).ok())
        .map_or_else(|| ms.to_string(), |t| t.to_string())
}

/// HTTP's `Date` in seconds: `Sun, 31 Jan 2027 12:00:00 GMT`.
pub fn http_date(text: &str) -> Option<u64> {
    let parsed = jiff::fmt::rfc2822::parse(text).ok()?;
    u64::try_from(parsed.timestamp().as_second()).ok()
}

/// `2027-01-31 12:00`, for tables.
pub fn short(seconds: u64) -> String {
    rfc3339(seconds)
        .get(..16)
        .map_or_else(|| seconds.to_string(), |s| s.replace('T', " "))
}

/// `in 3d`, `2h ago`: the largest whole unit.
pub fn relative(seconds: u64, now: u64) -> String {
    let distance = seconds.abs_diff(now);
    let unit = [(86_400, "d"), (3600, "h"), (60, "m"), (1, "s")]
        .into_iter()
        .find(|(n, _)| distance >= *n);
    match unit {
        None => "now".to_owned(),
        Some((n, u)) if seconds > now => format!("in {}{u}", distance / n),
        Some((n, u)) => format!("{}{u} ago", distance / n),
    }
}

/// Seconds as the policy writes a period, in its largest unit.
pub fn duration(seconds: u64) -> String {
    [(86_400, "d"), (3600, "h"), (60, "m"), (1, "s")]
        .into_iter()
        .find(|(n, _)| seconds.is_multiple_of(*n))
        .map_or_else(
            || format!("{seconds}s"),
            |(n, u)| format!("{}{u}", seconds / n),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_each_of_the_ways_they_are_written() {
        let now = 1_800_000_000;
        let at = |text: &str| text.parse::<When>().map(|w| w.at(now));
        assert_eq!(at("90d"), Ok(now + 90 * 86_400));
        assert_eq!(at("24h"), Ok(now + 86_400));
        assert_eq!(at("2027-01-31"), Ok(1_801_353_600));
        assert_eq!(at("2027-01-31T01:00:00+01:00"), Ok(1_801_353_600));
        assert_eq!(at("2027-01-31T00:00:00Z"), Ok(1_801_353_600));
        for bad in [
            "",
            "soon",
            "90",
            "-1d",
            "2027-13-01",
            "2027-01-31T00:00:00",
            "1969-12-31",
            "0d",
        ] {
            assert!(at(bad).is_err(), "{bad}");
        }
        assert!(at("2200-01-01").is_err());
    }

    #[test]
    fn times_are_shown_as_they_are_read() {
        assert_eq!(rfc3339(1_801_353_600), "2027-01-31T00:00:00Z");
        assert_eq!(short(1_801_353_600), "2027-01-31 00:00");
        assert_eq!(duration(60), "1m");
        assert_eq!(duration(90), "90s");
        assert_eq!(duration(7 * 86_400), "7d");
        assert_eq!(relative(100, 100), "now");
        assert_eq!(relative(7300, 100), "in 2h");
        assert_eq!(relative(100, 190), "1m ago");
    }
}
