//! The fields of Kubernetes' own API that are printed, in the order of its documentation.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::chosen::Chosen;
use crate::manifest::{ManifestLabels, Metadata};

/// `v1` ConfigMap.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMap {
    pub api_version: &'static str,
    pub kind: &'static str,
    pub metadata: Metadata,
    pub data: BTreeMap<&'static str, String>,
}

/// Of a `v1` Service.
#[derive(Serialize)]
pub struct ServiceSpec {
    pub selector: ManifestLabels,
    pub ports: Vec<ServicePort>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServicePort {
    pub name: &'static str,
    pub port: Chosen<u16>,
    pub target_port: Port,
}

/// A port, by its number or by the name that a container gives it.
#[derive(Clone, Copy, Serialize)]
#[serde(untagged)]
pub enum Port {
    Number(u16),
    Name(&'static str),
}

/// Of a `policy/v1` PodDisruptionBudget.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BudgetSpec {
    pub max_unavailable: u32,
    pub selector: LabelSelector,
}

/// Of a `networking.k8s.io/v1` NetworkPolicy.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkPolicySpec {
    pub pod_selector: LabelSelector,
    pub policy_types: [&'static str; 2],
    pub ingress: Vec<Ingress>,
    pub egress: Vec<Egress>,
}

#[derive(Serialize)]
pub struct Ingress {
    pub from: Chosen<[Peer; 1]>,
    pub ports: Vec<PolicyPort>,
}

#[derive(Serialize)]
pub struct Egress {
    pub ports: Vec<Chosen<PolicyPort>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Peer {
    pub namespace_selector: LabelSelector,
}

#[derive(Serialize)]
pub struct PolicyPort {
    pub protocol: &'static str,
    pub port: Chosen<Port>,
}

/// Of a `v1` PersistentVolumeClaim.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClaimSpec {
    pub access_modes: [&'static str; 1],
    pub resources: Resources,
    pub storage_class_name: Chosen<String>,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LabelSelector {
    #[serde(skip_serializing_if = "ManifestLabels::is_empty")]
    pub match_labels: ManifestLabels,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub match_expressions: Vec<Requirement>,
}

#[derive(Serialize)]
pub struct Requirement {
    pub key: &'static str,
    pub operator: &'static str,
    pub values: Chosen<Vec<String>>,
}

/// How much of what: of the processor, memory or storage.
#[derive(Serialize)]
pub struct Resources {
    pub requests: BTreeMap<&'static str, Chosen<String>>,
}
