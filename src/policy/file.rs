//! `policy.yaml`: text in, policy out, and every mistake reported with its line.

use std::fs;
use std::path::Path;

use keystile_core::advice::Advice;
use keystile_core::policy::{Policy, PolicyError, RawPolicy};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::yaml::{self, Mistake, YamlNode};
use crate::zones;
use keystile_model::error::{Act, Code, Error, Fault, Next, Result, advised, refuse, refuse_all};
use shape::Salvaged;

mod shape;

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
///
/// # Errors
/// Every mistake with its line. What one mistake makes unknowable, such as whether a route whose path
/// cannot be read is there twice, is not judged.
pub fn parse(name: &str, text: String) -> Result<PolicyFile> {
    let (root, repeated) = root_repeated(name, &text)?;
    if root.is_nothing() {
        return Err(refuse(
            Code::PolicyInvalid,
            "the policy is empty",
            keystile_model::next!["begin with `version: 1`, or with ", Act::Default],
        )
        .at(format_args!("{name}:1"))
        .line(1));
    }
    let read: Salvaged<RawPolicy> = shape::salvage(name, &root, &help(), stand_in);
    let mut faults = repeated;
    let checked = read.value.as_ref().map(|raw| {
        let (policy, mut wrong) = match Policy::new(raw, []) {
            Ok(policy) => (Some(policy), Vec::new()),
            Err(wrong) => (None, wrong),
        };
        wrong.extend(strange_zones(raw));
        wrong.retain(|e| read.can_judge(&e.field, e.beside.as_deref()));
        faults.extend(meaning(name, &root, &wrong));
        policy
    });
    faults.extend(read.faults);
    match (read.value, checked.flatten(), faults.is_empty()) {
        (Some(raw), Some(policy), true) => Ok(PolicyFile {
            name: name.to_owned(),
            text,
            raw,
            policy,
        }),
        _ => Err(in_order(faults)),
    }
}

/// By line; for mistakes in one line, in the order in which they were found.
fn in_order(mut faults: Vec<Fault>) -> Error {
    faults.sort_by_key(|f| f.line);
    refuse_all(faults)
}

/// What stands in the place of a field that cannot be read while the rest is judged. Nothing else in
/// the file may seem wrong because of it.
fn stand_in(path: &str) -> Option<Value> {
    let field = path.rsplit(['.', ']']).next().unwrap_or(path);
    let name = path.strip_prefix("plans.");
    if name.is_some_and(|name| !name.contains(['.', '['])) {
        // A plan, whatever it is called.
        return None;
    }
    Some(match field {
        // The usual ones would be compared with other fields.
        "credentials" => json!([{ "query": "unknown" }]),
        "version" => json!(1),
        // No limit and no cost of the file is compared with a lower figure.
        "requests" | "burst" | "attempts" => json!(1_000_000),
        "per" if path.contains(".quota.") => json!("month"),
        // A period that no other limit of a list is likely to have.
        "per" => json!("61s"),
        "cluster" => json!("unknown"),
        // As unique as the place.
        "path" => json!(format!("/{}", path.replace(['.', '[', ']'], "-"))),
        _ => return None,
    })
}

/// Time zones missing from the database, which only the companion has.
fn strange_zones(raw: &RawPolicy) -> Vec<PolicyError> {
    let zones = raw.plans.iter().filter_map(|(name, plan)| {
        let zone = &plan.quota.as_ref()?.time_zone;
        let named = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'_' | b'-' | b'+');
        let is_name = (1..=64).contains(&zone.len()) && zone.bytes().all(named);
        (is_name && zones::named(zone).is_none()).then(|| PolicyError {
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
/// If it is not YAML, or if a name is repeated in a mapping, with the line.
pub fn root(name: &str, text: &str) -> Result<YamlNode> {
    let (root, repeated) = root_repeated(name, text)?;
    match repeated.is_empty() {
        true => Ok(root),
        false => Err(refuse_all(repeated)),
    }
}

/// The same, with what is wrong with names that are repeated.
fn root_repeated(name: &str, text: &str) -> Result<(YamlNode, Vec<Fault>)> {
    let at_line = |wrong: Error, line: u64| wrong.at(format_args!("{name}:{line}")).line(line);
    let root = yaml::parse_repeated(text).map_err(|e| at_line(syntax(&e), e.line))?;
    let repeated = root.repeated().into_iter().flat_map(|again| {
        let fact = format!("`{}` appears twice in this mapping", again.name);
        let told = refuse(Code::FieldsConflict, fact, "remove one of the two");
        at_line(told, again.line).into_faults()
    });
    let repeated = repeated.collect();
    Ok((root, repeated))
}

/// Reads a type. Fields that do not exist or have a value of the wrong type are reported all at once.
///
/// # Errors
/// Each with its line; `help` is the next step if there is no better one.
pub fn shape<T: DeserializeOwned>(name: &str, root: &YamlNode, help: &Next) -> Result<T> {
    let read: Salvaged<T> = shape::salvage(name, root, help, |_| None);
    match (read.value, read.faults.is_empty()) {
        (Some(value), true) => Ok(value),
        _ => Err(in_order(read.faults)),
    }
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

fn meaning(name: &str, root: &YamlNode, errors: &[PolicyError]) -> Vec<Fault> {
    let told = errors.iter().flat_map(|e| {
        let first = e.beside.as_ref().map(|field| root.line_of(field));
        let mut problem = e.problem.clone();
        if let Some(first) = first {
            problem.fact = format!("{}, which is in line {first}", problem.fact);
        }
        let told = advised(Code::PolicyInvalid, &problem);
        shape::placed(name, root, &e.field, told).into_faults()
    });
    told.collect()
}

#[cfg(test)]
mod tests;
