//! What runs in the cluster: the server, and the job that backs up its store.

use std::collections::BTreeMap;

use super::controllers::{CronJobSpec, JobSpec, JobTemplate, StatefulSetSpec};
use super::pod::{
    Affinity, Capabilities, Container, ContainerPort, EnvVar, HttpGet, PodAffinity,
    PodAffinityTerm, PodMetadata, PodSecurityContext, PodSpec, PodTemplate, Probe, SeccompProfile,
    SecurityContext, Volume, VolumeMount, VolumeSource,
};
use super::types::{Port, Resources};
use super::{API, BACKUP, Cluster, DISCOVERY, NAME, labels, matching, server_labels};
use crate::manifest::{ManifestLabels, Metadata, Resource};

/// The user of the processes: a number that nobody on the node has by chance.
const USER: u32 = 65532;

impl Cluster {
    /// One replica, because only one process may write the store. Envoys decide without it while it
    /// moves.
    pub(super) fn stateful_set(&self) -> Resource<StatefulSetSpec> {
        let tls = VolumeSource::Secret {
            secret_name: "keystile-tls",
        };
        let pod = PodSpec {
            init_containers: vec![self.command("init", ["init", "--unless-there"])],
            ..pod(vec![volume("tls", tls)], self.server())
        };
        let store = Metadata {
            name: "store",
            namespace: None,
            labels: ManifestLabels::new(),
        };
        let spec = StatefulSetSpec {
            service_name: NAME,
            replicas: 1,
            selector: matching(server_labels()),
            template: template(server_labels(), pod),
            volume_claim_templates: vec![Resource {
                api_version: "v1",
                kind: "PersistentVolumeClaim",
                metadata: store,
                spec: self.claim(),
            }],
        };
        self.resource("apps/v1", "StatefulSet", NAME, spec)
    }

    fn server(&self) -> Container {
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
        let port = |name, container_port| ContainerPort {
            name,
            container_port,
        };
        Container {
            ports: vec![port("api", API), port("discovery", DISCOVERY)],
            startup_probe: Some(probe("/healthz", 2, Some(60))),
            liveness_probe: Some(probe("/healthz", 10, Some(6))),
            readiness_probe: Some(probe("/readyz", 5, None)),
            ..self.command("keystile", serve)
        }
    }

    /// On the server's node, because the store's volume belongs to one node. Seven copies, one for
    /// each day of the week.
    pub(super) fn backup_job(&self) -> Resource<CronJobSpec> {
        let script = "exec keystilectl backup \"/backup/keystile-$(date +%a).db\"";
        let container = Container {
            command: vec!["sh", "-c", script],
            volume_mounts: vec![
                mount("store", "/store"),
                mount("tmp", "/tmp"),
                mount("backup", "/backup"),
            ],
            ..self.container("backup")
        };
        let claim =
            |name, claim_name| volume(name, VolumeSource::PersistentVolumeClaim { claim_name });
        let volumes = vec![claim("store", "store-keystile-0"), claim("backup", BACKUP)];
        let pod = PodSpec {
            restart_policy: Some("OnFailure"),
            affinity: Some(Affinity {
                pod_affinity: PodAffinity {
                    required_during_scheduling_ignored_during_execution: [PodAffinityTerm {
                        label_selector: matching(server_labels()),
                        topology_key: "kubernetes.io/hostname",
                    }],
                },
            }),
            ..pod(volumes, container)
        };
        let mut labels = labels();
        labels.insert("app.kubernetes.io/component", "backup");
        let spec = CronJobSpec {
            schedule: self.backup.clone(),
            concurrency_policy: "Forbid",
            job_template: JobTemplate {
                spec: JobSpec {
                    backoff_limit: 3,
                    template: template(labels, pod),
                },
            },
        };
        self.resource("batch/v1", "CronJob", BACKUP, spec)
    }

    fn command<const N: usize>(&self, name: &'static str, arguments: [&str; N]) -> Container {
        Container {
            command: vec!["keystilectl"],
            args: arguments.map(str::to_owned).into(),
            ..self.container(name)
        }
    }

    fn container(&self, name: &'static str) -> Container {
        let amount = |what, much: &str| (what, much.to_owned());
        Container {
            name,
            image: self.image.clone(),
            command: Vec::new(),
            args: Vec::new(),
            ports: Vec::new(),
            env: vec![
                EnvVar::new("KEYSTILE_HOME", "/store/home"),
                EnvVar::of_secret("KEYSTILE_MASTER_KEY", "keystile-master-key", "master-key"),
            ],
            resources: Resources {
                requests: BTreeMap::from([amount("cpu", "100m"), amount("memory", "128Mi")]),
                limits: BTreeMap::from([amount("memory", "1Gi")]),
            },
            security_context: SecurityContext {
                read_only_root_filesystem: true,
                allow_privilege_escalation: false,
                capabilities: Capabilities { drop: ["ALL"] },
            },
            volume_mounts: vec![
                mount("store", "/store"),
                VolumeMount {
                    read_only: true,
                    ..mount("tls", "/tls")
                },
                mount("tmp", "/tmp"),
            ],
            startup_probe: None,
            liveness_probe: None,
            readiness_probe: None,
        }
    }
}

fn template(labels: ManifestLabels, spec: PodSpec) -> PodTemplate {
    PodTemplate {
        metadata: PodMetadata { labels },
        spec,
    }
}

/// A pod of one container, with what every pod has.
fn pod(mut volumes: Vec<Volume>, container: Container) -> PodSpec {
    let memory = VolumeSource::EmptyDir {
        medium: "Memory",
        size_limit: "64Mi",
    };
    volumes.push(volume("tmp", memory));
    PodSpec {
        automount_service_account_token: false,
        security_context: PodSecurityContext {
            run_as_non_root: true,
            run_as_user: USER,
            run_as_group: USER,
            fs_group: USER,
            seccomp_profile: SeccompProfile {
                kind: "RuntimeDefault",
            },
        },
        volumes,
        init_containers: Vec::new(),
        containers: vec![container],
        restart_policy: None,
        affinity: None,
    }
}

fn volume(name: &'static str, source: VolumeSource) -> Volume {
    Volume { name, source }
}

fn mount(name: &'static str, mount_path: &'static str) -> VolumeMount {
    VolumeMount {
        name,
        mount_path,
        read_only: false,
    }
}

fn probe(path: &'static str, period_seconds: u32, failure_threshold: Option<u32>) -> Probe {
    Probe {
        http_get: HttpGet {
            path,
            port: Port::Name("api"),
            scheme: "HTTPS",
        },
        period_seconds,
        failure_threshold,
    }
}
