//! `policy.yaml`: text in, policy out, and every mistake with its line.

use std::fs;
use std::path::Path;

use keystile_core::policy::{Policy, PolicyError, RawPolicy};
use serde::de::DeserializeOwned;

use crate::yaml::{self, Node};
use crate::zones;
use keystile_model::error::{Error, Result, refuse, refuse_all};
use keystile_model::nearest::nearest;

/// The policy of a store that was made without one: it explains itself.
pub const DEFAULT: &str = include_str!("policy.yaml");

/// The largest file that is read.
const MAX_BYTES: u64 = 4 << 20;

/// A policy and the file that it was read from.
pub struct PolicyFile {
    /// What messages call it.
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
            format_args!("`{shown}` cannot be read ({e})"),
            "name an existing policy file",
        )
    };
    if fs::metadata(path).map_err(cannot)?.len() > MAX_BYTES {
        return Err(refuse(
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
        return Err(refuse_all(vec![format!(
            "{name}:1: the policy is empty; begin with `version: 1`, or with `keystilectl policy show --default`"
        )]));
    }
    let raw = shape(name, &root, HELP)?;
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

/// Time zones that there are none of: what only the companion can tell.
fn strange_zones(policy: &Policy) -> Vec<PolicyError> {
    let zones = policy.plans.iter().filter_map(|(name, plan)| {
        let zone = &plan.quota.as_ref()?.time_zone;
        zones::named(zone).is_none().then(|| PolicyError {
            field: format!("plans.{name}.quota.time_zone"),
            problem: format!(
                "there is no time zone `{zone}`; write one such as `UTC` or `Europe/Berlin`"
            ),
            beside: None,
        })
    });
    zones.collect()
}

/// What to look at when nothing better can be said.
const HELP: &str = "see the commented policy of `keystilectl policy show --default`";

/// A YAML text with the place of everything in it; `name` is what messages call it.
///
/// # Errors
/// What is no YAML, with its line.
pub fn root(name: &str, text: &str) -> Result<Node> {
    yaml::parse(text)
        .map_err(|e| refuse_all(vec![format!("{name}:{}: {}", e.line, syntax(&e.problem))]))
}

/// Fields that do not exist or hold something else than they should. Fields that do not
/// exist are reported all at once; of the others, each can hide the next.
///
/// # Errors
/// Each with its line; `help` is the next step where nothing better can be said.
pub fn shape<T: DeserializeOwned>(name: &str, root: &Node, help: &str) -> Result<T> {
    let mut value = root.json();
    let mut messages = Vec::new();
    loop {
        let error = match serde_path_to_error::deserialize::<_, T>(value.clone()) {
            Ok(raw) if messages.is_empty() => return Ok(raw),
            Ok(_) => break,
            Err(e) => e,
        };
        let path = match error.path().to_string() {
            path if path == "." => String::new(),
            path => path,
        };
        let text = error.inner().to_string();
        match unknown_field(&text) {
            Some((field, known)) => {
                let full = join(&path, field);
                let next = nearest(field, known.iter().copied()).map_or_else(
                    || format!("known here: {}", known.join(", ")),
                    |n| format!("did you mean `{n}`?"),
                );
                let problem = format!("there is no such field; {next}");
                messages.push((root.line_of(&full), line(name, root, &full, &problem)));
                if !remove(&mut value, &full) {
                    break;
                }
            }
            None => {
                messages.push((
                    root.line_of(&path),
                    line(name, root, &path, &wording(&text, help)),
                ));
                break;
            }
        }
    }
    messages.sort_by_key(|(line, _)| *line);
    Err(refuse_all(messages.into_iter().map(|(_, m)| m).collect()))
}

/// The parser's words with a next step.
fn syntax(problem: &str) -> String {
    if let Some(field) = problem.strip_prefix("duplicate mapping key: ") {
        let field = field.split(", set ").next().unwrap_or(field);
        return format!("`{field}` stands here a second time; remove one of the two");
    }
    let next = if problem.contains("flow mapping") {
        "inside `{…}`, put a path with braces in quotes: `path: \"/users/{id}\"`"
    } else if problem.contains("tabs") {
        "indent with spaces"
    } else {
        "check the indentation and quotes around this line"
    };
    format!("{problem}; {next}")
}

fn meaning(name: &str, root: &Node, errors: &[PolicyError]) -> Error {
    refuse_all(
        errors
            .iter()
            .map(|e| {
                let first = e.beside.as_ref().map(|field| root.line_of(field));
                let problem = match first {
                    Some(first) => format!("{} (the first is in line {first})", e.problem),
                    None => e.problem.clone(),
                };
                line(name, root, &e.field, &problem)
            })
            .collect(),
    )
}

fn line(name: &str, root: &Node, path: &str, problem: &str) -> String {
    let at = root.line_of(path);
    if path.is_empty() {
        return format!("{name}:{at}: {problem}");
    }
    format!("{name}:{at}: `{path}`: {problem}")
}

/// serde's words for an unknown field, taken apart: its name and the known ones.
pub fn unknown_field(text: &str) -> Option<(&str, Vec<&str>)> {
    let rest = text.strip_prefix("unknown field `")?;
    let (field, rest) = rest.split_once('`')?;
    Some((field, rest.split('`').skip(1).step_by(2).collect()))
}

/// serde's words for everything else, with a next step.
fn wording(text: &str, help: &str) -> String {
    if let Some(field) = text
        .strip_prefix("missing field `")
        .and_then(|t| t.strip_suffix('`'))
    {
        let example = match field {
            "version" => ", such as `version: 1`",
            "path" => ", such as `path: /v1/users/{id}`",
            "per" => ", such as `per: 1m`",
            "requests" => ", such as `requests: 100`",
            _ => "",
        };
        return format!("`{field}` is missing; add it{example}");
    }
    if let Some(rest) = text.strip_prefix("unknown variant `")
        && let Some((word, rest)) = rest.split_once('`')
    {
        let known: Vec<&str> = rest.split('`').skip(1).step_by(2).collect();
        return format!(
            "`{word}` is not one of its values; write {}",
            known.join(" or ")
        );
    }
    let Some((found, expected)) = text.split_once(", expected ") else {
        return format!("{text}; {help}");
    };
    let found = found
        .trim_start_matches("invalid type: ")
        .trim_start_matches("invalid value: ")
        .replace("string \"", "the text \"")
        .replace("map", "a mapping")
        .replace("sequence", "a list");
    let hint = match expected {
        e if e.starts_with("a string") => "a text (put it in quotes if it looks like a number)",
        "u64" | "u32" => "a whole number without quotes, 0 or more",
        "a boolean" => "true or false",
        "a sequence" => "a list, such as [a, b]",
        e if e.starts_with("struct ") => "a mapping of fields",
        "a map" => "a mapping of names",
        e => e,
    };
    format!("this is {found}; write {hint}")
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
