//! One pass over the headers of a request, which shows what needs a closer look.
//!
//! Most requests have one credential and nothing else that concerns us, so most of what
//! [`crate::request::credential`] and [`crate::request::overrides`] search for is absent.

use crate::policy::{Credential, Policy};
use crate::request::name::{PROTOCOLS, is_identity};
use crate::request::overrides::{is_host, is_override};

/// What a request may have. Absence is certain: for a request that has not been examined,
/// everything may be present, which is the default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Glance {
    /// The places where keys are sent, by their position in the policy; the last bit stands for all
    /// positions from there on.
    places: u64,
    /// An identity header, in any spelling.
    pub identity: bool,
    /// A header that asks for another method or path.
    pub overrides: bool,
    /// A header that names another host.
    pub hosts: bool,
    /// A `Connection` header.
    pub nominates: bool,
    /// It asks for a tunnel.
    pub tunnel: bool,
    /// Its one header with a key holds nothing else, and is to be taken out whole: this, too, is
    /// certain.
    pub alone: bool,
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
            alone: false,
        }
    }
}

impl Glance {
    /// For a request without headers; [`Glance::see`] adds to it.
    pub const NOTHING: Self = Self {
        places: 0,
        identity: false,
        overrides: false,
        hosts: false,
        nominates: false,
        tunnel: false,
        alone: false,
    };

    /// Adds one header; returns whether keys are looked for in it.
    #[inline]
    pub fn see(&mut self, policy: &Policy, name: &[u8], value: &[u8]) -> bool {
        policy.watched.may_be(name) && self.see_closely(policy, name, value)
    }

    fn see_closely(&mut self, policy: &Policy, name: &[u8], value: &[u8]) -> bool {
        let mut holds_a_key = false;
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
                holds_a_key = true;
            }
        }
        match name {
            b":method" => self.tunnel |= value == b"CONNECT",
            b"upgrade" => self.tunnel = true,
            b"connection" => self.nominates = true,
            name if policy.watched.may_ask(name) => self.see_asking(policy, name),
            _ => {}
        }
        holds_a_key
    }

    /// What honest callers do not send.
    #[cold]
    #[inline(never)]
    fn see_asking(&mut self, policy: &Policy, name: &[u8]) {
        self.identity |= is_identity(&policy.identity, name);
        self.overrides |= is_override(name);
        self.hosts |= is_host(name);
    }

    /// The places of a policy that may hold something.
    pub fn places<'p>(
        self,
        policy: &'p Policy,
    ) -> impl Iterator<Item = &'p Credential> + Clone + use<'p> {
        let all = policy.credentials.iter().enumerate();
        all.filter_map(move |(i, c)| (self.places & bit(i) != 0).then_some(c))
    }

    /// The one place of a policy that holds something, if there is but one.
    pub fn sole(self, policy: &Policy) -> Option<&Credential> {
        if !self.places.is_power_of_two() || self.places == bit(usize::MAX) {
            return None;
        }
        let at = self.places.trailing_zeros() as usize;
        policy.credentials.get(at)
    }

    /// Whether a key may stand anywhere.
    pub fn has_places(self) -> bool {
        self.places != 0
    }
}

fn bit(position: usize) -> u64 {
    1 << position.min(63)
}

#[cfg(test)]
mod tests;
