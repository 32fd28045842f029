//! One look at the headers of a request, which tells what there is to look for more closely.
//!
//! Most requests have one credential and nothing else that concerns us, so that of all that
//! [`crate::request::credential`] and [`crate::request::overrides`] look for, they have next to nothing.

use crate::policy::{Credential, Policy, RawIdentity};
use crate::request::credential::{PROTOCOLS, folded, is_identity};
use crate::request::overrides::{self, is_host, is_override};

/// What a request may have. Not to have it is certain: whoever has not looked at a request says
/// that it may have everything, which is the default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Glance {
    /// Places that keys are looked for in, by their position in the policy; the last bit stands
    /// for all positions from there on.
    places: u64,
    /// An identity header, in any spelling.
    pub identity: bool,
    /// A header that asks for another method or path.
    pub overrides: bool,
    /// A header that asks to be taken for a request for another host.
    pub hosts: bool,
    /// A `Connection` header.
    pub nominates: bool,
    /// It asks for a tunnel.
    pub tunnel: bool,
}

impl Default for Glance {
    fn default() -> Self {
        Self {
            places: u64::MAX,
            identity: true,
            overrides: true,
            hosts: true,
            nominates: true,
            tunnel: true,
        }
    }
}

impl Glance {
    /// Of a request without headers: [`Glance::see`] adds to it.
    pub const NOTHING: Self = Self {
        places: 0,
        identity: false,
        overrides: false,
        hosts: false,
        nominates: false,
        tunnel: false,
    };

    /// Takes in one header.
    #[inline]
    pub fn see(&mut self, policy: &Policy, name: &[u8], value: &[u8]) {
        if policy.watched.may_be(name) {
            self.see_closely(policy, name, value);
        }
    }

    fn see_closely(&mut self, policy: &Policy, name: &[u8], value: &[u8]) {
        for (i, credential) in policy.credentials.iter().enumerate() {
            let is_place = match credential {
                Credential::Header {
                    name: place,
                    scheme,
                } => {
                    let also = scheme.is_some() && place == "authorization";
                    name == place.as_bytes() || (also && name == PROTOCOLS.as_bytes())
                }
                Credential::Basic(_) => name == b"authorization",
                Credential::Query(_) => name == b":path" && value.contains(&b'?'),
                Credential::Cookie(_) => name == b"cookie",
            };
            if is_place {
                self.places |= bit(i);
            }
        }
        match name {
            b":method" => self.tunnel |= value == b"CONNECT",
            b"upgrade" => self.tunnel = true,
            b"connection" => self.nominates = true,
            name => {
                self.identity |= is_identity(&policy.identity, name);
                self.overrides |= is_override(name);
                self.hosts |= is_host(name);
            }
        }
    }

    /// The places of a policy that may hold something.
    pub fn places<'p>(
        self,
        policy: &'p Policy,
    ) -> impl Iterator<Item = &'p Credential> + Clone + use<'p> {
        let all = policy.credentials.iter().enumerate();
        all.filter_map(move |(i, c)| (self.places & bit(i) != 0).then_some(c))
    }

    /// Whether a key may stand anywhere.
    pub fn has_places(self) -> bool {
        self.places != 0
    }
}

/// The names of headers that a policy has to do with: a bit for each hash of one. It is made for
/// what most requests bring, and other names seldom have the hash of one of these.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watched(u64);

impl Watched {
    pub fn new(credentials: &[Credential], identity: &RawIdentity) -> Self {
        let places = credentials.iter().map(|c| match c {
            Credential::Header { name, .. } => name.as_str(),
            Credential::Basic(_) => "authorization",
            Credential::Query(_) => ":path",
            Credential::Cookie(_) => "cookie",
        });
        let identity = [&identity.client, &identity.key, &identity.scopes].map(String::as_str);
        let others = overrides::names().chain([":method", "upgrade", "connection", PROTOCOLS]);
        let mut bits = 0;
        let mut add = |name: &str| bits |= 1 << hash(name.as_bytes());
        places.chain(identity).for_each(&mut add);
        others.for_each(add);
        Self(bits)
    }

    fn may_be(self, name: &[u8]) -> bool {
        self.0 >> hash(name) & 1 != 0
    }
}

/// Below 64. Names that [`crate::request::credential::same_name`] takes for one have one hash.
fn hash(name: &[u8]) -> usize {
    let part = |b: Option<&u8>| b.map_or(0, |b| usize::from(folded(*b)));
    let sum = name.len().wrapping_mul(2);
    let sum = sum.wrapping_add(27 * part(name.first()));
    sum.wrapping_add(58 * part(name.last())) % 64
}

fn bit(position: usize) -> u64 {
    1 << position.min(63)
}

#[cfg(test)]
mod tests;
