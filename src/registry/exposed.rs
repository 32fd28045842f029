//! Keys that came over plain HTTP where TLS is required: Envoys report them with their usage, and
//! the policy says what happens to them.
//!
//! A report is believed because an Envoy signed it, and an id is no secret: whoever has one Envoy's
//! secrets can report any key. And one listener without TLS exposes every key that is used there.
//! Either could put an end to all keys at once, so that there is an end to what is done in a day.

use keystile_core::key::KeyId;
use keystile_core::policy::{ExposedKeys, Mode};
use serde_json::Value;

use crate::leak::{self, LeakPolicy};
use keystile_model::error::Result;
use keystile_model::world::World;
use keystile_store::Tx;

/// The keys of one day (UTC) that may be disabled or revoked for it; others are only reported.
pub const A_DAY: u64 = 20;
/// The action of the audit record, and so the event of webhooks.
pub const ACTION: &str = "key.exposed";

/// What the policy in force says.
///
/// # Errors
/// Those of the store; the same below.
pub(crate) fn policy(tx: &Tx<'_>) -> Result<LeakPolicy> {
    let policy = crate::policy(tx)?.policy;
    Ok(match (policy.mode, policy.exposed_keys) {
        // In shadow mode nothing is carried out.
        (Mode::Shadow, _) | (_, ExposedKeys::Report) => LeakPolicy::Report,
        (Mode::Enforce, ExposedKeys::Disable) => LeakPolicy::Disable,
        (Mode::Enforce, ExposedKeys::Revoke) => LeakPolicy::Revoke,
    })
}

/// Records that a key came over plain HTTP, and does what the policy says. `before` keys were
/// reported on the same day.
pub(crate) fn act(
    tx: &mut Tx<'_>,
    world: &World,
    id: KeyId,
    mut found: Value,
    (policy, before): (LeakPolicy, u64),
) -> Result<()> {
    let key = tx.key(id)?;
    let policy = match before < A_DAY {
        true => policy,
        false => LeakPolicy::Report,
    };
    if let Some(map) = found.as_object_mut()
        && before >= A_DAY
    {
        let why = format!("{A_DAY} other keys were exposed on that day");
        map.insert("only_reported".to_owned(), Value::from(why));
    }
    tx.audit(world, ACTION, &id.to_string(), None, Some(&found))?;
    match key {
        Some(key) => leak::carry_out(tx, world, &key, policy, "sent over plain HTTP"),
        None => Ok(()),
    }
}
