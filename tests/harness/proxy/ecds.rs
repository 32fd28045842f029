use super::proto::core::{
    AsyncDataSource, BackoffStrategy, CodeSource, DataSource, DataSpecifier, TypedExtensionConfig,
};
use super::proto::discovery::DiscoveryResponse;
use super::proto::google::{Any, Duration};
use super::proto::wasm::{
    EnvironmentVariables, FailurePolicy, PluginConfig, ReloadConfig, Vm, VmConfig, Wasm,
};
use prost::Message as _;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// The file through which configuration reaches a running Envoy. Tests write what
/// `keystilectl push` never would.
pub struct EcdsFile {
    path: PathBuf,
}

impl EcdsFile {
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Beside, then renamed: Envoy notices nothing but the rename, and never reads
    /// half a file.
    pub fn write(&self, content: impl AsRef<[u8]>) {
        let beside = self.path.with_extension("new");
        fs::write(&beside, super::shell::response(content.as_ref())).unwrap();
        fs::rename(&beside, &self.path).unwrap();
    }

    /// A discovery response that gives the filter this configuration.
    pub fn configure(&self, plugin_configuration: &str) {
        self.write(Self::response(plugin_configuration).to_string());
    }

    pub fn response(plugin_configuration: &str) -> Value {
        json!({
            "version_info": "test",
            "resources": [{
                "@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
                "name": "keystile",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
                    "config": {
                        "name": "keystile",
                        "root_id": "keystile",
                        "failure_policy": "FAIL_RELOAD",
                        "reload_config": {"backoff": {"base_interval": "0.02s"}},
                        "vm_config": {
                            "vm_id": "keystile",
                            "runtime": "envoy.wasm.runtime.v8",
                            "code": {"local": {"filename": "target/dist/keystile.wasm"}},
                            "environment_variables": {
                                "host_env_keys": ["KEYSTILE_SIGNING_KEYS"]
                            }
                        },
                        "configuration": {
                            "@type": "type.googleapis.com/google.protobuf.StringValue",
                            "value": plugin_configuration
                        }
                    }
                }
            }]
        })
    }

    /// The same in protobuf, which Envoy reads faster, for a filter of any name and any
    /// build of the wasm.
    pub fn protobuf(name: &str, wasm: &str, configuration: Vec<u8>) -> Vec<u8> {
        let response = DiscoveryResponse {
            version_info: "test".to_owned(),
            resources: vec![Any::pack(&Self::resource(name, wasm, configuration))],
            ..DiscoveryResponse::default()
        };
        response.encode_to_vec()
    }

    /// The resource in it.
    pub fn resource(name: &str, wasm: &str, configuration: Vec<u8>) -> TypedExtensionConfig {
        let code = CodeSource::Local(DataSource {
            specifier: Some(DataSpecifier::Filename(wasm.to_owned())),
        });
        let vm = VmConfig {
            vm_id: "keystile".to_owned(),
            runtime: "envoy.wasm.runtime.v8".to_owned(),
            code: Some(AsyncDataSource {
                specifier: Some(code),
            }),
            environment_variables: Some(EnvironmentVariables {
                host_env_keys: vec!["KEYSTILE_SIGNING_KEYS".to_owned()],
            }),
        };
        let backoff = BackoffStrategy {
            base_interval: Some(Duration {
                seconds: 0,
                nanos: 20_000_000,
            }),
        };
        let plugin = PluginConfig {
            name: "keystile".to_owned(),
            root_id: "keystile".to_owned(),
            configuration: Some(Any::pack(&configuration)),
            failure_policy: FailurePolicy::FailReload.into(),
            reload_config: Some(ReloadConfig {
                backoff: Some(backoff),
            }),
            vm: Some(Vm::VmConfig(vm)),
        };
        super::shell::resource(TypedExtensionConfig {
            name: name.to_owned(),
            typed_config: Some(Any::pack(&Wasm {
                config: Some(plugin),
            })),
        })
    }
}
