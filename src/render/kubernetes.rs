//! The control plane in a cluster: resources of Kubernetes.

mod controllers;
pub mod pod;
pub mod types;
mod workload;

use std::collections::BTreeMap;

use crate::manifest::{self, ManifestLabels, Metadata, Resource};
use keystile_model::error::Result;
use types::{
    BudgetSpec, ClaimSpec, Egress, Ingress, LabelSelector, NetworkPolicySpec, Peer, PolicyPort,
    Port, Requirement, Resources, ServicePort, ServiceSpec,
};

const NAME: &str = "keystile";
const BACKUP: &str = "keystile-backup";
const API: u16 = 8443;
const DISCOVERY: u16 = 18000;

/// What differs between users.
pub struct Cluster {
    /// The namespace for everything.
    pub namespace: String,
    /// The image with `keystilectl`.
    pub image: String,
    /// Where Envoys find the filter, in their containers.
    pub wasm: String,
    /// Size of the volume for the store, and of that for backups.
    pub storage: String,
    /// Namespaces whose pods may connect; any if empty.
    pub from: Vec<String>,
    /// When backups are made, as a cron schedule.
    pub backup: String,
}

impl Cluster {
    /// All resources, with a head that lists the prerequisites.
    pub fn render(&self) -> Result<String> {
        let documents = [
            manifest::yaml(&self.service())?,
            manifest::yaml(&self.stateful_set())?,
            manifest::yaml(&self.disruption_budget())?,
            manifest::yaml(&self.network_policy())?,
            manifest::yaml(&self.backup_volume())?,
            manifest::yaml(&self.backup_job())?,
        ];
        Ok(format!("{}{}", self.head(), documents.join("---\n")))
    }

    fn head(&self) -> String {
        let ns = &self.namespace;
        format!(
            "\
# Printed by `keystilectl render kubernetes`.
#
# Once, before this is applied: create the secrets, none of which is printed here. They hold the
# store's master key (keep a copy elsewhere) and a certificate for {NAME}.{ns}.svc, such as
# cert-manager writes.
#
#   kubectl create namespace {ns}
#   head -c 32 /dev/urandom | basenc --base64url -w0 | tr -d = > master.key
#   kubectl -n {ns} create secret generic {NAME}-master-key --from-file=master-key=master.key
#   kubectl -n {ns} create secret generic {NAME}-tls \\
#     --from-file=tls.crt --from-file=tls.key --from-file=ca.crt
#
# Once, afterwards: create a token for yourself, and put the signing keys for the proxies into their
# namespace.
#
#   kubectl -n {ns} exec {NAME}-0 -- keystilectl token create ops --role owner
#   kubectl -n {ns} exec {NAME}-0 -- keystilectl signing-key export \\
#     | kubectl -n PROXIES create secret generic {NAME} --from-env-file=/dev/stdin
#   keystilectl render istio --discovery {NAME}.{ns}.svc:{DISCOVERY} --control {NAME}.{ns}.svc:{API} …
"
        )
    }

    fn resource<S>(
        &self,
        api_version: &'static str,
        kind: &'static str,
        name: &'static str,
        spec: S,
    ) -> Resource<S> {
        Resource {
            api_version,
            kind,
            metadata: Metadata {
                labels: labels(),
                ..Metadata::new(name, &self.namespace)
            },
            spec,
        }
    }

    fn service(&self) -> Resource<ServiceSpec> {
        let port = |name, port, target| ServicePort {
            name,
            port,
            target_port: Port::Name(target),
        };
        let spec = ServiceSpec {
            selector: server_labels(),
            ports: vec![
                port("https-api", API, "api"),
                port("grpc-discovery", DISCOVERY, "discovery"),
            ],
        };
        self.resource("v1", "Service", NAME, spec)
    }

    /// One pod may be evicted at a time, so that nodes can be drained despite the single replica:
    /// proxies go on deciding with what they have.
    fn disruption_budget(&self) -> Resource<BudgetSpec> {
        let spec = BudgetSpec {
            max_unavailable: 1,
            selector: matching(server_labels()),
        };
        self.resource("policy/v1", "PodDisruptionBudget", NAME, spec)
    }

    /// Ingress: the two ports. Egress: DNS, and HTTPS for webhooks and scanners' keys.
    fn network_policy(&self) -> Resource<NetworkPolicySpec> {
        let port = |protocol, port| PolicyPort { protocol, port };
        let namespaces = || Requirement {
            key: "kubernetes.io/metadata.name",
            operator: "In",
            values: self.from.clone(),
        };
        let peer = || Peer {
            namespace_selector: LabelSelector {
                match_expressions: vec![namespaces()],
                ..LabelSelector::default()
            },
        };
        let anyone = self.from.is_empty();
        let spec = NetworkPolicySpec {
            pod_selector: matching(labels()),
            policy_types: ["Ingress", "Egress"],
            ingress: vec![Ingress {
                from: (!anyone).then(peer).into_iter().collect(),
                ports: ["api", "discovery"]
                    .map(|name| port("TCP", Port::Name(name)))
                    .into(),
            }],
            egress: vec![Egress {
                ports: [("TCP", 53), ("UDP", 53), ("TCP", 443)]
                    .map(|(protocol, number)| port(protocol, Port::Number(number)))
                    .into(),
            }],
        };
        self.resource("networking.k8s.io/v1", "NetworkPolicy", NAME, spec)
    }

    fn backup_volume(&self) -> Resource<ClaimSpec> {
        self.resource("v1", "PersistentVolumeClaim", BACKUP, self.claim())
    }

    fn claim(&self) -> ClaimSpec {
        ClaimSpec {
            access_modes: ["ReadWriteOnce"],
            resources: Resources {
                requests: BTreeMap::from([("storage", self.storage.clone())]),
                limits: BTreeMap::new(),
            },
        }
    }
}

fn labels() -> ManifestLabels {
    ManifestLabels::from([("app.kubernetes.io/name", NAME)])
}

fn server_labels() -> ManifestLabels {
    let mut labels = labels();
    labels.insert("app.kubernetes.io/component", "server");
    labels
}

fn matching(match_labels: ManifestLabels) -> LabelSelector {
    LabelSelector {
        match_labels,
        ..LabelSelector::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

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
            .map(|d| keystile_policy::yaml::parse(d).ok().unwrap().json())
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
        assert!(anyone.network_policy().spec.ingress[0].from.is_empty());
        assert!(!anyone.render().unwrap().contains("from:"));
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
}
