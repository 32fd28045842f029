//! What is asked, and what was measured of it.

use serde::Serialize;

use super::builds::{Shell, Subject};
use super::cases::Case;
use super::figures::{Spread, Table};
use super::plans::{TURNS, counted};

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
            "### Targets\n\n| what | asked, at most | measured | |\n| --- | --: | --: | --- |\n",
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

/// What one limit with key, scope and identity may add, over what another case adds.
const RATIOS: [(Shell, Case, f64); 5] = [
    (Shell::Module, Case::Empty, 1.2),
    (Shell::Module, Case::NativeLimit, 1.25),
    (Shell::Module, Case::Lua, 0.5),
    (Shell::Module, Case::Authz, 0.08),
    (Shell::Wasm, Case::Empty, 3.4),
];

/// Of the tables.
pub fn of_tables(tables: &[Table]) -> Vec<Target> {
    let mut all = Vec::new();
    let plain: Vec<&Table> = tables
        .iter()
        .filter(|t| t.is_plain && t.unknown_percent == 0)
        .collect();
    for table in &plain {
        all.extend(of_table(table));
    }
    all.extend(many_keys(&plain));
    all
}

fn of_table(table: &Table) -> Vec<Target> {
    let limit = |shell| Case::OneLimit.within(shell);
    let mut all = Vec::new();
    if table.turns != TURNS.min(table.keys) {
        return all;
    }
    let place = format!(
        "{} keys, {} in turn",
        counted(table.keys),
        counted(table.turns)
    );
    if table.has_upstream {
        for (shell, to, at_most) in RATIOS {
            let what = format!("{} ÷ {}, {place}", shell.name(), to.name());
            let found = table.measured.ratio(limit(shell), to.built());
            all.extend(found.map(|s| Target::of(what, at_most, s)));
        }
        let routes = |case: Case| case.within(Shell::Wasm);
        let (many, five) = (routes(Case::ManyRoutes), routes(Case::FiveRoutes));
        let what = format!("1,000 routes over 5, wasm, µs, {place}");
        let more = table.measured.difference(many, five);
        all.extend(more.map(|s| Target::of(what, 0.5, s)));
        return all;
    }
    // What is refused never comes to an upstream.
    for shell in [Shell::Wasm, Shell::Module] {
        let unknown = Case::Unknown.within(shell);
        let what = format!("unknown ÷ known key, {}, direct, {place}", shell.name());
        let found = table.measured.ratio(unknown, limit(shell));
        all.extend(found.map(|s| Target::of(what, 0.6, s)));
    }
    all
}

/// All keys of the largest store in turn, over ten of them. Of two tables, so of medians; and each
/// in what Envoy took without a filter, because the machine is not as quick in one minute as in
/// the next.
fn many_keys(plain: &[&Table]) -> Option<Target> {
    let most = plain.iter().max_by_key(|t| (t.turns, t.has_upstream))?;
    let is_few = |t: &&&Table| t.turns == 10 && t.has_upstream == most.has_upstream;
    let few = plain.iter().filter(is_few).max_by_key(|t| t.keys)?;
    let subject = Case::OneLimit.within(Shell::Module);
    let ratio = added(most, subject)? / added(few, subject)?;
    let what = format!(
        "{} keys in turn ÷ 10, module, added µs",
        counted(most.turns)
    );
    (most.turns > TURNS).then(|| Target::new(what, 1.5, ratio))
}

fn added(table: &Table, subject: Subject) -> Option<f64> {
    let floor = table.lines.iter().find(|l| l.subject.case == Case::Floor)?;
    Some(table.measured.added(subject)?.median / floor.cpu_us.median)
}
