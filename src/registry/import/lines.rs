//! The file that an import reads: CSV with a header, or JSON.

use keystile_core::policy::RawLimit;
use serde::Deserialize;

use keystile_model::error::{Code, Error, Result, refuse, refuse_first};
use keystile_model::nearest::nearest;
use keystile_model::reading::{self, Wrong};

/// A line of the file; every column but `client` and `sha256` may be left out.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Line {
    /// Name of the client.
    pub client: String,
    /// Digest of the key: 64 hexadecimal digits, or base64url.
    pub sha256: String,
    /// Free text.
    pub name: String,
    /// Environment.
    pub environment: String,
    /// `secret` or `publishable`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Separated by spaces or `;`, or a list.
    #[serde(deserialize_with = "words")]
    pub scopes: Vec<String>,
    /// A plan of its own.
    pub plan: String,
    /// Limits of its own; no column.
    #[serde(skip)]
    pub limits: Vec<RawLimit>,
    /// `90d`, a date or RFC 3339.
    pub expires: String,
    /// The same.
    pub not_before: String,
    /// Ranges that it may be used from.
    #[serde(deserialize_with = "words")]
    pub cidrs: Vec<String>,
    /// Ranges that it may not be used from.
    #[serde(deserialize_with = "words")]
    pub deny_cidrs: Vec<String>,
    /// Browser origins.
    #[serde(deserialize_with = "words")]
    pub origins: Vec<String>,
    /// Identities of client certificates.
    #[serde(deserialize_with = "words")]
    pub certificates: Vec<String>,
    /// `name=value`.
    #[serde(deserialize_with = "words")]
    pub labels: Vec<String>,
}

/// The columns.
const COLUMNS: [&str; 14] = [
    "client",
    "sha256",
    "name",
    "environment",
    "type",
    "scopes",
    "plan",
    "expires",
    "not_before",
    "cidrs",
    "deny_cidrs",
    "origins",
    "certificates",
    "labels",
];

fn words<'de, D: serde::Deserializer<'de>>(d: D) -> std::result::Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Words {
        Text(String),
        List(Vec<String>),
        Nothing(()),
    }
    Ok(match Words::deserialize(d)? {
        Words::Text(text) => text
            .split([' ', ';'])
            .filter(|w| !w.is_empty())
            .map(str::to_owned)
            .collect(),
        Words::List(list) => list,
        Words::Nothing(()) => Vec::new(),
    })
}

/// Lines of a file, each with its place: `keys.csv:3`.
pub type Lines = Vec<(String, Line)>;

/// Reads CSV with a header, or JSON: an array, or an object a line.
///
/// `go_on` is asked before each line: of a long file, reading takes long too.
///
/// # Errors
/// What is wrong with it; that of `go_on`.
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
            let next = nearest(column, COLUMNS).map_or_else(
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
        let read = record.and_then(|r| {
            let line = r.position().map_or(0, csv::Position::line);
            r.deserialize::<Line>(Some(&header)).map(|l| (line, l))
        });
        match read {
            Ok((line, l)) => out.push((format!("{name}:{line}"), l)),
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
        csv::ErrorKind::Deserialize { err, .. } => err.kind().to_string(),
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
            assert_eq!(lines[0].1.scopes, ["read", "write"]);
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
