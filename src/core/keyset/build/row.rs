//! A key as the store holds it.

use super::super::network::Network;
use crate::key::{Digest, KeyId, Name};
use crate::policy::Limit;

/// What a keyset needs of it.
#[derive(Clone, Debug)]
pub struct KeyRow {
    /// The public id.
    pub id: KeyId,
    /// Its digest.
    pub digest: Digest,
    /// Imported: the digest is that of the whole text.
    pub foreign: bool,
    /// Name of the client.
    pub client: String,
    /// Number of the client: stable, never reused.
    pub client_number: u32,
    /// Environment.
    pub environment: Name,
    /// Bound to browser origins.
    pub publishable: bool,
    /// Scopes, in any order.
    pub scopes: Vec<String>,
    /// Name of its plan.
    pub plan: Option<String>,
    /// Limits of its own.
    pub limits: Vec<Limit>,
    /// Wall-clock seconds.
    pub expires: Option<u64>,
    /// Wall-clock seconds.
    pub not_before: Option<u64>,
    /// Wall-clock seconds.
    pub overlap_end: Option<u64>,
    /// Disabled.
    pub disabled: bool,
    /// Revoked.
    pub revoked: bool,
    /// First key in its chain of rotations.
    pub lineage: KeyId,
    /// Address ranges from which it may be used.
    pub allow: Vec<Network>,
    /// Address ranges from which it may not be used.
    pub deny: Vec<Network>,
    /// Web origins from which it may be used.
    pub origins: Vec<String>,
    /// Identities of client certificates that it is bound to, as
    /// [`crate::request::certificate::identity`] reads them.
    pub certificates: Vec<String>,
}

impl KeyRow {
    pub(in super::super) fn is_bound_to_addresses(&self) -> bool {
        !self.allow.is_empty() || !self.deny.is_empty()
    }

    pub(in super::super) fn is_bound_to_certificates(&self) -> bool {
        !self.certificates.is_empty()
    }
}
