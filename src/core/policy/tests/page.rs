//! The page of the guide that lists every field of a policy: read from the structs that parse it,
//! and compared with what serde says of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde::de::DeserializeOwned;

use super::super::raw;

const PAGE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../book/pages/policy-fields.md"
);

const HEAD: &str = "# Fields of the policy

Every field of `policy.yaml`, with its default. Fields that there are not are refused, with the nearest name that there is.
[Write a policy](policy.md) shows them at work; `keystilectl policy show` prints the commented policy that `init` writes.

";

/// A struct or an enum of the file.
#[derive(Debug, Default)]
struct Item {
    name: String,
    says: String,
    is_enum: bool,
    /// Every field may be left out.
    all_default: bool,
    parts: Vec<Part>,
}

/// A field or a variant.
#[derive(Debug)]
struct Part {
    name: String,
    kind: String,
    says: String,
    /// What it is if left out: nothing, or a function's name.
    default: Option<String>,
}

fn source() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("policy");
    let entries = fs::read_dir(folder.join("raw")).unwrap();
    let mut paths: Vec<_> = entries.map(|e| e.unwrap().path()).collect();
    paths.sort();
    paths.insert(0, folder.join("raw.rs"));
    let texts = paths.iter().map(|path| fs::read_to_string(path).unwrap());
    texts.collect()
}

fn items(source: &str) -> Vec<Item> {
    let (mut all, mut open) = (Vec::new(), None::<Item>);
    let (mut says, mut marks) = (Vec::new(), String::new());
    for line in source.lines().map(str::trim) {
        if let Some(doc) = line.strip_prefix("/// ") {
            says.push(doc);
        } else if line.starts_with("#[") {
            marks.push_str(line);
        } else {
            let head = line.strip_suffix(" {").and_then(|l| l.strip_prefix("pub "));
            let head = head.and_then(|h| h.split_once(' '));
            if let Some((word @ ("struct" | "enum"), name)) = head {
                open = Some(Item {
                    name: name.to_owned(),
                    says: says.join(" "),
                    is_enum: word == "enum",
                    all_default: marks.contains(", default)]"),
                    parts: Vec::new(),
                });
            } else if line == "}" {
                all.extend(open.take());
            } else if let (Some(item), Some(part)) = (&mut open, line.strip_suffix(',')) {
                item.parts
                    .push(self::part(part, item.is_enum, &says, &marks));
            }
            says.clear();
            marks.clear();
        }
    }
    all
}

fn part(line: &str, is_variant: bool, says: &[&str], marks: &str) -> Part {
    let says = says.join(" ");
    if is_variant {
        let default = marks.contains("#[default]").then(String::new);
        let name = line.to_lowercase();
        return Part {
            name,
            kind: String::new(),
            says,
            default,
        };
    }
    let (name, kind) = line.strip_prefix("pub ").unwrap().split_once(": ").unwrap();
    let function = marks
        .split("default = \"")
        .nth(1)
        .map(|f| f.split('"').next().unwrap());
    let plain = marks.contains("(default").then_some("");
    Part {
        name: name.to_owned(),
        kind: kind.to_owned(),
        says,
        default: function.or(plain).map(str::to_owned),
    }
}

/// What serde expects in place of a word that there is not.
fn expected<T: DeserializeOwned>(is_enum: bool) -> BTreeSet<String> {
    let text = if is_enum {
        "\"no such\""
    } else {
        "{\"no such\":0}"
    };
    let Err(e) = serde_json::from_str::<T>(text) else {
        panic!("it was taken");
    };
    let e = e.to_string();
    let (_, words) = e.split_once("expected ").unwrap();
    words
        .split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

macro_rules! expected {
    ($($kind:literal: $($name:ident)*;)*) => {
        BTreeMap::from([$($(
            (stringify!($name), expected::<raw::$name>($kind == "enum")),
        )*)*])
    };
}

#[test]
fn the_page_is_read_from_what_serde_reads() {
    let by_serde = expected! {
        "struct": RawPolicy RawCredential RawIdentity RawPublishable RawReport RawRoute RawAttempts
            RawLifetimes RawPlan RawLimit RawQuota RollOver;
        "enum": Mode BasicPart ClientCertificates HostPorts Preflight RateLimitFields Address Auth
            Unmatched ExposedKeys By QuotaPeriod;
    };
    let source = source();
    let items = items(&source);
    let ours: BTreeMap<&str, BTreeSet<String>> = items
        .iter()
        .map(|i| {
            (
                i.name.as_str(),
                i.parts.iter().map(|p| p.name.clone()).collect(),
            )
        })
        .collect();
    assert_eq!(ours, by_serde);
    for item in &items {
        assert!(!item.says.is_empty(), "{item:?}");
        assert!(item.parts.iter().all(|p| !p.says.is_empty()), "{item:?}");
    }
}

/// As YAML writes it.
fn default(function: &str) -> String {
    let json = r#"{"version":1,"report":{"cluster":"c"},"plans":{"p":{"quota":{"requests":1,"per":"day"}}}}"#;
    let policy: raw::RawPolicy = serde_json::from_str(json).unwrap();
    let report = policy.report.unwrap();
    let quota = policy.plans["p"].quota.as_ref().unwrap();
    match function {
        "" => String::new(),
        "default_realm" => policy.realm,
        "default_brand" => policy.brand,
        "default_environments" => format!("[{}]", policy.environments.join(", ")),
        "default_credentials" => {
            let all = policy.credentials.iter().map(|c| {
                let header = c.header.as_deref().unwrap();
                let scheme = c.scheme.iter().map(|s| format!(", scheme: {s}"));
                format!("{{header: {header}{}}}", scheme.collect::<String>())
            });
            format!("[{}]", all.collect::<Vec<_>>().join(", "))
        }
        "default_every" => report.every,
        "yes" => report.usage.to_string(),
        "utc" => quota.time_zone.clone(),
        other => panic!("say here what `{other}` is"),
    }
}

/// Of a struct whose fields have the defaults that it has as a whole.
fn by_struct(item: &str, field: &str) -> String {
    let whole = match item {
        "RawIdentity" => serde_json::to_value(raw::RawIdentity::default()),
        "RollOver" => serde_json::to_value(raw::RollOver::default()),
        "RawPublishable" => serde_json::to_value(raw::RawPublishable::default()),
        "RawLifetimes" => serde_json::to_value(raw::RawLifetimes::default()),
        other => panic!("say here what `{other}` is"),
    };
    let value = whole.unwrap()[field].take();
    let text = value.as_str().map(str::to_owned);
    text.unwrap_or_else(|| match value.is_number() {
        true => value.to_string(),
        false => String::new(),
    })
}

fn inside<'k>(kind: &'k str, outer: &str) -> Option<&'k str> {
    kind.strip_prefix(outer)?.strip_suffix('>')
}

/// The struct or enum in a type, if any.
fn named(kind: &str) -> &str {
    let outer = ["Option<", "Vec<", "BTreeMap<String, "];
    match outer.iter().find_map(|o| inside(kind, o)) {
        Some(kind) => named(kind),
        None => kind,
    }
}

fn shape(kind: &str, items: &[Item]) -> String {
    if let Some(kind) = inside(kind, "Option<") {
        return shape(kind, items);
    }
    if let Some(kind) = inside(kind, "Vec<") {
        return format!("list of {}", shape(kind, items));
    }
    if let Some(kind) = inside(kind, "BTreeMap<String, ") {
        return format!("by name: {}", shape(kind, items));
    }
    match kind {
        "String" => "text".to_owned(),
        "bool" => "`true` or `false`".to_owned(),
        "u8" | "u32" | "u64" => "number".to_owned(),
        kind => {
            let item = items.iter().find(|i| i.name == kind).unwrap();
            match item.is_enum {
                true => "a word".to_owned(),
                false => format!("[fields](#{})", anchor(item, items)),
            }
        }
    }
}

/// Where it is used, which is what it is called on the page.
fn places(item: &Item, items: &[Item]) -> Vec<String> {
    let parts = items.iter().flat_map(|i| &i.parts);
    let used = parts.filter(|p| named(&p.kind) == item.name);
    let names: BTreeSet<String> = used.map(|p| p.name.clone()).collect();
    names.into_iter().collect()
}

fn anchor(item: &Item, items: &[Item]) -> String {
    places(item, items).join("-")
}

fn wanted() -> String {
    let items = items(&source());
    let mut page = HEAD.to_owned();
    for item in items.iter().filter(|i| !i.is_enum) {
        match item.name.as_str() {
            "RawPolicy" => page.push_str("## At the top\n\n"),
            _ => {
                let names: Vec<String> = places(item, &items)
                    .iter()
                    .map(|p| format!("`{p}`"))
                    .collect();
                write!(page, "## {}\n\n{}\n\n", names.join(" "), item.says).unwrap();
            }
        }
        page.push_str("| field | what it is | default | |\n| --- | --- | --- | --- |\n");
        for part in &item.parts {
            let mut says = part.says.clone();
            let words = items
                .iter()
                .find(|i| i.is_enum && i.name == named(&part.kind));
            for word in words.iter().flat_map(|i| &i.parts) {
                let mark = if word.default.is_some() {
                    " (default)"
                } else {
                    ""
                };
                write!(says, "<br>`{}`{mark}: {}", word.name, word.says).unwrap();
            }
            let default = match (&part.default, part.kind.as_str()) {
                (Some(function), "bool") if function.is_empty() => "false".to_owned(),
                (Some(function), _) => default(function),
                (None, _) if item.all_default => by_struct(&item.name, &part.name),
                (None, _) => "needed".to_owned(),
            };
            let default = match default.as_str() {
                "" | "needed" => default,
                value => format!("`{value}`"),
            };
            let shape = shape(&part.kind, &items);
            writeln!(page, "| `{}` | {shape} | {default} | {says} |", part.name).unwrap();
        }
        page.push('\n');
    }
    page
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a test, which no Envoy runs: who starts it says whether it writes"
)]
fn the_page_of_the_policy_lists_every_field() {
    let page = wanted();
    if std::env::var_os("BLESS").is_some() {
        fs::write(PAGE, &page).unwrap();
    }
    let written = fs::read_to_string(PAGE).unwrap();
    assert!(written == page, "`BLESS=1` writes the page anew");
}
