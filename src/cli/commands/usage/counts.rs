//! How many requests there were, as a chart, as a table of groups, or for a spreadsheet.

use clap::Args;
use keystile_core::key::Parsed;

use super::Context;
use crate::output::{self, cell};
use keystile_api::usage::{self, Usage as Counted};
use keystile_model::error::{Code, Result, refuse};
use keystile_model::when::{self, When};
use keystile_model::wire::{Time, TimeWords};
use keystile_registry::usage::Step;
use keystile_registry::usage::question::Breakdown;

/// Width of the longest bar, in columns.
const BAR: u64 = 40;

#[derive(Args)]
pub(super) struct Show {
    /// A client's name or a key's id [default: all clients]
    #[arg(value_name = "CLIENT|KEY", value_parser = client_or_key)]
    of: Option<String>,
    /// Since this time: `24h` and `7d` are counted back from now
    #[arg(long, value_name = "WHEN", default_value = "7d")]
    since: When,
    /// Until this time [default: now]
    #[arg(long, value_name = "WHEN")]
    until: Option<When>,
    /// Only requests that matched this route
    #[arg(long, value_name = "ROUTE")]
    route: Option<String>,
    /// Only requests with this outcome: `ok`, or the code of a refusal
    #[arg(long, value_name = "CODE")]
    outcome: Option<String>,
    /// Break the requests down
    #[arg(long, value_name = "WHAT")]
    by: Option<Breakdown>,
    /// The time that each bar covers [default: depends on the range]
    #[arg(long, value_name = "UNIT")]
    step: Option<Step>,
    /// With --by: show this many of the largest groups
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=200))]
    limit: u32,
}

/// A client's name or a key's id; from a whole key, the id in it.
fn client_or_key(text: &str) -> std::result::Result<String, String> {
    Ok(match Parsed::parse(text.as_bytes()) {
        Ok(key) => key.id().to_string(),
        Err(_) => text.to_owned(),
    })
}

impl Show {
    pub(super) fn run(self, cx: &Context) -> Result<()> {
        let counted = cx.perform(usage::Show {
            of: self.of,
            route: self.route,
            outcome: self.outcome,
            since: Some(TimeWords(self.since)),
            until: self.until.map(TimeWords),
            step: self.step,
            by: self.by,
            limit: Some(self.limit),
            ..usage::Show::default()
        })?;
        if cx.out.is_csv() {
            return csv(&counted);
        }
        cx.out.show_list(&counted, || {
            let mut out = head(&counted);
            if counted.by.is_some() {
                out.push_str(&groups(&counted));
            } else {
                out.push_str(&chart(&counted));
            }
            out.push_str(&foot(&counted));
            out
        })
    }
}

fn head(u: &Counted) -> String {
    let whose = match (&u.key, &u.client) {
        (Some(key), Some(client)) => format!("key {} of {client}", key.0),
        (Some(key), None) => format!("key {}", key.0),
        (None, Some(client)) => client.clone(),
        (None, None) => "everybody".to_owned(),
    };
    format!(
        "{whose}, {} to {} UTC, by {}\n\n",
        when::short(u.from.0),
        when::short(u.until.0),
        u.step.name()
    )
}

fn chart(u: &Counted) -> String {
    let most = u.points.iter().map(|p| p.requests).max().unwrap_or(0);
    output::table(
        [u.step.name(), "requests", "refused", ""],
        u.points.iter().map(|p| {
            [
                cell(at(p.at.0, u.step)),
                right(p.requests),
                right(p.requests.saturating_sub(p.allowed)),
                cell(bar(p.requests, most)),
            ]
        }),
    )
}

fn groups(u: &Counted) -> String {
    let most = u.groups.iter().map(|g| g.requests).max().unwrap_or(0);
    let by = u.by.map_or("", word);
    let name = |g: &usage::UsageGroup| match (&g.name, &g.client) {
        (Some(name), Some(client)) => format!("{name} ({client})"),
        (Some(name), None) => name.clone(),
        (None, _) => "-".to_owned(),
    };
    let groups = u.groups.iter().map(|g| {
        [
            cell(name(g)),
            right(g.requests),
            right(g.requests.saturating_sub(g.allowed)),
            cell(bar(g.requests, most)),
            cell(spark(&g.points)),
        ]
    });
    let others = u.others.iter().map(|o| {
        [
            cell(format!("{} more", o.groups)),
            right(o.requests),
            right(o.requests.saturating_sub(o.allowed)),
            cell(""),
            cell(""),
        ]
    });
    output::table(
        [by, "requests", "refused", "", "course"],
        groups.chain(others),
    )
}

fn foot(u: &Counted) -> String {
    let mut out = format!(
        "\n{} requests, {} let through, {} refused\n",
        number(u.requests),
        number(u.allowed),
        number(u.refused)
    );
    match &u.counted_since {
        None => out.push_str("nothing has been counted yet: is `report` in the policy, with the cluster of this server?\n"),
        Some(Time(since)) if *since > u.from.0 => {
            out.push_str(&format!("counted only since {}\n", when::short(*since)));
        }
        Some(_) => {}
    }
    if let Some(lost @ 1..) = u.uncounted {
        out.push_str(&format!(
            "{} more requests were not counted: Envoys could not report them in time\n",
            number(lost)
        ));
    }
    out
}

fn csv(u: &Counted) -> Result<()> {
    let mut out = csv::Writer::from_writer(Vec::new());
    let write = |out: &mut csv::Writer<Vec<u8>>| -> std::result::Result<(), csv::Error> {
        match u.by {
            None => {
                out.write_record(["from", "requests", "allowed", "refused"])?;
                for p in &u.points {
                    let [requests, allowed, refused] = counts(p.requests, p.allowed);
                    out.write_record([when::rfc3339(p.at.0), requests, allowed, refused])?;
                }
            }
            Some(by) => {
                out.write_record([word(by), "client", "requests", "allowed", "refused"])?;
                for g in &u.groups {
                    let [requests, allowed, refused] = counts(g.requests, g.allowed);
                    let name = spreadsheet(g.name.as_deref().unwrap_or(""));
                    let client = spreadsheet(g.client.as_deref().unwrap_or_default());
                    out.write_record([name, client, requests, allowed, refused])?;
                }
                if let Some(o) = &u.others {
                    let [requests, allowed, refused] = counts(o.requests, o.allowed);
                    let name = format!("{} more", o.groups);
                    out.write_record([name, String::new(), requests, allowed, refused])?;
                }
            }
        }
        out.flush()?;
        Ok(())
    };
    let bytes = write(&mut out).ok().and_then(|()| out.into_inner().ok());
    let bytes = bytes.ok_or_else(|| {
        refuse(
            Code::OutputFailed,
            "the answer cannot be written as CSV",
            "use `--output json`",
        )
    })?;
    output::raw(&bytes)
}

fn counts(requests: u64, allowed: u64) -> [String; 3] {
    [requests, allowed, requests.saturating_sub(allowed)].map(|n| n.to_string())
}

/// Route names come from the policy; a spreadsheet must still not take one for a
/// formula.
fn spreadsheet(text: &str) -> String {
    if text.starts_with(['=', '+', '-', '@']) {
        format!("'{text}")
    } else {
        text.to_owned()
    }
}

fn word(by: Breakdown) -> &'static str {
    match by {
        Breakdown::Route => "route",
        Breakdown::Outcome => "outcome",
        Breakdown::Key => "key",
        Breakdown::Client => "client",
    }
}

fn at(t: u64, step: Step) -> String {
    let text = when::short(t);
    match step {
        Step::Day => text.get(..10).unwrap_or(&text).to_owned(),
        Step::Hour | Step::Minute => text,
    }
}

/// In eighths of a column; anything above zero is visible.
fn bar(n: u64, most: u64) -> String {
    if n == 0 || most == 0 {
        return String::new();
    }
    let eighths = u128::from(n) * u128::from(BAR) * 8 / u128::from(most);
    let eighths = usize::try_from(eighths.max(1)).unwrap_or(1);
    let mut out = "█".repeat(eighths / 8);
    out.extend(['▏', '▎', '▍', '▌', '▋', '▊', '▉'].get((eighths % 8).wrapping_sub(1)));
    out
}

/// A sparkline of at most as many columns as a bar.
fn spark(points: &[u64]) -> String {
    let columns = usize::try_from(BAR).unwrap_or(40);
    let width = points.len().div_ceil(columns).max(1);
    let sums: Vec<u64> = points.chunks(width).map(|c| c.iter().sum()).collect();
    let most = sums.iter().copied().max().unwrap_or(0).max(1);
    sums.iter()
        .map(|n| {
            let height = usize::try_from(u128::from(*n) * 7 / u128::from(most)).unwrap_or(0);
            let heights = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
            match *n {
                0 => ' ',
                _ => heights.get(height).copied().unwrap_or('█'),
            }
        })
        .collect()
}

fn right(n: u64) -> comfy_table::Cell {
    cell(number(n)).set_alignment(comfy_table::CellAlignment::Right)
}

/// `1,234,567`
pub(super) fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_long_as_its_share_and_something_is_never_nothing() {
        assert_eq!(bar(0, 10), "");
        assert_eq!(bar(10, 10), "█".repeat(40));
        assert_eq!(bar(1, 1_000_000), "▏");
        assert_eq!(bar(1, 80), "▌");
        assert_eq!(bar(u64::MAX, u64::MAX), "█".repeat(40));
    }

    #[test]
    fn a_course_shows_its_shape_in_as_many_columns_as_a_bar() {
        assert_eq!(spark(&[0, 1, 4, 8]), " ▁▄█");
        assert_eq!(spark(&[0; 5]), "     ");
        assert!(spark(&[3; 168]).chars().count() <= 40);
    }

    #[test]
    fn a_name_is_no_formula() {
        assert_eq!(spreadsheet("=1+1"), "'=1+1");
        assert_eq!(spreadsheet("/v1/a"), "/v1/a");
        assert_eq!(number(1_234_567), "1,234,567");
        assert_eq!(number(123), "123");
    }
}
