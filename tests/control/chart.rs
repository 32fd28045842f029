//! The Helm chart that `keystilectl render helm` writes, judged by the real Helm: what it makes of the
//! chart is what `keystilectl render kubernetes` prints for the same values.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::support::{Home, prepare, text};

const IMAGE: &str = "registry.example/keystilectl@sha256:00";
/// Which `scripts/setup tests` installs.
pub const HELM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../.tools/helm-4.1.4/helm");

/// Nothing, everything with a store in a file, everything in PostgreSQL.
const VALUES: [&str; 3] = [
    "{}",
    "
image: registry.example/other@sha256:11
imagePullSecrets: [{name: registry}]
replicas: 0
store: {size: 20Gi, storageClass: fast}
masterKey: {secret: master, key: of-2027}
tls: {secret: certificate}
service: {apiPort: 443, discoveryPort: 18001}
publicUrl: https://keys.example.com
oidc: {issuer: https://id.example.com, clientId: keystile, secret: oidc, roles: ['groups:a=owner', 'groups:b\"{{ c }}=auditor']}
wasm: /opt/it's \"ours\".wasm
extraArgs: [--audit-keep=2y, --max-connections, '5000']
extraEnv:
- {name: TEMPLATE, value: '{{ .Values.image }}: {a: [b]}'}
- {name: LINES, value: \"one\\ntwo # no comment\\n\"}
- {name: TRUTH, value: 'yes'}
- {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
resources: {requests: {cpu: 2, memory: 1Gi}, limits: {memory: 2Gi}}
nodeSelector: {kubernetes.io/arch: amd64, version: '1.10'}
tolerations: [{key: dedicated, operator: Equal, value: keys, effect: NoExecute, tolerationSeconds: 1234567}]
networkPolicy: {from: [edge, istio-ingress]}
backup: {schedule: '*/5 * * * *', size: 100Gi}
global: {of: another chart}
",
    "
replicas: 3
store: {secret: keystile-database, port: 6432, size: 1Gi}
",
];

/// Folders of a chart and of files of values.
struct Chart {
    home: Home,
}

impl Chart {
    fn new() -> Self {
        let home = Home::empty();
        home.ok(&["render", "helm", "--image", IMAGE, "--out", "chart"]);
        Self { home }
    }

    fn with(&self, values: &str) -> String {
        let path = self.home.path("values.yaml");
        fs::write(&path, values).unwrap();
        path.display().to_string()
    }

    fn helm(&self, arguments: &[&str]) -> Output {
        assert!(Path::new(HELM).exists(), "run `scripts/setup tests` first");
        let mut command = Command::new(HELM);
        command.args(arguments);
        prepare(&mut command, &self.home.path(""));
        command.current_dir(self.home.path("")).output().unwrap()
    }

    fn helm_ok(&self, arguments: &[&str]) -> String {
        let output = self.helm(arguments);
        let words = text(&output.stderr);
        assert!(output.status.success(), "{words} {}", text(&output.stdout));
        text(&output.stdout)
    }

    fn template(&self, values: &str) -> Output {
        let namespace = ["--namespace", "infra"];
        self.helm(
            &[
                &["template", "keystile", "chart", "-f", values],
                &namespace[..],
            ]
            .concat(),
        )
    }
}

/// Resources by kind, of which each has one.
fn resources(text: &str) -> BTreeMap<String, Value> {
    let documents = text.split("---\n").filter(|d| !d.trim().is_empty());
    let mut found = BTreeMap::new();
    for document in documents {
        let value: Value =
            serde_saphyr::from_str(document).unwrap_or_else(|e| panic!("{e}: {document}"));
        // A template of which nothing is left.
        if let Some(kind) = value["kind"].as_str() {
            assert!(found.insert(kind.to_owned(), value.clone()).is_none());
        }
    }
    found
}

#[test]
fn helm_makes_of_the_chart_what_render_kubernetes_prints() {
    let chart = Chart::new();
    let mut seen = Vec::new();
    for values in VALUES {
        let file = chart.with(values);
        chart.helm_ok(&["lint", "--strict", "--quiet", "chart", "-f", &file]);
        let made = chart.template(&file);
        assert!(made.status.success(), "{}", text(&made.stderr));
        let printed = [
            "render",
            "kubernetes",
            "--namespace",
            "infra",
            "--values",
            &file,
        ];
        // The image that is given for the chart is its default.
        let image = ["--image", IMAGE];
        let image = if values.contains("image: registry") {
            &[][..]
        } else {
            &image
        };
        let printed = chart.home.ok(&[&printed[..], image].concat());
        let (made, printed) = (resources(&text(&made.stdout)), resources(&printed));
        for (kind, resource) in &printed {
            assert_eq!(made.get(kind), Some(resource), "{kind}");
        }
        assert_eq!(made.len(), printed.len());
        seen.push(made.len());
    }
    assert_eq!(seen, [6, 6, 4]);
}

#[test]
fn what_is_given_to_render_helm_is_the_default_of_the_chart() {
    let chart = Chart::new();
    let file = chart.with(VALUES[1]);
    let written = [
        "render",
        "helm",
        "--values",
        &file,
        "--storage",
        "3Gi",
        "--out",
        "ours",
    ];
    chart.home.ok(&written);
    let made = chart.helm_ok(&["template", "keystile", "ours", "--namespace", "infra"]);
    let options = [
        "--namespace",
        "infra",
        "--storage",
        "3Gi",
        "--values",
        &file,
    ];
    let printed = chart
        .home
        .ok(&[&["render", "kubernetes"], &options[..]].concat());
    assert_eq!(resources(&made), resources(&printed));
    assert!(printed.contains("storage: 3Gi"));
    // Another chart does not go over it.
    let again = chart.home.refused(&written);
    assert!(again.contains("`ours` is not empty"), "{again}");
}

#[test]
fn values_that_are_wrong_are_refused_by_helm_and_by_render_kubernetes() {
    let chart = Chart::new();
    for (values, helm, ours) in [
        (
            "replicas: 2",
            "only one process may write",
            "only one process may write",
        ),
        (
            "oidc: {issuer: https://id.example}",
            "set `publicUrl`",
            "set `publicUrl`",
        ),
        (
            "replica: 2",
            "'replica' not allowed",
            "`replica`: there is no such setting",
        ),
        (
            "store: {sise: 1Gi}",
            "'sise' not allowed",
            "`store.sise`: there is no such",
        ),
        (
            "service: {apiPort: 65536}",
            "/service/apiPort",
            "`service.apiPort`: it has to be from",
        ),
        (
            "replicas: '1'",
            "/replicas",
            "`replicas`: it has to be of the type integer",
        ),
        ("image: ''", "/image", "`image`: it has to be given"),
        (
            "tolerations: [{kye: x}]",
            "'kye' not allowed",
            "`tolerations[0].kye`: there is no",
        ),
        (
            "extraEnv: [{value: x}]",
            "missing property 'name'",
            "`extraEnv[0].name`: it has",
        ),
    ] {
        let file = chart.with(values);
        let refused = chart.template(&file);
        let words = text(&refused.stderr);
        assert!(
            !refused.status.success() && words.contains(helm),
            "{values}: {words}"
        );
        let options = ["render", "kubernetes", "--values", &file];
        let image: &[&str] = if values.contains("image") {
            &[]
        } else {
            &["--image", IMAGE]
        };
        let words = chart.home.refused(&[&options[..], image].concat());
        assert!(words.contains(ours), "{values}: {words}");
    }
}

/// What Helm says after an installation are the commands of the head that is printed.
#[test]
fn the_notes_have_the_commands_for_the_secrets() {
    let chart = Chart::new();
    for values in VALUES {
        let file = chart.with(values);
        let install = [
            "install",
            "keystile",
            "chart",
            "--namespace",
            "infra",
            "-f",
            &file,
        ];
        let said = chart.helm_ok(&[&install[..], &["--dry-run=client"]].concat());
        let (_, notes) = said.split_once("NOTES:\n").unwrap();
        let options = [
            "render",
            "kubernetes",
            "--namespace",
            "infra",
            "--values",
            &file,
        ];
        let printed = chart.home.ok(&[&options[..], &["--image", IMAGE]].concat());
        let head = printed.lines().map_while(|l| l.strip_prefix('#'));
        let commands: Vec<&str> = head
            .filter(|l| l.starts_with("   ") && !l.contains("create namespace"))
            .map(str::trim)
            .collect();
        assert!(commands.len() >= 7, "{commands:?}");
        for command in commands {
            assert!(
                notes.lines().any(|l| l.trim() == command),
                "{command} in {notes}"
            );
        }
        assert_eq!(
            notes.contains("database"),
            values.contains("keystile-database")
        );
        assert_eq!(notes.contains("/console"), values.contains("publicUrl"));
    }
}

/// Every field that a chart can have is one that Kubernetes knows: `schemas.rs` reads this.
pub fn whole() -> [&'static str; 2] {
    [VALUES[1], VALUES[2]]
}
