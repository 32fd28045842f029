//! The pages, as they stand: what they show to be typed is typed here.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::support::{Home, KEYSTILECTL, prepare, text};

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Every page for people, by its path.
fn pages() -> Vec<(String, String)> {
    let mut todo = vec![root().join("src"), root().join("envoy")];
    let mut found: Vec<PathBuf> = [
        "README.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "CHANGELOG.md",
    ]
    .map(|name| root().join(name))
    .into();
    while let Some(folder) = todo.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                todo.push(path);
            } else if path.extension().is_some_and(|e| e == "md") {
                found.push(path);
            }
        }
    }
    found.sort();
    let read = |path: PathBuf| {
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        (name, fs::read_to_string(path).unwrap())
    };
    found.into_iter().map(read).collect()
}

/// The fenced blocks of these languages.
fn blocks(page: &str, languages: &[&str]) -> Vec<String> {
    let fenced = page.split("```").skip(1).step_by(2);
    fenced
        .filter_map(|block| {
            let (language, body) = block.split_once('\n')?;
            languages.contains(&language).then(|| body.to_owned())
        })
        .collect()
}

/// Blocks that are indented, as one.
fn indented(page: &str) -> String {
    let outside = page.split("```").step_by(2);
    let lines = outside.flat_map(str::lines);
    let lines = lines.filter_map(|l| l.strip_prefix("    "));
    lines.map(|l| format!("{l}\n")).collect()
}

/// Commands of a block, each on one line.
fn commands(block: &str) -> Vec<String> {
    let whole = block.replace("\\\n", " ");
    let lines = whole.lines().map(|l| l.trim_start_matches("$ ").trim());
    let ours = |l: &&str| l.split([' ', '(', '"']).any(|w| w == "keystilectl");
    lines
        .filter(|l| !l.starts_with('#'))
        .filter(ours)
        .map(str::to_owned)
        .collect()
}

fn executable(path: &Path, script: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, script).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Runs it where nothing but `keystilectl` is to be found, and no store: whatever it is asked,
/// it can only refuse. Its exit codes.
fn codes(line: &str) -> BTreeSet<String> {
    let home = Home::empty();
    let shim = format!("#!/bin/sh\n{KEYSTILECTL} \"$@\" </dev/null\necho $? >>\"$CODES\"\n");
    executable(&home.path("bin/keystilectl"), &shim);
    let line = line.replace("5f0c…", &"5f0c".repeat(16));
    let line = line.trim_end_matches('…').replace("…", "x");
    let line = line.replace("KEY_ID", "0123456789");
    // Nothing is written outside of the test's folder.
    let line = line.replace("> /", "> /dev/null # ");
    let status = Command::new("/usr/bin/timeout")
        .args(["30", "/bin/bash", "-c", &line])
        .current_dir(home.path(""))
        .env_clear()
        .env("PATH", home.path("bin"))
        .env("HOME", home.path(""))
        // Which lines before it would have set.
        .env("old", "0123456789")
        .env("CODES", home.path("codes"))
        .output()
        .unwrap();
    assert_ne!(status.status.code(), Some(124), "it hangs: {line}");
    let codes = fs::read_to_string(home.path("codes")).unwrap_or_default();
    codes.lines().map(str::to_owned).collect()
}

#[test]
fn every_command_on_a_page_is_one_that_keystilectl_understands() {
    let (mut seen, mut wrong) = (0, Vec::new());
    for (name, page) in pages() {
        let mut all = blocks(&page, &["sh", "console", "bash"]);
        all.push(indented(&page));
        for line in all.iter().flat_map(|b| commands(b)) {
            let codes = codes(&line);
            seen += usize::from(!codes.is_empty());
            if codes.contains("2") {
                wrong.push(format!("{name}: {line}"));
            }
        }
    }
    assert_eq!(wrong, [""; 0]);
    assert!(seen >= 50, "only {seen} commands were found");
}

/// What stands in for a cluster: says what it was asked, and keeps what it was given.
const KUBECTL: &str = r#"#!/bin/sh
echo "$*" >>asked
n=$(wc -l <asked)
case "$*" in
  *"-f -"*) cat >"applied$n.yaml" ;;
  *"apply -f "*) for file; do :; done; cp "$file" "applied$n.yaml" ;;
  *"--dry-run=client -o yaml"*) printf 'apiVersion: v1\nkind: Secret\n' ;;
  *" exec "*" -- "*) while [ "$1" != -- ]; do shift; done; shift; exec "$@" ;;
esac
"#;

/// The real Helm, which without a cluster says what it would apply.
const HELM_SHIM: &str = r#"#!/bin/sh
echo "helm $*" >>asked
test "$1" = install || exit 1
shift
HELM template "$@" | sed 1d >"applied$(wc -l <asked).yaml"
"#;

/// A page's blocks, run one after the other as they stand, but for what is the reader's own.
struct Reader {
    home: Home,
}

impl Reader {
    fn new() -> Self {
        let home = Home::new();
        executable(&home.path("bin/kubectl"), KUBECTL);
        executable(&home.path("bin/less"), "#!/bin/sh\ncat >/dev/null\n");
        executable(
            &home.path("bin/helm"),
            &HELM_SHIM.replace("HELM", crate::chart::HELM),
        );
        let address = "oci://registry.example.com/keystile@sha256:0";
        let script = format!("#!/bin/sh\necho {address}\n");
        executable(&home.path("scripts/package"), &script);
        Self { home }
    }

    fn run(&self, block: &str) -> Output {
        let digest = format!("sha256:{}", "0".repeat(64));
        let keys = self.home.json(&["signing-key", "list"]);
        let kid = keys[0]["kid"].as_str().unwrap();
        let block = block.replace("sha256:…", &digest).replace("OLD_KID", kid);
        let said = block.lines().map(|l| l.split(" # ").next().unwrap());
        let left_out = said.into_iter().any(|l| l.contains('…'));
        assert!(!left_out, "what is left out in:\n{block}");
        let mut command = Command::new("/bin/bash");
        command.args(["-euo", "pipefail", "-c", &block]);
        prepare(&mut command, &self.home.path(""));
        let (bin, path) = (self.home.path("bin"), std::env::var("PATH").unwrap());
        let ours = Path::new(KEYSTILECTL).parent().unwrap();
        command.env(
            "PATH",
            format!("{}:{}:{path}", bin.display(), ours.display()),
        );
        let output = command.output().unwrap();
        let words = text(&output.stderr);
        assert!(output.status.success(), "{words} in:\n{block}");
        output
    }

    /// Kinds of what was applied, in order.
    fn applied(&self) -> Vec<String> {
        let mut files: Vec<(usize, PathBuf)> = fs::read_dir(self.home.path(""))
            .unwrap()
            .filter_map(|entry| {
                let path = entry.unwrap().path();
                let name = path.file_name()?.to_str()?;
                let number = name.strip_prefix("applied")?.strip_suffix(".yaml")?;
                Some((number.parse().unwrap(), path))
            })
            .collect();
        files.sort();
        let texts = files
            .iter()
            .map(|(_, path)| fs::read_to_string(path).unwrap());
        texts.flat_map(|text| kinds(&text)).collect()
    }
}

fn kinds(text: &str) -> Vec<String> {
    let documents = text.split("---\n");
    documents
        .map(|d| {
            let document: Value = serde_saphyr::from_str(d).unwrap_or_else(|e| panic!("{e}: {d}"));
            document["kind"].as_str().unwrap().to_owned()
        })
        .collect()
}

fn page(name: &str) -> Vec<String> {
    let page = fs::read_to_string(root().join(name)).unwrap();
    blocks(&page, &["sh"])
}

#[test]
fn the_page_for_istio_is_typed_from_top_to_bottom() {
    let reader = Reader::new();
    for block in page("src/book/pages/istio.md") {
        reader.run(&block);
    }
    let kubernetes = [
        "Service",
        "StatefulSet",
        "PodDisruptionBudget",
        "NetworkPolicy",
        "PersistentVolumeClaim",
        "CronJob",
    ];
    let plugin = ["TrafficExtension", "EnvoyFilter", "ConfigMap"];
    let discovery = ["EnvoyFilter", "EnvoyFilter", "ConfigMap"];
    // The native module, with its keyset in a file and from discovery.
    let module = ["EnvoyFilter", "ConfigMap"];
    let parts = [
        &plugin[..],
        &["Secret"],
        &kubernetes,
        &discovery,
        &module,
        &module,
    ];
    let want = parts.concat();
    assert_eq!(reader.applied(), want);
    // The rotation left one key.
    let keys = reader.home.json(&["signing-key", "list"]);
    let accepted = keys.as_array().unwrap().iter();
    assert_eq!(accepted.filter(|k| k["state"] != "retired").count(), 1);
}

#[test]
fn the_page_for_envoy_gateway_is_typed_from_top_to_bottom() {
    let reader = Reader::new();
    for block in page("src/book/pages/envoy-gateway.md") {
        reader.run(&block);
    }
    let shell = ["EnvoyProxy", "EnvoyExtensionPolicy", "EnvoyPatchPolicy"];
    // The filter, then the native module in its place.
    assert_eq!(reader.applied(), [shell, shell].concat());
}

#[test]
fn the_page_for_kubernetes_is_typed_from_top_to_bottom() {
    let reader = Reader::new();
    let mut shown = String::new();
    for block in page("src/book/pages/kubernetes.md") {
        shown.push_str(&text(&reader.run(&block).stdout));
    }
    // By kubectl, and by Helm.
    let applied = reader.applied();
    let (mut printed, mut chart) = (applied[..6].to_vec(), applied[6..].to_vec());
    printed.sort();
    chart.sort();
    assert_eq!(printed, chart);
    assert!(shown.contains("kst_"), "no token in {shown}");
}

#[test]
fn each_host_of_the_guide_gets_its_configuration() {
    let reader = Reader::new();
    let blocks = page("src/book/pages/hosts.md");
    let block = blocks.iter().find(|b| b.contains("# a mesh")).unwrap();
    let whole = text(&reader.run(block).stdout);
    for kind in [
        "TrafficExtension",
        "EnvoyPatchPolicy",
        "StatefulSet",
        "static_resources:",
    ] {
        assert!(whole.contains(kind), "no {kind}");
    }
}
