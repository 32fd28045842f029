//! What happens to the fields of Kubernetes resources that `apiKeyAuth` needs.

use crate::fields::{ObjectKind, becomes, lost, no_effect};

pub const RESOURCE: ObjectKind = ObjectKind {
    name: "resource",
    fields: &[
        becomes(
            &["kind", "metadata"],
            "which SecurityPolicies and Secrets there are",
        ),
        becomes(&["spec"], "of a SecurityPolicy: see below"),
        becomes(
            &["data", "stringData"],
            "of a Secret: clients and their keys",
        ),
        becomes(&["items"], "resources of a list"),
        becomes(
            &["status"],
            "clients of a policy that is not accepted are left out",
        ),
        no_effect(&["apiVersion", "type", "immutable"]),
    ],
};

pub const METADATA: ObjectKind = ObjectKind {
    name: "metadata",
    fields: &[
        becomes(&["name", "namespace"], "which Secret a policy names"),
        becomes(
            &["deletionTimestamp"],
            "keys of objects that are being deleted are left out",
        ),
        no_effect(&[
            "annotations",
            "labels",
            "uid",
            "resourceVersion",
            "creationTimestamp",
            "generation",
            "generateName",
            "managedFields",
            "ownerReferences",
            "finalizers",
            "selfLink",
            "continue",
            "remainingItemCount",
            "deletionGracePeriodSeconds",
        ]),
    ],
};

const ONLY_KEYS: &str = "only `apiKeyAuth` is carried over";

pub const SPEC: ObjectKind = ObjectKind {
    name: "SecurityPolicy",
    fields: &[
        becomes(&["apiKeyAuth"], "clients and keys"),
        becomes(
            &["targetRef", "targetRefs", "targetSelectors"],
            "listed; if there are several policies, a scope for the keys of each",
        ),
        becomes(
            &["authorization", "basicAuth", "extAuth", "jwt", "oidc"],
            "clients of a policy that also requires these are left out",
        ),
        lost(&["cors"], ONLY_KEYS),
        becomes(
            &["mergeType"],
            "what the policies that it is merged with also require counts",
        ),
    ],
};

pub const AUTH: ObjectKind = ObjectKind {
    name: "`apiKeyAuth`",
    fields: &[
        becomes(
            &["credentialRefs"],
            "the Secrets; the first that names a client is used",
        ),
        becomes(&["extractFrom"], "listed: `credentials` of the policy"),
        becomes(
            &["forwardClientIDHeader"],
            "listed: `identity.client` of the policy",
        ),
        lost(
            &["sanitize"],
            "the policy decides whether keys reach the upstream",
        ),
    ],
};

pub const REFERENCE: ObjectKind = ObjectKind {
    name: "reference to a Secret",
    fields: &[
        becomes(&["name", "namespace"], "the Secret"),
        no_effect(&["group", "kind"]),
    ],
};

pub const PLACES: ObjectKind = ObjectKind {
    name: "`extractFrom`",
    fields: &[becomes(
        &["headers", "params", "cookies"],
        "listed: `credentials` of the policy",
    )],
};

pub const TARGET: ObjectKind = ObjectKind {
    name: "target of a policy",
    fields: &[
        becomes(
            &["kind", "name", "sectionName"],
            "listed: routes of the policy",
        ),
        becomes(
            &["matchLabels", "matchExpressions"],
            "listed: routes of the policy",
        ),
        no_effect(&["group", "namespace"]),
    ],
};
