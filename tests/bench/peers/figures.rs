//! From slices to medians, differences and ratios.

use std::collections::BTreeMap;

use serde::Serialize;

use super::cases::Case;

/// CPU of one case in one round.
#[derive(Clone, Copy)]
pub struct Slice {
    pub case: Case,
    pub round: usize,
    /// Microseconds of CPU for each request, of all processes of the server.
    pub cpu_us: f64,
    pub requests_per_second: f64,
}

/// A median with the tenth and the ninetieth hundredth.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Spread {
    pub median: f64,
    pub low: f64,
    pub high: f64,
}

impl Spread {
    pub fn of(mut all: Vec<f64>) -> Option<Self> {
        all.sort_by(f64::total_cmp);
        let at = |part: f64| {
            let last = all.len().checked_sub(1)? as f64;
            all.get((last * part).round() as usize).copied()
        };
        Some(Self {
            median: at(0.5)?,
            low: at(0.1)?,
            high: at(0.9)?,
        })
    }
}

/// One line of a table.
#[derive(Clone, Serialize)]
pub struct Line {
    pub case: &'static str,
    pub cpu_us: Spread,
    /// Over Envoy without a filter, round by round.
    pub added_us: Option<Spread>,
    /// Added CPU over that of the empty filter, round by round.
    pub to_empty: Option<Spread>,
    /// Added CPU over that of api_key_auth with local_ratelimit, round by round.
    pub to_native: Option<Spread>,
    pub requests_per_second: f64,
}

/// A table: what was measured in one interleaved run.
#[derive(Serialize)]
pub struct Table {
    pub title: String,
    pub rounds: usize,
    pub lines: Vec<Line>,
}

impl Table {
    pub fn of(title: String, slices: &[Slice]) -> Self {
        let mut rounds: BTreeMap<usize, BTreeMap<Case, Slice>> = BTreeMap::new();
        for slice in slices {
            rounds
                .entry(slice.round)
                .or_default()
                .insert(slice.case, *slice);
        }
        let cpu = |round: &BTreeMap<Case, Slice>, case| round.get(&case).map(|s| s.cpu_us);
        let floor = |round: &BTreeMap<Case, Slice>| {
            let first = cpu(round, Case::Floor)?;
            Some((first + cpu(round, Case::FloorAgain).unwrap_or(first)) / 2.0)
        };
        let lines = Case::ALL.into_iter().filter_map(|case| {
            let each = |f: &dyn Fn(&BTreeMap<Case, Slice>) -> Option<f64>| {
                Spread::of(rounds.values().filter_map(f).collect())
            };
            let added =
                |round: &BTreeMap<Case, Slice>, case| Some(cpu(round, case)? - floor(round)?);
            let ratio = |round: &BTreeMap<Case, Slice>, to| {
                let below = added(round, to)?;
                // What is within the noise divides nothing.
                (below > 0.3).then_some(added(round, case)? / below)
            };
            // Another proxy has another floor.
            let own = matches!(case, Case::Nginx | Case::Haproxy);
            let compares = case.checks() && !own;
            let speeds = rounds
                .values()
                .filter_map(|r| Some(r.get(&case)?.requests_per_second));
            Some(Line {
                case: case.name(),
                cpu_us: each(&|r| cpu(r, case))?,
                added_us: each(&|r| added(r, case)).filter(|_| case != Case::Floor && !own),
                to_empty: each(&|r| ratio(r, Case::Empty)).filter(|_| compares),
                to_native: each(&|r| ratio(r, Case::NativeLimit)).filter(|_| compares),
                requests_per_second: Spread::of(speeds.collect())?.median,
            })
        });
        Self {
            title,
            rounds: rounds.len(),
            lines: lines.collect(),
        }
    }

    pub fn markdown(&self) -> String {
        let mut text = format!(
            "### {}\n\n{} rounds; median (10 %–90 %).\n\n| case | CPU µs a request | added µs | × empty filter | × native pair | requests/s |\n| --- | --: | --: | --: | --: | --: |\n",
            self.title, self.rounds
        );
        let cell = |s: Option<Spread>, digits: usize| match s {
            Some(s) => format!(
                "{:.digits$} ({:.digits$}–{:.digits$})",
                s.median, s.low, s.high
            ),
            None => String::new(),
        };
        for line in &self.lines {
            text.push_str(&format!(
                "| {} | {} | {} | {} | {} | {:.0} |\n",
                line.case,
                cell(Some(line.cpu_us), 1),
                cell(line.added_us, 1),
                cell(line.to_empty, 2),
                cell(line.to_native, 2),
                line.requests_per_second
            ));
        }
        text.push('\n');
        text
    }
}
