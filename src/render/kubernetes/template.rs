//! A description as a template of Helm, which puts the settings in.

use std::fmt::Write as _;

use serde_json::Value;

use super::kind::SettingKind;
use super::settings::SETTINGS;
use crate::chosen::{Dependent, NAMESPACE};

/// The template of one document.
pub fn template(described: &Value) -> String {
    let mut writer = Writer {
        out: String::new(),
        scalar: in_template,
    };
    match Dependent::read(described) {
        Some(Dependent::When { path, given, then }) => writer.when(0, path, given, |w| {
            w.block(0, then);
        }),
        _ => writer.block(0, described),
    }
    writer.out
}

/// A value that has no settings in it and is read as it is, below a name or at the margin.
pub fn plain(value: &Value, depth: usize) -> String {
    let mut writer = Writer {
        out: String::new(),
        scalar,
    };
    writer.block(depth, value);
    writer.out
}

/// Texts, one after the other. Neighbours that depend on the same setting share one condition.
pub fn prose(parts: &[Value]) -> String {
    let mut out = String::new();
    let mut open = None;
    for part in parts {
        let (condition, part) = match Dependent::read(part) {
            Some(Dependent::When { path, given, then }) => (Some(whether(path, given)), then),
            _ => (None, part),
        };
        if condition != open {
            if open.is_some() {
                out.push_str("{{ end }}");
            }
            if let Some(condition) = &condition {
                let _ = write!(out, "{{{{ if {condition} }}}}");
            }
            open = condition;
        }
        match Dependent::read(part) {
            Some(Dependent::Setting { path, .. }) => {
                let _ = write!(out, "{{{{ {} }}}}", place(path));
            }
            _ => out.push_str(part.as_str().unwrap_or_default()),
        }
    }
    if open.is_some() {
        out.push_str("{{ end }}");
    }
    out
}

struct Writer {
    out: String,
    /// How what is neither a map nor a list is written.
    scalar: fn(&Value) -> String,
}

impl Writer {
    fn line(&mut self, depth: usize, text: &str) {
        self.out.push_str(&" ".repeat(depth));
        self.out.push_str(text);
        self.out.push('\n');
    }

    fn when(&mut self, depth: usize, path: &str, given: bool, then: impl FnOnce(&mut Self)) {
        self.line(depth, &format!("{{{{- if {} }}}}", whether(path, given)));
        then(self);
        self.line(depth, "{{- end }}");
    }

    /// A map or a list with its lines at this depth; anything else on a line of its own.
    fn block(&mut self, depth: usize, value: &Value) {
        match value {
            Value::Object(members) => members.iter().for_each(|(n, v)| self.member(depth, n, v)),
            Value::Array(items) => items.iter().for_each(|item| self.item(depth, item)),
            other => self.line(depth, &(self.scalar)(other)),
        }
    }

    fn member(&mut self, depth: usize, name: &str, value: &Value) {
        let name = &word(name);
        match Dependent::read(value) {
            Some(Dependent::When { path, given, then }) => {
                self.when(depth, path, given, |w| w.member(depth, name, then));
            }
            Some(Dependent::Setting { before, path }) => match expression(before, path) {
                Some(text) => self.line(depth, &format!("{name}: {text}")),
                None => {
                    self.line(depth, &format!("{name}:"));
                    self.structure(depth + 2, &place(path));
                }
            },
            Some(Dependent::Items { .. }) => {}
            None if is_block(value) => {
                self.line(depth, &format!("{name}:"));
                let deeper = if value.is_array() { 0 } else { 2 };
                self.block(depth + deeper, value);
            }
            None => self.line(depth, &format!("{name}: {}", (self.scalar)(value))),
        }
    }

    fn item(&mut self, depth: usize, item: &Value) {
        match Dependent::read(item) {
            Some(Dependent::When { path, given, then }) => {
                self.when(depth, path, given, |w| w.item(depth, then));
            }
            Some(Dependent::Setting { before, path }) => match expression(before, path) {
                Some(text) => self.line(depth, &format!("- {text}")),
                None => {
                    self.line(depth, "-");
                    self.structure(depth + 2, &place(path));
                }
            },
            Some(Dependent::Items { before: None, path }) => {
                self.line(depth, &format!("{{{{- with {} }}}}", place(path)));
                self.structure(depth, ".");
                self.line(depth, "{{- end }}");
            }
            Some(Dependent::Items {
                before: Some(before),
                path,
            }) => {
                self.line(depth, &format!("{{{{- range {} }}}}", place(path)));
                self.line(depth, &format!("- {}", joined(before, ".")));
                self.line(depth, "{{- end }}");
            }
            None if is_block(item) => {
                let from = self.out.len();
                self.block(depth + 2, item);
                // On the line of its first member, unless that may be left out.
                let first = self.out.get(from + depth + 2..).unwrap_or_default();
                if first.starts_with("{{-") {
                    self.out
                        .insert_str(from, &format!("{}-\n", " ".repeat(depth)));
                } else {
                    self.out.replace_range(from + depth..from + depth + 1, "-");
                }
            }
            None => self.line(depth, &format!("- {}", (self.scalar)(item))),
        }
    }

    fn structure(&mut self, depth: usize, place: &str) {
        self.line(
            depth,
            &format!("{{{{- toYaml {place} | nindent {depth} }}}}"),
        );
    }
}

fn is_block(value: &Value) -> bool {
    match value {
        Value::Object(members) => !members.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    }
}

fn place(path: &str) -> String {
    match path {
        NAMESPACE => ".Release.Namespace".to_owned(),
        path => format!(".Values.{path}"),
    }
}

fn whether(path: &str, given: bool) -> String {
    match given {
        true => place(path),
        false => format!("not {}", place(path)),
    }
}

/// What prints a setting on one line; none if it is a map or a list.
fn expression(before: Option<&str>, path: &str) -> Option<String> {
    let kind = SETTINGS.iter().find(|s| s.path == path).map(|s| s.kind);
    match (before, kind) {
        (Some(before), _) => Some(joined(before, &place(path))),
        // A number of a file of values is a float, which Helm may print with an exponent.
        (None, Some(SettingKind::Count | SettingKind::Port)) => {
            Some(format!("{{{{ {} | int }}}}", place(path)))
        }
        (None, Some(kind)) if !kind.is_plain() => None,
        (None, _) => Some(format!("{{{{ {} | toJson }}}}", place(path))),
    }
}

fn joined(before: &str, place: &str) -> String {
    format!("{{{{ print {} {place} | toJson }}}}", Value::from(before))
}

/// In a template, where braces mean something.
fn in_template(value: &Value) -> String {
    match value {
        Value::String(text) if text.contains("{{") => format!("{{{{ {value} | toJson }}}}"),
        other => scalar(other),
    }
}

/// In YAML: as it is if nobody can take it for anything else, otherwise as JSON.
fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => word(text),
        other => other.to_string(),
    }
}

fn word(text: &str) -> String {
    let letter = |c: char| c.is_ascii_alphabetic() || c == '/';
    let others = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    let is_taken = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"]
        .contains(&text.to_ascii_lowercase().as_str());
    match text.starts_with(letter) && text.chars().all(others) && !is_taken {
        true => text.to_owned(),
        false => Value::from(text).to_string(),
    }
}
