//! The comment above the resources: what has to be done by hand.

use super::patches::BOOTSTRAP;
use super::{IstioVersion, Mesh, MeshDelivery, ProxyKind};
use crate::ecds::{MODULE_FOLDER, MODULE_FOLDERS, NODE, SIGNING_KEYS};

const APPLIED: &str = "\
# Print this again after every change to keys, and apply it with `kubectl apply --server-side -f -`:
# without --server-side, kubectl keeps a second copy in an annotation, which holds only 256 KiB.
";

impl Mesh {
    /// As a comment.
    pub(super) fn head(&self) -> String {
        let namespace = &self.namespace;
        let module = match self.is_native() {
            true => self.module_head(),
            false => String::new(),
        };
        let since = match &self.delivery {
            _ if self.is_native() => ", for Istio 1.30 and later (Envoy 1.38)",
            MeshDelivery::Plugin { istio, .. } if *istio >= IstioVersion::TRAFFIC_EXTENSIONS => {
                ", for Istio 1.30 and later (before, use `--istio 1.29`)"
            }
            MeshDelivery::Plugin { .. }
            | MeshDelivery::Module { .. }
            | MeshDelivery::Discovery { .. } => "",
        };
        let after = match &self.delivery {
            MeshDelivery::Plugin { istio, .. } if *istio >= IstioVersion::TRAFFIC_EXTENSIONS => {
                format!("{APPLIED}{}", IN_PLACE.replace("{ns}", namespace))
            }
            MeshDelivery::Plugin { .. } => APPLIED.to_owned(),
            MeshDelivery::Module { .. } => {
                format!("{APPLIED}{}", WITHOUT_PLUGIN.replace("{ns}", namespace))
            }
            MeshDelivery::Discovery { is_native, .. } => discovery_head(namespace, *is_native),
        };
        format!(
            "\
# Printed by `keystilectl render istio`{since}.
#
# Once, before this is applied: put the signing keys into a secret beside the workload.
#
#   kubectl -n {namespace} create secret generic keystile \\
#     --from-literal=\"$(keystilectl signing-key export)\"
#
# With Ed25519, use `signing-key export --public` and the variable KEYSTILE_VERIFY_KEYS.
#
# Once, afterwards: add to the pod template that secret, as an environment variable of the container
# `istio-proxy`, and the ConfigMap `{BOOTSTRAP}`, as an addition to Envoy's bootstrap.
#
#   metadata:
#     annotations: {{sidecar.istio.io/bootstrapOverride: {BOOTSTRAP}}}
#   spec:
#     containers:
#     - name: istio-proxy
#       env:
#       - name: {SIGNING_KEYS}
#         valueFrom: {{secretKeyRef: {{name: keystile, key: {SIGNING_KEYS}}}}}
{module}#
# A proxy reads both only when it starts: restart the workload after rotating the signing key.
{after}"
        )
    }

    /// What else the container needs.
    fn module_head(&self) -> String {
        let kind = match self.place {
            ProxyKind::Gateway => "router",
            ProxyKind::Sidecar => "sidecar",
        };
        let image = match &self.delivery {
            MeshDelivery::Module { image, .. } => image.as_str(),
            MeshDelivery::Plugin { .. } | MeshDelivery::Discovery { .. } => {
                "registry.example/keystile-module@sha256:…"
            }
        };
        let namespace = &self.namespace;
        format!(
            "\
#       - {{name: {MODULE_FOLDERS}, value: {MODULE_FOLDER}}}
#       # The proxy's name in Istio, under which it reports: needed only if the policy has `report`.
#       - {{name: KEYSTILE_IP, valueFrom: {{fieldRef: {{fieldPath: status.podIP}}}}}}
#       - {{name: KEYSTILE_POD, valueFrom: {{fieldRef: {{fieldPath: metadata.name}}}}}}
#       - name: {NODE}
#         value: {kind}~$(KEYSTILE_IP)~$(KEYSTILE_POD).{namespace}~{namespace}.svc.cluster.local
#       volumeMounts:
#       - {{name: keystile, mountPath: {MODULE_FOLDER}, readOnly: true}}
#     volumes:                             # Kubernetes 1.35 and later, or an init container
#     - name: keystile
#       image: {{reference: \"{image}\"}}
"
        )
    }
}

const IN_PLACE: &str = "\
#
# If this replaces a WasmPlugin, delete that first (`kubectl -n {ns} delete wasmplugin keystile`): beside
# it, the second filter would find no key, and refuse every request. Until this is in force, the guard
# answers 403.
";

const WITHOUT_PLUGIN: &str = "\
#
# If this replaces a TrafficExtension or a WasmPlugin, delete that first
# (`kubectl -n {ns} delete trafficextension,wasmplugin keystile`); until this is in force, its guard
# answers 403. Then delete the guard (the EnvoyFilter `keystile-guard`).
";

fn discovery_head(namespace: &str, is_native: bool) -> String {
    if is_native {
        return format!(
            "\
#
#   keystilectl serve --shell module …     # `--wasm libNAME.so` if the file has another name
#
# Namespace {namespace}: apply both before the workload starts.
"
        );
    }
    format!(
        "\
#
# The proxies load the filter from a file, which `keystilectl serve --wasm` names. The image that
# TrafficExtensions pull can also be a volume (Kubernetes 1.35 and later; before, use an init container):
#
#   volumes:                               # of the pod, in the pod template
#   - name: keystile
#     image: {{reference: \"registry.example/keystile@sha256:…\"}}
#   volumeMounts:                          # of istio-proxy
#   - {{name: keystile, mountPath: /etc/keystile/filter, readOnly: true}}
#
#   keystilectl serve --wasm /etc/keystile/filter/plugin.wasm …
#
# Namespace {namespace}: apply all three before the workload starts.
"
    )
}
