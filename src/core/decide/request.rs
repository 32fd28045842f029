//! A request and the time at which it is decided.

use std::net::IpAddr;

use crate::request::certificate::Peer;
use crate::request::headers::Headers;

/// A request as the decision sees it.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// Headers and pseudo-headers.
    pub headers: Headers<'a>,
    /// Where it comes from; read only if [`InForce::addresses`] says so.
    pub address: Option<IpAddr>,
    /// The client certificate of the connection; read only if [`InForce::certificates`] says so.
    pub peer: Peer<'a>,
    /// It came over TLS; read only if the policy requires TLS.
    pub tls: bool,
    /// The virtual host that Envoy chose; read only if a rule of the policy names one.
    pub virtual_host: Option<&'a str>,
}

/// The two clocks, read once per request.
#[derive(Clone, Copy, Debug)]
pub struct Clocks {
    /// Wall clock, seconds since the epoch: for what expires.
    pub wall: u64,
    /// Monotonic clock, nanoseconds: for buckets.
    pub monotonic: u64,
}

impl Clocks {
    /// A keyset cannot have been signed in the future: a clock that shows an earlier time is
    /// behind, and would revive keys that have expired.
    pub(super) fn not_before(self, issued_at: u64) -> Self {
        Self {
            wall: self.wall.max(issued_at),
            ..self
        }
    }
}
