//! The control plane in a cluster: resources of Kubernetes, checked against the types of
//! its API.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::batch::v1::CronJob;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::error::{Result, refuse};
use crate::manifest;

const NAME: &str = "keystile";
/// Who the processes run as: nobody on the node has this number by chance.
const USER: u32 = 65532;
const API: u16 = 8443;
const DISCOVERY: u16 = 18000;

/// What differs between users.
pub struct Cluster {
    /// Where everything goes.
    pub namespace: String,
    /// The image with `keystilectl`.
    pub image: String,
    /// Where Envoys find the filter, in their containers.
    pub wasm: String,
    /// Size of the store's volume, and of the backups'.
    pub storage: String,
    /// Namespaces whose pods may connect; any if empty.
    pub from: Vec<String>,
    /// When backups are made, as cron has it.
    pub backup: String,
}

impl Cluster {
    /// All resources, with what has to be there before.
    pub fn render(&self) -> Result<String> {
        let documents = [
            typed::<Service>(self.service())?,
            typed::<StatefulSet>(self.stateful_set())?,
            typed::<PodDisruptionBudget>(self.disruption_budget())?,
            typed::<NetworkPolicy>(self.network_policy())?,
            typed::<PersistentVolumeClaim>(self.backup_volume())?,
            typed::<CronJob>(self.backup_job())?,
        ];
        Ok(format!("{}{}", self.head(), documents.join("---\n")))
    }

    fn head(&self) -> String {
        let ns = &self.namespace;
        format!(
            "\
# Printed by `keystilectl render kubernetes`.
#
# Once, before this is applied (no secret is printed here): the store's master key, of which you
# keep a copy elsewhere, and a certificate for {NAME}.{ns}.svc, such as cert-manager writes.
#
#   kubectl create namespace {ns}
#   head -c 32 /dev/urandom | basenc --base64url -w0 | tr -d = > master.key
#   kubectl -n {ns} create secret generic {NAME}-master-key --from-file=master-key=master.key
#   kubectl -n {ns} create secret generic {NAME}-tls \\
#     --from-file=tls.crt --from-file=tls.key --from-file=ca.crt
#
# Once, after it: a token for yourself, and the signing keys for the proxies, in their namespace.
#
#   kubectl -n {ns} exec {NAME}-0 -- keystilectl token create ops --role owner
#   kubectl -n {ns} exec {NAME}-0 -- keystilectl signing-key export \\
#     | kubectl -n PROXIES create secret generic {NAME} --from-env-file=/dev/stdin
#   keystilectl render istio --discovery {NAME}.{ns}.svc:{DISCOVERY} --control {NAME}.{ns}.svc:{API} …
"
        )
    }

    fn meta(&self, name: &str) -> Value {
        json!({"name": name, "namespace": self.namespace, "labels": labels()})
    }

    fn service(&self) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": self.meta(NAME),
            "spec": {
                "selector": server_labels(),
                "ports": [
                    {"name": "https-api", "port": API, "targetPort": "api"},
                    {"name": "grpc-discovery", "port": DISCOVERY, "targetPort": "discovery"},
                ],
            },
        })
    }

    /// One replica: one process writes the store. Envoys decide without it while it moves.
    fn stateful_set(&self) -> Value {
        let address = |port: u16| format!("0.0.0.0:{port}");
        let (api, discovery) = (address(API), address(DISCOVERY));
        let serve = [
            "serve",
            "--listen",
            &api,
            "--tls-cert",
            "/tls/tls.crt",
            "--tls-key",
            "/tls/tls.key",
            "--discovery",
            &discovery,
            "--discovery-tls-cert",
            "/tls/tls.crt",
            "--discovery-tls-key",
            "/tls/tls.key",
            "--wasm",
            &self.wasm,
        ];
        let probe = |path: &str| json!({"path": path, "port": "api", "scheme": "HTTPS"});
        let mut server = self.container("keystile", &serve);
        merge(
            &mut server,
            json!({
                "ports": [
                    {"name": "api", "containerPort": API},
                    {"name": "discovery", "containerPort": DISCOVERY},
                ],
                "startupProbe": {"httpGet": probe("/healthz"), "periodSeconds": 2, "failureThreshold": 60},
                "livenessProbe": {"httpGet": probe("/healthz"), "periodSeconds": 10, "failureThreshold": 6},
                "readinessProbe": {"httpGet": probe("/readyz"), "periodSeconds": 5},
            }),
        );
        let init = self.container("init", &["init", "--unless-there"]);
        let mut pod = self.pod(json!([{"name": "tls", "secret": {"secretName": "keystile-tls"}}]));
        merge(
            &mut pod,
            json!({"initContainers": [init], "containers": [server]}),
        );
        json!({
            "apiVersion": "apps/v1", "kind": "StatefulSet",
            "metadata": self.meta(NAME),
            "spec": {
                "serviceName": NAME,
                "replicas": 1,
                "selector": {"matchLabels": server_labels()},
                "template": {"metadata": {"labels": server_labels()}, "spec": pod},
                "volumeClaimTemplates": [{
                    "apiVersion": "v1", "kind": "PersistentVolumeClaim",
                    "metadata": {"name": "store"},
                    "spec": self.claim(),
                }],
            },
        })
    }

    /// One pod may go at a time, which with one replica lets a node be drained: proxies
    /// decide on with what they have.
    fn disruption_budget(&self) -> Value {
        json!({
            "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
            "metadata": self.meta(NAME),
            "spec": {"maxUnavailable": 1, "selector": {"matchLabels": server_labels()}},
        })
    }

    /// In: the two ports. Out: names, and HTTPS for webhooks and scanners' keys.
    fn network_policy(&self) -> Value {
        let tcp = |port: Value| json!({"protocol": "TCP", "port": port});
        let mut ingress = json!({"ports": [tcp(json!("api")), tcp(json!("discovery"))]});
        if !self.from.is_empty() {
            let selector = json!({"matchExpressions": [{
                "key": "kubernetes.io/metadata.name", "operator": "In", "values": self.from,
            }]});
            merge(
                &mut ingress,
                json!({"from": [{"namespaceSelector": selector}]}),
            );
        }
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": self.meta(NAME),
            "spec": {
                "podSelector": {"matchLabels": labels()},
                "policyTypes": ["Ingress", "Egress"],
                "ingress": [ingress],
                "egress": [{"ports": [
                    tcp(json!(53)), {"protocol": "UDP", "port": 53}, tcp(json!(443)),
                ]}],
            },
        })
    }

    fn backup_volume(&self) -> Value {
        json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": self.meta("keystile-backup"),
            "spec": self.claim(),
        })
    }

    /// Beside the server, because the store's volume is one node's. Seven copies, one for
    /// each day of the week.
    fn backup_job(&self) -> Value {
        let mut container = self.container("backup", &[]);
        let script = "exec keystilectl backup \"/backup/keystile-$(date +%a).db\"";
        merge(&mut container, json!({"command": ["sh", "-c", script]}));
        let mounts = container.get_mut("volumeMounts");
        if let Some(mounts) = mounts.and_then(Value::as_array_mut) {
            mounts.retain(|m| m.get("name") != Some(&json!("tls")));
            mounts.push(json!({"name": "backup", "mountPath": "/backup"}));
        }
        let claim = |name: &str, claim: &str| json!({"name": name, "persistentVolumeClaim": {"claimName": claim}});
        let mut pod = self.pod(json!([
            claim("store", "store-keystile-0"),
            claim("backup", "keystile-backup"),
        ]));
        merge(
            &mut pod,
            json!({
                "containers": [container],
                "restartPolicy": "OnFailure",
                "affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{
                    "labelSelector": {"matchLabels": server_labels()},
                    "topologyKey": "kubernetes.io/hostname",
                }]}},
            }),
        );
        let mut labels = labels();
        merge(
            &mut labels,
            json!({"app.kubernetes.io/component": "backup"}),
        );
        json!({
            "apiVersion": "batch/v1", "kind": "CronJob",
            "metadata": self.meta("keystile-backup"),
            "spec": {
                "schedule": self.backup,
                "concurrencyPolicy": "Forbid",
                "jobTemplate": {"spec": {
                    "backoffLimit": 3,
                    "template": {"metadata": {"labels": labels}, "spec": pod},
                }},
            },
        })
    }

    fn container(&self, name: &str, arguments: &[&str]) -> Value {
        let mut container = json!({
            "name": name,
            "image": self.image,
            "env": [
                {"name": "KEYSTILE_HOME", "value": "/store/home"},
                {"name": "KEYSTILE_MASTER_KEY", "valueFrom": {"secretKeyRef": {
                    "name": "keystile-master-key", "key": "master-key",
                }}},
            ],
            "resources": {
                "requests": {"cpu": "100m", "memory": "128Mi"},
                "limits": {"memory": "1Gi"},
            },
            "securityContext": {
                "readOnlyRootFilesystem": true,
                "allowPrivilegeEscalation": false,
                "capabilities": {"drop": ["ALL"]},
            },
            "volumeMounts": [
                {"name": "store", "mountPath": "/store"},
                {"name": "tls", "mountPath": "/tls", "readOnly": true},
                {"name": "tmp", "mountPath": "/tmp"},
            ],
        });
        if !arguments.is_empty() {
            merge(
                &mut container,
                json!({"command": ["keystilectl"], "args": arguments}),
            );
        }
        container
    }

    fn pod(&self, volumes: Value) -> Value {
        let mut volumes = volumes.as_array().cloned().unwrap_or_default();
        volumes.push(json!({"name": "tmp", "emptyDir": {"medium": "Memory", "sizeLimit": "64Mi"}}));
        json!({
            "automountServiceAccountToken": false,
            "securityContext": {
                "runAsNonRoot": true,
                "runAsUser": USER,
                "runAsGroup": USER,
                "fsGroup": USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "volumes": volumes,
        })
    }

    fn claim(&self) -> Value {
        json!({
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": self.storage}},
        })
    }
}

fn labels() -> Value {
    json!({"app.kubernetes.io/name": NAME})
}

fn server_labels() -> Value {
    json!({"app.kubernetes.io/name": NAME, "app.kubernetes.io/component": "server"})
}

fn merge(into: &mut Value, fields: Value) {
    if let (Value::Object(into), Value::Object(fields)) = (into, fields) {
        into.extend(fields);
    }
}

/// The document, if Kubernetes' own type has every field of it and needs no other.
pub fn typed<T: DeserializeOwned + Serialize>(document: Value) -> Result<String> {
    let mistake = |what: String| {
        refuse(
            format_args!("a resource is not as Kubernetes defines it: {what}"),
            "report this: it is a mistake in keystilectl",
        )
    };
    let resource: T =
        serde_json::from_value(document.clone()).map_err(|e| mistake(e.to_string()))?;
    let back = serde_json::to_value(&resource).map_err(|e| mistake(e.to_string()))?;
    if back != document {
        return Err(mistake(format!("`{document}` is read as `{back}`")));
    }
    manifest::yaml(&resource)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster() -> Cluster {
        Cluster {
            namespace: "infra".to_owned(),
            image: "registry.example/keystilectl@sha256:00".to_owned(),
            wasm: "/etc/keystile/filter/plugin.wasm".to_owned(),
            storage: "5Gi".to_owned(),
            from: vec!["edge".to_owned()],
            backup: "17 3 * * *".to_owned(),
        }
    }

    fn documents() -> Vec<Value> {
        let text = cluster().render().unwrap();
        text.split("---\n")
            .map(|d| crate::yaml::parse(d).ok().unwrap().json())
            .collect()
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
        let anyone = Cluster {
            from: Vec::new(),
            ..cluster()
        };
        assert!(
            anyone.network_policy()["spec"]["ingress"][0]
                .get("from")
                .is_none()
        );
        let labels = of_kind("StatefulSet")["spec"]["template"]["metadata"]["labels"].clone();
        assert_eq!(of_kind("Service")["spec"]["selector"], labels);
        assert_eq!(
            of_kind("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
            labels
        );
    }

    #[test]
    fn no_secret_is_printed_and_the_master_key_comes_from_one() {
        let text = cluster().render().unwrap();
        assert!(!text.contains("kind: Secret"));
        let env = &of_kind("StatefulSet")["spec"]["template"]["spec"]["containers"][0]["env"];
        assert_eq!(
            env[1]["valueFrom"]["secretKeyRef"]["name"],
            "keystile-master-key"
        );
        assert!(env[1].get("value").is_none());
    }

    #[test]
    fn a_field_that_kubernetes_does_not_know_is_noticed() {
        let mut service = cluster().service();
        service["spec"]["prots"] = json!([]);
        assert!(typed::<Service>(service).is_err());
    }
}
