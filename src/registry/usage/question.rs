//! Queries for what was counted: a time range, in steps, broken down by one property.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::count::NOBODY;
use super::{DAY, HOUR, Step, UsageSettings};
use keystile_model::error::{Code, Result, refuse};
use keystile_model::when;
use keystile_store::{Dimension, Grouped, OnlyThese, These, UsageTx, Whose};

/// Steps of one answer.
const POINTS: u64 = 3_000;

/// What requests are broken down by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
#[schema(as = By)]
pub enum Breakdown {
    /// The route that they matched
    Route,
    /// The outcome: `ok`, or the code of the refusal
    Outcome,
    /// The key that they carried
    Key,
    /// The client that the key belongs to
    Client,
}

/// A range in whole steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Their length.
    pub step: Step,
    /// The first, counted from the epoch.
    pub first: u64,
    /// The last.
    pub last: u64,
    /// The range ends with the current step: there is nothing after it.
    open: bool,
}

/// A query.
#[derive(Clone, Copy, Debug)]
pub struct UsageQuestion {
    /// Whose requests.
    pub whose: Whose,
    /// Which of them.
    pub only: OnlyThese,
    /// When.
    pub span: Span,
    /// What to break it down by.
    pub by: Option<Breakdown>,
    /// The most groups; the others are taken together.
    pub most: usize,
}

/// Requests of a step or of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// All requests.
    pub requests: u64,
    /// Those that were let through.
    pub allowed: u64,
}

/// A group and its course.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Number of the route, outcome, key or client.
    pub number: i64,
    /// All of it.
    pub sum: Sum,
    /// Requests in each step.
    pub course: Vec<u64>,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageAnswer {
    /// All of it.
    pub sum: Sum,
    /// Each step, those without a request too.
    pub course: Vec<Sum>,
    /// The largest groups first.
    pub groups: Vec<Group>,
    /// How many other groups there are, and what they have.
    pub others: (u64, Sum),
}

impl Sum {
    fn add(&mut self, more: &Grouped) {
        self.requests += more.requests;
        self.allowed += more.allowed;
    }
}

impl Span {
    /// From one time to another or to now, in seconds; without a step, in one that gives some dozen
    /// points and is still kept.
    ///
    /// # Errors
    /// If the range is empty, too long for its steps, or longer ago than they are kept.
    pub fn new(
        (since, until): (u64, Option<u64>),
        step: Option<Step>,
        settings: &UsageSettings,
        now: u64,
    ) -> Result<Self> {
        let end = until.unwrap_or(now).min(now);
        if since > end {
            return Err(refuse(
                Code::EndsBeforeBegin,
                "the range ends before it begins",
                "give a `since` that is past, and an `until` after it",
            )
            .about("until"));
        }
        let kept = |step: Step| since >= now.saturating_sub(settings.kept(step));
        let step = match step {
            Some(step) if kept(step) || step == Step::Day => step,
            Some(step) => {
                return Err(refuse(
                    Code::OutOfRange,
                    format_args!(
                        "usage by {} is kept for {}",
                        step.name(),
                        when::duration(settings.kept(step))
                    ),
                    "ask for less time, or for longer steps",
                )
                .about("since"));
            }
            None if end - since <= 3 * HOUR && kept(Step::Minute) => Step::Minute,
            None if end - since <= 3 * DAY && kept(Step::Hour) => Step::Hour,
            None => Step::Day,
        };
        let unit = step.seconds();
        let open = end == now;
        let last = if open { end } else { end.max(since + 1) - 1 } / unit;
        let first = since / unit;
        if last - first >= POINTS {
            return Err(refuse(
                Code::OutOfRange,
                format_args!(
                    "that would be {} steps of a {}",
                    last - first + 1,
                    step.name()
                ),
                format_args!("ask for {POINTS} at most, or for longer steps"),
            )
            .about("step"));
        }
        Ok(Self {
            step,
            first,
            last,
            open,
        })
    }

    /// When it begins, in seconds.
    pub fn from(&self) -> u64 {
        self.first * self.step.seconds()
    }

    /// When it ends, in seconds.
    pub fn until(&self) -> u64 {
        (self.last + 1) * self.step.seconds()
    }

    /// How many steps there are.
    fn len(&self) -> usize {
        usize::try_from(self.last - self.first + 1).unwrap_or(usize::MAX)
    }

    fn index(&self, t: u64) -> usize {
        usize::try_from(t.saturating_sub(self.first)).unwrap_or(usize::MAX)
    }

    /// The same range in longer units where these are complete: for sums alone, a fraction of the
    /// rows is enough.
    fn coarse(&self) -> Vec<(Step, (u64, u64))> {
        let (longer, ratio) = match self.step {
            Step::Minute => (Step::Hour, 60),
            Step::Hour => (Step::Day, 24),
            Step::Day => return vec![(Step::Day, (self.first, self.last))],
        };
        let first = self.first.div_ceil(ratio);
        let end = if self.open {
            self.last / ratio + 1
        } else {
            (self.last + 1) / ratio
        };
        if first >= end {
            return vec![(self.step, (self.first, self.last))];
        }
        let mut out = vec![(longer, (first, end - 1))];
        if self.first < first * ratio {
            out.push((self.step, (self.first, first * ratio - 1)));
        }
        if end * ratio <= self.last {
            out.push((self.step, (end * ratio, self.last)));
        }
        out
    }
}

/// Answers.
///
/// # Errors
/// Those of the database.
pub fn answer(tx: &UsageTx<'_>, question: &UsageQuestion) -> Result<UsageAnswer> {
    let UsageQuestion {
        whose, only, span, ..
    } = *question;
    let range = (span.first, span.last);
    let mut out = UsageAnswer {
        sum: Sum::default(),
        course: vec![Sum::default(); span.len()],
        groups: Vec::new(),
        others: (0, Sum::default()),
    };
    for point in tx.series(whose, only, span.step, range)? {
        out.sum.add(&point);
        if let Some(at) = out.course.get_mut(span.index(point.t)) {
            at.add(&point);
        }
    }
    let Some(by) = question.by else {
        return Ok(out);
    };
    let mut groups = groups(tx, question, by)?;
    groups.sort_by_key(|g| (std::cmp::Reverse(g.sum.requests), g.number));
    let rest = groups.split_off(question.most.min(groups.len()));
    for group in rest {
        out.others.0 += 1;
        out.others.1.requests += group.sum.requests;
        out.others.1.allowed += group.sum.allowed;
    }
    for group in &mut groups {
        let whose = match by {
            Breakdown::Route | Breakdown::Outcome => continue,
            Breakdown::Client => Whose::Client(group.number),
            Breakdown::Key => Whose::Key {
                client: tx.key_of(group.number)?.map_or(NOBODY, |(_, c)| c),
                key: group.number,
            },
        };
        let points = tx.series(whose, only, span.step, range)?;
        group.course = course(&span, &points);
    }
    out.groups = groups;
    Ok(out)
}

fn groups(tx: &UsageTx<'_>, question: &UsageQuestion, by: Breakdown) -> Result<Vec<Group>> {
    let UsageQuestion {
        whose, only, span, ..
    } = *question;
    let dimension = match (by, whose) {
        (Breakdown::Route, _) => Dimension::Route,
        (Breakdown::Outcome, _) => Dimension::Outcome,
        (Breakdown::Client, Whose::All) => return many(tx, These::Clients, only, &span),
        (Breakdown::Key, Whose::All) => return many(tx, These::Keys, only, &span),
        (Breakdown::Key, Whose::Client(client)) => {
            return many(tx, These::KeysOf(client), only, &span);
        }
        // One group, which is all of it.
        (Breakdown::Client, Whose::Client(number) | Whose::Key { client: number, .. })
        | (Breakdown::Key, Whose::Key { key: number, .. }) => {
            let mut sum = Sum::default();
            let points = tx.series(whose, only, span.step, (span.first, span.last))?;
            points.iter().for_each(|p| sum.add(p));
            let course = Vec::new();
            let group = Group {
                number,
                sum,
                course,
            };
            return Ok(if points.is_empty() {
                Vec::new()
            } else {
                vec![group]
            });
        }
    };
    let mut sums: HashMap<i64, (Sum, Vec<Grouped>)> = HashMap::new();
    for row in tx.series_by(whose, only, dimension, span.step, (span.first, span.last))? {
        let (sum, points) = sums.entry(row.number).or_default();
        sum.add(&row);
        points.push(row);
    }
    let groups = sums.into_iter().map(|(number, (sum, points))| Group {
        number,
        sum,
        course: course(&span, &points),
    });
    Ok(groups.collect())
}

/// There may be many keys and clients, so the course of the few largest is read afterwards.
fn many(tx: &UsageTx<'_>, these: These, only: OnlyThese, span: &Span) -> Result<Vec<Group>> {
    let mut sums: HashMap<i64, Sum> = HashMap::new();
    for (step, range) in span.coarse() {
        tx.each_of(these, only, step, range, |row| {
            sums.entry(row.number).or_default().add(&row);
        })?;
    }
    let groups = sums.into_iter().map(|(number, sum)| Group {
        number,
        sum,
        course: Vec::new(),
    });
    Ok(groups.collect())
}

fn course(span: &Span, points: &[Grouped]) -> Vec<u64> {
    let mut out = vec![0; span.len()];
    for point in points {
        if let Some(at) = out.get_mut(span.index(point.t)) {
            *at += point.requests;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: u64 = 1_800_000_000;

    fn span(since: u64, until: Option<u64>, step: Option<Step>) -> Result<Span> {
        Span::new((since, until), step, &UsageSettings::default(), NOW)
    }

    #[test]
    fn a_step_that_is_not_said_suits_the_range() {
        let step = |since| span(since, None, None).unwrap().step;
        assert_eq!(step(NOW - HOUR), Step::Minute);
        assert_eq!(step(NOW - DAY), Step::Hour);
        assert_eq!(step(NOW - 7 * DAY), Step::Day);
        let old = span(NOW - 30 * DAY, Some(NOW - 30 * DAY + HOUR), None);
        assert_eq!(old.unwrap().step, Step::Hour);
    }

    #[test]
    fn a_step_that_is_not_kept_so_long_is_refused_with_how_long_it_is() {
        let refused = span(NOW - 7 * DAY, None, Some(Step::Minute)).unwrap_err();
        assert!(
            refused
                .to_string()
                .starts_with("usage by minute is kept for 2d; ")
        );
        assert!(span(NOW + 1, None, None).is_err());
        assert!(span(NOW - DAY, Some(NOW - 2 * DAY), None).is_err());
    }

    proptest! {
        #![proptest_config(crate::usage::seeded())]

        #[test]
        fn a_range_in_longer_units_is_the_same_range(
            back in 1u64..50 * DAY, length in 1u64..50 * DAY, hours: bool,
        ) {
            let step = if hours { Step::Hour } else { Step::Minute };
            let back = if hours { back } else { back % (2 * DAY) };
            let since = NOW - back;
            let until = (length < back).then_some(since + length);
            let span = span(since, until, Some(step)).unwrap();
            let unit = step.seconds();
            let mut seconds: Vec<(u64, u64)> = span
                .coarse()
                .into_iter()
                .map(|(s, (a, b))| (a * s.seconds(), (b + 1) * s.seconds()))
                .collect();
            seconds.sort_unstable();
            prop_assert_eq!(seconds[0].0, span.first * unit);
            for pair in seconds.windows(2) {
                prop_assert_eq!(pair[0].1, pair[1].0);
            }
            let end = seconds.last().unwrap().1;
            if until.is_some() {
                prop_assert_eq!(end, (span.last + 1) * unit);
            } else {
                prop_assert!(end >= (span.last + 1) * unit && end <= NOW + DAY);
            }
        }
    }
}
