//! What is printed.

use super::*;
use serde_json::{Value, json};

fn settings() -> PlaneSettings {
    let mut settings = PlaneSettings::new("infra");
    settings.set("image", json!("registry.example/keystilectl@sha256:00"));
    settings.set("networkPolicy.from", json!(["edge"]));
    settings
}

fn with(values: Value) -> PlaneSettings {
    let mut settings = settings();
    settings.merge(values).unwrap();
    settings
}

fn printed(settings: &PlaneSettings) -> Vec<Value> {
    let text = manifest(settings).unwrap();
    text.split("---\n")
        .map(|d| keystile_policy::yaml::parse(d).ok().unwrap().json())
        .collect()
}

fn documents() -> Vec<Value> {
    printed(&settings())
}

fn of_kind(kind: &str) -> Value {
    documents().into_iter().find(|d| d["kind"] == kind).unwrap()
}

fn pods() -> [Value; 2] {
    let path = "/spec/jobTemplate/spec/template/spec";
    [
        of_kind("StatefulSet")["spec"]["template"]["spec"].clone(),
        of_kind("CronJob").pointer(path).unwrap().clone(),
    ]
}

#[test]
fn every_container_is_nobody_on_a_file_system_that_it_cannot_write() {
    for pod in pods() {
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(pod["automountServiceAccountToken"], false);
        let lists = ["containers", "initContainers"];
        let all = lists.iter().filter_map(|l| pod[l].as_array()).flatten();
        let mut seen = 0;
        for container in all {
            seen += 1;
            let context = &container["securityContext"];
            assert_eq!(context["readOnlyRootFilesystem"], true);
            assert_eq!(context["allowPrivilegeEscalation"], false);
            assert_eq!(context["capabilities"]["drop"], json!(["ALL"]));
            assert_eq!(container["image"], "registry.example/keystilectl@sha256:00");
        }
        assert!(seen > 0);
    }
}

#[test]
fn every_mount_has_its_volume() {
    let templates = json!([{"name": "store"}]);
    for (pod, more) in pods().iter().zip([templates, json!([])]) {
        let names = |list: &Value| -> Vec<String> {
            let all = list.as_array().into_iter().flatten();
            all.map(|v| v["name"].as_str().unwrap().to_owned())
                .collect()
        };
        let mut volumes = names(&pod["volumes"]);
        volumes.extend(names(&more));
        for list in ["containers", "initContainers"] {
            for container in pod[list].as_array().into_iter().flatten() {
                for name in names(&container["volumeMounts"]) {
                    assert!(volumes.contains(&name), "{name}");
                }
            }
        }
    }
}

#[test]
fn the_policy_lets_in_the_named_namespaces_and_the_service_finds_the_pod() {
    let policy = of_kind("NetworkPolicy");
    let from = "/spec/ingress/0/from/0/namespaceSelector/matchExpressions/0/values";
    assert_eq!(policy.pointer(from), Some(&json!(["edge"])));
    let anyone = with(json!({"networkPolicy": {"from": []}}));
    assert!(!manifest(&anyone).unwrap().contains("from:"));
    let labels = of_kind("StatefulSet")["spec"]["template"]["metadata"]["labels"].clone();
    assert_eq!(of_kind("Service")["spec"]["selector"], labels);
    assert_eq!(
        of_kind("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        labels
    );
}

#[test]
fn no_secret_is_printed_and_the_master_key_comes_from_one() {
    let text = manifest(&settings()).unwrap();
    assert!(!text.contains("kind: Secret"));
    let env = &of_kind("StatefulSet")["spec"]["template"]["spec"]["containers"][0]["env"];
    assert_eq!(
        env[1]["valueFrom"]["secretKeyRef"]["name"],
        "keystile-master-key"
    );
    assert!(env[1].get("value").is_none());
}

#[test]
fn a_store_in_postgresql_has_its_address_from_a_secret_and_no_job_that_copies_a_file() {
    let settings = with(json!({"replicas": 3, "store": {"secret": "db", "port": 6432}}));
    let all = printed(&settings);
    let kinds: Vec<_> = all.iter().map(|d| d["kind"].as_str().unwrap()).collect();
    assert_eq!(
        kinds,
        [
            "Service",
            "StatefulSet",
            "PodDisruptionBudget",
            "NetworkPolicy"
        ]
    );
    let spec = &all[1]["spec"];
    assert_eq!(spec["replicas"], 3);
    let pod = &spec["template"]["spec"];
    for container in [&pod["initContainers"][0], &pod["containers"][0]] {
        let address = json!({"name": "KEYSTILE_STORE",
            "valueFrom": {"secretKeyRef": {"name": "db", "key": "address"}}});
        assert!(container["env"].as_array().unwrap().contains(&address));
    }
    let out = &all[3]["spec"]["egress"][0]["ports"];
    assert!(
        out.as_array()
            .unwrap()
            .contains(&json!({"protocol": "TCP", "port": 6432}))
    );
    assert!(
        manifest(&settings)
            .unwrap()
            .contains("create secret generic db ")
    );
}

#[test]
fn settings_that_do_not_fit_are_refused_by_name() {
    let wrong = [
        (json!({"replicas": 2}), "replicas"),
        (json!({"replicas": "2"}), "replicas"),
        (json!({"replica": 1}), "replica"),
        (json!({"image": ""}), "image"),
        (json!({"store": {"sise": "1Gi"}}), "store.sise"),
        (json!({"service": {"apiPort": 65536}}), "service.apiPort"),
        (json!({"tolerations": [{"kye": "x"}]}), "tolerations[0].kye"),
        (json!({"extraEnv": [{"value": "x"}]}), "extraEnv[0].name"),
        (
            json!({"oidc": {"issuer": "https://id.example"}}),
            "oidc.issuer",
        ),
        (json!({"nodeSelector": null}), "nodeSelector"),
    ];
    for (values, field) in wrong {
        let mut settings = settings();
        let refused = settings
            .merge(values.clone())
            .and_then(|()| settings.check());
        let refused = refused.expect_err(&values.to_string());
        let fields: Vec<_> = refused
            .faults()
            .iter()
            .filter_map(|f| f.field.as_deref())
            .collect();
        assert_eq!(fields, [field], "{values}");
    }
    assert!(PlaneSettings::new("x").check().is_err(), "without an image");
}

#[test]
fn every_setting_has_a_default_of_its_kind_and_changes_what_is_printed() {
    let others = json!({
        "image": "other", "imagePullSecrets": [{"name": "registry"}], "replicas": 0,
        "store": {"secret": "db", "port": 6432, "size": "1Gi", "storageClass": "fast"},
        "masterKey": {"secret": "other", "key": "other"}, "tls": {"secret": "other"},
        "service": {"apiPort": 443, "discoveryPort": 444}, "publicUrl": "https://keys.example",
        "oidc": {"issuer": "https://id.example", "clientId": "x", "secret": "y", "roles": ["a:b=owner"]},
        "wasm": "/other", "extraArgs": ["--audit-keep=2y"],
        "extraEnv": [{"name": "A", "value": "b"}], "resources": {"requests": {"cpu": 2}},
        "nodeSelector": {"a": "b"}, "tolerations": [{"operator": "Exists"}],
        "networkPolicy": {"from": ["other"]},
        "backup": {"schedule": "1 1 * * *", "size": "2Gi"},
    });
    let with_all = |except: &str| {
        let mut settings = settings();
        for setting in settings::SETTINGS {
            let other = others.pointer(&format!("/{}", setting.path.replace('.', "/")));
            let other = other.unwrap_or_else(|| panic!("{} is not tried", setting.path));
            // What only a store in a file has.
            let hides = setting.path == "store.secret" && except.starts_with("backup.");
            if setting.path != except && !hides {
                settings.set(setting.path, other.clone());
            }
        }
        // One of them alone would be refused.
        if !["oidc.clientId", "publicUrl"].contains(&except) {
            settings.check().unwrap();
        }
        settings
    };
    for setting in settings::SETTINGS {
        let default: Value = serde_json::from_str(setting.default).unwrap();
        let fits = kind::misfit(&setting.kind.schema(), &default, "");
        assert!(fits.is_none() || setting.path == "image", "{fits:?}");
        let text = |settings: &PlaneSettings| {
            let all = resources().unwrap();
            let all: Vec<_> = all.iter().filter_map(|r| resolved(r, settings)).collect();
            serde_json::to_string(&all).unwrap()
        };
        let (without, mut all) = (with_all(setting.path), with_all(""));
        if setting.path.starts_with("backup.") {
            all.set("store.secret", json!(""));
        }
        assert_ne!(text(&without), text(&all), "{} does nothing", setting.path);
    }
}
