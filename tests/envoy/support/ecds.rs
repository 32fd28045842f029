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
        fs::write(&beside, content).unwrap();
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
}
