//! What happens to the fields of Higress's exports.

use crate::fields::{ObjectKind, becomes, lost, no_effect};

pub const RESOURCE: ObjectKind = ObjectKind {
    name: "WasmPlugin",
    fields: &[
        becomes(&["kind", "metadata"], "which plugin it is"),
        becomes(&["spec"], "see below"),
        becomes(&["items"], "plugins of a list"),
        no_effect(&["apiVersion", "status"]),
    ],
};

pub const SPEC: ObjectKind = ObjectKind {
    name: "`spec` of a WasmPlugin",
    fields: &[
        becomes(&["defaultConfig", "pluginConfig"], "clients and keys"),
        becomes(&["defaultConfigDisable"], "disabled consumers are left out"),
        becomes(&["matchRules"], "scopes of the clients in their `allow`"),
        becomes(
            &["selector", "match", "targetRef", "targetRefs"],
            "listed; if there are several plugins, a scope for the keys of each",
        ),
        no_effect(&[
            "url",
            "phase",
            "priority",
            "failStrategy",
            "imagePullPolicy",
            "imagePullSecret",
            "sha256",
            "verificationKey",
            "vmConfig",
            "pluginName",
            "type",
        ]),
    ],
};

pub const CONFIG: ObjectKind = ObjectKind {
    name: "configuration of `key-auth`",
    fields: &[
        becomes(&["consumers"], "clients and keys"),
        becomes(
            &["keys", "in_header", "in_query"],
            "listed: `credentials` of the policy",
        ),
        becomes(&["allow"], "a scope of the clients that it names"),
        becomes(&["deny"], "clients that it names are left out"),
        becomes(&["_rules_"], "scopes of the clients in their `allow`"),
        becomes(&["global_auth"], "listed: routes that require no key"),
        no_effect(&["realm"]),
    ],
};

pub const CONSUMER: ObjectKind = ObjectKind {
    name: "consumer",
    fields: &[
        becomes(&["name"], "the client's name"),
        becomes(&["credential", "credentials"], "keys"),
        lost(
            &["keys", "in_header", "in_query"],
            "list where this consumer's key is sent in `credentials` of the policy",
        ),
        no_effect(&["version"]),
    ],
};

pub const CREDENTIAL: ObjectKind = ObjectKind {
    name: "credential of the console",
    fields: &[
        becomes(&["type"], "only `key-auth` is carried over"),
        becomes(&["values", "value"], "keys"),
        becomes(&["source", "key"], "listed: `credentials` of the policy"),
    ],
};

pub const RULE: ObjectKind = ObjectKind {
    name: "rule",
    fields: &[
        becomes(&["config", "allow"], "a scope of the clients that it names"),
        becomes(&["deny"], "clients that it names are left out"),
        becomes(&["configDisable"], "a disabled rule does nothing"),
        becomes(
            &[
                "domain",
                "ingress",
                "service",
                "_match_route_",
                "_match_domain_",
                "_match_service_",
            ],
            "the scope's name; listed: routes of the policy",
        ),
        lost(
            &["_match_route_prefix_"],
            "write these routes into the policy",
        ),
    ],
};

pub const ANSWER: ObjectKind = ObjectKind {
    name: "list of the console",
    fields: &[
        becomes(&["data"], "consumers"),
        no_effect(&["success", "total", "pageNum", "pageSize"]),
    ],
};
