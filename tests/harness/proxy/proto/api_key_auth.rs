//! Envoy's own filter for API keys.
//! `envoy/extensions/filters/http/api_key_auth/v3/api_key_auth.proto`.

use keystile_render::named;

named!(ApiKeyAuth in "envoy.extensions.filters.http.api_key_auth.v3");

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ApiKeyAuth {
    #[prost(message, repeated, tag = "1")]
    pub credentials: Vec<Credential>,
    #[prost(message, repeated, tag = "2")]
    pub key_sources: Vec<KeySource>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Credential {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(string, tag = "2")]
    pub client: String,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct KeySource {
    #[prost(string, tag = "1")]
    pub header: String,
}
