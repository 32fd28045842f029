//! A token as the store holds it.

use keystile_core::key::Digest;
use serde_json::{Value, json};

use crate::caller::{Grant, Role};
use crate::record::{is_nothing, words};
use crate::when;

/// A token as the store holds it: everything but the token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRecord {
    /// What it allows. For the role `client`, without a client if that was deleted.
    pub grant: Grant,
    /// Never printed.
    pub digest: Digest,
    /// Seconds.
    pub created: u64,
    /// Who created it, as in the audit log.
    pub created_by: String,
    /// Seconds.
    pub expires: u64,
    /// Seconds.
    pub revoked: Option<u64>,
    /// Not yet a token, but an invitation code that is exchanged for one.
    pub invitation: bool,
}

impl TokenRecord {
    /// `active`, `invited`, `expired` or `revoked`.
    pub fn status(&self, now: u64) -> &'static str {
        if self.revoked.is_some() {
            "revoked"
        } else if self.expires <= now {
            "expired"
        } else if self.invitation {
            "invited"
        } else {
            "active"
        }
    }

    /// As JSON, for programs: every field, always.
    pub fn json(&self, now: u64) -> Value {
        let grant = &self.grant;
        let ceilings = (grant.role == Role::Client).then_some(&grant.ceilings);
        json!({
            "id": grant.id.to_string(),
            "name": grant.name,
            "role": grant.role,
            "status": self.status(now),
            "client": grant.client,
            "scopes": ceilings.map(|c| &c.scopes),
            "plans": ceilings.map(|c| &c.plans),
            "max_expiry": ceilings.and_then(|c| c.max_expiry).map(when::duration),
            "max_keys": ceilings.and_then(|c| c.max_keys),
            "cidrs": words(&grant.networks),
            "created": when::rfc3339(self.created),
            "created_by": self.created_by,
            "expires": when::rfc3339(self.expires),
            "last_used": grant.last_used.map(when::rfc3339),
            "revoked": self.revoked.map(when::rfc3339),
        })
    }

    /// As JSON for the audit log: its settings.
    pub fn audit_json(&self) -> Value {
        let mut json = self.json(self.created);
        if let Some(map) = json.as_object_mut() {
            map.retain(|name, v| {
                !matches!(name.as_str(), "id" | "status" | "last_used" | "created_by")
                    && !is_nothing(v)
            });
        }
        json
    }
}
