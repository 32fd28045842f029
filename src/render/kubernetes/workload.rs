//! What runs in the cluster: the server, and the job that backs up its store.

use super::controllers::{CronJobSpec, JobSpec, JobTemplate, StatefulSetSpec};
use super::identity::{
    API, BACKUP, DISCOVERY, NAME, claim, labels, matching, resource, server_labels,
};
use super::pod::{
    Affinity, Capabilities, Container, ContainerPort, EnvVar, HttpGet, PodAffinity,
    PodAffinityTerm, PodMetadata, PodSecurityContext, PodSpec, PodTemplate, Probe, SeccompProfile,
    SecurityContext, Volume, VolumeMount, VolumeSource,
};
use super::types::Port;
use crate::chosen::Chosen;
use crate::manifest::{ManifestLabels, Metadata, Resource};

/// The user of the processes: a number that nobody on the node has by chance.
const USER: u32 = 65532;

/// One replica, because only one process may write the store. Envoys decide without it while it
/// moves.
pub(super) fn stateful_set() -> Resource<StatefulSetSpec> {
    let secret_name = Chosen::Setting { path: "tls.secret" };
    let tls = VolumeSource::Secret { secret_name };
    let pod = PodSpec {
        init_containers: vec![command("init", fixed(["init", "--unless-there"]))],
        ..pod(vec![volume("tls", tls)], server())
    };
    let store = Metadata {
        name: "store",
        namespace: None,
        labels: ManifestLabels::new(),
    };
    let spec = StatefulSetSpec {
        service_name: NAME,
        replicas: Chosen::Setting { path: "replicas" },
        selector: matching(server_labels()),
        template: template(server_labels(), pod),
        volume_claim_templates: vec![Resource {
            api_version: "v1",
            kind: "PersistentVolumeClaim",
            metadata: store,
            spec: claim("store.size"),
        }],
    };
    resource("apps/v1", "StatefulSet", NAME, spec)
}

fn server() -> Container {
    let port = |name, container_port| ContainerPort {
        name,
        container_port,
    };
    Container {
        ports: vec![port("api", API), port("discovery", DISCOVERY)],
        startup_probe: Some(probe("/healthz", 2, Some(60))),
        liveness_probe: Some(probe("/healthz", 10, Some(6))),
        readiness_probe: Some(probe("/readyz", 5, None)),
        ..command("keystile", serve())
    }
}

/// The command of the server.
fn serve() -> Vec<Chosen<String>> {
    let address = |port: u16| format!("0.0.0.0:{port}");
    let (api, discovery) = (address(API), address(DISCOVERY));
    let mut arguments = fixed([
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
    ]);
    arguments.push(Chosen::Setting { path: "wasm" });
    let provider = [
        ("--oidc-issuer=", "oidc.issuer"),
        ("--oidc-client-id=", "oidc.clientId"),
        ("--console-url=", "publicUrl"),
    ];
    arguments.extend(
        provider.map(|(before, path)| {
            Chosen::only_with("oidc.issuer", Chosen::Ending { before, path })
        }),
    );
    arguments.push(Chosen::Each {
        before: "--oidc-role=",
        path: "oidc.roles",
    });
    arguments.push(Chosen::Items { path: "extraArgs" });
    arguments
}

/// On the server's node, because the store's volume belongs to one node. Seven copies, one for
/// each day of the week.
pub(super) fn backup_job() -> Resource<CronJobSpec> {
    let script = "exec keystilectl backup \"/backup/keystile-$(date +%a).db\"";
    let container = Container {
        command: vec!["sh", "-c", script],
        volume_mounts: vec![
            mount("store", "/store"),
            mount("tmp", "/tmp"),
            mount("backup", "/backup"),
        ],
        ..container("backup")
    };
    let claim = |name, claim_name| volume(name, VolumeSource::PersistentVolumeClaim { claim_name });
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
        schedule: Chosen::Setting {
            path: "backup.schedule",
        },
        concurrency_policy: "Forbid",
        job_template: JobTemplate {
            spec: JobSpec {
                backoff_limit: 3,
                template: template(labels, pod),
            },
        },
    };
    resource("batch/v1", "CronJob", BACKUP, spec)
}

fn fixed<const N: usize>(arguments: [&str; N]) -> Vec<Chosen<String>> {
    arguments.map(|a| Chosen::Fixed(a.to_owned())).into()
}

fn command(name: &'static str, args: Vec<Chosen<String>>) -> Container {
    Container {
        command: vec!["keystilectl"],
        args,
        ..container(name)
    }
}

/// Where every container finds the store, and the secrets that it needs for it.
fn environment() -> Vec<Chosen<EnvVar>> {
    let secret = |name, secret, key| {
        let secret = Chosen::Setting { path: secret };
        Chosen::Fixed(EnvVar::of_secret(name, secret, key))
    };
    let key = Chosen::Setting {
        path: "masterKey.key",
    };
    vec![
        Chosen::Fixed(EnvVar::new("KEYSTILE_HOME", "/store/home")),
        secret("KEYSTILE_MASTER_KEY", "masterKey.secret", key),
        Chosen::only_with(
            "store.secret",
            secret("KEYSTILE_STORE", "store.secret", Chosen::Fixed("address")),
        ),
        Chosen::only_with(
            "oidc.secret",
            secret(
                "KEYSTILE_OIDC_SECRET",
                "oidc.secret",
                Chosen::Fixed("client-secret"),
            ),
        ),
        Chosen::Items { path: "extraEnv" },
    ]
}

fn container(name: &'static str) -> Container {
    Container {
        name,
        image: Chosen::Setting { path: "image" },
        command: Vec::new(),
        args: Vec::new(),
        ports: Vec::new(),
        env: environment(),
        resources: Chosen::Setting { path: "resources" },
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
        image_pull_secrets: Chosen::if_given("imagePullSecrets"),
        node_selector: Chosen::if_given("nodeSelector"),
        tolerations: Chosen::if_given("tolerations"),
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
