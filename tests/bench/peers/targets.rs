//! What is asked, and what was measured of it.

use serde::Serialize;

use super::cases::Case;
use super::figures::{Spread, Table};
use super::tables::counted;

/// One thing that is asked.
#[derive(Clone, Serialize)]
pub struct Target {
    pub what: String,
    pub at_most: f64,
    pub measured: f64,
    /// In words, with the spread where there is one.
    pub text: String,
}

impl Target {
    pub fn new(what: impl Into<String>, at_most: f64, measured: f64) -> Self {
        Self {
            what: what.into(),
            at_most,
            measured,
            text: format!("{measured:.2}"),
        }
    }

    fn of(what: impl Into<String>, at_most: f64, measured: Spread) -> Self {
        Self {
            text: measured.text(2),
            ..Self::new(what, at_most, measured.median)
        }
    }

    pub fn markdown(all: &[Self]) -> String {
        let mut text = String::from(
            "### Targets\n\n| asked | at most | measured | |\n| --- | --: | --: | --- |\n",
        );
        for target in all {
            let verdict = match target.measured <= target.at_most {
                true => "met".to_owned(),
                false => format!("missed by {:.2}", target.measured - target.at_most),
            };
            let Self {
                what,
                at_most,
                text: measured,
                ..
            } = target;
            text.push_str(&format!(
                "| {what} | {at_most} | {measured} | {verdict} |\n"
            ));
        }
        text.push('\n');
        text
    }
}

/// Of the tables.
pub fn of_tables(tables: &[Table]) -> Vec<Target> {
    let mut all = Vec::new();
    let plain: Vec<&Table> = tables
        .iter()
        .filter(|t| t.is_plain && t.unknown_percent == 0)
        .collect();
    let one_limit = Case::OneLimit.built();
    for table in &plain {
        let size = counted(table.keys);
        let mut ratio = |what: &str, case: Case, to: Case, at_most| {
            let found = table.measured.ratio(case.built(), to.built());
            all.extend(found.map(|s| Target::of(format!("{what}, {size} keys"), at_most, s)));
        };
        ratio(
            "one limit, × empty filter",
            Case::OneLimit,
            Case::Empty,
            2.0,
        );
        ratio(
            "one limit, × native pair",
            Case::OneLimit,
            Case::NativeLimit,
            2.5,
        );
        ratio(
            "key and identity, × empty filter",
            Case::Identity,
            Case::Empty,
            1.5,
        );
        ratio("one limit, × Lua", Case::OneLimit, Case::Lua, 0.65);
        ratio("one limit, × ext_authz", Case::OneLimit, Case::Authz, 0.15);
        let many = Case::ManyRoutes.built();
        let more = table.measured.difference(many, Case::FiveRoutes.built());
        let what = format!("1,000 routes over 5, µs, {size} keys");
        all.extend(more.map(|s| Target::of(what, 0.5, s)));
    }
    // Of two tables, so of medians; and each in what Envoy took without a filter, because the
    // machine is not as quick in one minute as in the next.
    let added = |table: &Table| {
        let floor = table.lines.iter().find(|l| l.subject.case == Case::Floor)?;
        Some(table.measured.added(one_limit)?.median / floor.cpu_us.median)
    };
    let unknown = tables
        .iter()
        .find(|t| t.is_plain && t.unknown_percent == 100);
    if let Some(unknown) = unknown
        && let Some(known) = plain.iter().find(|t| t.keys == unknown.keys)
        && let (Some(a), Some(b)) = (added(unknown), added(known))
    {
        let what = format!("unknown keys, × known ones, {} keys", counted(known.keys));
        all.push(Target::new(what, 1.0, a / b));
    }
    let by_size: Vec<f64> = plain.iter().filter_map(|t| added(t)).collect();
    if by_size.len() > 1 {
        let most = by_size.iter().copied().fold(f64::MIN, f64::max);
        let least = by_size.iter().copied().fold(f64::MAX, f64::min);
        let what = "one limit, the dearest number of keys × the cheapest";
        all.push(Target::new(what, 1.15, most / least));
    }
    all
}
