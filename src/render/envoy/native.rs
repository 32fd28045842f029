//! The same configuration for the native module: what only WebAssembly needs is left out.

use keystile_model::error::Result;

use super::template::drifted;
use crate::ecds::{MODULE, WASM};

/// Above the filter that stands guard over workers that may lack ours: a module's configuration is
/// made once, for all of them.
const GUARD: &str = "          # The guard. If a worker";
/// Above the VM that keeps what VMs share: a module has it in its own memory.
const KEEPER: &str = "# When the last VM of a `vm_id` ends";
const LAYER: &str = "      envoy.http.headermap.lazy_map_min_size: 64\n";
/// Otherwise metrics have a prefix of Envoy's in Prometheus' output.
pub const STRIP: &str = "envoy.reloadable_features.dynamic_modules_strip_custom_stat_prefix";

/// Makes it from a configuration for WebAssembly. `name` is the module's.
///
/// # Errors
/// A template that is not as expected.
pub fn native(text: &str, name: &str) -> Result<String> {
    let text = without(text, GUARD)?;
    let text = without(&text, KEEPER)?;
    let text = replaced(&text, LAYER, &format!("{LAYER}      {STRIP}: true\n"))?;
    let text = replaced(&text, "'^wasmcustom", "'^dynamicmodulescustom")?;
    let text = written_in(&text, name)?;
    Ok(text.replace(WASM, MODULE))
}

/// A filter whose configuration is in the file.
fn written_in(text: &str, name: &str) -> Result<String> {
    let first = format!("              \"@type\": {WASM}\n");
    let Some((before, rest)) = text.split_once(&first) else {
        return Ok(text.to_owned());
    };
    let last = "                configuration:\n";
    let (_, after) = rest
        .split_once(last)
        .ok_or_else(|| drifted("the filter has no `configuration`"))?;
    let filter = format!(
        "{first}              # lib{name}.so, in a folder of ENVOY_DYNAMIC_MODULES_SEARCH_PATH.\n              dynamic_module_config: {{name: {name}, do_not_close: true}}\n              filter_name: keystile\n              filter_config:\n"
    );
    Ok([before, &filter, after].concat())
}

/// The text without the paragraph that begins so.
fn without(text: &str, begins: &str) -> Result<String> {
    let lacks = || drifted(&format!("nothing begins with `{begins}`"));
    let from = text.find(begins).ok_or_else(lacks)?;
    let (before, rest) = text.split_at_checked(from).ok_or_else(lacks)?;
    let (_, after) = rest.split_once("\n\n").ok_or_else(lacks)?;
    Ok([before, after].concat())
}

fn replaced(text: &str, from: &str, to: &str) -> Result<String> {
    match text.contains(from) {
        true => Ok(text.replace(from, to)),
        false => Err(drifted(&format!("`{from}` is not there"))),
    }
}
