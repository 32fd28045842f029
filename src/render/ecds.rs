//! The file that Envoy's extension config discovery watches: a DiscoveryResponse holding
//! one TypedExtensionConfig, the filter with the keyset inside.

use std::path::Path;

use prost::Message as _;
use serde_json::{Value, json};

use crate::proto::core::{
    AsyncDataSource, BackoffStrategy, CodeSource, DataSource, DataSpecifier, TypedExtensionConfig,
};
use crate::proto::discovery::DiscoveryResponse;
use crate::proto::google::{Any, Duration};
use crate::proto::wasm::{
    EnvironmentVariables, FailurePolicy, PluginConfig, ReloadConfig, Vm, VmConfig, Wasm,
};

/// The type of the resources that discovery serves.
pub const TYPED_CONFIG: &str = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig";
const WASM: &str = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm";
const STRING: &str = "type.googleapis.com/google.protobuf.StringValue";

/// Root id and vm id. The vm id names the buckets in shared data.
pub const NAME: &str = "keystile";
const RUNTIME: &str = "envoy.wasm.runtime.v8";
/// The environment variable that Envoy passes to the filter.
pub const SIGNING_KEYS: &str = "KEYSTILE_SIGNING_KEYS";
/// Envoy's environment variable with the secret with which only it signs its reports.
pub const NODE_KEY: &str = "KEYSTILE_NODE_KEY";
/// The pause after a trap: long enough to avoid spinning, short enough to affect hardly any
/// request.
const RELOAD_AFTER_MS: u32 = 20;

/// The content of a push.
pub struct Push<'a> {
    /// Name of the resource: of the filter in Envoy's configuration, and of the plugin. The
    /// filter leaves a mark under it for its own guard.
    pub name: &'a str,
    /// Where Envoy finds the filter's code.
    pub wasm: &'a Path,
    /// For Envoy's statistics and config dump.
    pub version_info: String,
}

impl Push<'_> {
    /// As JSON, with the sealed keyset as a StringValue.
    pub fn json(self, configuration: &str) -> Vec<u8> {
        let value = json!({
            "version_info": self.version_info,
            "type_url": TYPED_CONFIG,
            "resources": [{
                "@type": TYPED_CONFIG,
                "name": self.name,
                "typed_config": {
                    "@type": WASM,
                    "config": {
                        "name": self.name,
                        "root_id": NAME,
                        "failure_policy": "FAIL_RELOAD",
                        "reload_config": {"backoff": {"base_interval": format!("0.{RELOAD_AFTER_MS:03}s")}},
                        "vm_config": {
                            "vm_id": NAME,
                            "runtime": RUNTIME,
                            "code": {"local": {"filename": self.wasm.to_string_lossy()}},
                            "environment_variables": {"host_env_keys": [SIGNING_KEYS, NODE_KEY]},
                        },
                        "configuration": {"@type": STRING, "value": configuration},
                    },
                },
            }],
        });
        value.to_string().into_bytes()
    }

    /// As protobuf, which Envoy reads many times faster, with the sealed keyset as a
    /// BytesValue.
    pub fn protobuf(self, configuration: Vec<u8>) -> Vec<u8> {
        let response = DiscoveryResponse {
            version_info: self.version_info,
            resources: vec![Any::pack(&filter(self.name, self.wasm, configuration))],
            type_url: TYPED_CONFIG.to_owned(),
            ..DiscoveryResponse::default()
        };
        response.encode_to_vec()
    }
}

/// The filter of that name, with its code at `wasm` and the sealed keyset as a BytesValue. Base and
/// overlay differ only in name and configuration, so that they share the VM of each worker.
pub fn filter(name: &str, wasm: &Path, configuration: Vec<u8>) -> TypedExtensionConfig {
    let code = AsyncDataSource {
        specifier: Some(CodeSource::Local(DataSource {
            specifier: Some(DataSpecifier::Filename(wasm.to_string_lossy().into_owned())),
        })),
    };
    let plugin = PluginConfig {
        name: name.to_owned(),
        root_id: NAME.to_owned(),
        configuration: Some(Any::pack(&configuration)),
        failure_policy: FailurePolicy::FailReload.into(),
        reload_config: Some(ReloadConfig {
            backoff: Some(BackoffStrategy {
                base_interval: Some(Duration {
                    seconds: 0,
                    nanos: i32::try_from(RELOAD_AFTER_MS * 1_000_000).unwrap_or(i32::MAX),
                }),
            }),
        }),
        vm: Some(Vm::VmConfig(VmConfig {
            vm_id: NAME.to_owned(),
            runtime: RUNTIME.to_owned(),
            code: Some(code),
            environment_variables: Some(EnvironmentVariables {
                host_env_keys: [SIGNING_KEYS, NODE_KEY].map(str::to_owned).to_vec(),
            }),
        })),
    };
    TypedExtensionConfig {
        name: name.to_owned(),
        typed_config: Some(Any::pack(&Wasm {
            config: Some(plugin),
        })),
    }
}

/// The plugin configuration in a file: of a DiscoveryResponse, JSON or protobuf, or the
/// file itself if it is one.
pub fn configuration_in(bytes: Vec<u8>) -> Option<Vec<u8>> {
    let first = bytes.iter().find(|b| !b.is_ascii_whitespace());
    if first == Some(&b'{') {
        let Ok(value) = serde_json::from_slice::<Value>(&bytes) else {
            return Some(bytes);
        };
        return match value.pointer("/resources/0/typed_config/config/configuration/value") {
            Some(Value::String(s)) => Some(s.clone().into_bytes()),
            _ if value.get("resources").is_some() => None,
            _ => Some(bytes),
        };
    }
    let response = DiscoveryResponse::decode(bytes.as_slice()).ok()?;
    let resource = response.resources.first()?;
    let config = TypedExtensionConfig::decode(resource.value.as_slice()).ok()?;
    let wasm = Wasm::decode(config.typed_config?.value.as_slice()).ok()?;
    // StringValue and BytesValue are the same on the wire.
    Vec::<u8>::decode(wasm.config?.configuration?.value.as_slice()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push() -> Push<'static> {
        Push {
            name: "keystile",
            wasm: Path::new("/lib/keystile.wasm"),
            version_info: "7-1".to_owned(),
        }
    }

    #[test]
    fn both_forms_give_back_the_configuration_that_went_in() {
        let text = r#"{"format":1,"pages":""}"#;
        let want = text.as_bytes().to_vec();
        assert_eq!(configuration_in(push().json(text)), Some(want.clone()));
        let raw = b"{\"format\":1}\n\x00\xff".to_vec();
        let file = push().protobuf(raw.clone());
        assert_eq!(configuration_in(file), Some(raw));
        assert_eq!(configuration_in(want.clone()), Some(want));
        assert_eq!(configuration_in(b"no such thing".to_vec()), None);
        assert_eq!(configuration_in(b"{\"resources\":[]}".to_vec()), None);
    }
}
