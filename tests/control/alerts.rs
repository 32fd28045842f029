//! `envoy/prometheus-rules.yaml`, judged by Prometheus's own tool.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

const RULES: &str = "envoy/prometheus-rules.yaml";
const TESTS: &str = "tests/control/alerts.yaml";
const RUNBOOK: &str = "src/book/pages/alerts.md";
const LINK: &str = "https://keystile.example.com/docs/guide/alerts.html";
const SECTION: &str = "## From an alert to its cause\n";

fn read(path: &str) -> String {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    fs::read_to_string(root.join(path)).unwrap()
}

fn promtool(arguments: &[&str]) {
    let output = Command::new("promtool")
        .args(arguments)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .expect("promtool: run `scripts/setup tests` first");
    let told = [output.stdout, output.stderr].concat();
    let told = String::from_utf8_lossy(&told);
    assert!(output.status.success(), "{told}");
}

fn alerts() -> Vec<Value> {
    let rules: Value = serde_saphyr::from_str(&read(RULES)).unwrap();
    let groups = rules["groups"].as_array().unwrap().iter();
    groups
        .flat_map(|group| group["rules"].as_array().unwrap().clone())
        .collect()
}

#[test]
fn prometheus_accepts_the_rules_and_each_alert_fires_when_it_should() {
    promtool(&["check", "rules", "--lint=all", "--lint-fatal", RULES]);
    promtool(&["test", "rules", TESTS]);
}

#[test]
fn every_alert_is_tested_firing_and_silent() {
    let tests: Value = serde_saphyr::from_str(&read(TESTS)).unwrap();
    let tests = tests["tests"].as_array().unwrap();
    for alert in alerts() {
        let name = alert["alert"].as_str().unwrap();
        let test = tests.iter().find(|t| t["name"] == name);
        let test = test.unwrap_or_else(|| panic!("nothing tests {name}"));
        let expected = test["promql_expr_test"].as_array().unwrap().iter();
        let quoted = format!(r#"alertname="{name}", alertstate="firing""#);
        let samples: Vec<usize> = expected
            .inspect(|e| assert!(e["expr"].as_str().unwrap().contains(&quoted), "{e}"))
            .map(|e| e["exp_samples"].as_array().unwrap().len())
            .collect();
        assert!(samples.contains(&0), "{name} is never silent");
        assert!(samples.iter().any(|n| *n > 0), "{name} never fires");
    }
}

#[test]
fn every_alert_says_how_bad_it_is_and_has_its_row_in_the_runbook() {
    let page = read(RUNBOOK);
    let section = page.split(SECTION).nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| {
        let row = line.strip_prefix("| `Keystile")?;
        Some(format!("Keystile{}", row.split('`').next().unwrap()))
    });
    let rows: Vec<String> = rows.collect();
    let mut names = BTreeSet::new();
    for alert in alerts() {
        let name = alert["alert"].as_str().unwrap().to_owned();
        let severity = alert["labels"]["severity"].as_str().unwrap();
        assert!(["critical", "warning"].contains(&severity), "{name}");
        assert!(alert["for"].is_string(), "{name}");
        let told = &alert["annotations"];
        for annotation in ["summary", "description"] {
            assert!(told[annotation].is_string(), "{name}: {annotation}");
        }
        assert_eq!(told["runbook_url"], LINK, "{name}");
        assert!(names.insert(name));
    }
    assert_eq!(rows.iter().cloned().collect::<BTreeSet<_>>(), names);
    assert_eq!(rows.len(), names.len(), "a row twice");
}
