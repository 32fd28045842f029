//! `policy.yaml`: text in, policy out, and every mistake reported with its line.

use std::fs;
use std::path::Path;

use keystile_core::policy::{Policy, PolicyError, RawPolicy};
use serde::de::DeserializeOwned;

use crate::yaml::{self, Node};
use crate::zones;
use keystile_model::error::{Act, Code, Error, Next, Result, refuse, refuse_all, told};
use keystile_model::nearest::nearest;
use keystile_model::reading::{self, Found, Wrong};

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
            problem: format!(
                "there is no time zone `{zone}`; write one such as `UTC` or `Europe/Berlin`"
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
pub fn root(name: &str, text: &str) -> Result<Node> {
    yaml::parse(text).map_err(|e| syntax(&e.problem).at(format_args!("{name}:{}", e.line)))
}

/// Fields that do not exist or have a value of the wrong type. Unknown fields are reported all at
/// once; among the others, each can hide the next.
///
/// # Errors
/// Each with its line; `help` is the next step if there is no better one.
pub fn shape<T: DeserializeOwned>(name: &str, root: &Node, help: &Next) -> Result<T> {
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

/// The parser's words with a next step. They are all that it tells: what is looked for in them
/// makes the advice better, and decides nothing.
fn syntax(problem: &str) -> Error {
    if let Some(field) = problem.strip_prefix("duplicate mapping key: ") {
        let field = field.split(", set ").next().unwrap_or(field);
        return refuse(
            Code::FieldsConflict,
            format_args!("`{field}` stands here a second time"),
            "remove one of the two",
        );
    }
    let next = if problem.contains("flow mapping") {
        "inside `{…}`, put a path with braces in quotes: `path: \"/users/{id}\"`"
    } else if problem.contains("tabs") {
        "indent with spaces"
    } else {
        "check the indentation and quotes around this line"
    };
    refuse(Code::FileInvalid, problem, next)
}

fn meaning(name: &str, root: &Node, errors: &[PolicyError]) -> Error {
    let told = errors.iter().flat_map(|e| {
        let first = e.beside.as_ref().map(|field| root.line_of(field));
        let problem = match first {
            Some(first) => format!("{} (the first is in line {first})", e.problem),
            None => e.problem.clone(),
        };
        placed(name, root, &e.field, told(Code::PolicyInvalid, problem)).into_faults()
    });
    refuse_all(told.collect())
}

/// With the line and the path of what it is about.
fn placed(name: &str, root: &Node, path: &str, wrong: Error) -> Error {
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
                Found::Text(text) => format!("the text {text:?}"),
                Found::Map => "a mapping".to_owned(),
                other => other.to_string(),
            };
            let fact = format!("this is {found}");
            refuse(code, fact, format!("write {}", wanted(expected)))
        }
        Wrong::Unknown { .. } | Wrong::Told(_) => refuse(code, wrong, help.clone()),
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
        other => match other.split_once(' ') {
            Some(("struct", _)) => "a mapping of fields",
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
mod tests {
    use super::*;

    fn mistakes(text: &str) -> Vec<String> {
        let error = parse("policy.yaml", text.to_owned()).err().unwrap();
        error.words(keystile_model::error::Surface::CommandLine)
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
