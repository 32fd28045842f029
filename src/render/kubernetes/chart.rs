//! The Helm chart: the same resources as templates, and the settings as its values.

use std::fmt::Write as _;

use serde_json::Value;

use super::settings::{NO_WAY_BACK, PlaneSettings, SETTINGS, TOO_MANY_REPLICAS, values_schema};
use super::template::{plain, prose, template};

/// A file of the chart.
pub struct ChartFile {
    /// Its path in the chart.
    pub path: String,
    /// What is in it.
    pub text: String,
}

/// The whole chart.
pub fn chart(resources: &[Value], notes: &[Value], settings: &PlaneSettings) -> Vec<ChartFile> {
    let file = |path: &str, text: String| ChartFile {
        path: path.to_owned(),
        text,
    };
    let mut files = vec![
        file("Chart.yaml", head()),
        file("values.yaml", values(settings)),
        file("values.schema.json", schema()),
        file("templates/NOTES.txt", prose(notes)),
        file("templates/checks.yaml", checks()),
    ];
    for resource in resources {
        let path = format!("templates/{}.yaml", name_of(resource));
        files.push(file(&path, template(resource)));
    }
    files
}

fn head() -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "\
apiVersion: v2
name: keystile
description: The control plane of Keystile, which manages API keys for Envoy and Istio
type: application
version: {version}
appVersion: {version:?}
kubeVersion: \">=1.27.0-0\"
"
    )
}

/// The resource's kind, of which there is one each.
fn name_of(resource: &Value) -> String {
    let resource = resource.get("$then").unwrap_or(resource);
    let text = |pointer| resource.pointer(pointer).and_then(Value::as_str);
    let kind = text("/kind").unwrap_or_default();
    kind.to_lowercase()
}

fn values(settings: &PlaneSettings) -> String {
    let mut out = String::from(
        "\
# The values of the chart. `keystilectl render kubernetes --values FILE` takes a file of them, too.
",
    );
    let mut group = "";
    for setting in SETTINGS {
        let (this, name) = setting.path.split_once('.').unwrap_or(("", setting.path));
        out.push('\n');
        if this != group && !this.is_empty() {
            let _ = writeln!(out, "{this}:");
        }
        group = this;
        let depth = if this.is_empty() { 0 } else { 2 };
        let margin = " ".repeat(depth);
        for line in wrapped(setting.about, 100 - depth) {
            let _ = writeln!(out, "{margin}# {line}");
        }
        let member = Value::from_iter([(name.to_owned(), settings.at(setting.path).clone())]);
        out.push_str(&plain(&member, depth));
    }
    out
}

/// What settings have to fulfil together, which no schema says in words that help.
fn checks() -> String {
    let fail = |condition: &str, (fact, next): (&str, &str)| {
        let words = Value::from(format!("{fact}; {next}"));
        format!("{{{{- if {condition} }}}}\n{{{{- fail {words} }}}}\n{{{{- end }}}}\n")
    };
    let alone = "and (gt (int .Values.replicas) 1) (not .Values.store.secret)";
    let lost = "and .Values.oidc.issuer (not (and .Values.publicUrl .Values.oidc.clientId))";
    format!(
        "{}{}",
        fail(alone, TOO_MANY_REPLICAS),
        fail(lost, NO_WAY_BACK)
    )
}

fn schema() -> String {
    let mut text = serde_json::to_string_pretty(&values_schema(true)).unwrap_or_default();
    text.push('\n');
    text
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.len() + word.len() < width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
