//! Keys that came over plain HTTP where TLS is required: Envoys report them with their usage, and
//! the policy says what happens to them.
//!
//! A report is believed because an Envoy signed it, and an id is no secret: whoever has one Envoy's
//! secrets can report any key. And one listener without TLS exposes every key that is used there.
//! Either could put an end to all keys at once, so only so many are ended in a day.

use keystile_core::key::KeyId;
use keystile_core::policy::{ExposedKeys, Mode};
use serde_json::Value;

use crate::leak::{self, LeakPolicy};
use keystile_model::error::Result;
use keystile_model::record::{Key, Status};
use keystile_model::world::World;
use keystile_store::Tx;

/// The keys of one day (UTC) that may be disabled or revoked for it; others are only reported.
pub const A_DAY: u64 = 20;
/// What the record of a key that was ended for it has.
const ENDED: &str = "\"ended\":true";
const DAY_MS: u64 = 86_400_000;
/// The action of the audit record, and so the event of webhooks.
pub const ACTION: &str = "key.exposed";

/// What may be done about exposed keys in one transaction.
pub(crate) struct Allowance {
    policy: LeakPolicy,
    /// How many keys may be ended before the day is over.
    left: u64,
}

impl Allowance {
    /// By the policy in force, and by what the audit log says was ended today.
    ///
    /// # Errors
    /// Those of the store; the same below.
    pub(crate) fn read(tx: &Tx<'_>, world: &World) -> Result<Self> {
        let policy = crate::policy(tx)?.policy;
        let policy = match (policy.mode, policy.exposed_keys) {
            // In shadow mode nothing is carried out, and without TLS there is nothing to refuse.
            (Mode::Shadow, _) | (_, ExposedKeys::Report) => LeakPolicy::Report,
            _ if !policy.require_tls => LeakPolicy::Report,
            (Mode::Enforce, ExposedKeys::Disable) => LeakPolicy::Disable,
            (Mode::Enforce, ExposedKeys::Revoke) => LeakPolicy::Revoke,
        };
        let today = world.now.ms() / DAY_MS * DAY_MS;
        let ended = tx.audit_count(ACTION, today, ENDED)?;
        Ok(Self {
            policy,
            left: A_DAY.saturating_sub(ended),
        })
    }

    /// Records that a key came over plain HTTP, and does what the policy says.
    pub(crate) fn act(
        &mut self,
        tx: &mut Tx<'_>,
        world: &World,
        id: KeyId,
        mut found: Value,
    ) -> Result<()> {
        // Whoever opens the page of a publishable key has it, and could end it by one request.
        let may_end = |key: &Key| {
            let status = key.status(world.now.seconds());
            let works = !matches!(status, Status::Disabled | Status::Expired | Status::Revoked);
            works && !key.rules.publishable && self.policy != LeakPolicy::Report
        };
        let key = tx.key(id)?.filter(may_end);
        let ends = key.is_some() && self.left > 0;
        if let Some(map) = found.as_object_mut() {
            if ends {
                map.insert("ended".to_owned(), Value::from(true));
            } else if key.is_some() {
                let why = format!("{A_DAY} exposed keys have been ended today");
                map.insert("only_reported".to_owned(), Value::from(why));
            }
        }
        tx.audit(world, ACTION, &id.to_string(), None, Some(&found))?;
        match key {
            Some(key) if ends => {
                self.left -= 1;
                leak::carry_out(tx, world, &key, self.policy, "sent over plain HTTP")
            }
            _ => Ok(()),
        }
    }
}
