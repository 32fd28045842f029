//! The file that Envoy's extension config discovery watches: a DiscoveryResponse holding
//! one TypedExtensionConfig, the filter with the keyset inside.

use std::path::Path;

use keystile_core::keyset::Secrets;
use prost::Message as _;
use serde_json::{Value, json};

use crate::proto::core::{
    AsyncDataSource, BackoffStrategy, CodeSource, DataSource, DataSpecifier, TypedExtensionConfig,
};
use crate::proto::discovery::DiscoveryResponse;
use crate::proto::google::{Any, Duration};
use crate::proto::module::{DynamicModuleConfig, DynamicModuleFilter};
use crate::proto::wasm::{
    EnvironmentVariables, FailurePolicy, PluginConfig, ReloadConfig, Vm, VmConfig, Wasm,
};

/// The type of the resources that discovery serves.
pub const TYPED_CONFIG: &str = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig";
/// The type of the filter in WebAssembly.
pub const WASM: &str = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm";
/// The type of the native filter.
pub const MODULE: &str =
    "type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter";
const STRING: &str = "type.googleapis.com/google.protobuf.StringValue";

/// Root id and vm id. The vm id names the buckets in shared data.
pub const NAME: &str = "keystile";
const RUNTIME: &str = "envoy.wasm.runtime.v8";
/// The environment variable that Envoy passes to the filter.
pub const SIGNING_KEYS: &str = "KEYSTILE_SIGNING_KEYS";
/// The environment variable with public keys, which check keysets and sign none.
pub const VERIFY_KEYS: &str = "KEYSTILE_VERIFY_KEYS";
/// Envoy's environment variable with the secret with which only it signs its reports.
pub const NODE_KEY: &str = "KEYSTILE_NODE_KEY";
/// Envoy's environment variable with the folders in which it looks for modules.
pub const MODULE_FOLDERS: &str = "ENVOY_DYNAMIC_MODULES_SEARCH_PATH";
/// A module's environment variable with the Envoy's `node.id`, which Envoy does not tell it.
pub const NODE: &str = "KEYSTILE_NODE";
/// Where the native module lies in the containers of proxies.
pub const MODULE_FOLDER: &str = "/etc/keystile/module";
/// The pause after a trap: long enough to avoid spinning, short enough to affect hardly any
/// request.
const RELOAD_AFTER_MS: u32 = 20;

/// The content of a push.
pub struct EcdsPush<'a> {
    /// Name of the resource: of the filter in Envoy's configuration, and of the plugin. The
    /// filter leaves a mark under it for its own guard.
    pub name: &'a str,
    /// Where Envoy finds the filter's code: a file of WebAssembly, or a native module's.
    pub wasm: &'a Path,
    /// For Envoy's statistics and config dump.
    pub version_info: String,
}

impl EcdsPush<'_> {
    /// As JSON, with the sealed keyset as a StringValue.
    pub fn json(self, configuration: &str) -> Vec<u8> {
        let typed_config = match module_name(self.wasm) {
            Some(module) => module_config(module, self.name, configuration),
            None => json!({
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
                        "environment_variables": {"host_env_keys": Secrets::VARIABLES},
                    },
                    "configuration": {"@type": STRING, "value": configuration},
                },
            }),
        };
        let value = json!({
            "version_info": self.version_info,
            "type_url": TYPED_CONFIG,
            "resources": [{
                "@type": TYPED_CONFIG,
                "name": self.name,
                "typed_config": typed_config,
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

/// The native module's configuration as JSON: which module, the filter's name, the sealed keyset.
pub fn module_config(module: &str, filter: &str, configuration: &str) -> Value {
    json!({
        "@type": MODULE,
        "dynamic_module_config": {"name": module, "do_not_close": true},
        "filter_name": filter,
        "filter_config": {"@type": STRING, "value": configuration},
    })
}

/// The name of a native module, if the file is one: Envoy looks for `lib<name>.so` in the folders
/// that its own environment names.
pub fn module_name(file: &Path) -> Option<&str> {
    let name = file.file_name()?.to_str()?;
    let name = name.strip_prefix("lib")?.strip_suffix(".so")?;
    (!name.is_empty()).then_some(name)
}

/// The filter of that name, with its code at `wasm` and the sealed keyset as a BytesValue. Base and
/// overlay differ only in name and configuration, so that they share the VM of each worker.
pub fn filter(name: &str, wasm: &Path, configuration: Vec<u8>) -> TypedExtensionConfig {
    if let Some(module) = module_name(wasm) {
        let filter = DynamicModuleFilter {
            dynamic_module_config: Some(DynamicModuleConfig {
                name: module.to_owned(),
                do_not_close: true,
            }),
            filter_name: name.to_owned(),
            filter_config: Some(Any::pack(&configuration)),
        };
        return TypedExtensionConfig {
            name: name.to_owned(),
            typed_config: Some(Any::pack(&filter)),
        };
    }
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
                host_env_keys: Secrets::VARIABLES.map(str::to_owned).to_vec(),
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
        let of_wasm = "/resources/0/typed_config/config/configuration/value";
        let of_module = "/resources/0/typed_config/filter_config/value";
        return match value.pointer(of_wasm).or_else(|| value.pointer(of_module)) {
            Some(Value::String(s)) => Some(s.clone().into_bytes()),
            _ if value.get("resources").is_some() => None,
            _ => Some(bytes),
        };
    }
    let response = DiscoveryResponse::decode(bytes.as_slice()).ok()?;
    let resource = response.resources.first()?;
    let config = TypedExtensionConfig::decode(resource.value.as_slice()).ok()?;
    let filter = config.typed_config?;
    let configuration = match filter.type_url == MODULE {
        true => {
            DynamicModuleFilter::decode(filter.value.as_slice())
                .ok()?
                .filter_config
        }
        false => {
            Wasm::decode(filter.value.as_slice())
                .ok()?
                .config?
                .configuration
        }
    };
    // StringValue and BytesValue are the same on the wire.
    Vec::<u8>::decode(configuration?.value.as_slice()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(file: &'static str) -> EcdsPush<'static> {
        EcdsPush {
            name: "keystile",
            wasm: Path::new(file),
            version_info: "7-1".to_owned(),
        }
    }

    #[test]
    fn both_forms_give_back_the_configuration_that_went_in() {
        let text = r#"{"format":1,"pages":""}"#;
        let want = text.as_bytes().to_vec();
        for file in ["/lib/keystile.wasm", "/lib/libkeystile.so"] {
            let written = push(file).json(text);
            assert_eq!(configuration_in(written), Some(want.clone()));
            let raw = b"{\"format\":1}\n\x00\xff".to_vec();
            let written = push(file).protobuf(raw.clone());
            assert_eq!(configuration_in(written), Some(raw));
        }
        assert_eq!(configuration_in(want.clone()), Some(want));
        assert_eq!(configuration_in(b"no such thing".to_vec()), None);
        assert_eq!(configuration_in(b"{\"resources\":[]}".to_vec()), None);
    }

    #[test]
    fn a_module_is_named_as_envoy_looks_for_it() {
        for (file, name) in [
            ("/opt/libkeystile-0.2.0.so", Some("keystile-0.2.0")),
            ("libkeystile.so", Some("keystile")),
            ("lib.so", None),
            ("/lib/keystile.wasm", None),
            ("keystile.so", None),
        ] {
            assert_eq!(module_name(Path::new(file)), name, "{file}");
        }
        let written = String::from_utf8(push("libkeystile-2.so").json("{}")).unwrap();
        assert!(written.contains(r#""name":"keystile-2""#), "{written}");
    }
}
