//! The same suite for both shells: `KEYSTILE_SHELL=module` puts `libkeystile.so` in the place of
//! `keystile.wasm`, in every configuration that a test starts Envoy with or pushes.

use super::part;
use super::proto::module::{DynamicModuleConfig, DynamicModuleFilter};
use keystile_render::ecds::{MODULE, TYPED_CONFIG, WASM};
use keystile_render::proto::core::{CodeSource, DataSpecifier, TypedExtensionConfig};
use keystile_render::proto::discovery::DiscoveryResponse;
use keystile_render::proto::google::Any;
use keystile_render::proto::wasm::{Vm, Wasm};
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

/// Why the module leaves a test out: what happens to VMs alone. `src/book/pages/module.md` has the same table.
#[derive(Clone, Copy, Debug)]
pub enum Vms {
    /// A worker that lacks the filter, and the guard behind it.
    Missing,
    /// A VM that fails for good.
    Fail,
    /// What VMs share, and what another plugin in the same name space does to it.
    Share,
}

impl Vms {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Missing, Self::Fail, Self::Share];

    /// In the words of that page.
    pub const fn why(self) -> &'static str {
        match self {
            Self::Missing => "a worker that Envoy has left the filter out of",
            Self::Fail => "a VM that fails for good, or loses what it had",
            Self::Share => "what VMs share, across VMs and images",
        }
    }
}

/// Whether the module leaves a test out.
pub fn leaves_out(vms: Vms) -> bool {
    if is_module() {
        println!("left out for the module: {}", vms.why());
    }
    is_module()
}

/// The module in the place of this file of WebAssembly. One that a test has broken
/// ([`super::fault`]) stands for the build that breaks at the same requests.
pub fn in_place_of(wasm: &str) -> &'static str {
    match wasm.ends_with("/broken.wasm") {
        true => {
            part("target/dist/libkeystile-faults.so", "scripts/build faults");
            "keystile-faults"
        }
        false => "keystile",
    }
}

/// Whether this Envoy tells modules what it tells WebAssembly, as far as any does: 1.40.
pub fn is_told_all() -> bool {
    super::minor() >= 40
}

/// The file that Envoy runs, as `scripts/build` delivers it.
pub fn file() -> PathBuf {
    let name = match is_module() {
        true => "target/dist/libkeystile.so",
        false => "target/dist/keystile.wasm",
    };
    part(name, "scripts/build")
}

/// How `serve` is told of this file of WebAssembly, or of the module in its place.
pub fn named(wasm: &str) -> PathBuf {
    match is_module() {
        true => format!("lib{}.so", in_place_of(wasm)).into(),
        false => wasm.into(),
    }
}

/// How many gauges of a version there are: one for each worker and the main thread, which have
/// VMs of their own, or one.
pub fn gauges() -> usize {
    if is_module() { 1 } else { 3 }
}

/// Envoy's own configuration. One without the WebAssembly filter is as it is: it was printed for the
/// module.
pub fn configuration(text: &str) -> String {
    if !is_module() || !text.contains(WASM) {
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
        let code = plugin.vm.and_then(|Vm::VmConfig(vm)| vm.code?.specifier);
        let file = code.and_then(|CodeSource::Local(source)| source.specifier);
        let file = match file {
            Some(DataSpecifier::Filename(file)) => file,
            _ => String::new(),
        };
        resource.typed_config = Some(Any::pack(&DynamicModuleFilter {
            dynamic_module_config: Some(DynamicModuleConfig {
                name: in_place_of(&file).to_owned(),
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
        let file = plugin["vm_config"]["code"]["local"]["filename"].as_str();
        let module = in_place_of(file.unwrap_or_default());
        *value = json!({
            "@type": MODULE,
            "dynamic_module_config": {"name": module, "do_not_close": true},
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
