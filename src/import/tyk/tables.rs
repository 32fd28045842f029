//! What happens to the fields of Tyk's exports.

use crate::fields::{FieldFate, ObjectKind, becomes, lost, no_effect};

/// Sessions of other kinds: their ids are names of users or certificates, or a signature or a
/// certificate is asked for besides.
const OTHERS: FieldFate = becomes(
    &[
        "basic_auth_data",
        "jwt_data",
        "hmac_enabled",
        "enable_http_signature_validation",
        "rsa_enabled",
        "certificate",
        "mtls_static_certificate_bindings",
    ],
    "a session that has any of these is left out: an API key alone does not authenticate it",
);

pub const ITEM: ObjectKind = ObjectKind {
    name: "key",
    fields: &[
        becomes(&["key_id", "key", "token"], "the key"),
        becomes(&["key_hash", "hash"], "the key's digest, if it is SHA-256"),
        becomes(&["data", "session"], "the session: see below"),
        becomes(
            &["status"],
            "a key with another status than `ok` is left out",
        ),
        becomes(&["action"], "the answer to a deletion is left out"),
        no_effect(&["api_model", "created_at", "_id"]),
    ],
};

pub const SESSION: ObjectKind = ObjectKind {
    name: "session",
    fields: &[
        becomes(&["alias", "oauth_client_id"], "the client's name"),
        becomes(
            &["key_id", "key", "token", "key_hash", "hash"],
            "the key, or its digest",
        ),
        becomes(&["rate", "per"], "a token bucket"),
        becomes(&["expires"], "`expires`"),
        becomes(&["is_inactive"], "`disabled`"),
        becomes(
            &["access_rights"],
            "scopes: the ids of the APIs; a key with narrower rights is left out",
        ),
        becomes(
            &["apply_policies", "apply_policy_id"],
            "limits and state of the policies in the export; their rights replace the session's",
        ),
        becomes(
            &["org_id"],
            "a key with a policy of another organisation is left out",
        ),
        becomes(
            &["quota_max"],
            "listed: no quota starts with a key's first use",
        ),
        becomes(
            &["quota_remaining", "quota_renewal_rate"],
            "a quota that is used up and does not renew: `disabled`",
        ),
        becomes(
            &["session_lifetime", "id_extractor_deadline"],
            "a key whose session ends by itself, or was made by a plugin, is left out",
        ),
        OTHERS,
        becomes(
            &["meta_data"],
            "listed: labels; a key with `policies` in it is left out",
        ),
        lost(
            &["smoothing", "max_query_depth", "monitor"],
            "has no equivalent here",
        ),
        no_effect(&[
            "last_check",
            "allowance",
            "quota_renews",
            "oauth_keys",
            "hmac_string",
            "hmac_secret",
            "rsa_certificate_id",
            "data_expires",
            "enable_detail_recording",
            "enable_detailed_recording",
            "tags",
            "last_updated",
            "date_created",
            "throttle_interval",
            "throttle_retry_limit",
            "created_at",
            "_id",
        ]),
    ],
};

pub const RIGHT: ObjectKind = ObjectKind {
    name: "access right",
    fields: &[
        becomes(&["api_id"], "a scope of the key"),
        becomes(
            &["allowed_urls"],
            "a key that is restricted to paths is left out",
        ),
        becomes(&["disabled"], "a disabled right is ignored"),
        becomes(
            &["versions"],
            "a scope for each (`API/VERSION`), unless all are `Default`",
        ),
        becomes(
            &[
                "restricted_types",
                "allowed_types",
                "field_access_rights",
                "disable_introspection",
            ],
            "a key that is restricted to fields is left out",
        ),
        lost(
            &["limit", "endpoints", "json_rpc_methods"],
            "write it as `limit` of these routes in the policy",
        ),
        no_effect(&["api_name", "allowance_scope"]),
    ],
};

pub const POLICY: ObjectKind = ObjectKind {
    name: "policy",
    fields: &[
        becomes(&["id", "_id"], "nothing; sessions name it"),
        becomes(&["rate", "per", "quota_max"], "as for a session"),
        becomes(&["access_rights"], "as for a session"),
        becomes(&["partitions"], "which of these are in force: see below"),
        becomes(
            &["graphql_access_rights"],
            "keys that it restricts within an API are left out",
        ),
        becomes(&["org_id"], "keys of another organisation are left out"),
        becomes(
            &["key_expires_in"],
            "keys with no end of their own are left out",
        ),
        OTHERS,
        becomes(
            &["active", "is_inactive", "state"],
            "keys of an inactive policy are disabled",
        ),
        lost(&["meta_data"], "set labels with `keystilectl key update`"),
        lost(&["smoothing", "max_query_depth"], "has no equivalent here"),
        no_effect(&[
            "name",
            "quota_renewal_rate",
            "throttle_interval",
            "throttle_retry_limit",
            "tags",
            "last_updated",
            "date_created",
        ]),
    ],
};

pub const PARTS: ObjectKind = ObjectKind {
    name: "`partitions` of a policy",
    fields: &[
        becomes(
            &["acl", "rate_limit", "quota"],
            "if any is set, only the rights, the limit or the quota that is set are in force",
        ),
        becomes(
            &["per_api"],
            "a key with policies of this and of the other kind is left out",
        ),
        becomes(
            &["complexity"],
            "as the others; depths of queries are listed",
        ),
    ],
};

pub const FILE: ObjectKind = ObjectKind {
    name: "the file",
    fields: &[
        becomes(&["keys", "data"], "keys"),
        becomes(
            &["policies"],
            "limits and scopes of the keys that name them",
        ),
        lost(&["apis"], "write what routes require into the policy"),
        no_effect(&["pages", "status", "message"]),
    ],
};
