//! The operations of the companion: one struct each, from which the command line, the REST routes,
//! the OpenAPI document and the table of roles are derived.
//!
//! [`for_each_operation!`] is the only list of them. An operation is sent as JSON: fields that its
//! path names go into the path; the others go into the query for `GET` and `DELETE`, and otherwise
//! into the body.
//!
//! Holds requests and answers, and [`remote`], which calls a server. Never serves a request, prints
//! anything or touches a row: each operation calls one function of the registry.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

use keystile_core::hex;
use keystile_model::caller::Role;
use keystile_model::error::{Code, Error, Result, defect, refuse};
use keystile_model::reading::{self, Given, Wrong};
use keystile_model::world::World;
use keystile_store::Store;

mod ahead;
pub mod audit;
pub mod backup;
pub mod client;
pub mod explain;
pub mod fleet;
pub mod guide;
pub mod import;
pub mod key;
pub mod keyset;
pub mod lost;
pub mod node;
pub mod overview;
mod pace;
pub mod policy;
pub mod quota;
pub mod remote;
pub mod session;
pub mod signing_key;
mod text;
pub mod token;
pub mod usage;
pub mod version;
pub mod webhook;

pub use ahead::Ahead;
pub use pace::{Begun, Pace};

/// An operation of the API.
pub trait Operation: Serialize + DeserializeOwned + ToSchema + Send + 'static {
    /// The answer.
    type Output: Serialize + DeserializeOwned + ToSchema + Send + 'static;
    /// Its route and roles.
    const ROUTE: Route;

    /// Performs it.
    ///
    /// # Errors
    /// Its refusals, worded for people.
    fn run(self, store: &mut Store, world: &World) -> Result<Self::Output>;

    /// Whether it reads ahead: what it looks at before it writes grows with the number of keys.
    const READS_AHEAD: bool = false;

    /// Reads ahead, before its turn to write.
    ///
    /// # Errors
    /// Its refusals, if they are certain already.
    fn read_ahead(&self, _store: &mut Store, _world: &World) -> Result<Ahead> {
        Ok(Ahead::default())
    }

    /// Performs it after what it has read ahead, if that is anything.
    ///
    /// # Errors
    /// Those of [`Operation::run`].
    fn run_after(self, store: &mut Store, world: &World, _ahead: &Ahead) -> Result<Self::Output> {
        self.run(store, world)
    }

    /// Whether it changes anything.
    fn writes(&self) -> bool {
        Self::ROUTE.writes
    }

    /// Whether it updates the schema of a store that an earlier version wrote.
    fn updates_store(&self) -> bool {
        self.writes()
    }

    /// Its priority, if it changes anything.
    fn pace(&self) -> Pace {
        Pace::Usual
    }

    /// What `If-Match` is compared with: the answer to a `GET` of the same resource.
    fn current(&self, _store: &mut Store, _world: &World) -> Result<Option<Value>> {
        Ok(None)
    }

    /// Refuses what may be done on the store itself, but is too large for a request to a server.
    fn check_size(&self) -> Result<()> {
        Ok(())
    }
}

/// From this many items on, an operation counts as long.
const MANY: usize = 100;

/// The answer to another operation, as JSON.
fn shown<O: Operation>(other: O, store: &mut Store, world: &World) -> Result<Option<Value>> {
    let answer = other.run(store, world)?;
    Ok(Some(serde_json::to_value(answer).unwrap_or_default()))
}

/// The strong validator of an answer. It changes with everything except usage and the part that is
/// shown.
pub fn tag(value: &Value) -> String {
    let mut value = value.clone();
    if let Value::Object(fields) = &mut value {
        for use_of_it in ["usage", "last_used", "waiting"] {
            fields.remove(use_of_it);
        }
        // For a client, `revision` stands for all its keys, not only for those of one page.
        if fields.contains_key("revision") && fields.contains_key("client") {
            fields.remove("keys");
            fields.remove("next");
        }
    }
    let digest = Sha256::digest(value.to_string().as_bytes());
    format!("\"{}\"", hex::start(digest, 16))
}

/// Every role.
pub const ANYBODY: &[Role] = &[Role::Owner, Role::Issuer, Role::Auditor, Role::Client];
/// Roles that see what belongs to no client.
pub const STAFF: &[Role] = &[Role::Owner, Role::Issuer, Role::Auditor];
/// Roles that change keys: those of every client, or their own.
pub const HOLDERS: &[Role] = &[Role::Owner, Role::Issuer, Role::Client];
/// Roles that change clients and keys.
pub const ISSUERS: &[Role] = &[Role::Owner, Role::Issuer];
/// Roles that read the audit log.
pub const AUDITORS: &[Role] = &[Role::Owner, Role::Auditor];
/// Roles that change the rules.
pub const OWNERS: &[Role] = &[Role::Owner];

/// A method of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    /// Reads.
    Get,
    /// Creates something, or performs an action.
    Post,
    /// Replaces.
    Put,
    /// Changes parts.
    Patch,
    /// Removes.
    Delete,
}

impl Method {
    /// As HTTP writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }

    /// Whether fields that are not in the path go into the body.
    pub fn has_body(self) -> bool {
        !matches!(self, Self::Get | Self::Delete)
    }
}

/// The route of an operation, and the roles that may use it.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// Its name in OpenAPI and in the audit log, such as `key.issue`.
    pub name: &'static str,
    /// The HTTP method.
    pub method: Method,
    /// The path; names in braces are fields of the operation.
    pub path: &'static str,
    /// The roles that may use it.
    pub roles: &'static [Role],
    /// A one-line summary.
    pub summary: &'static str,
    /// The status of a success.
    pub status: u16,
    /// Changes the store.
    pub writes: bool,
    /// Creates something: an `Idempotency-Key` is honoured.
    pub creates: bool,
    /// Answers a single resource with an `ETag`, or changes it and honours `If-Match`.
    pub etag: bool,
    /// The largest body, in bytes.
    pub body: usize,
    /// Answered by the running server from its own state, not from the store: see `live` in the
    /// server's `http`.
    pub live: bool,
}

/// The largest body that people and scripts write, in bytes.
const BODY: usize = 1 << 20;
/// The largest body that carries a file, in bytes.
const FILE: usize = 64 << 20;

impl Route {
    /// Reads.
    pub const fn get(
        name: &'static str,
        path: &'static str,
        roles: &'static [Role],
        summary: &'static str,
    ) -> Self {
        Self {
            name,
            method: Method::Get,
            path,
            roles,
            summary,
            status: 200,
            writes: false,
            creates: false,
            etag: false,
            body: BODY,
            live: false,
        }
    }

    /// Changes.
    pub const fn change(
        method: Method,
        name: &'static str,
        path: &'static str,
        roles: &'static [Role],
        summary: &'static str,
    ) -> Self {
        Self {
            method,
            writes: true,
            ..Self::get(name, path, roles, summary)
        }
    }

    /// Makes something.
    pub const fn create(
        name: &'static str,
        path: &'static str,
        roles: &'static [Role],
        summary: &'static str,
    ) -> Self {
        Self {
            status: 201,
            creates: true,
            ..Self::change(Method::Post, name, path, roles, summary)
        }
    }

    /// Reads with a body, and changes nothing.
    pub const fn ask(
        name: &'static str,
        path: &'static str,
        roles: &'static [Role],
        summary: &'static str,
    ) -> Self {
        Self {
            writes: false,
            ..Self::change(Method::Post, name, path, roles, summary)
        }
    }

    /// With an `ETag`.
    pub const fn tagged(self) -> Self {
        Self { etag: true, ..self }
    }

    /// Its body may carry a file.
    pub const fn carries_file(self) -> Self {
        Self { body: FILE, ..self }
    }

    /// Answered by the running server itself.
    #[allow(dead_code)]
    pub const fn live(self) -> Self {
        Self { live: true, ..self }
    }

    /// The noun in its name, by which OpenAPI groups operations.
    pub fn tag(&self) -> &'static str {
        self.name.split('.').next().unwrap_or_default()
    }

    /// The fields that are in the path.
    pub fn path_fields(&self) -> impl Iterator<Item = &'static str> {
        self.path
            .split('/')
            .filter_map(|s| s.strip_prefix('{')?.strip_suffix('}'))
    }
}

/// Hands each operation's type to `$then!`: the one table of the API.
#[macro_export]
macro_rules! for_each_operation {
    ($then:ident) => {
        $then! {
            $crate::client::Create,
            $crate::client::List,
            $crate::client::Show,
            $crate::client::Update,
            $crate::client::Delete,
            $crate::key::Issue,
            $crate::key::List,
            $crate::key::Show,
            $crate::key::Update,
            $crate::key::Disable,
            $crate::key::Enable,
            $crate::key::Revoke,
            $crate::key::RevokeAll,
            $crate::key::Rotate,
            $crate::key::Fetch,
            $crate::key::Import,
            $crate::lost::List,
            $crate::policy::Plans,
            $crate::policy::Show,
            $crate::policy::Check,
            $crate::policy::Compare,
            $crate::policy::Apply,
            $crate::policy::History,
            $crate::policy::Rollback,
            $crate::keyset::Show,
            $crate::keyset::Build,
            $crate::keyset::Renew,
            $crate::version::List,
            $crate::version::Inspect,
            $crate::version::Diff,
            $crate::signing_key::List,
            $crate::signing_key::Rotate,
            $crate::signing_key::Retire,
            $crate::explain::Explain,
            $crate::guide::Show,
            $crate::overview::Show,
            $crate::import::Import,
            $crate::audit::List,
            $crate::audit::Export,
            $crate::audit::Verify,
            $crate::audit::Checkpoint,
            $crate::audit::Prune,
            $crate::backup::Make,
            $crate::backup::Read,
            $crate::backup::End,
            $crate::token::Create,
            $crate::token::List,
            $crate::token::Show,
            $crate::token::Revoke,
            $crate::fleet::List,
            $crate::fleet::Wait,
            $crate::fleet::Forget,
            $crate::session::List,
            $crate::session::End,
            $crate::node::List,
            $crate::node::Enroll,
            $crate::node::Revoke,
            $crate::webhook::Create,
            $crate::webhook::List,
            $crate::webhook::Show,
            $crate::webhook::Delete,
            $crate::usage::Show,
            $crate::usage::Anomalies,
            $crate::usage::Quota,
            $crate::quota::Show,
            $crate::quota::Reset,
            $crate::usage::ShowSettings,
            $crate::usage::Configure,
            $crate::usage::Forget,
        }
    };
}

/// The request for an operation.
pub struct Parts {
    /// Path and query, encoded.
    pub target: String,
    /// The body, for methods that have one.
    pub body: Option<Value>,
}

/// Makes the request for an operation.
///
/// # Errors
/// If it cannot be written as JSON, which is a mistake of ours.
pub fn take_apart<O: Operation>(operation: &O) -> Result<Parts> {
    let Ok(Value::Object(fields)) = serde_json::to_value(operation) else {
        return Err(defect(format_args!(
            "`{}` cannot be written as JSON",
            O::ROUTE.name
        )));
    };
    Ok(apart(&O::ROUTE, fields))
}

fn apart(route: &Route, mut fields: Map<String, Value>) -> Parts {
    let mut target = String::new();
    for segment in route.path.split('/').skip(1) {
        target.push('/');
        match segment.strip_prefix('{').and_then(|s| s.strip_suffix('}')) {
            Some(name) => keystile_model::url::encode(
                &text::of(&fields.remove(name).unwrap_or_default()),
                &mut target,
            ),
            None => target.push_str(segment),
        }
    }
    if route.method.has_body() {
        return Parts {
            target,
            body: Some(Value::Object(fields)),
        };
    }
    let mut mark = '?';
    for (name, value) in fields {
        let values = match value {
            Value::Null => Vec::new(),
            Value::Array(list) => list,
            one => vec![one],
        };
        for value in values {
            target.push(mark);
            mark = '&';
            keystile_model::url::encode(&name, &mut target);
            target.push('=');
            keystile_model::url::encode(&text::of(&value), &mut target);
        }
    }
    Parts { target, body: None }
}

/// Reads an operation from the fields of its path, query and body.
///
/// # Errors
/// [`Kind::Malformed`] if the body is not JSON or the query is malformed, [`Kind::Invalid`] for
/// fields that do not exist or have invalid values.
pub fn put_together<O: Operation>(
    path: &BTreeMap<String, String>,
    query: &str,
    body: &[u8],
) -> Result<O> {
    if !O::ROUTE.method.has_body() {
        let mut pairs = text::pairs(query)?;
        for (name, value) in path {
            if pairs.insert(name.clone(), vec![value.clone()]).is_some() {
                return Err(twice(name));
            }
        }
        return read(text::Fields::new(pairs));
    }
    if !query.is_empty() {
        return Err(refuse(
            Code::MalformedQuery,
            format_args!("`{}` takes no query", O::ROUTE.name),
            "put its fields into the body, as JSON",
        ));
    }
    let mut fields: Map<String, Value> = if body.trim_ascii().is_empty() {
        Map::new()
    } else {
        let object = |e: &dyn std::fmt::Display| {
            refuse(
                Code::MalformedBody,
                format_args!("the body is no JSON object ({e})"),
                "send one, with `content-type: application/json`",
            )
        };
        match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => fields,
            Ok(_) => return Err(object(&"it is JSON of another type")),
            // Not its own words: they repeat what was sent, which may be a secret.
            Err(e) => {
                let place = format!("line {}, column {}", e.line(), e.column());
                return Err(object(&format_args!("there is a mistake in {place}")));
            }
        }
    };
    for (name, value) in path {
        if fields
            .insert(name.clone(), Value::String(value.clone()))
            .is_some()
        {
            return Err(twice(name));
        }
    }
    read(Given(Value::Object(fields)))
}

fn twice(name: &str) -> Error {
    refuse(
        Code::FieldsConflict,
        format_args!("`{name}` stands in the path already"),
        "leave it out of the query and the body",
    )
    .about(name.to_owned())
}

/// An operation as JSON, for [`read_again`].
pub fn written<O: Operation>(operation: &O) -> Value {
    serde_json::to_value(operation).unwrap_or_default()
}

/// Reads an operation from what [`written`] gave.
///
/// # Errors
/// Those of [`put_together`].
pub fn read_again<O: Operation>(written: &Value) -> Result<O> {
    read(Given(written.clone()))
}

/// The pairs of a query, or of a form.
///
/// # Errors
/// [`Kind::Malformed`] if something in it is not encoded as it should be.
pub fn words(query: &str) -> Result<BTreeMap<String, Vec<String>>> {
    text::pairs(query)
}

/// Reads an operation from the fields of a form, which are all text.
///
/// # Errors
/// Those of [`put_together`].
pub fn from_words<O: Operation>(fields: BTreeMap<String, Vec<String>>) -> Result<O> {
    read(text::Fields::new(fields))
}

/// One word of a path or a query, encoded.
pub fn encoded(word: &str) -> String {
    let mut out = String::new();
    keystile_model::url::encode(word, &mut out);
    out
}

fn read<'de, O: Operation, D>(fields: D) -> Result<O>
where
    D: serde::Deserializer<'de, Error = Wrong>,
{
    reading::located(fields).map_err(|(path, wrong)| wrong.refused(&path))
}

#[cfg(test)]
mod tests;
