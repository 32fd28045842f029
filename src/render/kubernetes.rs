//! The control plane in a cluster: resources of Kubernetes, printed with a user's settings or, as a
//! Helm chart, with places for them.

mod chart;
mod controllers;
mod identity;
mod kind;
mod notes;
pub mod pod;
mod resolved;
pub mod settings;
mod template;
pub mod types;
mod workload;

use serde::Serialize;
use serde_json::Value;

pub use chart::ChartFile;

use crate::chosen::Chosen;
use crate::manifest::{self, Resource};
use identity::{BACKUP, NAME, claim, labels, matching, resource, server_labels};
use keystile_model::error::{Result, defect};
use resolved::resolved;
use settings::PlaneSettings;
use types::{
    BudgetSpec, ClaimSpec, Egress, Ingress, LabelSelector, NetworkPolicySpec, Peer, PolicyPort,
    Port, Requirement, ServicePort, ServiceSpec,
};

/// All resources with these settings, with a head that lists the prerequisites.
pub fn manifest(settings: &PlaneSettings) -> Result<String> {
    settings.check()?;
    let mut documents = Vec::new();
    for resource in resources()? {
        if let Some(resource) = resolved(&resource, settings) {
            documents.push(manifest::yaml(&resource)?);
        }
    }
    let parts = described(&notes::head())?;
    let parts = resolved(&parts, settings).unwrap_or_default();
    let parts = parts.as_array().into_iter().flatten();
    let words = parts.map(|part| match part.as_str() {
        Some(text) => text.to_owned(),
        None => part.to_string(),
    });
    let head: String = words
        .collect::<String>()
        .lines()
        .map(|line| format!("# {line}").trim_end().to_owned() + "\n")
        .collect();
    Ok(format!("{head}{}", documents.join("---\n")))
}

/// The files of a Helm chart that makes the same resources. Its values are these settings.
pub fn chart(settings: &PlaneSettings) -> Result<Vec<ChartFile>> {
    settings.check()?;
    let notes = described(&notes::installed())?;
    let notes = notes.as_array().cloned().unwrap_or_default();
    Ok(chart::chart(&resources()?, &notes, settings))
}

/// What Kubernetes is to have, with places for settings.
fn resources() -> Result<[Value; 6]> {
    // A database is backed up by its own means.
    let in_a_file = |then: Value| Chosen::Unless {
        path: "store.secret",
        then: Box::new(Chosen::Fixed(then)),
    };
    Ok([
        described(&service())?,
        described(&workload::stateful_set())?,
        described(&disruption_budget())?,
        described(&network_policy())?,
        described(&in_a_file(described(&backup_volume())?))?,
        described(&in_a_file(described(&workload::backup_job())?))?,
    ])
}

fn described(resource: &impl Serialize) -> Result<Value> {
    serde_json::to_value(resource)
        .map_err(|e| defect(format_args!("the resource cannot be described ({e})")))
}

fn service() -> Resource<ServiceSpec> {
    let port = |name, path, target| ServicePort {
        name,
        port: Chosen::Setting { path },
        target_port: Port::Name(target),
    };
    let spec = ServiceSpec {
        selector: server_labels(),
        ports: vec![
            port("https-api", "service.apiPort", "api"),
            port("grpc-discovery", "service.discoveryPort", "discovery"),
        ],
    };
    resource("v1", "Service", NAME, spec)
}

/// One pod may be evicted at a time, so that nodes can be drained despite a single replica:
/// proxies go on deciding with what they have.
fn disruption_budget() -> Resource<BudgetSpec> {
    let spec = BudgetSpec {
        max_unavailable: 1,
        selector: matching(server_labels()),
    };
    resource("policy/v1", "PodDisruptionBudget", NAME, spec)
}

/// Ingress: the two ports. Egress: DNS, HTTPS for webhooks and scanners' keys, and the database.
fn network_policy() -> Resource<NetworkPolicySpec> {
    let port = |protocol, port| PolicyPort {
        protocol,
        port: Chosen::Fixed(port),
    };
    let namespaces = Requirement {
        key: "kubernetes.io/metadata.name",
        operator: "In",
        values: Chosen::Setting {
            path: "networkPolicy.from",
        },
    };
    let from = [Peer {
        namespace_selector: LabelSelector {
            match_expressions: vec![namespaces],
            ..LabelSelector::default()
        },
    }];
    let mut out: Vec<_> = [("TCP", 53), ("UDP", 53), ("TCP", 443)]
        .map(|(protocol, number)| Chosen::Fixed(port(protocol, Port::Number(number))))
        .into();
    let database = PolicyPort {
        protocol: "TCP",
        port: Chosen::Setting { path: "store.port" },
    };
    out.push(Chosen::only_with("store.secret", Chosen::Fixed(database)));
    let spec = NetworkPolicySpec {
        pod_selector: matching(labels()),
        policy_types: ["Ingress", "Egress"],
        ingress: vec![Ingress {
            from: Chosen::only_with("networkPolicy.from", Chosen::Fixed(from)),
            ports: ["api", "discovery"]
                .map(|name| port("TCP", Port::Name(name)))
                .into(),
        }],
        egress: vec![Egress { ports: out }],
    };
    resource("networking.k8s.io/v1", "NetworkPolicy", NAME, spec)
}

fn backup_volume() -> Resource<ClaimSpec> {
    resource("v1", "PersistentVolumeClaim", BACKUP, claim("backup.size"))
}

#[cfg(test)]
mod tests;
