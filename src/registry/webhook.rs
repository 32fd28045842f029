//! Webhooks. Every audit record is an event; a webhook names those that it wants.

use serde_json::{Value, json};

use keystile_model::error::{Code, Result, refuse};
use keystile_model::events;
use keystile_model::record::{DeliveryAttempt, Webhook};
use keystile_model::webhook::{self, WebhookSecret, retry_after};
use keystile_model::when;
use keystile_model::words;
use keystile_model::world::World;
use keystile_store::{DueMessage, Store, Tx};

pub mod control;
mod found;

use found::found;
pub use found::unknown;

/// How many audit records are examined in one transaction.
const STEP: u32 = 1_000;
/// Webhooks in one store.
const MOST: usize = 50;

/// The settings of a new webhook.
#[derive(Clone, Default)]
pub struct WebhookDraft {
    /// Unique.
    pub name: String,
    /// Where messages are sent.
    pub url: String,
    /// `key.revoke`, `key.*`, `*`.
    pub events: Vec<String>,
    /// The receiver's own secret; otherwise one is generated.
    pub secret: Option<WebhookSecret>,
}

/// Adds a webhook, which is sent events from then on. The secret is shown only once.
///
/// # Errors
/// What is wrong with the draft.
pub fn create(
    store: &mut Store,
    world: &World,
    draft: WebhookDraft,
) -> Result<(Webhook, WebhookSecret)> {
    world.caller.owner("change webhooks")?;
    words::check("name", &draft.name, words::NAME)?;
    words::check_address("url", &draft.url)?;
    let url = webhook::checked_target(&draft.url, &world.reach)?;
    let events = checked_events(draft.events)?;
    if !keystile_core::policy::is_client_name(&draft.name) {
        return Err(refuse(
            Code::InvalidName,
            format_args!("`{}` is not a valid name for a webhook", draft.name),
            "use 1 to 63 of `A-Z`, `a-z`, `0-9`, `.`, `_` and `-`, a letter or digit first",
        )
        .about("name"));
    }
    let secret = match draft.secret {
        Some(secret) => secret,
        None => WebhookSecret::generate(world.entropy)?,
    };
    store.write(world, |tx| {
        let known = tx.webhooks()?;
        if known.iter().any(|w| w.name == draft.name) {
            return Err(refuse(
                Code::WebhookExists,
                format_args!("there is a webhook `{}` already", draft.name),
                "choose another name, or delete that one first",
            )
            .about("name"));
        }
        if known.len() >= MOST {
            return Err(refuse(
                Code::TooMany,
                format_args!("there are {MOST} webhooks already"),
                "let one receiver pass messages on, or delete one that is not needed",
            ));
        }
        let mut hook = Webhook {
            number: 0,
            name: draft.name,
            url,
            events,
            cursor: 0,
            created: world.now.seconds(),
            waiting: 0,
            paused: None,
        };
        tx.audit(
            world,
            "webhook.create",
            &hook.name,
            None,
            Some(&hook.json()),
        )?;
        hook.cursor = tx.meta().head.seq;
        hook.number = tx.insert_webhook(&hook, &secret)?;
        Ok((hook, secret))
    })
}

fn checked_events(events: Vec<String>) -> Result<Vec<String>> {
    if events.is_empty() {
        return Ok(vec!["*".to_owned()]);
    }
    let Some(bad) = events.iter().find(|e| !events::is_pattern(e)) else {
        return Ok(events);
    };
    let fact = format_args!("`{bad}` is not an event");
    let refusal = match events::nearest_pattern(bad) {
        Some(near) => refuse(
            Code::UnknownEvent,
            fact,
            format_args!("did you mean `{near}`?"),
        ),
        None => refuse(
            Code::UnknownEvent,
            fact,
            "write an action of the audit log such as `key.revoke`, or `key.*`, or `*`",
        ),
    };
    Err(refusal.about("events"))
}

/// Every webhook.
///
/// # Errors
/// The caller is bound to a client.
pub fn list(store: &mut Store, world: &World) -> Result<Vec<Webhook>> {
    world.caller.unbound("read webhooks")?;
    store.read(|tx| tx.webhooks())
}

/// Removes a webhook, with the messages that it has not received yet.
///
/// # Errors
/// If there is none of that name.
pub fn delete(store: &mut Store, world: &World, name: &str) -> Result<()> {
    world.caller.owner("change webhooks")?;
    store.write(world, |tx| {
        let hook = found(tx, name)?;
        tx.delete_webhook(hook.number)?;
        tx.audit(world, "webhook.delete", name, Some(&hook.json()), None)
    })
}

/// The result of a pass over the audit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Collected {
    /// There is more to examine.
    pub more: bool,
    /// Messages dropped because their audit records are gone.
    pub dropped: u64,
}

/// Searches a part of the audit log for events that webhooks want.
///
/// # Errors
/// Those of the store.
pub fn collect(store: &mut Store, world: &World) -> Result<Collected> {
    // Most turns find nothing, which needs no lock.
    let due = store.read(|tx| {
        let head = tx.meta().head.seq;
        let behind = tx.webhooks()?.iter().any(|w| w.cursor < head);
        Ok(behind || tx.has_lost_messages()?)
    })?;
    if !due {
        return Ok(Collected {
            more: false,
            dropped: 0,
        });
    }
    store.write(world, |tx| {
        // An older version pruned records and left their messages in the queue.
        let dropped = tx.drop_lost_messages()?;
        let mut more = false;
        for hook in tx.webhooks()? {
            more |= collect_for(tx, &hook, world.now.seconds())?;
        }
        Ok(Collected { more, dropped })
    })
}

fn collect_for(tx: &mut Tx<'_>, hook: &Webhook, now: u64) -> Result<bool> {
    let deeds = tx.deeds_after(hook.cursor, STEP)?;
    let Some(last) = deeds.last() else {
        return Ok(false);
    };
    for deed in &deeds {
        if hook.wants(&deed.action) {
            tx.insert_message(hook.number, deed.seq, now)?;
        }
    }
    tx.set_webhook_cursor(hook.number, last.seq)?;
    Ok(deeds.len() >= STEP as usize)
}

/// How many messages are lost if the audit records up to `last` are removed: queued ones, and those
/// that have not been queued yet. Advances the webhooks past these records.
///
/// # Errors
/// Those of the store.
pub(super) fn pass_over(tx: &mut Tx<'_>, last: u64) -> Result<u64> {
    let mut lost = 0;
    for hook in tx.webhooks()? {
        let mut at = hook.cursor;
        while at < last {
            let deeds = tx.deeds_after(at, STEP)?;
            let Some(end) = deeds.last() else { break };
            at = end.seq;
            let gone = deeds.iter().take_while(|d| d.seq <= last);
            lost += gone.filter(|d| hook.wants(&d.action)).count() as u64;
        }
        if hook.cursor < last {
            tx.set_webhook_cursor(hook.number, last)?;
        }
    }
    Ok(lost)
}

/// A message as it is sent: its id, and its body.
pub fn content(message: &DueMessage) -> (String, Vec<u8>) {
    let record = &message.record;
    let parsed = |text: &str| serde_json::from_str::<Value>(text).unwrap_or(Value::Null);
    let body = json!({
        "type": record.action,
        "timestamp": when::rfc3339_ms(record.at.ms()),
        "data": {
            "subject": record.subject,
            "client": record.client,
            "user": record.actor.user,
            "before": parsed(&record.before),
            "after": parsed(&record.after),
            "audit_seq": record.seq,
        },
    });
    // The same for every attempt, so that a receiver recognises a repetition. After a restore, the
    // numbers are reused for other records, whose messages are not repetitions.
    let id = match message.timeline {
        None => format!("msg_{}_{}", message.webhook, record.seq),
        Some(timeline) => format!("msg_{timeline}_{}_{}", message.webhook, record.seq),
    };
    (id, body.to_string().into_bytes())
}

/// How an attempt went.
#[derive(Clone, Debug)]
pub struct Tried {
    /// The status of the answer, if there was one.
    pub status: Option<u16>,
    /// How long the receiver took, in milliseconds.
    pub took_ms: u64,
    /// Why the receiver does not have the message, without secrets; none if it has it.
    pub failure: Option<String>,
}

/// Records an attempt. The last failure is written to the audit log.
///
/// # Errors
/// Those of the store.
pub fn tried(store: &mut Store, world: &World, message: &DueMessage, tried: &Tried) -> Result<()> {
    let (webhook, seq) = (message.webhook, message.record.seq);
    let attempt = message.failures.saturating_add(1);
    store.write(world, |tx| {
        // It may have been removed while the message was on its way.
        let all = tx.webhooks()?;
        let Some(hook) = all.iter().find(|w| w.number == webhook) else {
            return Ok(());
        };
        let noted = DeliveryAttempt {
            seq,
            action: message.record.action.clone(),
            attempt,
            at: world.now.seconds(),
            took_ms: tried.took_ms,
            status: tried.status,
            failure: tried.failure.clone(),
            next: None,
        };
        tx.insert_delivery(webhook, &noted)?;
        let Some(why) = &tried.failure else {
            return tx.delete_message(webhook, seq);
        };
        if let Some(wait) = retry_after(attempt, seq.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) {
            let next = world.now.seconds().saturating_add(wait);
            return tx.postpone_message(webhook, seq, attempt, next);
        }
        tx.delete_message(webhook, seq)?;
        // An event about its own failure would repeat forever.
        if message.record.action == "webhook.give-up" {
            return Ok(());
        }
        let after = json!({"audit_seq": seq, "tries": attempt, "reason": why});
        tx.audit(world, "webhook.give-up", &hook.name, None, Some(&after))
    })
}

#[cfg(test)]
mod tests;
