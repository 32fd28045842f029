//! The draft, formatted as if written by hand.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::document::Document;
use super::security::Demand;

/// A route as it is written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) path: String,
    pub(super) methods: Vec<String>,
    pub(super) hosts: Vec<String>,
    pub(super) demand: Demand,
}

/// The text of the policy.
pub fn policy(
    document: &Document,
    realm: Option<&String>,
    credentials: &[String],
    lines: &[Line],
    unsaid: usize,
) -> String {
    let mut out = format!(
        "# Drafted by `keystilectl policy from-openapi` from {}\n# (OpenAPI {}). ",
        document.title(),
        document.openapi(),
    );
    out.push_str(match unsaid {
        0 => "Everything here comes from the document.\n",
        _ => "The command lists what a policy cannot express.\n",
    });
    out.push_str(
        "# `mode: shadow` decides and counts but lets everything through: for the first day.\n\
         version: 1\n",
    );
    if let Some(realm) = realm {
        let _ = writeln!(out, "realm: {}", quoted(realm));
    }
    out.push_str("mode: enforce\n");
    if lines.iter().any(|line| !line.hosts.is_empty()) {
        out.push_str(
            "# Envoy ignores ports as well: `ignore_port_in_host_matching` in its route configuration.\n\
             host_ports: ignore\n",
        );
    }
    if !credentials.is_empty() {
        out.push_str("credentials:\n");
        for c in credentials {
            let _ = writeln!(out, "- {c}");
        }
    }
    out.push_str("routes:\n");
    for line in lines {
        let _ = writeln!(out, "- {{{}}}", route(line));
    }
    out.push_str("unmatched: deny\n");
    out
}

fn route(line: &Line) -> String {
    let mut out = format!("path: {}", quoted(&line.path));
    if !line.methods.is_empty() {
        let methods: Vec<String> = line.methods.iter().map(|m| word(m)).collect();
        let _ = write!(out, ", methods: [{}]", methods.join(", "));
    }
    if !line.hosts.is_empty() {
        let _ = write!(out, ", hosts: {}", list(&line.hosts));
    }
    let sets = |scopes: &BTreeSet<String>| list(&scopes.iter().cloned().collect::<Vec<_>>());
    match &line.demand {
        Demand::Open => out.push_str(", auth: none"),
        Demand::Optional => out.push_str(", auth: optional"),
        Demand::Key { scopes, any } => {
            if !scopes.is_empty() {
                let _ = write!(out, ", scopes: {}", sets(scopes));
            }
            if !any.is_empty() {
                let _ = write!(out, ", any_scope: {}", sets(any));
            }
        }
    }
    out
}

fn list(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|w| quoted(w)).collect();
    format!("[{}]", words.join(", "))
}

/// Methods are plain words, except those that YAML would read differently.
fn word(method: &str) -> String {
    let is_plain = method.len() > 2 && method.bytes().all(|b| b.is_ascii_uppercase());
    match is_plain && !matches!(method, "YES" | "OFF" | "NULL" | "TRUE" | "FALSE") {
        true => method.to_owned(),
        false => quoted(method),
    }
}

/// In double quotes: YAML reads what JSON writes.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
