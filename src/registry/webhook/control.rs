//! What an owner does about a webhook whose receiver has trouble: see the attempts, send a message
//! again, send a test, pause.

use serde_json::json;

use super::found::found;
use keystile_model::error::{Act, Code, Result, refuse};
use keystile_model::record::{DeliveryAttempt, Webhook};
use keystile_model::world::World;
use keystile_store::Store;

/// The event that a test sends.
pub const TEST: &str = "webhook.test";

/// The last attempts for a webhook, the newest first.
///
/// # Errors
/// If there is none of that name, or the caller is bound to a client.
pub fn deliveries(
    store: &mut Store,
    world: &World,
    name: &str,
    most: u32,
) -> Result<Vec<DeliveryAttempt>> {
    world.caller.unbound("read webhooks")?;
    store.read(|tx| {
        let hook = found(tx, name)?;
        tx.deliveries(hook.number, most)
    })
}

/// The last attempt for each webhook that was sent something, by its number.
///
/// # Errors
/// The caller is bound to a client.
pub fn last_deliveries(store: &mut Store, world: &World) -> Result<Vec<(u32, DeliveryAttempt)>> {
    world.caller.unbound("read webhooks")?;
    store.read(|tx| {
        let mut last = Vec::new();
        for hook in tx.webhooks()? {
            let newest = tx.deliveries(hook.number, 1)?;
            last.extend(newest.into_iter().map(|one| (hook.number, one)));
        }
        Ok(last)
    })
}

/// Sends a test event to one webhook; gives the number of its audit record. A paused webhook gets it
/// when it goes on.
///
/// # Errors
/// If there is none of that name.
pub fn test(store: &mut Store, world: &World, name: &str) -> Result<u64> {
    world.caller.owner("change webhooks")?;
    store.write(world, |tx| {
        let hook = found(tx, name)?;
        tx.audit(world, TEST, name, None, Some(&json!({"test": true})))?;
        let seq = tx.meta().head.seq;
        // One that asks for this event gets it like any other; it would get it twice.
        if !hook.wants(TEST) {
            tx.insert_message(hook.number, seq, world.now.seconds())?;
        }
        Ok(seq)
    })
}

/// Sends a message once more, or now instead of later.
///
/// # Errors
/// If there is no webhook of that name, or no such message.
pub fn resend(store: &mut Store, world: &World, name: &str, seq: u64) -> Result<()> {
    world.caller.owner("change webhooks")?;
    store.write(world, |tx| {
        let hook = found(tx, name)?;
        let Some(record) = tx.audit_record(seq)? else {
            return Err(refuse(
                Code::RecordNotFound,
                format_args!("there is no audit record {seq}, so there is no message about it"),
                keystile_model::next!["see ", Act::AuditList],
            )
            .about("audit_seq"));
        };
        let is_its_test = record.action == TEST && record.subject == name;
        if !hook.wants(&record.action) && !is_its_test {
            return Err(refuse(
                Code::InvalidValue,
                format_args!("`{name}` is not sent `{}`", record.action),
                "resend a message that it has been sent",
            )
            .about("audit_seq"));
        }
        tx.hasten_message(hook.number, seq, world.now.seconds())?;
        let said = json!({"audit_seq": seq});
        tx.audit(world, "webhook.resend", name, None, Some(&said))
    })
}

/// Pauses a webhook, or lets it go on. Its messages wait meanwhile.
///
/// # Errors
/// If there is none of that name.
pub fn pause(store: &mut Store, world: &World, name: &str, is_paused: bool) -> Result<Webhook> {
    world.caller.owner("change webhooks")?;
    store.write(world, |tx| {
        let hook = found(tx, name)?;
        if hook.paused.is_some() == is_paused {
            return Ok(hook);
        }
        let after = Webhook {
            paused: is_paused.then(|| world.now.seconds()),
            ..hook.clone()
        };
        tx.set_webhook_paused(hook.number, after.paused)?;
        let action = match is_paused {
            true => "webhook.pause",
            false => "webhook.resume",
        };
        tx.audit(world, action, name, Some(&hook.json()), Some(&after.json()))?;
        Ok(after)
    })
}
