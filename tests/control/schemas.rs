//! What `keystilectl render` prints, judged by the schemas of those who read it
//! (`tests/vectors/schemas`).

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::Home;

const DIGEST: &str = "abababababababababababababababababababababababababababababababab";
const SERVER: [&str; 4] = [
    "--discovery",
    "keystile.infra.svc:18000",
    "--control",
    "keystile.infra.svc:8443",
];
/// Fields whose own fields are the user's or Envoy's: any name is right.
const OPEN: [&str; 10] = [
    "config",
    "data",
    "labels",
    "limits",
    "matchLabels",
    "nodeSelector",
    "pluginConfig",
    "requests",
    "selector",
    "value",
];

/// Every way in which something is printed, so that every field is printed once.
fn printed() -> Vec<Value> {
    let home = Home::new();
    let istio = ["render", "istio"];
    let sidecar = ["--place", "sidecar", "--fail-strategy", "close"];
    let image = ["--image", "oci://registry.example/keystile"];
    let digest = ["--sha256", DIGEST];
    let gateway = [
        "render",
        "envoy-gateway",
        "--namespace",
        "edge",
        "--gateway",
        "public",
    ];
    let module = ["--shell", "module"];
    let file = ["--image", "https://files.example/keystile.wasm"];
    let kubernetes = [
        "render",
        "kubernetes",
        "--image",
        "registry.example/keystilectl@sha256:00",
    ];
    let from = ["--from-namespace", "edge"];
    let earlier = ["--istio", "1.29"];
    let [whole, database] = crate::chart::whole().map(|values| {
        let path = home.path(&format!("{}.yaml", values.len()));
        std::fs::write(&path, values).unwrap();
        path.display().to_string()
    });
    let commands = [
        [&istio[..], &earlier, &sidecar, &image, &digest].concat(),
        [&istio[..], &earlier, &image].concat(),
        [&istio[..], &sidecar, &image, &digest].concat(),
        [&istio[..], &image].concat(),
        [&istio[..], &SERVER].concat(),
        [&istio[..], &module, &image, &digest].concat(),
        [&istio[..], &module, &SERVER].concat(),
        [&gateway[..], &image, &digest].concat(),
        [&gateway[..], &file, &digest].concat(),
        [&gateway[..], &SERVER].concat(),
        [&gateway[..], &module, &image, &digest].concat(),
        [&gateway[..], &module, &SERVER].concat(),
        [&kubernetes[..], &["--values", &whole]].concat(),
        [&kubernetes[..], &["--values", &database]].concat(),
        [&kubernetes[..], &from].concat(),
        kubernetes.to_vec(),
    ];
    let documents = |command: &Vec<&str>| -> Vec<Value> {
        let text = home.ok(command);
        let documents = text.split("---\n");
        documents
            .map(|d| serde_saphyr::from_str(d).unwrap())
            .collect()
    };
    commands.iter().flat_map(documents).collect()
}

/// One of each kind, of what is printed; of those that can carry the native module one with it, too.
fn kinds() -> Vec<Value> {
    const MODULES: [&str; 3] = [
        "/spec/dynamicModules",
        "/spec/dynamicModule",
        "/spec/configPatches/0/patch/value/typed_config",
    ];
    let form = |d: &Value| {
        let of_module = MODULES.iter().any(|place| d.pointer(place).is_some());
        (d["kind"].clone(), of_module)
    };
    let mut kinds: Vec<Value> = Vec::new();
    for document in printed() {
        if kinds.iter().all(|k| form(k) != form(&document)) {
            kinds.push(document);
        }
    }
    assert_eq!(kinds.len(), 13 + MODULES.len());
    kinds
}

/// For each resource, what is wrong with it.
fn mistakes(resources: &[Value]) -> Vec<Vec<String>> {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let mut judge = Command::new(root.join(".tools/pipelines/bin/python"))
        .arg(root.join("tests/control/schemas.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect(".tools/pipelines: run `scripts/setup tests` first");
    let mut stdin = judge.stdin.take().unwrap();
    let text = serde_json::to_vec(resources).unwrap();
    stdin.write_all(&text).unwrap();
    drop(stdin);
    let judged = judge.wait_with_output().unwrap();
    assert!(judged.status.success());
    let all: Vec<Vec<String>> = serde_json::from_slice(&judged.stdout).unwrap();
    assert_eq!(all.len(), resources.len());
    all
}

/// Pointers to all fields that a schema names.
fn fields(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let place = format!("{at}/{name}");
                found.push(place.clone());
                // A Service's `selector` is labels; every other one has fields of its own.
                let selects = member.get("matchLabels").is_some();
                if selects || !OPEN.contains(&name.as_str()) {
                    fields(member, &place, found);
                }
            }
        }
        Value::Array(items) => {
            for (n, item) in items.iter().enumerate() {
                fields(item, &format!("{at}/{n}"), found);
            }
        }
        _ => {}
    }
}

/// The resource with this field changed, or without it if the change says so.
fn changed(
    resource: &Value,
    place: &str,
    change: impl Fn(&str, Value) -> Option<(String, Value)>,
) -> Value {
    let mut resource = resource.clone();
    let (parent, name) = place.rsplit_once('/').unwrap();
    let parent = resource.pointer_mut(parent).unwrap();
    let members = parent.as_object_mut().unwrap();
    let old = members.remove(name).unwrap();
    members.extend(change(name, old));
    resource
}

/// Each change must be noticed.
#[track_caller]
fn all_are_mistakes(changes: Vec<(String, Value)>) {
    let (names, resources): (Vec<_>, Vec<_>) = changes.into_iter().unzip();
    let passed: Vec<_> = names
        .iter()
        .zip(mistakes(&resources))
        .filter(|(_, mistakes)| mistakes.is_empty())
        .map(|(name, _)| name)
        .collect();
    assert!(passed.is_empty(), "not noticed: {passed:#?}");
}

/// Every field of every kind, changed by turns.
fn each_field(change: impl Fn(&str, Value) -> Option<(String, Value)>) -> Vec<(String, Value)> {
    let mut changes = Vec::new();
    for resource in kinds() {
        let mut places = Vec::new();
        fields(&resource, "", &mut places);
        for place in places {
            let name = format!("{} {place}", resource["kind"]);
            changes.push((name, changed(&resource, &place, &change)));
        }
    }
    assert!(changes.len() > 300, "{}", changes.len());
    changes
}

#[test]
fn every_resource_is_as_its_reader_defines_it() {
    let documents = printed();
    for (document, mistakes) in documents.iter().zip(mistakes(&documents)) {
        assert!(mistakes.is_empty(), "{mistakes:?} in {document:#}");
    }
}

#[test]
fn a_misspelt_field_is_noticed_wherever_it_is() {
    all_are_mistakes(each_field(|name, value| Some((format!("{name}s"), value))));
}

#[test]
fn a_field_of_another_type_is_noticed_wherever_it_is() {
    let change = |name: &str, value: Value| {
        let other = if value.is_array() {
            json!("text")
        } else {
            json!([true])
        };
        Some((name.to_owned(), other))
    };
    let mut changes = each_field(change);
    // Envoy Gateway takes any JSON there.
    let any = [
        "/wasm/0/config",
        "/dynamicModule/0/config",
        "/operation/value",
    ];
    changes.retain(|(name, _)| !any.iter().any(|end| name.ends_with(end)));
    all_are_mistakes(changes);
}

#[test]
fn a_missing_field_is_noticed_where_it_must_be() {
    let musts = [
        ("Service", "/spec/ports/0/port"),
        ("StatefulSet", "/spec/selector"),
        ("StatefulSet", "/spec/template"),
        ("StatefulSet", "/spec/template/spec/containers"),
        ("StatefulSet", "/spec/template/spec/containers/0/name"),
        (
            "StatefulSet",
            "/spec/template/spec/containers/0/env/1/valueFrom/secretKeyRef/key",
        ),
        (
            "StatefulSet",
            "/spec/template/spec/containers/0/livenessProbe/httpGet/port",
        ),
        ("CronJob", "/spec/schedule"),
        ("CronJob", "/spec/jobTemplate"),
        (
            "NetworkPolicy",
            "/spec/ingress/0/from/0/namespaceSelector/matchExpressions/0/operator",
        ),
        ("TrafficExtension", "/spec"),
        ("TrafficExtension", "/spec/wasm/url"),
        ("TrafficExtension", "/spec/wasm/vmConfig/env/0/name"),
        ("WasmPlugin", "/spec"),
        ("WasmPlugin", "/spec/url"),
        ("WasmPlugin", "/spec/vmConfig/env/0/name"),
        ("EnvoyFilter", "/kind"),
        ("EnvoyProxy", "/spec/provider/type"),
        (
            "EnvoyProxy",
            "/spec/provider/kubernetes/envoyDeployment/container/env/0/name",
        ),
        ("EnvoyExtensionPolicy", "/spec/targetRefs/0/name"),
        ("EnvoyExtensionPolicy", "/spec/wasm/0/code"),
        ("EnvoyExtensionPolicy", "/spec/wasm/0/code/image/url"),
        ("EnvoyProxy", "/spec/dynamicModules/0/source"),
        ("EnvoyProxy", "/spec/dynamicModules/0/source/local/path"),
        (
            "EnvoyProxy",
            "/spec/provider/kubernetes/envoyDeployment/container/volumeMounts/0/mountPath",
        ),
        ("EnvoyExtensionPolicy", "/spec/dynamicModule/0/name"),
        ("EnvoyPatchPolicy", "/spec/targetRef"),
        ("EnvoyPatchPolicy", "/spec/jsonPatches/0/operation/op"),
    ];
    let kinds = kinds();
    let without = |(kind, place): (&str, &str)| {
        let mut of_kind = kinds.iter().filter(|k| k["kind"] == kind);
        let resource = of_kind.find(|k| k.pointer(place).is_some()).unwrap();
        let name = format!("{kind} {place}");
        (name, changed(resource, place, |_, _| None))
    };
    all_are_mistakes(musts.map(without).into());
}
