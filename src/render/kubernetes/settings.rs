//! The settings of the control plane in a cluster: one table, from which come the values of the Helm
//! chart, their descriptions and their schema, and what `--values` accepts.

use serde_json::{Map, Value, json};

use super::kind::{Misfit, SettingKind, misfit};
use crate::chosen::NAMESPACE;
use keystile_model::error::{Code, Result, refuse};

/// One of them.
pub struct PlaneSetting {
    /// Its name, with a dot after the name of its group.
    pub path: &'static str,
    /// What it can be.
    pub kind: SettingKind,
    /// Its default, as JSON.
    pub default: &'static str,
    /// What it means, a sentence or two.
    pub about: &'static str,
}

macro_rules! settings {
    ($($path:literal $kind:ident $default:literal $about:literal;)*) => {
        /// All of them, in the order in which they are printed.
        pub const SETTINGS: &[PlaneSetting] = &[$(PlaneSetting {
            path: $path,
            kind: SettingKind::$kind,
            default: $default,
            about: $about,
        },)*];
    };
}

settings! {
    "image" Name r#""""# "The image with keystilectl. Pin it by digest: `registry.example/keystilectl@sha256:…`.";
    "imagePullSecrets" References "[]" "Secrets for the registry of the image, as in a pod: `[{name: registry}]`.";
    "replicas" Count "1" "How many servers. More than one needs `store.secret`, because only one process may write a store in a file.";
    "store.secret" Text r#""""# "The Secret whose entry `address` is the address of a store in PostgreSQL, `postgres://…`. Empty for a store in a file, on the volume of the only server.";
    "store.port" Port "5432" "The port of PostgreSQL, which the network policy opens with `store.secret`.";
    "store.size" Name r#""10Gi""# "Size of each server's volume. With `store.secret`, it holds only what belongs to that server: 1Gi is enough.";
    "store.storageClass" Text r#""""# "The class of volumes, also of those for backups. Empty for the cluster's default.";
    "masterKey.secret" Name r#""keystile-master-key""# "The Secret with the master key that encrypts the store. It has to be there before the server starts; keep a copy elsewhere.";
    "masterKey.key" Name r#""master-key""# "The entry of that Secret.";
    "tls.secret" Name r#""keystile-tls""# "The Secret with `tls.crt` and `tls.key`, such as cert-manager writes. All of its entries are files in /tls, among them the authorities of a database, if you add them.";
    "service.apiPort" Port "8443" "The Service's port for the API and the console.";
    "service.discoveryPort" Port "18000" "The Service's port for discovery, where Envoys get their keysets.";
    "publicUrl" Text r#""""# "How browsers reach the console, such as `https://keystile.example.com`. Needed for sign-in with an identity provider.";
    "oidc.issuer" Text r#""""# "The identity provider that signs people in to the console. Empty for tokens and invitations only.";
    "oidc.clientId" Text r#""""# "The id under which the provider knows the console.";
    "oidc.secret" Text r#""""# "The Secret whose entry `client-secret` is the provider's secret for the console. Empty for a public client.";
    "oidc.roles" Texts "[]" "Who gets which role: `[\"groups:platform=owner\"]`. Nobody else can sign in through the provider.";
    "wasm" Name r#""/etc/keystile/filter/plugin.wasm""# "The path of the filter in the containers of the proxies.";
    "extraArgs" Texts "[]" "More options of `keystilectl serve`, such as `[\"--audit-keep=2y\"]`.";
    "extraEnv" Variables "[]" "More variables of every container, as in a pod: `[{name: HTTPS_PROXY, value: \"http://proxy:3128\"}]`.";
    "resources" Amounts r#"{"limits":{"memory":"1Gi"},"requests":{"cpu":"100m","memory":"128Mi"}}"# "What each container asks for and may use.";
    "nodeSelector" Labels "{}" "Labels of the nodes that may run the pods.";
    "tolerations" Tolerations "[]" "Taints of nodes that the pods tolerate, as in a pod.";
    "networkPolicy.from" Texts "[]" "Namespaces whose pods may connect. Any if empty.";
    "backup.schedule" Name r#""17 3 * * *""# "When a store in a file is backed up, as a cron schedule. A store in PostgreSQL is backed up by the database's own means.";
    "backup.size" Name r#""10Gi""# "Size of the volume for backups.";
}

/// What a user has chosen; for the rest, the defaults.
pub struct PlaneSettings {
    namespace: Value,
    values: Value,
}

impl PlaneSettings {
    /// The defaults. The image has none.
    pub fn new(namespace: &str) -> Self {
        let mut settings = Self {
            namespace: Value::from(namespace),
            values: json!({}),
        };
        for setting in SETTINGS {
            settings.set(setting.path, default_of(setting));
        }
        settings
    }

    /// Sets one.
    pub fn set(&mut self, path: &str, value: Value) {
        let (group, name) = path.split_once('.').unwrap_or(("", path));
        let mut place = self.values.as_object_mut();
        if !group.is_empty() {
            place = place
                .map(|all| all.entry(group).or_insert_with(|| json!({})))
                .and_then(Value::as_object_mut);
        }
        if let Some(place) = place {
            place.insert(name.to_owned(), value);
        }
    }

    /// Sets those of a file of values, as Helm does: maps are merged, anything else is replaced.
    pub fn merge(&mut self, given: Value) -> Result<()> {
        let mut given = given;
        if given.is_null() {
            return Ok(());
        }
        if let Some(misfit) = misfit(&values_schema(false), &given, "") {
            return Err(refused(&misfit));
        }
        // What Helm shares between charts.
        if let Some(members) = given.as_object_mut() {
            members.remove("global");
        }
        merge_into(&mut self.values, given);
        Ok(())
    }

    /// Checks them together, once all are set.
    pub fn check(&self) -> Result<()> {
        if let Some(misfit) = misfit(&values_schema(true), &self.values, "") {
            return Err(refused(&misfit));
        }
        let number = |path| self.at(path).as_u64().unwrap_or(0);
        let is_given = |path| self.at(path).as_str().is_some_and(|text| !text.is_empty());
        if number("replicas") > 1 && !is_given("store.secret") {
            return Err(refuse(
                Code::FieldsConflict,
                TOO_MANY_REPLICAS.0,
                TOO_MANY_REPLICAS.1,
            )
            .field("replicas"));
        }
        if is_given("oidc.issuer") && !(is_given("publicUrl") && is_given("oidc.clientId")) {
            return Err(
                refuse(Code::FieldMissing, NO_WAY_BACK.0, NO_WAY_BACK.1).field("oidc.issuer")
            );
        }
        Ok(())
    }

    /// The value at a path; null if there is no such setting.
    pub fn at(&self, path: &str) -> &Value {
        if path == NAMESPACE {
            return &self.namespace;
        }
        path.split('.').fold(&self.values, |place, name| {
            place.get(name).unwrap_or(&Value::Null)
        })
    }
}

/// Why more than one server needs a database, and what to do.
pub const TOO_MANY_REPLICAS: (&str, &str) = (
    "only one process may write a store in a file",
    "set `store.secret` for a store in PostgreSQL, or leave one replica",
);

/// What signing in with an identity provider needs.
pub const NO_WAY_BACK: (&str, &str) = (
    "an identity provider needs to know the console and the way back to it",
    "set `publicUrl` and `oidc.clientId` as well",
);

fn refused(misfit: &Misfit) -> keystile_model::error::Error {
    refuse(
        Code::InvalidValue,
        &misfit.wanted,
        "see values.yaml of the chart that `render helm` writes",
    )
    .field(&misfit.place)
}

fn default_of(setting: &PlaneSetting) -> Value {
    serde_json::from_str(setting.default).unwrap_or_default()
}

/// The schema of all values. A file of values need not have all of them.
pub fn values_schema(is_whole: bool) -> Value {
    let mut properties = Map::new();
    for setting in SETTINGS {
        let mut schema = setting.kind.schema();
        if let Some(words) = schema.as_object_mut() {
            words.insert("description".to_owned(), Value::from(setting.about));
        }
        let Some((group, name)) = setting.path.split_once('.') else {
            properties.insert(setting.path.to_owned(), schema);
            continue;
        };
        let place = properties.entry(group).or_insert_with(
            || json!({"type": "object", "additionalProperties": false, "properties": {}}),
        );
        if let Some(own) = place
            .pointer_mut("/properties")
            .and_then(Value::as_object_mut)
        {
            own.insert(name.to_owned(), schema);
        }
    }
    let global =
        json!({"type": "object", "description": "What Helm shares between charts: not used."});
    properties.insert("global".to_owned(), global);
    let required: &[&str] = if is_whole { &["image"] } else { &[] };
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "The control plane of Keystile",
        "type": "object",
        "required": required,
        "properties": properties,
        "additionalProperties": false,
    })
}

fn merge_into(old: &mut Value, new: Value) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            for (name, value) in new {
                merge_into(old.entry(name).or_insert(Value::Null), value);
            }
        }
        (old, new) => *old = new,
    }
}
