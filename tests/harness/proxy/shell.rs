//! The same suite for both shells: `KEYSTILE_SHELL=module` puts `libkeystile.so` in the place of
//! `keystile.wasm`, in every configuration that a test starts Envoy with or pushes.

use super::part;
use super::proto::module::{DynamicModuleConfig, DynamicModuleFilter};
use keystile_render::ecds::{MODULE, TYPED_CONFIG, WASM};
use keystile_render::proto::core::TypedExtensionConfig;
use keystile_render::proto::discovery::DiscoveryResponse;
use keystile_render::proto::google::Any;
use keystile_render::proto::wasm::Wasm;
use prost::Message as _;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Without it metrics have a prefix of Envoy's in Prometheus' output.
const STRIP: &str = "envoy.reloadable_features.dynamic_modules_strip_custom_stat_prefix";

/// Whether the module is tested and not the WebAssembly filter.
pub fn is_module() -> bool {
    match std::env::var("KEYSTILE_SHELL").as_deref() {
        Ok("module") => true,
        Ok("wasm") | Err(_) => false,
        Ok(other) => panic!("KEYSTILE_SHELL is wasm or module, not {other}"),
    }
}

/// Whether the module leaves a test out, and why: it is about what only VMs do, or about what
/// Envoy tells WebAssembly alone.
pub fn leaves_out(why: &str) -> bool {
    if is_module() {
        println!("left out for the module: {why}");
    }
    is_module()
}

/// The file that Envoy runs, as `scripts/build` delivers it.
pub fn file() -> PathBuf {
    let name = match is_module() {
        true => "target/dist/libkeystile.so",
        false => "target/dist/keystile.wasm",
    };
    part(name, "scripts/build")
}

/// How many gauges of a version there are: one for each worker and the main thread, which have
/// VMs of their own, or one.
pub fn gauges() -> usize {
    if is_module() { 1 } else { 3 }
}

/// Envoy's own configuration.
pub fn configuration(text: &str) -> String {
    if !is_module() {
        return text.to_owned();
    }
    let mut config: Value = serde_saphyr::from_str(text).unwrap();
    put_module(&mut config);
    if let Some(all) = config.as_object_mut() {
        // It keeps what VMs share.
        all.remove("bootstrap_extensions");
        all.entry("layered_runtime")
            .or_insert(json!({"layers": []}));
    }
    let layers = config["layered_runtime"]["layers"].as_array_mut().unwrap();
    layers.retain(|layer| layer["name"] != "module");
    layers.push(json!({"name": "module", "static_layer": {STRIP: true}}));
    let text = config.to_string();
    text.replace("^wasmcustom", "^dynamicmodulescustom")
}

/// What the module cannot ask Envoy for, and so has to be told by environment: `node.id`.
pub fn node(text: &str) -> Option<String> {
    let config: Value = serde_saphyr::from_str(text).ok().filter(|_| is_module())?;
    config["node"]["id"].as_str().map(str::to_owned)
}

/// A discovery response: JSON or protobuf.
pub fn response(content: &[u8]) -> Vec<u8> {
    if !is_module() {
        return content.to_vec();
    }
    if let Ok(mut value) = serde_json::from_slice::<Value>(content) {
        put_module(&mut value);
        return value.to_string().into_bytes();
    }
    let Ok(mut response) = DiscoveryResponse::decode(content) else {
        return content.to_vec();
    };
    for resource in &mut response.resources {
        if resource.type_url == TYPED_CONFIG
            && let Ok(config) = TypedExtensionConfig::decode(resource.value.as_slice())
        {
            *resource = Any::pack(&self::resource(config));
        }
    }
    response.encode_to_vec()
}

/// A resource of discovery.
pub fn resource(mut resource: TypedExtensionConfig) -> TypedExtensionConfig {
    let of_wasm = resource.typed_config.as_ref();
    let of_wasm = of_wasm.filter(|c| is_module() && c.type_url == WASM);
    let wasm = of_wasm.and_then(|c| Wasm::decode(c.value.as_slice()).ok());
    if let Some(plugin) = wasm.and_then(|wasm| wasm.config) {
        resource.typed_config = Some(Any::pack(&DynamicModuleFilter {
            dynamic_module_config: Some(DynamicModuleConfig {
                name: "keystile".to_owned(),
                do_not_close: true,
            }),
            filter_name: plugin.name,
            filter_config: plugin.configuration,
        }));
    }
    resource
}

fn put_module(value: &mut Value) {
    if value["@type"] == WASM {
        let plugin = value["config"].take();
        *value = json!({
            "@type": MODULE,
            "dynamic_module_config": {"name": "keystile", "do_not_close": true},
            "filter_name": plugin["name"],
        });
        if !plugin["configuration"].is_null() {
            value["filter_config"] = plugin["configuration"].clone();
        }
        return;
    }
    match value {
        Value::String(text) if text == WASM => *text = MODULE.to_owned(),
        Value::Array(all) => {
            // A configuration of the module is made once for all workers: there is nothing to
            // guard against.
            all.retain(|one| {
                let name = one["name"].as_str().unwrap_or_default();
                !name.starts_with("keystile-guard")
            });
            all.iter_mut().for_each(put_module);
        }
        Value::Object(all) => all.values_mut().for_each(put_module),
        _ => {}
    }
}
