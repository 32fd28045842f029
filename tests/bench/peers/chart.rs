//! A table as bars.

use std::error::Error;
use std::path::Path;

use plotters::prelude::*;

use super::figures::{Spread, Table};

const ROW: u32 = 26;
const LEFT: i32 = 300;

/// Added CPU of each case, with its spread.
pub fn draw(table: &Table, file: &Path) -> Result<(), Box<dyn Error>> {
    let lines: Vec<_> = table
        .lines
        .iter()
        .filter_map(|line| Some((line.case.clone(), line.added_us?, line.is_ours())))
        .collect();
    let title = format!("{}: CPU added to a request, µs", table.title);
    all(&title, &lines, file)
}

/// One figure for each name.
pub fn bars(title: &str, rows: &[(String, f64)], file: &Path) -> Result<(), Box<dyn Error>> {
    let spread = |n: f64| Spread {
        median: n,
        low: n,
        high: n,
    };
    let lines: Vec<_> = rows
        .iter()
        .map(|(name, n)| (name.clone(), spread(*n), true))
        .collect();
    all(title, &lines, file)
}

fn all(title: &str, lines: &[(String, Spread, bool)], file: &Path) -> Result<(), Box<dyn Error>> {
    let height = ROW * (lines.len() as u32 + 3);
    let area = SVGBackend::new(file, (900, height)).into_drawing_area();
    area.fill(&WHITE)?;
    area.draw(&Text::new(
        title.to_owned(),
        (12, 12),
        ("sans-serif", 16).into_font(),
    ))?;
    let most = lines
        .iter()
        .map(|(_, s, _)| s.high)
        .fold(f64::MIN_POSITIVE, f64::max);
    let x = |us: f64| LEFT + (us.max(0.0) / most * f64::from(900 - LEFT - 80)) as i32;
    for (row, (name, spread, is_ours)) in (0_i32..).zip(lines) {
        let top = (row + 2) * ROW as i32 - 8;
        area.draw(&Text::new(
            name.clone(),
            (12, top + 2),
            ("sans-serif", 13).into_font(),
        ))?;
        let colour = match is_ours {
            true => RGBColor(31, 111, 235),
            false => RGBColor(150, 150, 150),
        };
        area.draw(&Rectangle::new(
            [(LEFT, top), (x(spread.median), top + 16)],
            colour.filled(),
        ))?;
        area.draw(&PathElement::new(
            [(x(spread.low), top + 8), (x(spread.high), top + 8)],
            BLACK,
        ))?;
        area.draw(&Text::new(
            format!("{:.1}", spread.median),
            (x(spread.high) + 6, top + 2),
            ("sans-serif", 13).into_font(),
        ))?;
    }
    area.present()?;
    Ok(())
}
