//! Lines over time.

use std::path::Path;

use plotters::prelude::*;

const COLOURS: [RGBColor; 6] = [
    RGBColor(31, 111, 235),
    RGBColor(207, 34, 46),
    RGBColor(26, 127, 55),
    RGBColor(154, 103, 0),
    RGBColor(130, 80, 223),
    RGBColor(90, 90, 90),
];
const SIZE: (u32, u32) = (900, 320);
const LEFT: i32 = 60;
const RIGHT: i32 = 720;
const TOP: i32 = 40;
const BOTTOM: i32 = 280;

/// A line: what it is, and its points.
pub type Line = (String, Vec<(f64, f64)>);

/// Draws them; the ordinate begins at 0, and the abscissa is in minutes.
pub fn draw(title: &str, lines: &[Line], file: &Path) {
    let points = || lines.iter().flat_map(|(_, points)| points);
    let most = |of: fn(&(f64, f64)) -> f64| points().map(of).fold(1e-9, f64::max);
    let (last, top) = (most(|p| p.0), most(|p| p.1) * 1.05);
    let x = |at: f64| LEFT + (at / last * f64::from(RIGHT - LEFT)) as i32;
    let y = |value: f64| BOTTOM - (value / top * f64::from(BOTTOM - TOP)) as i32;
    let area = SVGBackend::new(file, SIZE).into_drawing_area();
    area.fill(&WHITE).unwrap();
    let write = |words: String, at: (i32, i32)| {
        let font = ("sans-serif", 13).into_font();
        area.draw(&Text::new(words, at, font)).unwrap();
    };
    write(title.to_owned(), (12, 12));
    for n in 0..=4 {
        let part = f64::from(n) / 4.0;
        let grey = RGBColor(220, 220, 220);
        let level = y(top * part);
        let rule = PathElement::new([(LEFT, level), (RIGHT, level)], grey);
        area.draw(&rule).unwrap();
        write(short(top * part), (8, level - 6));
        write(short(last * part), (x(last * part) - 8, BOTTOM + 8));
    }
    write("minutes".to_owned(), (RIGHT + 10, BOTTOM + 8));
    for (n, (name, points)) in lines.iter().enumerate() {
        let colour = COLOURS[n % COLOURS.len()];
        let path: Vec<(i32, i32)> = points.iter().map(|p| (x(p.0), y(p.1))).collect();
        area.draw(&PathElement::new(path, colour.stroke_width(2)))
            .unwrap();
        let level = TOP + 20 * n as i32;
        let sample = PathElement::new(
            [(RIGHT + 10, level), (RIGHT + 30, level)],
            colour.stroke_width(2),
        );
        area.draw(&sample).unwrap();
        write(name.clone(), (RIGHT + 36, level - 6));
    }
    area.present().unwrap();
}

fn short(value: f64) -> String {
    match value {
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}
