//! The file that an import reads: CSV with a header, or JSON.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::LazyLock;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};

use keystile_model::error::{Code, Error, Result, refuse, refuse_first};
use keystile_model::import_lines::KeyLine;
use keystile_model::key::PROPERTIES;
use keystile_model::nearest::nearest;
use keystile_model::reading::{self, Wrong};

/// A line of the file; every column but `client` and `sha256` may be left out.
#[derive(Clone, Debug, Default)]
pub struct Line {
    /// Name of the client.
    pub client: String,
    /// Digest of the key: 64 hexadecimal digits, or base64url.
    pub sha256: String,
    /// Environment.
    pub environment: String,
    /// `secret` or `publishable`.
    pub kind: String,
    /// The words of its properties, by their names.
    pub properties: BTreeMap<&'static str, Vec<String>>,
}

/// The columns: those of the key itself, and its properties.
pub static COLUMNS: LazyLock<Vec<&str>> = LazyLock::new(|| {
    let imported = PROPERTIES.iter().filter(|p| p.imported).map(|p| p.name);
    let (name, others): (Vec<_>, Vec<_>) = imported.partition(|column| *column == "name");
    let first = ["client", "sha256"].into_iter().chain(name);
    first.chain(["environment", "type"]).chain(others).collect()
});

/// The content of a column.
#[derive(Deserialize)]
#[serde(untagged)]
enum Cell {
    Text(String),
    List(Vec<String>),
    Nothing(()),
}

impl Line {
    /// Sets a column. False if there is no such column, or if it holds no list.
    fn set(&mut self, column: &str, cell: Cell) -> bool {
        if let Some(property) = PROPERTIES.iter().find(|p| p.name == column) {
            let words = match cell {
                Cell::Text(text) => property.words(&text, |c| c == ' ' || c == ';'),
                Cell::List(list) if property.many => list,
                Cell::List(_) => return false,
                Cell::Nothing(()) => Vec::new(),
            };
            self.properties.insert(property.name, words);
            return true;
        }
        let field = match column {
            "client" => &mut self.client,
            "sha256" => &mut self.sha256,
            "environment" => &mut self.environment,
            "type" => &mut self.kind,
            _ => return false,
        };
        match cell {
            Cell::Text(text) => *field = text,
            Cell::List(_) => return false,
            Cell::Nothing(()) => {}
        }
        true
    }

    /// A key of another system.
    pub fn from_key_line(line: &KeyLine) -> Self {
        let mut out = Self {
            client: line.client.clone(),
            sha256: line.sha256.clone(),
            environment: line.environment.clone(),
            kind: line.kind.clone(),
            properties: BTreeMap::new(),
        };
        let all = serde_json::to_value(line).unwrap_or_default();
        for property in PROPERTIES {
            if let Some(cell) = all.get(property.name)
                && let Ok(cell) = Cell::deserialize(cell)
            {
                out.set(property.name, cell);
            }
        }
        out
    }
}

impl<'de> Deserialize<'de> for Line {
    fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        struct Columns;
        impl<'de> Visitor<'de> for Columns {
            type Value = Line;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(
                self,
                mut map: A,
            ) -> std::result::Result<Line, A::Error> {
                let mut line = Line::default();
                let mut seen = BTreeSet::new();
                while let Some(column) = map.next_key::<String>()? {
                    if !COLUMNS.contains(&column.as_str()) {
                        return Err(de::Error::unknown_field(&column, &COLUMNS));
                    }
                    let wrong = |what| de::Error::custom(format_args!("`{column}` {what}"));
                    let cell = map.next_value().map_err(|_| wrong("is not text"))?;
                    if !line.set(&column, cell) {
                        return Err(wrong("holds a list"));
                    }
                    if !seen.insert(column.clone()) {
                        return Err(wrong("appears twice"));
                    }
                }
                Ok(line)
            }
        }
        d.deserialize_map(Columns)
    }
}

/// Lines of a file, each with its place: `keys.csv:3`.
pub type Lines = Vec<(String, Line)>;

/// Reads CSV with a header line, or JSON: an array, or one object per line.
///
/// `go_on` is called before each line, because reading a long file takes long, too.
///
/// # Errors
/// What is wrong with it; those of `go_on`.
pub fn read(name: &str, text: &str, go_on: impl Fn() -> Result<()>) -> Result<Lines> {
    match text.trim_start().chars().next() {
        Some('[') => read_array(name, text, go_on),
        Some('{') => read_lines(name, text, go_on),
        _ => read_csv(name, text, go_on),
    }
}

fn read_csv(name: &str, text: &str, go_on: impl Fn() -> Result<()>) -> Result<Lines> {
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    let header = reader
        .headers()
        .map_err(|e| shape(name, 1, &e.to_string()))?
        .clone();
    for column in &header {
        if !COLUMNS.contains(&column) {
            let next = nearest(column, COLUMNS.iter().copied()).map_or_else(
                || format!("known are {}", COLUMNS.join(", ")),
                |n| format!("did you mean `{n}`?"),
            );
            return Err(refuse(
                Code::FieldUnknown,
                format_args!("there is no column `{column}`"),
                next,
            )
            .at(format_args!("{name}:1")));
        }
    }
    let mut seen = BTreeSet::new();
    if let Some(twice) = header.iter().find(|column| !seen.insert(*column)) {
        return Err(refuse(
            Code::FileInvalid,
            format_args!("the column `{twice}` appears twice"),
            "remove one of the two",
        )
        .at(format_args!("{name}:1")));
    }
    for needed in ["client", "sha256"] {
        if !header.iter().any(|h| h == needed) {
            return Err(refuse(
                Code::FieldMissing,
                format_args!("the column `{needed}` is missing"),
                "begin with a line such as `client,sha256,name,scopes,expires`",
            )
            .at(format_args!("{name}:1")));
        }
    }
    let mut out = Vec::new();
    let mut bad = Vec::new();
    for record in reader.records() {
        go_on()?;
        match record {
            Ok(record) => {
                let mut line = Line::default();
                for (column, cell) in header.iter().zip(&record) {
                    line.set(column, Cell::Text(cell.to_owned()));
                }
                let at = record.position().map_or(0, csv::Position::line);
                out.push((format!("{name}:{at}"), line));
            }
            Err(e) => {
                let line = e.position().map_or(0, csv::Position::line);
                let wrong = refuse(
                    Code::FileInvalid,
                    csv_words(&e),
                    "write as many columns as the first line has",
                );
                bad.extend(wrong.at(format_args!("{name}:{line}")).into_faults());
            }
        }
    }
    if bad.is_empty() {
        Ok(out)
    } else {
        Err(refuse_first(bad))
    }
}

fn csv_words(e: &csv::Error) -> String {
    match e.kind() {
        csv::ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => format!("{len} columns, not {expected_len}"),
        _ => e.to_string(),
    }
}

fn read_array(name: &str, text: &str, go_on: impl Fn() -> Result<()>) -> Result<Lines> {
    let values: Vec<serde_json::Value> =
        serde_json::from_str(text).map_err(|e| shape(name, e.line(), &e.to_string()))?;
    values
        .into_iter()
        .enumerate()
        .map(|(i, v)| {
            go_on()?;
            let place = format!("{name}[{i}]");
            let line = reading::read(v).map_err(|(path, e)| fields(&place, &path, &e))?;
            Ok((place, line))
        })
        .collect()
}

fn read_lines(name: &str, text: &str, go_on: impl Fn() -> Result<()>) -> Result<Lines> {
    text.lines()
        .enumerate()
        .filter(|(_, l)| !l.trim().is_empty())
        .map(|(i, l)| {
            go_on()?;
            let place = format!("{name}:{}", i + 1);
            let value = serde_json::from_str(l).map_err(|e| shape(name, i + 1, &e.to_string()))?;
            let line = reading::read(value).map_err(|(path, e)| fields(&place, &path, &e))?;
            // A value keeps only the last of two fields of one name.
            serde_json::from_str::<Line>(l).map_err(|e| shape(name, i + 1, &e.to_string()))?;
            Ok((place, line))
        })
        .collect()
}

fn fields(place: &str, path: &str, wrong: &Wrong) -> Error {
    wrong.refused(path).at(place)
}

fn shape(name: &str, line: usize, problem: &str) -> Error {
    refuse(
        Code::FileInvalid,
        format_args!("{name}:{line}: {problem}"),
        format_args!(
            "write CSV with a header or JSON; known are {}",
            COLUMNS.join(", ")
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, text: &str) -> Result<Lines> {
        super::read(name, text, || Ok(()))
    }

    #[test]
    fn csv_and_json_say_the_same() {
        let csv = read("k", "client,sha256,scopes\nacme,aa,read write\n").unwrap();
        let array = read(
            "k",
            r#"[{"client":"acme","sha256":"aa","scopes":["read","write"]}]"#,
        )
        .unwrap();
        let lines = read(
            "k",
            "{\"client\":\"acme\",\"sha256\":\"aa\",\"scopes\":\"read;write\"}\n\n",
        )
        .unwrap();
        for lines in [&csv, &array, &lines] {
            assert_eq!(lines.len(), 1);
            assert_eq!(lines[0].1.properties["scopes"], ["read", "write"]);
        }
        assert_eq!(csv[0].0, "k:2");
        assert_eq!(array[0].0, "k[0]");
        assert_eq!(lines[0].0, "k:1");
    }

    #[test]
    fn reading_is_broken_off_between_lines() {
        let csv = "client,sha256\nacme,aa\nacme,bb\n";
        let array = r#"[{"client":"acme","sha256":"aa"}]"#;
        let line = r#"{"client":"acme","sha256":"aa"}"#;
        for text in [csv, array, line] {
            let stopped = super::read("k", text, || {
                Err(refuse(Code::InvalidValue, "stopped", "go"))
            });
            assert_eq!(stopped.err().unwrap().to_string(), "stopped; go");
        }
    }

    #[test]
    fn columns_that_do_not_exist_or_are_missing_are_named() {
        let e = read("k", "client,sha265\n").err().unwrap();
        assert_eq!(
            e.to_string(),
            "k:1: there is no column `sha265`; did you mean `sha256`?"
        );
        let e = read("k", "client,sha256,name,name\n").err().unwrap();
        assert_eq!(
            e.to_string(),
            "k:1: the column `name` appears twice; remove one of the two"
        );
        for (odd, what) in [
            (r#"{"client":"a","client":"b"}"#, "`client` appears twice"),
            (r#"{"plan":["gold"]}"#, "`plan` holds a list"),
            (r#"{"scopes":5}"#, "`scopes` is not text"),
        ] {
            let e = read("k", odd).err().unwrap();
            assert!(e.to_string().contains(what), "{e}");
        }
        let e = read("k", "client\n").err().unwrap();
        assert!(
            e.to_string()
                .starts_with("k:1: the column `sha256` is missing; "),
            "{e}"
        );
        let e = read("k", "client,sha256\na\n").err().unwrap();
        assert_eq!(
            e.to_string(),
            "k:2: 1 columns, not 2; write as many columns as the first line has"
        );
    }
}
