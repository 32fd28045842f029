//! The dashboard and the alerts under `envoy/`, judged by a real Prometheus that scrapes a real server and
//! real Envoys.

mod prometheus;

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Companion, Envoy, Server, Upstream, fresh_dir, get, root};
use prometheus::Prometheus;

const POLICY: &str = r#"
version: 1
not_after: 1d
report: { cluster: keystile-control, every: 1s }
routes:
  - { path: "/v1/{*rest}" }
"#;

/// What exists only after something that this test does not bring about, by the filter's own name.
const RARE: [&str; 3] = [
    "keystile_corrupt_pages_total",
    "keystile_reports_unsent_total",
    "keystile_usage_dropped_total",
];

/// Two scrapes after the last thing that happened, and much more on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A fleet in which everything happens that the dashboard shows.
struct Watched {
    companion: Companion,
    server: Server,
    prometheus: Prometheus,
    envoy: Envoy,
    _upstream: Upstream,
    key: String,
}

impl Watched {
    fn start() -> Self {
        let companion = Companion::init(&fresh_dir(), POLICY);
        companion.run(&["client", "create", "acme"]);
        let export = companion.dir().join("audit.jsonl").display().to_string();
        let allow = ["--webhook-allow", "127.0.0.0/8"];
        let server = Server::started(
            &companion,
            &[&["--audit-export", &export], &allow[..]].concat(),
        );
        // Nobody listens there, so its messages wait.
        let webhook = [
            "webhook",
            "create",
            "siem",
            "https://127.0.0.1:9/",
            "--event",
            "key.*",
        ];
        server.json(&webhook);
        let (key, _) = server.issue(&["acme"]);
        let upstream = Upstream::start();
        let envoy = Envoy::start(server.rendered(&companion, &upstream, "edge-1"));
        let admin = envoy.admin_address().to_string();
        Self {
            prometheus: Prometheus::start(server.address(), &[admin]),
            companion,
            server,
            envoy,
            _upstream: upstream,
            key,
        }
    }

    /// Requests of every kind, to Envoy and to the server.
    fn traffic(&self) {
        self.envoy.send(&get("/v1/a").bearer(&self.key));
        self.envoy.send(&get("/v1/a"));
        self.envoy.send(&get("/elsewhere").bearer(&self.key));
        let wrong = self
            .server
            .command()
            .args(["key", "list"])
            .env("KEYSTILE_TOKEN", "kst_wrong")
            .output();
        assert!(!wrong.unwrap().status.success());
    }

    /// From here on, refusals are only counted.
    fn shadow(&self) {
        let file = self.companion.dir().join("shadow.yaml");
        fs::write(&file, format!("{POLICY}mode: shadow\n")).unwrap();
        let file = file.display().to_string();
        self.server.json(&["policy", "apply", &file]);
    }

    /// From here on, Envoy refuses what it is sent: it has none of the keys that keysets are signed with.
    fn sign_with_another_key(&self) {
        let kid = |keys: &Value| keys[0]["kid"].as_str().unwrap().to_owned();
        let old = kid(&self.server.json(&["signing-key", "list"]));
        self.server.json(&["signing-key", "rotate"]);
        self.server.json(&["signing-key", "retire", &old]);
    }

    /// Goes on sending until nothing is left of these.
    #[track_caller]
    fn until_none<T: std::fmt::Debug>(&self, mut left: Vec<T>, is_there: impl Fn(&T) -> bool) {
        let began = Instant::now();
        loop {
            left.retain(|one| !is_there(one));
            if left.is_empty() {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "nothing has: {left:#?}");
            self.traffic();
        }
    }
}

fn shipped(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

fn dashboard() -> Value {
    serde_json::from_str(&shipped("envoy/grafana-dashboard.json")).unwrap()
}

/// Titles and queries of all panels, as Grafana sends them if everything is chosen.
fn panels(dashboard: &Value) -> Vec<(String, String)> {
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let queries = panels.flat_map(|panel| {
        let title = panel["title"].as_str().unwrap();
        let targets = panel["targets"].as_array().unwrap().iter();
        targets.map(move |target| (title.to_owned(), target["expr"].as_str().unwrap()))
    });
    let chosen = |query: &str| {
        let query = query.replace("$__rate_interval", "1m");
        query.replace("$envoy", ".*").replace("$server", ".*")
    };
    queries.map(|(title, q)| (title, chosen(q))).collect()
}

/// The names of our metrics in a text.
fn names(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|w| w.starts_with("keystile_")).collect()
}

/// A series of a test of promtool: its name and the names of its labels.
fn parts(series: &str) -> (&str, Vec<&str>) {
    let (name, labels) = series.trim_end_matches('}').split_once('{').unwrap();
    let labels = labels.split(", ").map(|l| l.split_once('=').unwrap().0);
    (name, labels.collect())
}

/// Series of our own that the tests of the alerts assume.
fn assumed() -> Vec<String> {
    let text = shipped("tests/control/alerts.yaml");
    let tests: Value = serde_saphyr::from_str(&text).unwrap();
    let tests = tests["tests"].as_array().unwrap().iter();
    let series = tests.flat_map(|t| t["input_series"].as_array().unwrap());
    let all = series.map(|s| s["series"].as_str().unwrap().to_owned());
    all.filter(|s| s.starts_with("keystile_") && !RARE.contains(&parts(s).0))
        .collect()
}

#[test]
fn every_panel_shows_something_and_every_alert_looks_at_what_is_there() {
    let watched = Watched::start();
    let prometheus = &watched.prometheus;
    watched.until_none(vec!["ok", "missing_api_key"], |outcome| {
        let query = format!(r#"keystile_requests_total{{outcome="{outcome}"}}"#);
        !prometheus.query(&query).is_empty()
    });
    watched.shadow();

    let dashboard = dashboard();
    let panels = panels(&dashboard);
    assert!(panels.len() > 30, "{}", panels.len());
    let is_shown = |(_, query): &(String, String)| {
        let numbers = prometheus.query(query);
        let numbers = numbers.iter().map(|n| n["value"][1].as_str().unwrap());
        let mut numbers = numbers.map(|n| n.parse::<f64>().unwrap());
        numbers.any(f64::is_finite)
    };
    let is_late = |(_, query): &(String, String)| query.contains("keystile_pushes_refused_total");
    let (refusals, others): (Vec<_>, Vec<_>) = panels.into_iter().partition(is_late);
    watched.until_none(others, is_shown);
    watched.sign_with_another_key();
    watched.until_none(refusals, is_shown);

    let variables = dashboard["templating"]["list"].as_array().unwrap().iter();
    let of_labels = variables
        .filter_map(|v| v["definition"].as_str())
        .map(|definition| {
            let inside = definition.strip_prefix("label_values(").unwrap();
            inside.trim_end_matches(')').split_once(", ").unwrap()
        });
    for (metric, label) in of_labels {
        let series = prometheus.series(metric);
        assert!(series.iter().any(|s| s[label].is_string()), "{metric}");
    }

    let rules = shipped("envoy/prometheus-rules.yaml");
    let text = dashboard.to_string() + &rules;
    let filter = shipped("src/filter/metrics.rs");
    for name in names(&text) {
        let is_rare = RARE.contains(&name) && filter.contains(name);
        let is_there = is_rare || !prometheus.series(name).is_empty();
        assert!(is_there, "nobody has `{name}`");
    }
    watched.until_none(assumed(), |series| {
        let (name, labels) = parts(series);
        let real = prometheus.series(name);
        real.iter()
            .any(|s| labels.iter().all(|l| s[*l].is_string()))
    });

    let evaluated = prometheus.rules();
    assert_eq!(evaluated.len(), rules.matches("- alert: ").count());
    for rule in evaluated {
        assert_eq!(rule["health"], "ok", "{rule:#}");
    }
}
