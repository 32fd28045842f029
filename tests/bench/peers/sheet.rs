//! A sheet of figures: what was measured of several things, in several columns.

use serde_json::{Map, Value, json};

use super::figures::Spread;

/// One figure.
#[derive(Clone, Copy)]
pub enum Figure {
    /// Not measured, or without meaning.
    None,
    /// Measured: more than nothing.
    One(f64),
    /// Measured several times.
    Many(Spread),
    /// The difference of two measurements: may be lost in the noise where there are few keys.
    Difference(f64),
}

impl Figure {
    pub fn of(all: Vec<f64>) -> Self {
        match all.as_slice() {
            [one] => Self::One(*one),
            _ => Spread::of(all).map_or(Self::None, Self::Many),
        }
    }

    /// The figure itself, or the median.
    pub fn middle(self) -> Option<f64> {
        match self {
            Self::None => None,
            Self::One(n) | Self::Difference(n) => Some(n),
            Self::Many(s) => Some(s.median),
        }
    }

    fn text(self) -> String {
        let digits = |n: f64| match n.abs() {
            n if n >= 100.0 => 0,
            n if n >= 10.0 => 1,
            n if n >= 0.1 => 2,
            _ => 3,
        };
        match self {
            Self::None => String::new(),
            Self::One(n) | Self::Difference(n) => format!("{n:.*}", digits(n)),
            Self::Many(s) => s.text(digits(s.median)),
        }
    }

    fn json(self) -> Value {
        match self {
            Self::None => Value::Null,
            Self::One(n) | Self::Difference(n) => json!(n),
            Self::Many(s) => json!(s),
        }
    }

    fn is_plausible(self) -> bool {
        match self {
            Self::None => true,
            Self::One(n) => n.is_finite() && n > 0.0,
            Self::Many(s) => s.median.is_finite() && s.median > 0.0,
            Self::Difference(n) => n.is_finite(),
        }
    }
}

/// Rows of figures.
pub struct Sheet {
    pub title: &'static str,
    /// What a reader has to know.
    pub note: String,
    /// Over the names of the rows, then over the figures.
    pub columns: Vec<&'static str>,
    pub rows: Vec<(String, Vec<Figure>)>,
}

impl Sheet {
    pub fn new(title: &'static str, note: impl Into<String>, columns: &[&'static str]) -> Self {
        Self {
            title,
            note: note.into(),
            columns: columns.to_vec(),
            rows: Vec::new(),
        }
    }

    /// # Panics
    /// If there are not as many figures as columns for them.
    pub fn row(&mut self, name: impl Into<String>, figures: Vec<Figure>) {
        let name = name.into();
        assert_eq!(figures.len() + 1, self.columns.len(), "{name}");
        self.rows.push((name, figures));
    }

    pub fn markdown(&self) -> String {
        let mut text = format!("### {}\n\n{}\n\n", self.title, self.note);
        text.push_str(&format!("| {} |\n", self.columns.join(" | ")));
        let rule = "| --: ".repeat(self.columns.len() - 1);
        text.push_str(&format!("| --- {rule}|\n"));
        for (name, figures) in &self.rows {
            let cells: Vec<String> = figures.iter().map(|f| f.text()).collect();
            text.push_str(&format!("| {name} | {} |\n", cells.join(" | ")));
        }
        text.push('\n');
        text
    }

    pub fn json(&self) -> Value {
        let row = |(name, figures): &(String, Vec<Figure>)| {
            let pairs = self.columns.iter().skip(1).zip(figures);
            let mut row: Map<String, Value> = pairs
                .map(|(column, figure)| ((*column).to_owned(), figure.json()))
                .collect();
            row.insert(self.columns[0].to_owned(), json!(name));
            Value::Object(row)
        };
        let rows: Vec<Value> = self.rows.iter().map(row).collect();
        json!({"title": self.title, "note": self.note, "rows": rows})
    }

    /// # Panics
    /// If a column has no figure at all, or one is no number above zero.
    pub fn check(&self) {
        assert!(!self.rows.is_empty(), "`{}` is empty", self.title);
        for (n, column) in self.columns.iter().skip(1).enumerate() {
            let mut some = 0;
            for (name, figures) in &self.rows {
                let figure = figures[n];
                some += usize::from(figure.middle().is_some());
                assert!(
                    figure.is_plausible(),
                    "`{}`: {name}: {column}: {}",
                    self.title,
                    figure.text()
                );
            }
            assert!(some > 0, "`{}`: nothing for {column}", self.title);
        }
    }
}
