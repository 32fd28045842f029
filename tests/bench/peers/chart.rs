//! A table as bars.

use std::error::Error;
use std::path::Path;

use plotters::prelude::*;

use super::figures::Table;

const ROW: u32 = 26;
const LEFT: i32 = 250;

/// Added CPU of each case, with its spread.
pub fn draw(table: &Table, file: &Path) -> Result<(), Box<dyn Error>> {
    let lines: Vec<_> = table
        .lines
        .iter()
        .filter_map(|line| Some((line.case, line.added_us?)))
        .collect();
    let height = ROW * (lines.len() as u32 + 3);
    let area = SVGBackend::new(file, (900, height)).into_drawing_area();
    area.fill(&WHITE)?;
    area.draw(&Text::new(
        format!("{}: CPU added to a request, µs", table.title),
        (12, 12),
        ("sans-serif", 16).into_font(),
    ))?;
    let most = lines.iter().map(|(_, s)| s.high).fold(1.0, f64::max);
    let x = |us: f64| LEFT + (us.max(0.0) / most * f64::from(900 - LEFT - 80)) as i32;
    for (row, (name, spread)) in (0_i32..).zip(&lines) {
        let top = (row + 2) * ROW as i32 - 8;
        area.draw(&Text::new(
            (*name).to_owned(),
            (12, top + 2),
            ("sans-serif", 13).into_font(),
        ))?;
        let colour = match name.starts_with("Keystile") || name.starts_with('…') {
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
