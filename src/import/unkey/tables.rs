//! What happens to the fields of Unkey's answers and rows.

use crate::fields::{ObjectKind, becomes, lost, no_effect};

pub const FILE: ObjectKind = ObjectKind {
    name: "answer",
    fields: &[
        becomes(&["data", "keys"], "keys"),
        no_effect(&["meta", "total", "cursor", "pagination", "hasMore"]),
    ],
};

pub const KEY: ObjectKind = ObjectKind {
    name: "key",
    fields: &[
        becomes(&["keyId", "id"], "nothing; messages name it"),
        becomes(&["name"], "the key's name"),
        becomes(&["identity", "externalId", "ownerId"], "the client"),
        becomes(
            &["hash"],
            "the key's digest: SHA-256 in base64 or hexadecimal",
        ),
        becomes(&["plaintext", "key"], "the key"),
        becomes(&["expires"], "`expires`"),
        becomes(&["enabled"], "`disabled`"),
        becomes(&["deletedAt", "deletedAtM"], "a deleted key is left out"),
        becomes(&["forWorkspaceId"], "a root key of Unkey is left out"),
        becomes(&["permissions"], "scopes"),
        becomes(&["roles"], "listed: only permissions become scopes"),
        becomes(&["ratelimits", "ratelimit"], "limits of the key"),
        becomes(
            &["ratelimitLimit", "ratelimitDuration"],
            "limits of the key, in rows of the database",
        ),
        becomes(
            &["remaining", "remainingRequests", "credits"],
            "listed; a key with none left is disabled",
        ),
        becomes(
            &["apiId", "keyAuthId", "keySpaceId"],
            "if there are several APIs, a scope for each",
        ),
        lost(&["meta"], "set labels with `keystilectl key update`"),
        lost(
            &["refill", "refillAmount", "refillDay"],
            "usage counts are not carried over; write a quota into a plan",
        ),
        lost(
            &["environment"],
            "import the keys of each environment on their own, with `--environment`",
        ),
        lost(
            &["identityId"],
            "limits of its identity are kept elsewhere; write them into a plan",
        ),
        becomes(
            &["ipWhitelist"],
            "`cidrs`; a key with unreadable ranges is left out",
        ),
        no_effect(&[
            "start",
            "prefix",
            "workspaceId",
            "createdAt",
            "createdAtM",
            "updatedAt",
            "updatedAtM",
            "lastUsedAt",
            "lastRefillAt",
            "lastUsed",
            "ratelimitAsync",
            "pendingMigrationId",
            "pk",
        ]),
    ],
};

pub const IDENTITY: ObjectKind = ObjectKind {
    name: "identity",
    fields: &[
        becomes(&["externalId"], "the client"),
        becomes(&["ratelimits"], "limits of the client"),
        becomes(
            &["credits"],
            "listed; keys of one with none left are disabled",
        ),
        lost(&["meta"], "set labels with `keystilectl key update`"),
        no_effect(&["id", "environment", "workspaceId", "createdAt", "updatedAt"]),
    ],
};

pub const HASH: ObjectKind = ObjectKind {
    name: "hash",
    fields: &[becomes(&["value", "variant"], "the key's digest")],
};

pub const RATE_LIMIT: ObjectKind = ObjectKind {
    name: "rate limit",
    fields: &[
        becomes(&["limit", "duration"], "a token bucket"),
        becomes(
            &["refillRate", "refillInterval"],
            "a token bucket with `limit` as its burst",
        ),
        becomes(&["autoApply"], "listed, unless it applies to every request"),
        no_effect(&["id", "name", "async", "type", "createdAt", "updatedAt"]),
    ],
};

pub const CREDITS: ObjectKind = ObjectKind {
    name: "credits",
    fields: &[
        becomes(&["remaining"], "listed; a key with none left is disabled"),
        lost(&["refill"], "write a quota into a plan"),
    ],
};
