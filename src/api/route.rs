//! The route of an operation in HTTP, and who may use it.

use keystile_model::caller::Role;

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
pub struct Endpoint {
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

impl Endpoint {
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
