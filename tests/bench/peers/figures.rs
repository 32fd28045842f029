//! From slices to medians, differences and ratios.

use std::collections::BTreeMap;

use serde::Serialize;

use super::builds::{Builds, Subject};
use super::cases::Case;

/// CPU of one subject in one round.
#[derive(Clone, Copy)]
pub struct Slice {
    pub subject: Subject,
    pub round: usize,
    /// Microseconds of CPU for each request, of the threads that serve requests.
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

    /// `median (low–high)`
    pub fn text(&self, digits: usize) -> String {
        let Self { median, low, high } = self;
        format!("{median:.digits$} ({low:.digits$}–{high:.digits$})")
    }
}

/// What was measured in one interleaved run, compared round by round.
pub struct Rounds(Vec<BTreeMap<Subject, Slice>>);

impl Rounds {
    pub fn of(slices: &[Slice]) -> Self {
        let mut rounds: BTreeMap<usize, BTreeMap<Subject, Slice>> = BTreeMap::new();
        for slice in slices {
            let round = rounds.entry(slice.round).or_default();
            round.insert(slice.subject, *slice);
        }
        Self(rounds.into_values().collect())
    }

    fn each(&self, f: impl Fn(&BTreeMap<Subject, Slice>) -> Option<f64>) -> Option<Spread> {
        Spread::of(self.0.iter().filter_map(f).collect())
    }

    fn cpu(&self, subject: Subject) -> Option<Spread> {
        self.each(|r| cpu(r, subject))
    }

    /// Over Envoy without a filter.
    pub fn added(&self, subject: Subject) -> Option<Spread> {
        self.each(|r| added(r, subject))
    }

    /// What one takes more than another.
    pub fn difference(&self, subject: Subject, than: Subject) -> Option<Spread> {
        self.each(|r| Some(cpu(r, subject)? - cpu(r, than)?))
    }

    /// What one adds over what another adds.
    pub fn ratio(&self, subject: Subject, to: Subject) -> Option<Spread> {
        self.each(|r| {
            let below = added(r, to)?;
            // What is within the noise divides nothing.
            (below > 0.3).then_some(added(r, subject)? / below)
        })
    }
}

fn cpu(round: &BTreeMap<Subject, Slice>, subject: Subject) -> Option<f64> {
    Some(round.get(&subject)?.cpu_us)
}

fn added(round: &BTreeMap<Subject, Slice>, subject: Subject) -> Option<f64> {
    let first = cpu(round, Case::Floor.built())?;
    let last = cpu(round, Case::FloorAgain.built()).unwrap_or(first);
    Some(cpu(round, subject)? - (first + last) / 2.0)
}

/// One line of a table.
#[derive(Clone, Serialize)]
pub struct Line {
    pub case: String,
    #[serde(skip)]
    pub subject: Subject,
    pub cpu_us: Spread,
    /// Over Envoy without a filter, round by round.
    pub added_us: Option<Spread>,
    /// Added CPU over that of the empty filter, round by round.
    pub to_empty: Option<Spread>,
    /// Added CPU over that of api_key_auth with local_ratelimit, round by round.
    pub to_native: Option<Spread>,
    pub requests_per_second: f64,
}

impl Line {
    pub fn is_ours(&self) -> bool {
        self.subject.case.is_keystile()
    }
}

/// What one thing costs beside another, round by round.
#[derive(Serialize)]
pub struct Step {
    pub what: String,
    pub us: Spread,
}

/// A table: what was measured in one interleaved run.
#[derive(Serialize)]
pub struct Table {
    pub title: String,
    pub keys: usize,
    pub unknown_percent: u64,
    pub rounds: usize,
    /// Of each case in a round.
    pub requests: u64,
    pub connections: u64,
    pub lines: Vec<Line>,
    pub steps: Vec<Step>,
    #[serde(skip)]
    pub measured: Rounds,
    /// Keys that take turns.
    pub turns: usize,
    /// Requests go to an upstream.
    pub has_upstream: bool,
    /// One worker and HTTP/1.1: what targets are held against.
    #[serde(skip)]
    pub is_plain: bool,
}

impl Table {
    pub fn of(title: String, slices: &[Slice], builds: &Builds) -> Self {
        let rounds = Rounds::of(slices);
        let mut speeds: BTreeMap<Subject, Vec<f64>> = BTreeMap::new();
        for slice in slices {
            let all = speeds.entry(slice.subject).or_default();
            all.push(slice.requests_per_second);
        }
        let lines = builds.of(&Case::ALL).into_iter().filter_map(|subject| {
            let case = subject.case;
            let to = |other: Case| {
                let compares = case.checks() && !case.is_other_proxy();
                rounds
                    .ratio(subject, other.built())
                    .filter(|_| compares && case != other)
            };
            let has_floor = case != Case::Floor && !case.is_other_proxy();
            Some(Line {
                case: builds.name(subject),
                subject,
                cpu_us: rounds.cpu(subject)?,
                added_us: rounds.added(subject).filter(|_| has_floor),
                to_empty: to(Case::Empty),
                to_native: to(Case::NativeLimit),
                requests_per_second: Spread::of(speeds.remove(&subject)?)?.median,
            })
        });
        Self {
            title,
            keys: 0,
            requests: 0,
            connections: 0,
            unknown_percent: 0,
            lines: lines.collect(),
            rounds: rounds.0.len(),
            steps: steps(&rounds, builds),
            measured: rounds,
            turns: 0,
            has_upstream: false,
            is_plain: false,
        }
    }

    pub fn markdown(&self) -> String {
        let mut text = format!(
            "### {}\n\n{} rounds of {} requests over {} connections; median (10 %–90 %).\n\n| case | CPU µs a request | added µs | × empty filter | × native pair | requests/s |\n| --- | --: | --: | --: | --: | --: |\n",
            self.title, self.rounds, self.requests, self.connections
        );
        let cell = |s: Option<Spread>, digits| s.map_or(String::new(), |s| s.text(digits));
        for line in &self.lines {
            text.push_str(&format!(
                "| {} | {} | {} | {} | {} | {:.0} |\n",
                line.case,
                line.cpu_us.text(2),
                cell(line.added_us, 2),
                cell(line.to_empty, 2),
                cell(line.to_native, 2),
                line.requests_per_second
            ));
        }
        if !self.steps.is_empty() {
            text.push_str("\n| what it costs, pair by pair | µs a request |\n| --- | --: |\n");
            for step in &self.steps {
                text.push_str(&format!("| {} | {} |\n", step.what, step.us.text(2)));
            }
        }
        text.push('\n');
        text
    }
}

/// What each feature costs, and each build against the first.
fn steps(rounds: &Rounds, builds: &Builds) -> Vec<Step> {
    let pairs = [
        ("exports that nobody needs", Case::Empty, Case::EmptyTrimmed),
        (
            "identity put in, key taken out, guard",
            Case::Identity,
            Case::Key,
        ),
        ("a scope", Case::Scopes, Case::Identity),
        ("one limit", Case::OneLimit, Case::Scopes),
        ("the guard alone", Case::OneLimit, Case::Unguarded),
        ("two more limits", Case::ThreeLimits, Case::OneLimit),
        ("fields on every answer", Case::Fields, Case::ThreeLimits),
        ("usage", Case::Usage, Case::OneLimit),
        (
            "1,000 routes in place of 5",
            Case::ManyRoutes,
            Case::FiveRoutes,
        ),
        ("nothing at all: the noise", Case::FloorAgain, Case::Floor),
    ];
    let mut all = Vec::new();
    for (what, case, than) in pairs {
        let us = rounds.difference(case.built(), than.built());
        all.extend(us.map(|us| Step {
            what: what.to_owned(),
            us,
        }));
    }
    for subject in builds.of(&Case::ALL) {
        if builds.is_beside(subject) {
            let us = rounds.difference(subject, subject.case.built());
            all.extend(us.map(|us| Step {
                what: format!("{}, over the build here", builds.name(subject)),
                us,
            }));
        }
    }
    all
}
