//! Envoy's configuration of a filter that is a native module.

use super::google::Any;
use super::named;

named!(DynamicModuleFilter in "envoy.extensions.filters.http.dynamic_modules.v3");

/// The HTTP filter. `envoy/extensions/filters/http/dynamic_modules/v3/dynamic_modules.proto`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DynamicModuleFilter {
    /// The module that it is in.
    #[prost(message, optional, tag = "1")]
    pub dynamic_module_config: Option<DynamicModuleConfig>,
    /// Its name, which the module is told.
    #[prost(string, tag = "2")]
    pub filter_name: String,
    /// What it is configured with.
    #[prost(message, optional, tag = "3")]
    pub filter_config: Option<Any>,
}

/// A module. `envoy/extensions/dynamic_modules/v3/dynamic_modules.proto`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DynamicModuleConfig {
    /// Envoy looks for `lib<name>.so`.
    #[prost(string, tag = "1")]
    pub name: String,
    /// It stays loaded when its last configuration is gone.
    #[prost(bool, tag = "3")]
    pub do_not_close: bool,
}
