//! `policy.yaml`: text in, policy out, and every mistake reported with its line.

use std::fs;
use std::path::Path;

use keystile_core::advice::Advice;
use keystile_core::policy::{Policy, PolicyError, RawPolicy};
use serde::de::DeserializeOwned;

use crate::yaml::{self, Mistake, YamlNode};
use crate::zones;
use keystile_model::error::{Act, Code, Error, Next, Result, advised, refuse, refuse_all};
use keystile_model::nearest::nearest;
use keystile_model::reading::{self, ActualType, Wrong};

/// The policy of a store that is created without one, with comments.
pub const DEFAULT: &str = include_str!("policy.yaml");

/// The largest file that is read.
const MAX_BYTES: u64 = 4 << 20;

/// A policy and the file that it was read from.
pub struct PolicyFile {
    /// The name for messages.
    pub name: String,
    /// As written.
    pub text: String,
    /// As parsed.
    pub raw: RawPolicy,
    /// As checked.
    pub policy: Policy,
}

/// Reads and checks a file.
pub fn read(path: &Path) -> Result<PolicyFile> {
    let shown = path.display();
    let cannot = |e: std::io::Error| {
        refuse(
            Code::FileUnreadable,
            format_args!("`{shown}` cannot be read ({e})"),
            "name an existing policy file",
        )
    };
    if fs::metadata(path).map_err(cannot)?.len() > MAX_BYTES {
        return Err(refuse(
            Code::FileTooLarge,
            format_args!("`{shown}` is larger than 4 MiB"),
            "split the policy among several stores",
        ));
    }
    parse(
        &shown.to_string(),
        fs::read_to_string(path).map_err(cannot)?,
    )
}

/// Checks a text; `name` is what messages call it.
pub fn parse(name: &str, text: String) -> Result<PolicyFile> {
    let root = root(name, &text)?;
    if root.is_nothing() {
        return Err(refuse(
            Code::PolicyInvalid,
            "the policy is empty",
            keystile_model::next!["begin with `version: 1`, or with ", Act::Default],
        )
        .at(format_args!("{name}:1")));
    }
    let raw = shape(name, &root, &help())?;
    let policy = Policy::new(&raw, []).map_err(|errors| meaning(name, &root, &errors))?;
    let strange = strange_zones(&policy);
    if !strange.is_empty() {
        return Err(meaning(name, &root, &strange));
    }
    Ok(PolicyFile {
        name: name.to_owned(),
        text,
        raw,
        policy,
    })
}

/// Time zones missing from the database, which only the companion has.
fn strange_zones(policy: &Policy) -> Vec<PolicyError> {
    let zones = policy.plans.iter().filter_map(|(name, plan)| {
        let zone = &plan.quota.as_ref()?.time_zone;
        zones::named(zone).is_none().then(|| PolicyError {
            field: format!("plans.{name}.quota.time_zone"),
            problem: Advice::new(
                format!("there is no time zone `{zone}`"),
                "write one such as `UTC` or `Europe/Berlin`",
            ),
            beside: None,
        })
    });
    zones.collect()
}

/// Where to look if there is no better hint.
fn help() -> Next {
    keystile_model::next!["see the commented policy of ", Act::Default]
}

/// A YAML text with the place of everything in it; `name` is what messages call it.
///
/// # Errors
/// If it is not YAML, with the line.
pub fn root(name: &str, text: &str) -> Result<YamlNode> {
    yaml::parse(text).map_err(|e| syntax(&e).at(format_args!("{name}:{}", e.line)))
}

/// Fields that do not exist or have a value of the wrong type. Unknown fields are reported all at
/// once; among the others, each can hide the next.
///
/// # Errors
/// Each with its line; `help` is the next step if there is no better one.
pub fn shape<T: DeserializeOwned>(name: &str, root: &YamlNode, help: &Next) -> Result<T> {
    let mut value = root.json();
    let mut faults = Vec::new();
    loop {
        let (path, wrong) = match reading::read::<T>(value.clone()) {
            Ok(raw) if faults.is_empty() => return Ok(raw),
            Ok(_) => break,
            Err(wrong) => wrong,
        };
        let Wrong::Unknown { field, known } = &wrong else {
            let told = placed(name, root, &path, wording(&wrong, help));
            faults.push((root.line_of(&path), told));
            break;
        };
        let full = join(&path, field);
        let next = nearest(field, known.iter().copied()).map_or_else(
            || format!("known here: {}", known.join(", ")),
            |n| format!("did you mean `{n}`?"),
        );
        let told = refuse(Code::FieldUnknown, "there is no such field", next);
        faults.push((root.line_of(&full), placed(name, root, &full, told)));
        if !remove(&mut value, &full) {
            break;
        }
    }
    faults.sort_by_key(|(line, _)| *line);
    let faults = faults.into_iter().flat_map(|(_, e)| e.into_faults());
    Err(refuse_all(faults.collect()))
}

/// The parser's words with a next step.
fn syntax(e: &yaml::SyntaxError) -> Error {
    let next = match &e.mistake {
        Mistake::Twice(field) => {
            let fact = match field {
                Some(field) => format!("`{field}` appears twice in this mapping"),
                None => "a field appears twice in this mapping".to_owned(),
            };
            return refuse(Code::FieldsConflict, fact, "remove one of the two");
        }
        Mistake::InBraces => {
            "inside `{…}`, put a path with braces in quotes: `path: \"/users/{id}\"`"
        }
        Mistake::Tab => "indent with spaces",
        Mistake::Other => "check the indentation and quotes around this line",
    };
    refuse(Code::FileInvalid, &e.problem, next)
}

fn meaning(name: &str, root: &YamlNode, errors: &[PolicyError]) -> Error {
    let told = errors.iter().flat_map(|e| {
        let first = e.beside.as_ref().map(|field| root.line_of(field));
        let mut problem = e.problem.clone();
        if let Some(first) = first {
            problem.fact = format!("{}, which is in line {first}", problem.fact);
        }
        let told = advised(Code::PolicyInvalid, &problem);
        placed(name, root, &e.field, told).into_faults()
    });
    refuse_all(told.collect())
}

/// With the line and the path of what it is about.
fn placed(name: &str, root: &YamlNode, path: &str, wrong: Error) -> Error {
    let wrong = match path {
        "" => wrong,
        path => wrong.field(path),
    };
    wrong.at(format_args!("{name}:{}", root.line_of(path)))
}

/// What is wrong with a field, in the words of YAML.
fn wording(wrong: &Wrong, help: &Next) -> Error {
    let code = wrong.code();
    match wrong {
        Wrong::Missing(field) => {
            let example = match *field {
                "version" => ", such as `version: 1`",
                "path" => ", such as `path: /v1/users/{id}`",
                "per" => ", such as `per: 1m`",
                "requests" => ", such as `requests: 100`",
                _ => "",
            };
            let next = format!("add it{example}");
            refuse(code, format_args!("`{field}` is missing"), next)
        }
        Wrong::Word { word, known } => refuse(
            code,
            format_args!("`{word}` is not one of its values"),
            format!("write {}", known.join(" or ")),
        ),
        Wrong::Type { found, expected } => {
            let found = match found {
                ActualType::Text(text) => format!("the text {text:?}"),
                ActualType::Map => "a mapping".to_owned(),
                other => other.to_string(),
            };
            let fact = format!("this is {found}");
            refuse(code, fact, format!("write {}", wanted(expected)))
        }
        Wrong::Unknown { .. } | Wrong::Repeated(_) | Wrong::Told(_) => {
            refuse(code, wrong, help.clone())
        }
    }
}

/// What serde expects, in the words of YAML.
fn wanted(expected: &str) -> &str {
    match expected {
        "a string" | "string" => "a text (put it in quotes if it looks like a number)",
        "u64" | "u32" => "a whole number without quotes, 0 or more",
        "a boolean" => "true or false",
        "a sequence" => "a list, such as [a, b]",
        "a map" => "a mapping of names",
        "an object" => "a mapping of fields",
        other => match other.split_once(' ') {
            Some(("struct", _)) => "a mapping of fields",
            Some(("enum", _)) => "one of its words",
            _ => other,
        },
    }
}

fn join(path: &str, field: &str) -> String {
    // serde_path_to_error may or may not have entered the field already.
    if path == field || path.ends_with(&format!(".{field}")) {
        return path.to_owned();
    }
    if path.is_empty() {
        field.to_owned()
    } else {
        format!("{path}.{field}")
    }
}

fn remove(value: &mut serde_json::Value, path: &str) -> bool {
    let (parent, field) = path.rsplit_once('.').unwrap_or(("", path));
    let pointer = parent.replace(']', "").replace(['.', '['], "/");
    let pointer = if pointer.is_empty() {
        pointer
    } else {
        format!("/{pointer}")
    };
    value
        .pointer_mut(&pointer)
        .and_then(|v| v.as_object_mut())
        .is_some_and(|map| map.remove(field).is_some())
}

#[cfg(test)]
mod tests;
