//! The comment above the resources: what they need, and how to check that they are in force.

use super::{Gateway, GatewayDelivery};

const FILES: &str = "\
# The proxies load the filter from a file, which `keystilectl serve --wasm` names. The image that
# Envoy Gateway pulls can also be a volume (Kubernetes 1.35 and later; before, use an init
# container). Add it to the EnvoyProxy below, with the authority's certificate that --tls-ca names:
#
#   envoyDeployment:
#     pod:
#       volumes:
#       - name: keystile
#         image: {reference: \"registry.example/keystile@sha256:…\"}
#       - name: keystile-tls
#         secret: {secretName: keystile-tls}
#     container:
#       volumeMounts:
#       - {name: keystile, mountPath: /etc/keystile/filter, readOnly: true}
#       - {name: keystile-tls, mountPath: /etc/keystile/tls, readOnly: true}
#
#   keystilectl serve --wasm /etc/keystile/filter/plugin.wasm …
#
";

const MODULE_FILES: &str = "\
# The proxies load the module from a file, which `keystilectl serve --shell module --wasm` names. An
# image that holds it can be a volume (Kubernetes 1.35 and later; before, use an init container). Add
# it to the EnvoyProxy below, with the authority's certificate that --tls-ca names:
#
#   envoyDeployment:
#     pod:
#       volumes:
#       - name: keystile
#         image: {reference: \"registry.example/keystile-module@sha256:…\"}
#       - name: keystile-tls
#         secret: {secretName: keystile-tls}
#     container:
#       volumeMounts:
#       - {name: keystile, mountPath: /etc/keystile/module, readOnly: true}
#       - {name: keystile-tls, mountPath: /etc/keystile/tls, readOnly: true}
#
";

const GUARD: &str = "\
# The guard keeps requests from passing if the filter fails. Check that it is in force:
#
#   kubectl -n {ns} get envoypatchpolicy keystile      # Programmed: True
#
# `ResourceNotFound` there means that a listener has a different name in Envoy.
";
const MODULE_GUARD: &str = "\
# The guard refuses requests to routes that have an EnvoyExtensionPolicy of their own and therefore
# do not have this one. Check that it is in force:
#
#   kubectl -n {ns} get envoypatchpolicy keystile      # Programmed: True
#
# `ResourceNotFound` there means that a listener has a different name in Envoy.
";
const PLACED: &str = "\
# The patches put the filter in place. Check that they are in force:
#
#   kubectl -n {ns} get envoypatchpolicy keystile      # Programmed: True
#
# `ResourceNotFound` there means that a listener has a different name in Envoy, and checks no keys.
";

impl Gateway {
    /// What else has to be done, as a comment.
    pub(super) fn head(&self) -> String {
        let (ns, name) = (&self.namespace, &self.name);
        let (since, files, end) = match self.delivery {
            GatewayDelivery::Extension { .. } => ("Envoy Gateway 1.3", "", GUARD),
            GatewayDelivery::Module { .. } => ("Envoy Gateway 1.8", "", MODULE_GUARD),
            GatewayDelivery::Discovery { is_native, .. } => match is_native {
                false => ("Envoy Gateway 1.3", FILES, GUARD),
                true => ("Envoy Gateway 1.8", MODULE_FILES, PLACED),
            },
        };
        let end = end.replace("{ns}", ns);
        format!(
            "\
# Printed by `keystilectl render envoy-gateway`, for {since} and later.
#
# Once, before this is applied: put the signing keys into a secret where the proxies run, point
# the Gateway at its EnvoyProxy, and allow EnvoyPatchPolicy in Envoy Gateway's own configuration
# (extensionApis.enableEnvoyPatchPolicy: true).
#
#   kubectl -n envoy-gateway-system create secret generic keystile \\
#     --from-literal=\"$(keystilectl signing-key export)\"
#
# With Ed25519, use `signing-key export --public` and the variable KEYSTILE_VERIFY_KEYS.
#
#   kubectl -n {ns} patch gateway {name} --type merge -p '{{\"spec\": {{\"infrastructure\": {{\"parametersRef\":
#     {{\"group\": \"gateway.envoyproxy.io\", \"kind\": \"EnvoyProxy\", \"name\": \"keystile\"}}}}}}}}'
#
{files}{end}"
        )
    }
}
