//! One of each message, every field set, and what somebody else must read in it.

use std::collections::HashMap;
use std::fmt::Debug;

use prost::Name;
use serde_json::{Value, json};

use crate::proto::api_key_auth::{ApiKeyAuth, Credential, KeySource};
use crate::proto::core::{
    AsyncDataSource, BackoffStrategy, BuildVersion, CodeSource, DataSource, DataSpecifier, Node,
    SemanticVersion, TypedExtensionConfig, UserAgentVersion,
};
use crate::proto::discovery::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource,
};
use crate::proto::google::{Any, Duration, Status};
use crate::proto::listener::{
    Address, Field, FieldKind, Filter, FilterChain, FilterConfig, ListValue, Listener, Place, Port,
    SocketAddress, Struct, TypedStruct,
};
use crate::proto::module::{DynamicModuleConfig, DynamicModuleFilter};
use crate::proto::ratelimit::{
    Code, Entry, RateLimitDescriptor, RateLimitRequest, RateLimitResponse,
};
use crate::proto::wasm::{
    EnvironmentVariables, FailurePolicy, PluginConfig, ReloadConfig, Vm, VmConfig, Wasm,
};

pub struct Sample {
    pub name: String,
    pub bytes: Vec<u8>,
    /// As Rust shows it.
    pub shown: String,
    pub want: Value,
}

fn of<M: Name + Debug>((message, want): (M, Value)) -> Sample {
    Sample {
        name: M::full_name(),
        bytes: message.encode_to_vec(),
        shown: format!("{message:?}"),
        want,
    }
}

pub fn samples() -> Vec<Sample> {
    vec![
        of(asked()),
        of(asked_delta()),
        of(answered()),
        of(answered_delta()),
        of(extension()),
        of(wasm()),
        of(module()),
        of(listener()),
        of(typed_struct()),
        of(api_key_auth()),
        of(rate_limit()),
        of((
            RateLimitResponse {
                overall_code: Code::OverLimit.into(),
            },
            json!({"overall_code": "OVER_LIMIT"}),
        )),
    ]
}

fn asked() -> (DiscoveryRequest, Value) {
    let version = SemanticVersion {
        major_number: 1,
        minor_number: 40,
        patch: 300,
    };
    let build = BuildVersion {
        version: Some(version),
    };
    let message = DiscoveryRequest {
        version_info: "7-1".to_owned(),
        node: Some(Node {
            id: "edge-1".to_owned(),
            cluster: "edge".to_owned(),
            user_agent_version_type: Some(UserAgentVersion::Build(build)),
        }),
        resource_names: vec!["a".to_owned(), "b".to_owned()],
        type_url: "type".to_owned(),
        response_nonce: "3".to_owned(),
        error_detail: Some(status()),
    };
    let build = json!({"version": {"major_number": 1, "minor_number": 40, "patch": 300}});
    let node = json!({"id": "edge-1", "cluster": "edge", "user_agent_build_version": build});
    let want = json!({
        "version_info": "7-1",
        "node": node,
        "resource_names": ["a", "b"],
        "type_url": "type",
        "response_nonce": "3",
        "error_detail": {"code": 13, "message": "no such wasm file"},
    });
    (message, want)
}

fn status() -> Status {
    Status {
        code: 13,
        message: "no such wasm file".to_owned(),
    }
}

fn asked_delta() -> (DeltaDiscoveryRequest, Value) {
    let message = DeltaDiscoveryRequest {
        node: Some(Node {
            id: "edge-1".to_owned(),
            cluster: "edge".to_owned(),
            user_agent_version_type: Some(UserAgentVersion::Text("1.40.0".to_owned())),
        }),
        type_url: "type".to_owned(),
        resource_names_subscribe: vec!["a".to_owned()],
        resource_names_unsubscribe: vec!["b".to_owned()],
        initial_resource_versions: HashMap::from([("c".to_owned(), "7-1".to_owned())]),
        response_nonce: "3".to_owned(),
        error_detail: Some(status()),
    };
    let want = json!({
        "node": {"id": "edge-1", "cluster": "edge", "user_agent_version": "1.40.0"},
        "type_url": "type",
        "resource_names_subscribe": ["a"],
        "resource_names_unsubscribe": ["b"],
        "initial_resource_versions": {"c": "7-1"},
        "response_nonce": "3",
        "error_detail": {"code": 13, "message": "no such wasm file"},
    });
    (message, want)
}

fn answered() -> (DiscoveryResponse, Value) {
    let (resource, want) = extension();
    let message = DiscoveryResponse {
        version_info: "7-1".to_owned(),
        resources: vec![Any::pack(&resource)],
        type_url: "type".to_owned(),
        nonce: "3".to_owned(),
    };
    let resource = json!({"@type": "envoy.config.core.v3.TypedExtensionConfig", "value": want});
    let want = json!({
        "version_info": "7-1",
        "resources": [resource],
        "type_url": "type",
        "nonce": "3",
    });
    (message, want)
}

fn answered_delta() -> (DeltaDiscoveryResponse, Value) {
    let (resource, want) = extension();
    let message = DeltaDiscoveryResponse {
        system_version_info: "7-1".to_owned(),
        resources: vec![Resource {
            version: "7-2".to_owned(),
            resource: Some(Any::pack(&resource)),
            name: "keystile".to_owned(),
            ttl: Some(Duration {
                seconds: 9,
                nanos: 500_000_000,
            }),
        }],
        type_url: "type".to_owned(),
        nonce: "3".to_owned(),
        removed_resources: vec!["gone".to_owned()],
    };
    let resource = json!({
        "version": "7-2",
        "resource": {"@type": "envoy.config.core.v3.TypedExtensionConfig", "value": want},
        "name": "keystile",
        "ttl": {"seconds": 9, "nanos": 500_000_000},
    });
    let want = json!({
        "system_version_info": "7-1",
        "resources": [resource],
        "type_url": "type",
        "nonce": "3",
        "removed_resources": ["gone"],
    });
    (message, want)
}

fn extension() -> (TypedExtensionConfig, Value) {
    let (filter, want) = wasm();
    let message = TypedExtensionConfig {
        name: "keystile".to_owned(),
        typed_config: Some(Any::pack(&filter)),
    };
    let config = json!({"@type": "envoy.extensions.filters.http.wasm.v3.Wasm", "value": want});
    let want = json!({"name": "keystile", "typed_config": config});
    (message, want)
}

fn wasm() -> (Wasm, Value) {
    let code = DataSource {
        specifier: Some(DataSpecifier::Filename("/keystile.wasm".to_owned())),
    };
    let vm = VmConfig {
        vm_id: "id".to_owned(),
        runtime: "v8".to_owned(),
        code: Some(AsyncDataSource {
            specifier: Some(CodeSource::Local(code)),
        }),
        environment_variables: Some(EnvironmentVariables {
            host_env_keys: vec!["A".to_owned(), "B".to_owned()],
        }),
    };
    let interval = Duration {
        seconds: 1,
        nanos: 20_000_000,
    };
    let plugin = PluginConfig {
        name: "name".to_owned(),
        root_id: "root".to_owned(),
        vm: Some(Vm::VmConfig(vm)),
        configuration: Some(Any::pack(&b"\x00\xff".to_vec())),
        failure_policy: FailurePolicy::FailReload.into(),
        reload_config: Some(ReloadConfig {
            backoff: Some(BackoffStrategy {
                base_interval: Some(interval),
            }),
        }),
    };
    let vm = json!({
        "vm_id": "id",
        "runtime": "v8",
        "code": {"local": {"filename": "/keystile.wasm"}},
        "environment_variables": {"host_env_keys": ["A", "B"]},
    });
    let plugin_read = json!({
        "name": "name",
        "root_id": "root",
        "vm_config": vm,
        "configuration": {"@type": "google.protobuf.BytesValue", "value": {"value": "00ff"}},
        "failure_policy": "FAIL_RELOAD",
        "reload_config": {"backoff": {"base_interval": {"seconds": 1, "nanos": 20_000_000}}},
    });
    let message = Wasm {
        config: Some(plugin),
    };
    (message, json!({"config": plugin_read}))
}

fn module() -> (DynamicModuleFilter, Value) {
    let message = DynamicModuleFilter {
        dynamic_module_config: Some(DynamicModuleConfig {
            name: "keystile".to_owned(),
            do_not_close: true,
        }),
        filter_name: "second".to_owned(),
        filter_config: Some(Any::pack(&vec![1, 2])),
    };
    let bytes = json!({"@type": "google.protobuf.BytesValue", "value": {"value": "0102"}});
    let want = json!({
        "dynamic_module_config": {"name": "keystile", "do_not_close": true},
        "filter_name": "second",
        "filter_config": bytes,
    });
    (message, want)
}

fn listener() -> (Listener, Value) {
    let (config, read) = typed_struct();
    let address = SocketAddress {
        address: "127.0.0.1".to_owned(),
        port_specifier: Some(Port::Number(8080)),
    };
    let message = Listener {
        name: "edge".to_owned(),
        address: Some(Address {
            address: Some(Place::Socket(address)),
        }),
        filter_chains: vec![FilterChain {
            filters: vec![Filter {
                name: "http".to_owned(),
                config_type: Some(FilterConfig::Typed(Any::pack(&config))),
            }],
        }],
    };
    let config = json!({"@type": "xds.type.v3.TypedStruct", "value": read});
    let want = json!({
        "name": "edge",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 8080}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": config}]}],
    });
    (message, want)
}

/// Every kind of value that JSON has.
fn typed_struct() -> (TypedStruct, Value) {
    let field = |kind| Field { kind: Some(kind) };
    let fields = |name: &str, kind| Struct {
        fields: HashMap::from([(name.to_owned(), field(kind))]),
    };
    let all = vec![
        field(FieldKind::Null(0)),
        field(FieldKind::Number(-1.5)),
        field(FieldKind::String("text".to_owned())),
        field(FieldKind::Bool(true)),
        field(FieldKind::Struct(fields("b", FieldKind::Bool(false)))),
    ];
    let all = FieldKind::List(ListValue { values: all });
    let message = TypedStruct {
        type_url: "type".to_owned(),
        value: Some(fields("a", all)),
    };
    let values = json!([
        {"null_value": "NULL_VALUE"},
        {"number_value": -1.5},
        {"string_value": "text"},
        {"bool_value": true},
        {"struct_value": {"fields": {"b": {"bool_value": false}}}},
    ]);
    let value = json!({"fields": {"a": {"list_value": {"values": values}}}});
    (message, json!({"type_url": "type", "value": value}))
}

fn api_key_auth() -> (ApiKeyAuth, Value) {
    let message = ApiKeyAuth {
        credentials: vec![Credential {
            key: "key".to_owned(),
            client: "client".to_owned(),
        }],
        key_sources: vec![KeySource {
            header: "x-api-key".to_owned(),
        }],
    };
    let want = json!({
        "credentials": [{"key": "key", "client": "client"}],
        "key_sources": [{"header": "x-api-key"}],
    });
    (message, want)
}

fn rate_limit() -> (RateLimitRequest, Value) {
    let message = RateLimitRequest {
        domain: "edge".to_owned(),
        descriptors: vec![RateLimitDescriptor {
            entries: vec![Entry {
                key: "a".to_owned(),
                value: "b".to_owned(),
            }],
        }],
    };
    let want = json!({
        "domain": "edge",
        "descriptors": [{"entries": [{"key": "a", "value": "b"}]}],
    });
    (message, want)
}
