//! Fields that do not exist or have a value of the wrong type: all of them, although a reader stops at
//! the first. What is wrong is left out, or something stands in for it, until the rest can be read.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::yaml::YamlNode;
use keystile_model::error::{Code, Error, Fault, Next, refuse};
use keystile_model::nearest::nearest;
use keystile_model::reading::{self, ActualType, Wrong};

/// Reading again for each mistake costs the square of a file in which everything is wrong: it is read
/// this often at most, and this many bytes together; but twenty times if it is not large.
const MOST: usize = 100;
const MOST_BYTES: usize = 16 << 20;
const ALWAYS: usize = 20;
const LARGE: usize = 4 << 20;

/// What could be read in spite of mistakes.
pub(super) struct Salvaged<T> {
    /// `None` if too little can be read.
    pub value: Option<T>,
    /// What is wrong.
    pub faults: Vec<Fault>,
    /// The paths of what was left out or made up.
    unknown: Vec<String>,
}

impl<T> Salvaged<T> {
    /// Whether a mistake in meaning is one of the file. If it is about something that could not be
    /// read, nobody knows.
    pub fn can_judge(&self, field: &str, beside: Option<&str>) -> bool {
        let fields = || [Some(field), beside].into_iter().flatten();
        !fields().any(|field| self.unknown.iter().any(|path| touches(path, field)))
    }
}

/// Whether a path is that of a field, of what it is in, or of a part of a list's entry, which is
/// judged as a whole.
fn touches(path: &str, field: &str) -> bool {
    let within = |inner: &str, outer: &str| {
        let rest = inner.strip_prefix(outer);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    within(field, path) || (field.ends_with(']') && within(path, field))
}

/// Reads a type; `stand_in` is what stands for a field of a path that cannot be read.
pub(super) fn salvage<T: DeserializeOwned>(
    name: &str,
    root: &YamlNode,
    help: &Next,
    stand_in: impl Fn(&str) -> Option<Value>,
) -> Salvaged<T> {
    let mut value = root.json();
    let mut out = Salvaged {
        value: None,
        faults: Vec::new(),
        unknown: Vec::new(),
    };
    for _ in 0..rounds(value.to_string().len()) {
        let (path, wrong) = match reading::read::<T>(value.clone()) {
            Ok(read) => {
                out.value = Some(read);
                return out;
            }
            Err(wrong) => wrong,
        };
        let at = match &wrong {
            Wrong::Unknown { field, .. } => join(&path, field),
            Wrong::Missing(field) => join(&path, field),
            _ => path.clone(),
        };
        // What is missing in something that is made up is no mistake of the file.
        let in_made_up = matches!(wrong, Wrong::Missing(_)) && out.unknown.contains(&path);
        let is_new = !in_made_up && !out.unknown.contains(&at);
        if is_new {
            let (place, told) = match &wrong {
                Wrong::Unknown { field, known } => (&at, unknown(field, known)),
                wrong => (&path, wording(wrong, help)),
            };
            out.faults
                .extend(placed(name, root, place, told).into_faults());
            out.unknown.push(at.clone());
        }
        let mended = match &wrong {
            Wrong::Unknown { .. } => is_new && put(&mut value, &at, None),
            Wrong::Missing(_) => {
                let instead = stand_in(&at);
                instead.is_some() && put(&mut value, &at, instead)
            }
            wrong => {
                is_new
                    && put(
                        &mut value,
                        &at,
                        stand_in(&at).or_else(|| element(&at, wrong)),
                    )
            }
        };
        if !mended {
            return out;
        }
    }
    let more = refuse(
        Code::PolicyInvalid,
        "there are so many mistakes that not all of them are named",
        "correct these, and check again",
    );
    out.faults.extend(more.at(name).into_faults());
    out
}

/// How often a text of this length is read at most.
fn rounds(len: usize) -> usize {
    let least = if len > LARGE { 1 } else { ALWAYS };
    (MOST_BYTES / len.max(1)).clamp(least, MOST)
}

fn unknown(field: &str, known: &[&str]) -> Error {
    let next = nearest(field, known.iter().copied()).map_or_else(
        || format!("known here: {}", known.join(", ")),
        |n| format!("did you mean `{n}`?"),
    );
    refuse(Code::FieldUnknown, "there is no such field", next)
}

/// What stands for an entry of a list, whose place must not be taken by the next one.
fn element(path: &str, wrong: &Wrong) -> Option<Value> {
    let is_object = match wrong {
        Wrong::Type { expected, .. } => {
            expected == "an object" || expected.starts_with("struct ") || expected == "a map"
        }
        _ => false,
    };
    path.ends_with(']').then(|| match is_object {
        true => json!({}),
        false => json!("unknown"),
    })
}

/// With the line and the path of what it is about.
pub(super) fn placed(name: &str, root: &YamlNode, path: &str, wrong: Error) -> Error {
    let wrong = match path {
        "" => wrong,
        path => wrong.field(path),
    };
    let line = root.line_of(path);
    wrong.at(format_args!("{name}:{line}")).line(line)
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

/// Puts something in the place of a path, or removes what is there.
fn put(value: &mut Value, path: &str, instead: Option<Value>) -> bool {
    let Some((parent, step)) = parent(value, path) else {
        return false;
    };
    match (parent, instead) {
        (Value::Object(map), None) => map.remove(step).is_some(),
        (Value::Object(map), Some(instead)) => {
            map.insert(step.to_owned(), instead);
            true
        }
        (Value::Array(items), Some(instead)) => {
            let item = step.parse().ok().and_then(|i: usize| items.get_mut(i));
            item.map(|item| *item = instead).is_some()
        }
        _ => false,
    }
}

/// What a path is in, and its last step. A name may contain dots.
fn parent<'v, 'p>(value: &'v mut Value, path: &'p str) -> Option<(&'v mut Value, &'p str)> {
    if let Some(rest) = path.strip_prefix('[') {
        let (index, rest) = rest.split_once(']')?;
        if rest.is_empty() {
            return Some((value, index));
        }
        let item = value.get_mut(index.parse::<usize>().ok()?)?;
        return parent(item, rest.strip_prefix('.').unwrap_or(rest));
    }
    let map = value.as_object()?;
    let follows = |name: &String| {
        let rest = path.strip_prefix(name.as_str());
        rest.is_some_and(|rest| rest.starts_with(['.', '[']))
    };
    match map
        .keys()
        .filter(|n| follows(n))
        .max_by_key(|n| n.len())
        .cloned()
    {
        Some(name) if !map.contains_key(path) => {
            let rest = path.get(name.len()..)?;
            let inner = value.get_mut(&name)?;
            parent(inner, rest.strip_prefix('.').unwrap_or(rest))
        }
        _ => Some((value, path)),
    }
}
