#!/usr/bin/env python3
"""Writes the texts beside it: what Envoy's API says of the messages that are used here.

    python3 -m pip install --target SOMEWHERE xds-protos==1.85.0
    PYTHONPATH=SOMEWHERE python3 tests/vectors/proto/make.py

xds-protos is gRPC's build of https://github.com/envoyproxy/data-plane-api. Each message is
whole, with the fields that nothing here uses, but without comments and options; the path of a
text is the path of its origin. Licences: Apache-2.0 (envoy, xds, google/rpc), BSD-3-Clause
(google/protobuf).
"""

import importlib
from pathlib import Path

from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import FieldDescriptor

USED = {
    "envoy/config/core/v3/address": ["Address", "SocketAddress"],
    "envoy/config/core/v3/backoff": ["BackoffStrategy"],
    "envoy/config/core/v3/base": ["AsyncDataSource", "BuildVersion", "DataSource", "Node"],
    "envoy/config/core/v3/extension": ["TypedExtensionConfig"],
    "envoy/config/listener/v3/listener": ["Listener"],
    "envoy/config/listener/v3/listener_components": ["Filter", "FilterChain"],
    "envoy/extensions/common/ratelimit/v3/ratelimit": ["RateLimitDescriptor"],
    "envoy/extensions/filters/http/api_key_auth/v3/api_key_auth": [
        "ApiKeyAuth", "Credential", "KeySource",
    ],
    "envoy/extensions/dynamic_modules/v3/dynamic_modules": ["DynamicModuleConfig"],
    "envoy/extensions/filters/http/dynamic_modules/v3/dynamic_modules": ["DynamicModuleFilter"],
    "envoy/extensions/filters/http/wasm/v3/wasm": ["Wasm"],
    "envoy/extensions/wasm/v3/wasm": [
        "EnvironmentVariables", "FailurePolicy", "PluginConfig", "ReloadConfig", "VmConfig",
    ],
    "envoy/service/discovery/v3/ads": ["AggregatedDiscoveryService"],
    "envoy/service/discovery/v3/discovery": [
        "DeltaDiscoveryRequest", "DeltaDiscoveryResponse", "DiscoveryRequest",
        "DiscoveryResponse", "Resource",
    ],
    "envoy/service/extension/v3/config_discovery": ["ExtensionConfigDiscoveryService"],
    "envoy/service/ratelimit/v3/rls": [
        "RateLimitRequest", "RateLimitResponse", "RateLimitService",
    ],
    "envoy/type/v3/semantic_version": ["SemanticVersion"],
    "google/protobuf/any": ["Any"],
    "google/protobuf/duration": ["Duration"],
    "google/protobuf/struct": ["ListValue", "NullValue", "Struct", "Value"],
    "google/protobuf/wrappers": ["BytesValue"],
    "google/rpc/status": ["Status"],
    "xds/type/v3/typed_struct": ["TypedStruct"],
}
SCALARS = {
    getattr(FieldDescriptor, name): name[5:].lower()
    for name in dir(FieldDescriptor)
    if name.startswith("TYPE_")
}


def kind(field):
    return field.type_name or SCALARS[field.type]


def line(field, entries):
    entry = entries.get(field.type_name.rsplit(".", 1)[-1])
    if entry:
        return f"map<{kind(entry.field[0])}, {kind(entry.field[1])}> {field.name} = {field.number};"
    repeated = "repeated " if field.label == FieldDescriptor.LABEL_REPEATED else ""
    return f"{repeated}{kind(field)} {field.name} = {field.number};"


def message(m):
    yield f"message {m.name} {{"
    entries = {n.name: n for n in m.nested_type if n.options.map_entry}
    for nested in m.nested_type:
        if nested.name not in entries:
            yield from ("  " + text for text in message(nested))
    for nested in m.enum_type:
        yield from ("  " + text for text in enum(nested))
    for field in m.field:
        if not field.HasField("oneof_index"):
            yield "  " + line(field, entries)
    for n, oneof in enumerate(m.oneof_decl):
        yield f"  oneof {oneof.name} {{"
        for field in m.field:
            if field.HasField("oneof_index") and field.oneof_index == n:
                yield "    " + line(field, entries)
        yield "  }"
    yield "}"


def enum(e):
    yield f"enum {e.name} {{"
    yield from (f"  {v.name} = {v.number};" for v in e.value)
    yield "}"


def service(s):
    yield f"service {s.name} {{"
    for m in s.method:
        asked = "stream " * m.client_streaming + m.input_type
        answered = "stream " * m.server_streaming + m.output_type
        yield f"  rpc {m.name}({asked}) returns ({answered});"
    yield "}"


for path, names in USED.items():
    module = importlib.import_module(path.replace("/", ".") + "_pb2")
    file = descriptor_pb2.FileDescriptorProto()
    module.DESCRIPTOR.CopyToProto(file)
    licence = "BSD-3-Clause" if path.startswith("google/protobuf/") else "Apache-2.0"
    text = [f"// {file.name} in xds-protos 1.85.0, in part; {licence}. Written by make.py.",
            'syntax = "proto3";', f"package {file.package};"]
    for write, all_of in [
        (message, file.message_type), (enum, file.enum_type), (service, file.service),
    ]:
        for one in all_of:
            if one.name in names:
                names.remove(one.name)
                text += write(one)
    assert not names, f"{path} lacks {names}"
    to = Path(__file__).parent / f"{path}.proto"
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_text("\n".join(text) + "\n")
