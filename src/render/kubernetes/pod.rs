//! The fields of pods and containers in Kubernetes' API that are printed.

use serde::Serialize;

use super::types::{LabelSelector, Port, Resources};
use crate::chosen::Chosen;
use crate::manifest::ManifestLabels;

#[derive(Serialize)]
pub struct PodTemplate {
    pub metadata: PodMetadata,
    pub spec: PodSpec,
}

#[derive(Serialize)]
pub struct PodMetadata {
    pub labels: ManifestLabels,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodSpec {
    pub automount_service_account_token: bool,
    pub security_context: PodSecurityContext,
    pub volumes: Vec<Volume>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub init_containers: Vec<Container>,
    pub containers: Vec<Container>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart_policy: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    pub image_pull_secrets: Chosen<()>,
    pub node_selector: Chosen<()>,
    pub tolerations: Chosen<()>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodSecurityContext {
    pub run_as_non_root: bool,
    pub run_as_user: u32,
    pub run_as_group: u32,
    pub fs_group: u32,
    pub seccomp_profile: SeccompProfile,
}

#[derive(Serialize)]
pub struct SeccompProfile {
    #[serde(rename = "type")]
    pub kind: &'static str,
}

#[derive(Serialize)]
pub struct Volume {
    pub name: &'static str,
    #[serde(flatten)]
    pub source: VolumeSource,
}

/// Where the files of a volume are.
#[derive(Serialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum VolumeSource {
    Secret {
        secret_name: Chosen<&'static str>,
    },
    PersistentVolumeClaim {
        claim_name: &'static str,
    },
    EmptyDir {
        medium: &'static str,
        size_limit: &'static str,
    },
    Image {
        reference: String,
    },
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Affinity {
    pub pod_affinity: PodAffinity,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodAffinity {
    pub required_during_scheduling_ignored_during_execution: [PodAffinityTerm; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodAffinityTerm {
    pub label_selector: LabelSelector,
    pub topology_key: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Container {
    pub name: &'static str,
    pub image: Chosen<String>,
    pub command: Vec<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<Chosen<String>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<ContainerPort>,
    pub env: Vec<Chosen<EnvVar>>,
    pub resources: Chosen<Resources>,
    pub security_context: SecurityContext,
    pub volume_mounts: Vec<VolumeMount>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub startup_probe: Option<Probe>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub liveness_probe: Option<Probe>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub readiness_probe: Option<Probe>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerPort {
    pub name: &'static str,
    pub container_port: u16,
}

/// A variable of a container's environment.
#[derive(Serialize)]
pub struct EnvVar {
    name: &'static str,
    #[serde(flatten)]
    value: EnvValue,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
enum EnvValue {
    Value(&'static str),
    ValueFrom(ValueSource),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum ValueSource {
    SecretKeyRef(SecretKey),
    FieldRef(FieldPath),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FieldPath {
    field_path: &'static str,
}

#[derive(Serialize)]
struct SecretKey {
    name: Chosen<&'static str>,
    key: Chosen<&'static str>,
    /// The container starts without it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    optional: bool,
}

impl EnvVar {
    /// With this value.
    pub fn new(name: &'static str, value: &'static str) -> Self {
        let value = EnvValue::Value(value);
        Self { name, value }
    }

    /// With the value of this key of a Secret.
    pub fn of_secret(
        name: &'static str,
        secret: Chosen<&'static str>,
        key: Chosen<&'static str>,
    ) -> Self {
        Self::secret(name, secret, key, false)
    }

    /// With the value of this key of a Secret, if it has that key.
    pub fn of_optional_secret(name: &'static str, secret: &'static str, key: &'static str) -> Self {
        Self::secret(name, Chosen::Fixed(secret), Chosen::Fixed(key), true)
    }

    fn secret(
        name: &'static str,
        secret: Chosen<&'static str>,
        key: Chosen<&'static str>,
        optional: bool,
    ) -> Self {
        let source = ValueSource::SecretKeyRef(SecretKey {
            name: secret,
            key,
            optional,
        });
        let value = EnvValue::ValueFrom(source);
        Self { name, value }
    }

    /// With the value of this field of the pod.
    pub fn of_field(name: &'static str, field_path: &'static str) -> Self {
        let source = ValueSource::FieldRef(FieldPath { field_path });
        let value = EnvValue::ValueFrom(source);
        Self { name, value }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SecurityContext {
    pub read_only_root_filesystem: bool,
    pub allow_privilege_escalation: bool,
    pub capabilities: Capabilities,
}

#[derive(Serialize)]
pub struct Capabilities {
    pub drop: [&'static str; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeMount {
    pub name: &'static str,
    pub mount_path: &'static str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Probe {
    pub http_get: HttpGet,
    pub period_seconds: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_threshold: Option<u32>,
}

#[derive(Serialize)]
pub struct HttpGet {
    pub path: &'static str,
    pub port: Port,
    pub scheme: &'static str,
}
