//! A listener, its filter configured as JSON.

use std::collections::HashMap;

use super::google::Any;
use keystile_render::named;

named!(
    Listener in "envoy.config.listener.v3",
    TypedStruct in "xds.type.v3",
);

/// `envoy/config/listener/v3/listener.proto`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Listener {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(message, optional, tag = "2")]
    pub address: Option<Address>,
    #[prost(message, repeated, tag = "3")]
    pub filter_chains: Vec<FilterChain>,
}

/// `envoy/config/core/v3/address.proto`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Address {
    #[prost(oneof = "Place", tags = "1")]
    pub address: Option<Place>,
}

/// `address` of [`Address`].
#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub enum Place {
    #[prost(message, tag = "1")]
    Socket(SocketAddress),
}

/// `envoy/config/core/v3/address.proto`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SocketAddress {
    #[prost(string, tag = "2")]
    pub address: String,
    #[prost(oneof = "Port", tags = "3")]
    pub port_specifier: Option<Port>,
}

/// `port_specifier` of [`SocketAddress`].
#[derive(Clone, Copy, PartialEq, Eq, prost::Oneof)]
pub enum Port {
    #[prost(uint32, tag = "3")]
    Number(u32),
}

/// `envoy/config/listener/v3/listener_components.proto`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct FilterChain {
    #[prost(message, repeated, tag = "3")]
    pub filters: Vec<Filter>,
}

/// `envoy/config/listener/v3/listener_components.proto`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Filter {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(oneof = "FilterConfig", tags = "4")]
    pub config_type: Option<FilterConfig>,
}

/// `config_type` of [`Filter`].
#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub enum FilterConfig {
    #[prost(message, tag = "4")]
    Typed(Any),
}

/// A message written as JSON, which Envoy reads where an extension is configured.
/// `xds/type/v3/typed_struct.proto`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TypedStruct {
    #[prost(string, tag = "1")]
    pub type_url: String,
    #[prost(message, optional, tag = "2")]
    pub value: Option<Struct>,
}

/// `google/protobuf/struct.proto`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Struct {
    #[prost(map = "string, message", tag = "1")]
    pub fields: HashMap<String, Field>,
}

/// `Value` in `google/protobuf/struct.proto`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Field {
    #[prost(oneof = "FieldKind", tags = "1, 2, 3, 4, 5, 6")]
    pub kind: Option<FieldKind>,
}

/// `kind` of [`Field`].
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum FieldKind {
    /// Always 0.
    #[prost(int32, tag = "1")]
    Null(i32),
    #[prost(double, tag = "2")]
    Number(f64),
    #[prost(string, tag = "3")]
    String(String),
    #[prost(bool, tag = "4")]
    Bool(bool),
    #[prost(message, tag = "5")]
    Struct(Struct),
    #[prost(message, tag = "6")]
    List(ListValue),
}

/// `google/protobuf/struct.proto`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ListValue {
    #[prost(message, repeated, tag = "1")]
    pub values: Vec<Field>,
}
