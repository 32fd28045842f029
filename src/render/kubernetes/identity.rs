//! What resources have in common: names, ports, labels, and how they ask for volumes.

use std::collections::BTreeMap;

use super::types::{ClaimSpec, LabelSelector, Resources};
use crate::chosen::{Chosen, NAMESPACE};
use crate::manifest::{ManifestLabels, Metadata, Resource};

/// The name of what belongs to the server.
pub const NAME: &str = "keystile";
/// The name of what belongs to backups.
pub const BACKUP: &str = "keystile-backup";
/// The container's port for the API and the console.
pub const API: u16 = 8443;
/// The container's port for discovery.
pub const DISCOVERY: u16 = 18000;

/// A resource in the namespace of all.
pub fn resource<S>(
    api_version: &'static str,
    kind: &'static str,
    name: &'static str,
    spec: S,
) -> Resource<S> {
    Resource {
        api_version,
        kind,
        metadata: Metadata {
            name,
            namespace: Some(Chosen::Setting { path: NAMESPACE }),
            labels: labels(),
        },
        spec,
    }
}

/// A volume of the size that a setting has.
pub fn claim(size: &'static str) -> ClaimSpec {
    ClaimSpec {
        access_modes: ["ReadWriteOnce"],
        resources: Resources {
            requests: BTreeMap::from([("storage", Chosen::Setting { path: size })]),
        },
        storage_class_name: Chosen::if_given("store.storageClass"),
    }
}

/// Of everything.
pub fn labels() -> ManifestLabels {
    ManifestLabels::from([("app.kubernetes.io/name", NAME)])
}

/// Of the server's pods.
pub fn server_labels() -> ManifestLabels {
    let mut labels = labels();
    labels.insert("app.kubernetes.io/component", "server");
    labels
}

/// What has these labels.
pub fn matching(match_labels: ManifestLabels) -> LabelSelector {
    LabelSelector {
        match_labels,
        ..LabelSelector::default()
    }
}
