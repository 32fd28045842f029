//! Resources for Envoy Gateway, from typed definitions: no crate has them, so the fields
//! that are used stand here, named as `gateway.envoyproxy.io/v1alpha1` names them.

use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource, SecretKeySelector};
use serde::Serialize;
use serde_json::{Value, json};

use crate::ecds::SIGNING_KEYS;
use crate::envoy::parts::{ControlPlane, Parts};
use crate::error::{Result, refuse};
use crate::manifest;

const NAME: &str = "keystile";
const LISTENER: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";

/// How the keyset comes to the gateway.
pub enum Delivery {
    /// Inside an EnvoyExtensionPolicy.
    Extension {
        /// Where the filter's code is.
        code: Code,
        /// The sealed keyset.
        keyset: String,
    },
    /// From the discovery service of a server.
    Discovery(ControlPlane),
}

/// Where the filter's code is, and its digest.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Code {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    http: Option<Location>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<Location>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
struct Location {
    url: String,
}

impl Code {
    /// From `oci://…`, an image's plain name, or `https://…`.
    pub fn new(url: &str, sha256: Option<String>) -> Self {
        let image = url.strip_prefix("oci://");
        let is_http = url.starts_with("https://") || url.starts_with("http://");
        let location = |url: &str| {
            Some(Location {
                url: url.to_owned(),
            })
        };
        Self {
            kind: if is_http { "HTTP" } else { "Image" },
            http: location(url).filter(|_| is_http),
            image: location(image.unwrap_or(url)).filter(|_| !is_http),
            sha256,
        }
    }
}

/// What differs between users.
pub struct Gateway {
    /// Namespace of the Gateway.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Names of its listeners that ask for keys.
    pub listeners: Vec<String>,
    /// How the keyset comes in.
    pub delivery: Delivery,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Resource<S> {
    api_version: &'static str,
    kind: &'static str,
    metadata: Metadata,
    spec: S,
}

#[derive(Serialize)]
struct Metadata {
    name: String,
    namespace: String,
}

#[derive(Clone, Serialize)]
struct Target {
    group: &'static str,
    kind: &'static str,
    name: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ExtensionPolicy {
    target_refs: Vec<Target>,
    wasm: Vec<Wasm>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Wasm {
    name: &'static str,
    #[serde(rename = "rootID")]
    root_id: &'static str,
    code: Code,
    config: Value,
    env: WasmEnv,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WasmEnv {
    host_keys: Vec<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PatchPolicy {
    target_ref: Target,
    #[serde(rename = "type")]
    kind: &'static str,
    json_patches: Vec<JsonPatch>,
}

#[derive(Serialize)]
struct JsonPatch {
    #[serde(rename = "type")]
    kind: &'static str,
    name: String,
    operation: Operation,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Operation {
    op: &'static str,
    json_path: &'static str,
    value: Value,
}

#[derive(Serialize)]
struct ProxySettings {
    provider: Provider,
    bootstrap: Bootstrap,
}

#[derive(Serialize)]
struct Provider {
    #[serde(rename = "type")]
    kind: &'static str,
    kubernetes: Kubernetes,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Kubernetes {
    envoy_deployment: Deployment,
}

#[derive(Serialize)]
struct Deployment {
    container: Container,
}

#[derive(Serialize)]
struct Container {
    env: Vec<EnvVar>,
}

#[derive(Serialize)]
struct Bootstrap {
    #[serde(rename = "type")]
    kind: &'static str,
    value: String,
}

impl Gateway {
    /// All resources, with what else has to be done on top.
    pub fn render(&self) -> Result<String> {
        let parts = Parts::new()?;
        let mut documents = vec![manifest::yaml(&self.proxy(&parts)?)?];
        if let Delivery::Extension { code, keyset } = &self.delivery {
            documents.push(manifest::yaml(&self.extension(code, keyset)?)?);
        }
        documents.push(manifest::yaml(&self.patches(&parts))?);
        Ok(format!("{}{}", self.head(), documents.join("---\n")))
    }

    fn head(&self) -> String {
        let (ns, name) = (&self.namespace, &self.name);
        format!(
            "\
# Printed by `keystilectl render envoy-gateway`, for Envoy Gateway 1.3 and later.
#
# Once, before this is applied: the signing keys, as a secret where the proxies run; the
# Gateway told of its EnvoyProxy; and EnvoyPatchPolicy allowed in Envoy Gateway's own
# configuration (extensionApis.enableEnvoyPatchPolicy: true).
#
#   kubectl -n envoy-gateway-system create secret generic keystile \\
#     --from-literal=\"$(keystilectl signing-key export)\"
#   kubectl -n {ns} patch gateway {name} --type merge -p '{{\"spec\": {{\"infrastructure\": {{\"parametersRef\":
#     {{\"group\": \"gateway.envoyproxy.io\", \"kind\": \"EnvoyProxy\", \"name\": \"keystile\"}}}}}}}}'
#
# The guard is what keeps a failed filter from letting requests pass. Look that it is in force:
#
#   kubectl -n {ns} get envoypatchpolicy keystile      # Programmed
"
        )
    }

    fn resource<S>(&self, kind: &'static str, spec: S) -> Resource<S> {
        Resource {
            api_version: "gateway.envoyproxy.io/v1alpha1",
            kind,
            metadata: Metadata {
                name: NAME.to_owned(),
                namespace: self.namespace.clone(),
            },
            spec,
        }
    }

    fn target(&self) -> Target {
        Target {
            group: "gateway.networking.k8s.io",
            kind: "Gateway",
            name: self.name.clone(),
        }
    }

    /// The environment, the metrics' labels, and the clusters of discovery, which Envoy
    /// takes from its bootstrap alone.
    fn proxy(&self, parts: &Parts) -> Result<Resource<ProxySettings>> {
        let mut value = json!({"stats_config": {"stats_tags": parts.stats_tags}});
        if let (Delivery::Discovery(plane), Some(fields)) = (&self.delivery, value.as_object_mut())
        {
            let clusters = parts.clusters(plane)?;
            fields.insert("static_resources".to_owned(), json!({"clusters": clusters}));
        }
        let env = EnvVar {
            name: SIGNING_KEYS.to_owned(),
            value_from: Some(EnvVarSource {
                secret_key_ref: Some(SecretKeySelector {
                    name: NAME.to_owned(),
                    key: SIGNING_KEYS.to_owned(),
                    optional: None,
                }),
                ..EnvVarSource::default()
            }),
            ..EnvVar::default()
        };
        Ok(self.resource(
            "EnvoyProxy",
            ProxySettings {
                provider: Provider {
                    kind: "Kubernetes",
                    kubernetes: Kubernetes {
                        envoy_deployment: Deployment {
                            container: Container { env: vec![env] },
                        },
                    },
                },
                bootstrap: Bootstrap {
                    kind: "Merge",
                    value: manifest::yaml(&value)?,
                },
            },
        ))
    }

    fn extension(&self, code: &Code, keyset: &str) -> Result<Resource<ExtensionPolicy>> {
        let config = serde_json::from_str(keyset).map_err(|e| {
            refuse(
                format_args!("the keyset is no JSON ({e})"),
                "report this: it is a mistake in keystilectl",
            )
        })?;
        Ok(self.resource(
            "EnvoyExtensionPolicy",
            ExtensionPolicy {
                target_refs: vec![self.target()],
                wasm: vec![Wasm {
                    name: NAME,
                    root_id: NAME,
                    code: code.clone(),
                    config,
                    env: WasmEnv {
                        host_keys: vec![SIGNING_KEYS],
                    },
                }],
            },
        ))
    }

    /// What is added at an element of a list goes before it: the guard before the router,
    /// the filters before the first one.
    fn patches(&self, parts: &Parts) -> Resource<PatchPolicy> {
        let before_router = "..http_filters[?(@.name=='envoy.filters.http.router')]";
        let mut operations = Vec::new();
        if matches!(self.delivery, Delivery::Discovery(_)) {
            operations.push(("..http_filters[0]", &parts.active));
            operations.push(("..http_filters[0]", &parts.base));
        }
        operations.push((before_router, &parts.guard));
        let patch = |listener: &String, (json_path, value): &(&'static str, &Value)| JsonPatch {
            kind: LISTENER,
            name: format!("{}/{}/{listener}", self.namespace, self.name),
            operation: Operation {
                op: "add",
                json_path,
                value: (*value).clone(),
            },
        };
        let json_patches = self
            .listeners
            .iter()
            .flat_map(|l| operations.iter().map(move |o| patch(l, o)))
            .collect();
        self.resource(
            "EnvoyPatchPolicy",
            PatchPolicy {
                target_ref: self.target(),
                kind: "JSONPatch",
                json_patches,
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envoy::HostPort;

    const KEYSET: &str = r#"{"format":1,"nonce":9007199254740991,"pages":"~"}"#;

    fn documents(delivery: Delivery) -> Vec<Value> {
        let gateway = Gateway {
            namespace: "edge".to_owned(),
            name: "public".to_owned(),
            listeners: vec!["http".to_owned(), "https".to_owned()],
            delivery,
        };
        let text = gateway.render().unwrap();
        text.split("---\n")
            .map(|d| crate::yaml::parse(d).ok().unwrap().json())
            .collect()
    }

    fn extension(url: &str) -> Vec<Value> {
        documents(Delivery::Extension {
            code: Code::new(url, None),
            keyset: KEYSET.to_owned(),
        })
    }

    #[test]
    fn an_extension_holds_the_keyset_and_reads_the_signing_keys_from_the_proxy() {
        let all = extension("oci://registry.example/keystile@sha256:00");
        let wasm = &all[1]["spec"]["wasm"][0];
        assert_eq!(
            wasm["config"],
            serde_json::from_str::<Value>(KEYSET).unwrap()
        );
        assert_eq!(wasm["rootID"], "keystile");
        assert_eq!(wasm["env"]["hostKeys"], json!([SIGNING_KEYS]));
        assert_eq!(
            wasm["code"],
            json!({"type": "Image", "image": {"url": "registry.example/keystile@sha256:00"}})
        );
        let fields: Vec<_> = wasm.as_object().unwrap().keys().collect();
        assert_eq!(fields, ["code", "config", "env", "name", "rootID"]);
        let env = "/spec/provider/kubernetes/envoyDeployment/container/env/0";
        assert_eq!(all[0].pointer(env).unwrap()["name"], SIGNING_KEYS);
        let http = extension("https://files.example/keystile.wasm");
        assert_eq!(
            http[1]["spec"]["wasm"][0]["code"],
            json!({"type": "HTTP", "http": {"url": "https://files.example/keystile.wasm"}})
        );
    }

    #[test]
    fn the_guard_stands_before_the_router_of_every_listener() {
        let all = extension("registry.example/keystile:1");
        let patches = all[2]["spec"]["jsonPatches"].as_array().unwrap();
        let names: Vec<_> = patches
            .iter()
            .map(|p| p["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, ["edge/public/http", "edge/public/https"]);
        for patch in patches {
            let operation = &patch["operation"];
            assert_eq!(operation["op"], "add");
            assert_eq!(
                operation["jsonPath"],
                "..http_filters[?(@.name=='envoy.filters.http.router')]"
            );
            assert_eq!(operation["value"], Parts::new().unwrap().guard);
        }
    }

    #[test]
    fn a_gateway_on_discovery_has_clusters_in_its_bootstrap_and_filters_in_order() {
        let all = documents(Delivery::Discovery(ControlPlane {
            discovery: HostPort::parse("keystile.infra.svc:18000").unwrap(),
            control: HostPort::parse("keystile.infra.svc:8443").unwrap(),
            tls: None,
        }));
        let bootstrap = all[0]["spec"]["bootstrap"]["value"].as_str().unwrap();
        let bootstrap = crate::yaml::parse(bootstrap).ok().unwrap().json();
        let clusters = &bootstrap["static_resources"]["clusters"];
        assert_eq!(clusters[0]["name"], "keystile-discovery");
        let patches = all[1]["spec"]["jsonPatches"].as_array().unwrap();
        let names: Vec<_> = patches
            .iter()
            .take(3)
            .map(|p| p["operation"]["value"]["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, ["keystile", "keystile-base", "keystile-guard"]);
    }
}
