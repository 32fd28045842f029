//! What happens to the fields of Kong's declarative configuration.

use crate::fields::{ObjectKind, becomes, lost, no_effect};

const ONLY_KEYS: &str = "only API keys are carried over";

pub const FILE: ObjectKind = ObjectKind {
    name: "the file",
    fields: &[
        becomes(&["consumers"], "clients"),
        becomes(
            &["keyauth_credentials"],
            "keys of the consumers that they name",
        ),
        becomes(&["acls"], "scopes of the consumer's keys"),
        becomes(&["consumer_groups"], "plans, for groups with limits"),
        becomes(&["consumer_group_consumers"], "the client's plan"),
        becomes(
            &["plugins", "consumer_group_plugins"],
            "limits of clients and plans; what belongs in the policy is listed",
        ),
        becomes(
            &["_plugin_configs"],
            "settings of the plugins that name them with `_config`",
        ),
        becomes(&["services", "routes"], "nothing; their plugins are listed"),
        becomes(
            &["_workspace", "_konnect"],
            "if there are several workspaces or control planes, a scope for each",
        ),
        lost(
            &[
                "basicauth_credentials",
                "hmacauth_credentials",
                "jwt_secrets",
                "oauth2_credentials",
                "oauth2_tokens",
                "oauth2_authorization_codes",
                "mtls_auth_credentials",
            ],
            ONLY_KEYS,
        ),
        lost(
            &["keyauth_enc_credentials"],
            "these keys are encrypted; issue new ones",
        ),
        lost(
            &["vaults"],
            "keys that refer to a vault are left out; import them with their values",
        ),
        lost(
            &[
                "rbac_roles",
                "rbac_role_endpoints",
                "rbac_endpoint_permissions",
                "rbac_users",
                "admins",
            ],
            "set up the administrators of Keystile with `keystilectl token`",
        ),
        lost(
            &["filter_chains", "custom_entities"],
            "configure these filters in Envoy",
        ),
        lost(
            &["consumer_group_overrides"],
            "write these limits into plans by hand",
        ),
        no_effect(&[
            "_format_version",
            "_transform",
            "_info",
            "_comment",
            "_ignore",
            "x-*",
            "upstreams",
            "targets",
            "certificates",
            "ca_certificates",
            "snis",
            "keys",
            "key_sets",
            "licenses",
            "workspaces",
            "parameters",
            "partials",
            "service_packages",
            "document_objects",
            "tags",
            "clustering_data_planes",
        ]),
    ],
};

pub const CONSUMER: ObjectKind = ObjectKind {
    name: "consumer",
    fields: &[
        becomes(&["username"], "the client's name"),
        becomes(
            &["custom_id"],
            "the client's name if it has no other; otherwise part of its description",
        ),
        becomes(&["ws_id"], "if there are several, a scope for each"),
        becomes(&["type"], "administrators are left out"),
        becomes(&["id"], "nothing; other lists refer to the consumer by it"),
        becomes(&["keyauth_credentials"], "keys"),
        becomes(&["acls"], "scopes of its keys"),
        becomes(&["groups"], "the client's plan, for groups with limits"),
        becomes(&["plugins"], "limits of its keys; others are listed"),
        lost(
            &[
                "basicauth_credentials",
                "hmacauth_credentials",
                "jwt_secrets",
                "oauth2_credentials",
                "mtls_auth_credentials",
            ],
            ONLY_KEYS,
        ),
        lost(
            &["keyauth_enc_credentials"],
            "these keys are encrypted; issue new ones",
        ),
        no_effect(&["tags", "created_at", "updated_at", "_comment"]),
    ],
};

pub const CREDENTIAL: ObjectKind = ObjectKind {
    name: "key-auth credential",
    fields: &[
        becomes(&["key"], "the key"),
        becomes(
            &["ttl"],
            "`expires`: seconds after `created_at`, or a point in time, as `db_export` writes it",
        ),
        becomes(&["created_at"], "with `ttl`, `expires`"),
        becomes(&["consumer"], "the client"),
        no_effect(&["id", "tags", "updated_at", "ws_id", "cache_key", "_comment"]),
    ],
};

pub const ACL: ObjectKind = ObjectKind {
    name: "ACL group of a consumer",
    fields: &[
        becomes(&["group"], "a scope of the client's keys"),
        becomes(&["consumer"], "the client"),
        no_effect(&[
            "id",
            "tags",
            "created_at",
            "updated_at",
            "ws_id",
            "cache_key",
        ]),
    ],
};

pub const GROUP: ObjectKind = ObjectKind {
    name: "consumer group",
    fields: &[
        becomes(&["name", "id"], "the plan's name"),
        becomes(&["plugins"], "the plan's limits; others are listed"),
        becomes(&["consumers"], "clients on the plan"),
        no_effect(&["tags", "created_at", "updated_at", "ws_id", "_comment"]),
    ],
};

pub const MEMBERSHIP: ObjectKind = ObjectKind {
    name: "membership in a consumer group",
    fields: &[
        becomes(&["consumer", "consumer_group"], "the client's plan"),
        no_effect(&[
            "id",
            "created_at",
            "updated_at",
            "ws_id",
            "cache_key",
            "tags",
        ]),
    ],
};

pub const REFERENCE: ObjectKind = ObjectKind {
    name: "reference",
    fields: &[
        becomes(&["id", "username", "name"], "what it names"),
        lost(
            &["custom_id"],
            "a consumer is named by its `id` or `username`",
        ),
        no_effect(&["tags", "created_at", "updated_at", "type", "ws_id"]),
    ],
};

pub const PLUGIN: ObjectKind = ObjectKind {
    name: "plugin",
    fields: &[
        becomes(
            &["name"],
            "limits, for `rate-limiting` and `rate-limiting-advanced`",
        ),
        becomes(&["enabled"], "a disabled plugin does nothing"),
        becomes(&["consumer", "consumer_group"], "whose limits these are"),
        becomes(
            &["service", "route"],
            "listed: limits of a single service or route",
        ),
        becomes(&["config", "_config"], "see the settings of each"),
        lost(
            &["condition"],
            "applies only to some requests; here it applies to all",
        ),
        no_effect(&[
            "id",
            "instance_name",
            "tags",
            "created_at",
            "updated_at",
            "protocols",
            "ordering",
            "partials",
            "run_on",
            "ws_id",
            "cache_key",
            "_comment",
        ]),
    ],
};

pub const KEY_AUTH: ObjectKind = ObjectKind {
    name: "settings of `key-auth`",
    fields: &[
        becomes(&["key_names"], "listed: `credentials` of the policy"),
        becomes(&["anonymous"], "listed: who is let in without a key"),
        becomes(
            &["key_in_header", "key_in_query"],
            "listed: `credentials` of the policy",
        ),
        lost(
            &["key_in_body"],
            "keys in a body are not read; send them in a header",
        ),
        lost(
            &["identity_realms"],
            "look up whether consumers of this export are among those",
        ),
        no_effect(&["hide_credentials", "run_on_preflight", "realm"]),
    ],
};

pub const ACL_PLUGIN: ObjectKind = ObjectKind {
    name: "settings of `acl`",
    fields: &[
        becomes(
            &["allow", "whitelist"],
            "listed: `any_scope` of the routes in the policy",
        ),
        becomes(
            &["deny", "blacklist"],
            "listed; clients in a denied group are left out",
        ),
        becomes(
            &["include_consumer_groups"],
            "consumer groups become scopes of their clients' keys",
        ),
        no_effect(&["hide_groups_header", "always_use_authenticated_groups"]),
    ],
};

pub const SERVICE: ObjectKind = ObjectKind {
    name: "service or route",
    fields: &[
        becomes(&["name", "id"], "nothing; messages name it"),
        becomes(&["plugins"], "listed, for the routes of the policy"),
        becomes(&["routes"], "nothing; their plugins are listed"),
        lost(&["filter_chains"], "configure these filters in Envoy"),
        becomes(&["enabled"], "listed, if it is switched off"),
        no_effect(&[
            "host",
            "port",
            "path",
            "protocol",
            "url",
            "retries",
            "connect_timeout",
            "read_timeout",
            "write_timeout",
            "client_certificate",
            "tls_*",
            "ca_certificates",
            "tags",
            "created_at",
            "updated_at",
            "ws_id",
            "_comment",
            "service",
            "paths",
            "methods",
            "hosts",
            "headers",
            "protocols",
            "snis",
            "sources",
            "destinations",
            "strip_path",
            "preserve_host",
            "regex_priority",
            "path_handling",
            "https_redirect_status_code",
            "request_buffering",
            "response_buffering",
            "expression",
            "priority",
        ]),
    ],
};

/// Plugins that shut out or let in by something that a key does not have here.
pub const SHUTS: [&str; 7] = [
    "pre-function",
    "post-function",
    "request-termination",
    "ip-restriction",
    "acl",
    "bot-detection",
    "opa",
];

/// Plugins that refuse nobody whom a key lets in, or that importers read.
pub const HARMLESS: [&str; 58] = [
    "acme",
    "ai-prompt-compressor",
    "ai-prompt-decorator",
    "ai-prompt-template",
    "ai-proxy",
    "ai-proxy-advanced",
    "ai-rag-injector",
    "ai-rate-limiting-advanced",
    "ai-request-transformer",
    "ai-response-transformer",
    "ai-semantic-cache",
    "aws-lambda",
    "azure-functions",
    "canary",
    "confluent",
    "confluent-consume",
    "correlation-id",
    "cors",
    "datadog",
    "degraphql",
    "exit-transformer",
    "file-log",
    "forward-proxy",
    "graphql-proxy-cache-advanced",
    "graphql-rate-limiting-advanced",
    "grpc-gateway",
    "grpc-web",
    "http-log",
    "jq",
    "kafka-consume",
    "kafka-log",
    "kafka-upstream",
    "loggly",
    "mocking",
    "opentelemetry",
    "prometheus",
    "proxy-cache",
    "proxy-cache-advanced",
    "rate-limiting",
    "rate-limiting-advanced",
    "redirect",
    "request-callout",
    "request-size-limiting",
    "request-transformer",
    "request-transformer-advanced",
    "response-ratelimiting",
    "response-transformer",
    "response-transformer-advanced",
    "route-by-header",
    "route-transformer-advanced",
    "service-protection",
    "session",
    "solace-upstream",
    "statsd",
    "statsd-advanced",
    "syslog",
    "tcp-log",
    "zipkin",
];
