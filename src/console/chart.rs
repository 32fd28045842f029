//! Charts: SVG generated here, with the numbers in a table for each.
//!
//! Small enough to write ourselves: a library would bring fonts, its own colours and inline styles,
//! which our pages forbid.

use maud::{Markup, html};

use super::widgets::number;

/// What a chart shows.
pub struct Series<'a> {
    /// Says what it is.
    pub title: &'a str,
    /// What a bar represents: `Day`.
    pub axis: &'a str,
    /// The parts of every bar, from below: `done`, `refused`. Four at most have a colour of
    /// their own.
    pub parts: Vec<&'a str>,
    /// From left to right.
    pub bars: Vec<Bar>,
}

/// A bar.
pub struct Bar {
    /// In full: `2027-01-31`.
    pub label: String,
    /// Below the bar, if there is room: `31`.
    pub short: String,
    /// One number for each part.
    pub values: Vec<u64>,
    /// Where it leads: with the mouse from the bar, in any case from the table.
    pub target: Option<String>,
}

impl Bar {
    fn total(&self) -> u64 {
        self.values.iter().fold(0, |a, b| a.saturating_add(*b))
    }
}

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 160.0;
/// Room for what is written below and beside the bars.
const BELOW: f64 = 24.0;
const LEFT: f64 = 46.0;
const ABOVE: f64 = 12.0;

/// Bars, stacked.
pub fn bars(series: &Series<'_>) -> Markup {
    let top = ceiling(series.bars.iter().map(Bar::total).max().unwrap_or(0));
    let high = HEIGHT - BELOW - ABOVE;
    let step = (WIDTH - LEFT) / real(series.bars.len().max(1) as u64);
    let y = |value: u64| ABOVE + high - high * real(value) / real(top);
    let every = series.bars.len().div_ceil(15).max(1);
    let sum = series
        .bars
        .iter()
        .fold(0u64, |a, b| a.saturating_add(b.total()));
    html! {
        figure.chart {
            figcaption {
                span { (series.title) }
                @if series.parts.len() > 1 {
                    span.legend aria-hidden="true" {
                        @for (i, part) in series.parts.iter().enumerate() {
                            span { i class={ "swatch part-" (i) } {} (part) }
                        }
                    }
                }
            }
            svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img"
                aria-label={ (series.title) ": " (number(sum)) " in all; the table below has each" } {
                @for line in [0, top / 2, top] {
                    line.grid x1=(LEFT) x2=(WIDTH) y1=(place(y(line))) y2=(place(y(line))) {}
                    text.tick x=(LEFT - 6.0) y=(place(y(line) + 3.5)) text-anchor="end" { (short(line)) }
                }
                @for (i, bar) in series.bars.iter().enumerate() {
                    @let x = LEFT + step * real(i as u64);
                    g data-to=[bar.target.as_deref()] {
                        title { (bar.label) ": " (told(series, bar)) }
                        rect.catch x=(place(x)) y=(ABOVE) width=(place(step)) height=(place(high)) {}
                        @for (part, from, value) in stacked(bar) {
                            rect class={ "part-" (part) } x=(place(x + step * 0.14)) width=(place(step * 0.72))
                                y=(place(y(from.saturating_add(value)))) height=(place(y(from) - y(from.saturating_add(value)))) rx="1.5" {}
                        }
                    }
                    @if i.is_multiple_of(every) {
                        text.tick x=(place(x + step / 2.0)) y=(HEIGHT - 4.0) text-anchor="middle" { (bar.short) }
                    }
                }
            }
            details {
                summary { "As a table" }
                div.scroll tabindex="0" role="region" aria-label={ (series.title) ", as a table" } {
                    table.plain {
                        thead {
                            tr {
                                th scope="col" { (series.axis) }
                                @for part in &series.parts { th.num scope="col" { (part) } }
                            }
                        }
                        tbody {
                            @for bar in &series.bars {
                                tr {
                                    th scope="row" { @if let Some(target) = &bar.target { a href=(target) { (bar.label) } } @else { (bar.label) } }
                                    @for value in &bar.values { td.num { (number(*value)) } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The parts of a bar that are there: which, from where, how much.
fn stacked(bar: &Bar) -> Vec<(usize, u64, u64)> {
    let mut from = 0u64;
    let mut out = Vec::new();
    for (part, value) in bar.values.iter().enumerate() {
        if *value > 0 {
            out.push((part, from, *value));
        }
        from = from.saturating_add(*value);
    }
    out
}

fn told(series: &Series<'_>, bar: &Bar) -> String {
    let parts = series.parts.iter().zip(&bar.values);
    let words: Vec<String> = parts.map(|(p, v)| format!("{} {p}", number(*v))).collect();
    words.join(", ")
}

/// An even, round number that is not less.
fn ceiling(most: u64) -> u64 {
    let mut unit = 1u64;
    loop {
        for step in [2, 4, 6, 10] {
            let round = unit.saturating_mul(step);
            if round >= most {
                return round;
            }
        }
        unit = unit.saturating_mul(10);
    }
}

/// `1.2k`, `3M`.
fn short(n: u64) -> String {
    for (unit, word) in [
        (1_000_000_000_000, "T"),
        (1_000_000_000, "G"),
        (1_000_000, "M"),
        (1_000, "k"),
    ] {
        if n >= unit {
            let tenths = n / (unit / 10);
            return match tenths % 10 {
                0 => format!("{}{word}", tenths / 10),
                rest => format!("{}.{rest}{word}", tenths / 10),
            };
        }
    }
    n.to_string()
}

fn place(x: f64) -> f64 {
    (x * 10.0).round() / 10.0
}

fn real(n: u64) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(values: &[(u64, u64)]) -> Series<'static> {
        Series {
            title: "Requests",
            axis: "Day",
            parts: vec!["done", "refused"],
            bars: values
                .iter()
                .enumerate()
                .map(|(i, (a, b))| Bar {
                    label: format!("day {i}"),
                    short: i.to_string(),
                    values: vec![*a, *b],
                    target: None,
                })
                .collect(),
        }
    }

    #[test]
    fn every_number_of_a_chart_stands_in_its_table() {
        let shown = bars(&series(&[(1, 0), (1200, 34), (0, 0)])).into_string();
        assert!(shown.contains("<td class=\"num\">1\u{202f}200</td><td class=\"num\">34</td>"));
        // Nothing is drawn for nothing.
        assert_eq!(shown.matches("<rect class=\"part-0\"").count(), 2);
        assert_eq!(shown.matches("<rect class=\"part-1\"").count(), 1);
        assert!(!shown.contains("NaN") && !shown.contains("style="));
    }

    #[test]
    fn a_chart_of_nothing_and_one_of_too_much_are_drawn() {
        for values in [&[][..], &[(0, 0)], &[(u64::MAX, u64::MAX), (1, 1)]] {
            let shown = bars(&series(values)).into_string();
            assert!(!shown.contains("NaN") && !shown.contains("inf"), "{shown}");
        }
    }

    #[test]
    fn the_scale_ends_at_a_round_number() {
        assert_eq!(
            [0, 3, 7, 11, 61, 1000].map(ceiling),
            [2, 4, 10, 20, 100, 1000]
        );
        assert_eq!(short(1500), "1.5k");
        assert_eq!(short(20_000), "20k");
    }
}
