//! What a valid policy consists of.

use super::raw::{Auth, BasicPart, By, RawQuota};
use crate::limit::bucket::Bucket;

/// A place where a key may be sent. Header names are lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// A header, with the authentication scheme before the key, if any.
    Header {
        /// Lower case.
        name: String,
        /// Compared without case (RFC 9110 section 11.1).
        scheme: Option<String>,
    },
    /// A part of what HTTP Basic carries in `authorization`.
    Basic(BasicPart),
    /// A query parameter.
    Query(String),
    /// A cookie.
    Cookie(String),
}

/// A valid plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// At most [`crate::limit::bucket::MAX_LIMITS`], each with another `per` or `by`.
    pub limits: Vec<Limit>,
    /// The quota.
    pub quota: Option<RawQuota>,
    /// Seconds after which its keys are due for rotation; 0 for never.
    pub rotate_every: Option<u64>,
    /// Seconds for which a rotated key goes on working.
    pub grace: Option<u64>,
    /// Seconds for which its keys may live.
    #[cfg(not(target_family = "wasm"))]
    pub max_lifetime: Option<u64>,
}

/// A valid limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The bucket.
    pub bucket: Bucket,
    /// Tokens refilled in each period.
    pub requests: u64,
    /// The period, in seconds.
    pub per: u64,
    /// The bucket's size.
    pub burst: u64,
    /// Whose requests it counts.
    pub by: By,
}

/// A valid route.
#[derive(Clone, Debug)]
pub struct Route {
    /// The template as written.
    pub path: String,
    /// Methods, hosts (or virtual hosts) and template as written, where there are any:
    /// `GET,HEAD /v1/{*rest}`.
    /// No two routes of a policy have the same.
    pub name: String,
    /// Whether a key is required.
    pub auth: Auth,
    /// Numbers of scopes that the key must hold.
    pub scopes: Vec<u16>,
    /// Numbers of scopes of which the key must hold one; empty if not required.
    pub any_scope: Vec<u16>,
    /// Tokens that a request takes from each limit, at least 1; from a smaller bucket, all that it
    /// can hold.
    pub cost: u64,
    /// The route's own limit.
    pub limit: Option<Limit>,
    /// Identifies the route in bucket keys: the same for the same hosts, path shape and methods,
    /// wherever it is in the file.
    pub stable_id: u64,
}
