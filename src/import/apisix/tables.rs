//! What happens to the fields of APISIX's files and answers.

use crate::fields::{FieldFate, ObjectKind, becomes, lost, no_effect};

/// APISIX 2 keeps objects in etcd with an end.
const EXPIRES: FieldFate = becomes(
    &["expiration", "ttl"],
    "`expires` of its keys; with a `ttl` alone they are left out",
);

pub const FILE: ObjectKind = ObjectKind {
    name: "the file",
    fields: &[
        becomes(&["consumers"], "clients"),
        becomes(&["credentials"], "keys of the consumers in their ids"),
        becomes(&["consumer_groups"], "plans, for groups with limits"),
        becomes(&["list"], "what the Admin API of APISIX 3 lists"),
        becomes(&["node"], "what the Admin API of APISIX 2 lists"),
        becomes(&["key", "value"], "one object, as the Admin API answers it"),
        EXPIRES,
        becomes(
            &["action"],
            "what an answer says was deleted or has expired is left out",
        ),
        lost(&["has_more"], "the list has more pages: export them too"),
        becomes(
            &[
                "routes",
                "services",
                "global_rules",
                "plugin_configs",
                "stream_routes",
            ],
            "listed; consumers that a `consumer-restriction` in them denies are left out",
        ),
        lost(
            &["secrets"],
            "keys that refer to a secret are left out; import them with their values",
        ),
        no_effect(&[
            "upstreams",
            "ssls",
            "ssl",
            "protos",
            "plugins",
            "plugin_metadata",
            "total",
            "count",
            "createdIndex",
            "modifiedIndex",
            "$schema",
            "_format_version",
        ]),
    ],
};

pub const LISTED: ObjectKind = ObjectKind {
    name: "listed object",
    fields: &[
        becomes(&["key"], "the kind of object, and its owner"),
        becomes(&["value"], "the object"),
        EXPIRES,
        no_effect(&["createdIndex", "modifiedIndex"]),
    ],
};

pub const NODE: ObjectKind = ObjectKind {
    name: "list of APISIX 2",
    fields: &[
        becomes(&["nodes"], "the objects"),
        becomes(&["key", "value"], "one object"),
        EXPIRES,
        no_effect(&["dir", "createdIndex", "modifiedIndex"]),
    ],
};

pub const OBJECT: ObjectKind = ObjectKind {
    name: "consumer, credential or consumer group",
    fields: &[
        becomes(
            &["username", "name", "id"],
            "the client's, key's or plan's name",
        ),
        becomes(&["desc", "description"], "the client's description"),
        becomes(&["group_id"], "the client's plan, for groups with limits"),
        becomes(
            &["plugins"],
            "`key-auth`: a key; limits: see below; others are listed",
        ),
        becomes(&["credentials"], "keys, in ADC's files"),
        becomes(
            &["consumers"],
            "clients on the plan of the group, in ADC's files",
        ),
        becomes(&["type", "config"], "a key, in ADC's files"),
        becomes(&["status"], "disabled objects (0) are left out"),
        becomes(
            &["labels"],
            "nothing; those that read as if they switched it off are listed",
        ),
        no_effect(&["create_time", "update_time"]),
    ],
};

pub const KEY_AUTH: ObjectKind = ObjectKind {
    name: "settings of `key-auth`",
    fields: &[
        becomes(&["key"], "the key"),
        becomes(
            &["_meta", "disable"],
            "if the plugin is disabled, so is the key",
        ),
        no_effect(&["header", "query", "hide_credentials", "realm"]),
    ],
};

pub const IP_RESTRICTION: ObjectKind = ObjectKind {
    name: "settings of `ip-restriction`",
    fields: &[
        becomes(&["whitelist"], "the key's `cidrs`"),
        becomes(&["blacklist"], "the key's `deny_cidrs`"),
        becomes(&["_meta", "disable"], "a disabled plugin restricts nothing"),
        no_effect(&["message", "response_code"]),
    ],
};

/// Plugins that shut out or let in by something that a key does not have here.
pub const SHUTS: [&str; 22] = [
    "authz-casbin",
    "authz-casdoor",
    "authz-keycloak",
    "cas-auth",
    "chaitin-waf",
    "csrf",
    "openid-connect",
    "request-validation",
    "workflow",
    "ext-plugin-pre-req",
    "ext-plugin-post-req",
    "serverless-pre-function",
    "serverless-post-function",
    "consumer-restriction",
    "acl",
    "ip-restriction",
    "referer-restriction",
    "ua-restriction",
    "uri-blocker",
    "fault-injection",
    "forward-auth",
    "opa",
];

pub const RESTRICTION: ObjectKind = ObjectKind {
    name: "settings of `consumer-restriction`",
    fields: &[
        becomes(
            &["blacklist", "type"],
            "consumers and groups in it are left out",
        ),
        becomes(
            &["whitelist", "allowed_by_methods"],
            "listed: `any_scope` of the routes in the policy",
        ),
        becomes(&["_meta", "disable"], "a disabled plugin restricts nothing"),
        no_effect(&["rejected_code", "rejected_msg"]),
    ],
};

/// Plugins that refuse nobody whom a key lets in, and other kinds of credentials.
pub const HARMLESS: [&str; 45] = [
    "ai-prompt-decorator",
    "ai-prompt-template",
    "ai-proxy",
    "ai-proxy-multi",
    "ai-rag",
    "ai-rate-limiting",
    "api-breaker",
    "attach-consumer-label",
    "basic-auth",
    "body-transformer",
    "brotli",
    "clickhouse-logger",
    "client-control",
    "cors",
    "datadog",
    "degraphql",
    "echo",
    "elasticsearch-logger",
    "file-logger",
    "gzip",
    "hmac-auth",
    "http-logger",
    "jwe-decrypt",
    "jwt-auth",
    "kafka-logger",
    "ldap-auth",
    "limit-conn",
    "loki-logger",
    "mocking",
    "opentelemetry",
    "prometheus",
    "proxy-cache",
    "proxy-control",
    "proxy-mirror",
    "proxy-rewrite",
    "real-ip",
    "redirect",
    "request-id",
    "response-rewrite",
    "skywalking",
    "syslog",
    "tcp-logger",
    "traffic-split",
    "wolf-rbac",
    "zipkin",
];
