//! `policy.yaml`: text in, policy out, and every mistake reported with its line.

use std::fs;
use std::path::Path;

use keystile_core::policy::{Policy, PolicyError, RawPolicy};
use serde::de::DeserializeOwned;

use crate::yaml::{self, Node};
use crate::zones;
use keystile_model::error::{Error, Result, refuse, refuse_all};
use keystile_model::nearest::nearest;

/// The policy of a store that is created without one, with comments.
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

/// Time zones missing from the database, which only the companion has.
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

/// Where to look if there is no better hint.
const HELP: &str = "see the commented policy of `keystilectl policy show --default`";

/// A YAML text with the place of everything in it; `name` is what messages call it.
///
/// # Errors
/// If it is not YAML, with the line.
pub fn root(name: &str, text: &str) -> Result<Node> {
    yaml::parse(text)
        .map_err(|e| refuse_all(vec![format!("{name}:{}: {}", e.line, syntax(&e.problem))]))
}

/// Fields that do not exist or have a value of the wrong type. Unknown fields are reported all at
/// once; among the others, each can hide the next.
///
/// # Errors
/// Each with its line; `help` is the next step if there is no better one.
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
mod tests {
    use super::*;

    fn mistakes(text: &str) -> Vec<String> {
        let error = parse("policy.yaml", text.to_owned()).err().unwrap();
        error.messages().to_vec()
    }

    #[test]
    fn the_default_policy_holds_and_is_what_the_core_takes_for_default() {
        let file = parse("default", DEFAULT.to_owned()).ok().unwrap();
        assert!(!file.policy.plans.is_empty());
        assert!(!file.policy.routes.is_empty());
    }

    #[test]
    fn unknown_fields_are_named_all_at_once_with_their_lines() {
        assert_eq!(
            mistakes("version: 1\nmod: shadow\nroutes:\n- path: /a\n  scope: [x]\n"),
            [
                "policy.yaml:2: `mod`: there is no such field; did you mean `mode`?",
                "policy.yaml:5: `routes[0].scope`: there is no such field; did you mean `scopes`?",
            ]
        );
    }

    #[test]
    fn wrong_types_are_told_with_what_to_write() {
        assert_eq!(
            mistakes("version: 1\nplans:\n  free:\n    limits:\n    - {requests: many, per: 1m}\n"),
            [
                "policy.yaml:5: `plans.free.limits[0].requests`: this is the text \"many\"; write a whole number without quotes, 0 or more"
            ]
        );
        assert_eq!(
            mistakes("version: 1\nmode: off\n"),
            ["policy.yaml:2: `mode`: `off` is not one of its values; write enforce or shadow"]
        );
        assert_eq!(
            mistakes("version: 1\nroutes:\n- methods: [GET]\n"),
            [
                "policy.yaml:3: `routes[0]`: `path` is missing; add it, such as `path: /v1/users/{id}`"
            ]
        );
        assert_eq!(
            mistakes("realm: api\n"),
            ["policy.yaml:1: `version` is missing; add it, such as `version: 1`"]
        );
        assert_eq!(
            mistakes("version: 1\nenvironments: live\n"),
            [
                "policy.yaml:2: `environments`: this is the text \"live\"; write a list, such as [a, b]"
            ]
        );
        assert_eq!(
            mistakes("version: 1\nrequire_tls: \"yes\"\n"),
            ["policy.yaml:2: `require_tls`: this is the text \"yes\"; write true or false"]
        );
        assert_eq!(
            mistakes("version: 1\nrealm: 5\n"),
            [
                "policy.yaml:2: `realm`: this is integer `5`; write a text (put it in quotes if it looks like a number)"
            ]
        );
    }

    #[test]
    fn mistakes_in_meaning_are_named_all_at_once_with_their_lines() {
        let found = mistakes(
            "version: 1\nplans:\n  free:\n    limits:\n    - requests: 0\n      per: 1m\nroutes:\n- path: /a\n- path: b\n- path: /a\n",
        );
        assert_eq!(found.len(), 3, "{found:#?}");
        assert!(
            found[0].starts_with("policy.yaml:5: `plans.free.limits[0].requests`: is 0, "),
            "{}",
            found[0]
        );
        assert!(
            found[1].starts_with("policy.yaml:9: `routes[1].path`: a path begins with `/`"),
            "{}",
            found[1]
        );
        assert!(
            found[2].starts_with(
                "policy.yaml:10: `routes[2]`: no request could tell it from `routes[0]`"
            ),
            "{}",
            found[2]
        );
    }

    #[test]
    fn a_time_zone_that_there_is_none_of_is_told_with_its_line() {
        let quota = |zone: &str| {
            format!(
                "version: 1\nplans:\n  free:\n    quota:\n      requests: 5\n      per: day\n      time_zone: {zone}\n"
            )
        };
        assert_eq!(
            mistakes(&quota("Europe/Bern")),
            [
                "policy.yaml:7: `plans.free.quota.time_zone`: there is no time zone `Europe/Bern`; write one such as `UTC` or `Europe/Berlin`"
            ]
        );
        for zone in [
            "UTC",
            "Europe/Berlin",
            "America/Argentina/Buenos_Aires",
            "Etc/GMT+5",
        ] {
            assert!(parse("policy.yaml", quota(zone)).is_ok(), "{zone}");
        }
    }

    #[test]
    fn what_is_no_yaml_is_told_with_its_line() {
        let found = mistakes("version: 1\nroutes: [\n");
        assert!(found[0].starts_with("policy.yaml:"), "{}", found[0]);
        let found = mistakes("version: 1\nmode: shadow\nmode: enforce\n");
        assert!(found[0].starts_with("policy.yaml:3: "), "{}", found[0]);
        let found = mistakes("");
        assert!(found[0].starts_with("policy.yaml:1: "), "{}", found[0]);
        let found = mistakes("just words\n");
        assert!(found[0].starts_with("policy.yaml:1: "), "{}", found[0]);
    }

    #[test]
    fn a_bomb_of_aliases_is_refused() {
        let mut text = String::from("version: 1\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for i in 1..12 {
            let all = vec![format!("*a{}", i - 1); 10].join(", ");
            text.push_str(&format!("a{i}: &a{i} [{all}]\n"));
        }
        assert!(parse("policy.yaml", text).is_err());
    }
}
