//! Sends the messages of webhooks, and turns the wheel of rotations: what a server does
//! without being asked.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::desk::Desk;
use crate::error::Result;
use crate::registry::webhook::Tried;
use crate::registry::{handover, webhook};
use crate::store::Message;
use crate::webhook::is_taken;
use crate::world::World;

/// Messages on their way at once.
const AT_ONCE: u32 = 16;
/// How long a receiver may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// Between looks at the line: the first wait of a repetition is five seconds.
const LOOK: Duration = Duration::from_millis(500);

/// Sends messages until it is dropped. What is on its way then is sent again.
pub async fn run(desk: Arc<Desk>) {
    let agent = agent();
    let mut turns = tokio::time::interval(LOOK);
    turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        if let Err(e) = turn(&desk, &agent).await {
            tracing::error!(error = %e, "webhooks cannot be served");
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
    }
}

async fn turn(desk: &Arc<Desk>, agent: &ureq::Agent) -> Result<()> {
    while desk
        .write(|store| webhook::collect(store, &World::of_server()))
        .await?
    {}
    let now = World::of_server().now.seconds();
    let due = desk.read(move |tx| tx.due_messages(now, AT_ONCE)).await?;
    let mut sending = JoinSet::new();
    for message in due {
        let agent = agent.clone();
        sending.spawn_blocking(move || {
            let tried = send(&agent, &message);
            (message, tried)
        });
    }
    while let Some(sent) = sending.join_next().await {
        let Ok((message, tried)) = sent else { continue };
        if let Tried::Failed(why) = &tried {
            tracing::warn!(
                webhook = message.webhook,
                audit_seq = message.record.seq,
                failures = message.failures + 1,
                reason = %why,
                "a webhook was not taken"
            );
        }
        desk.write(move |store| webhook::tried(store, &World::of_server(), &message, &tried))
            .await?;
    }
    Ok(())
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .timeout_global(Some(PATIENCE))
        // A receiver that moved is told so by a person: whoever can answer for it could
        // send our messages anywhere.
        .max_redirects(0)
        .http_status_as_error(false)
        .user_agent("keystile")
        .build()
        .new_agent()
}

fn send(agent: &ureq::Agent, message: &Message) -> Tried {
    let (id, body) = webhook::content(message);
    let timestamp = World::of_server().now.seconds();
    let signature = message.secret.sign(&id, timestamp, &body);
    let answer = agent
        .post(&message.url)
        .header("content-type", "application/json")
        .header("webhook-id", &id)
        .header("webhook-timestamp", timestamp.to_string())
        .header("webhook-signature", signature)
        .send(&body[..]);
    match answer {
        Ok(answer) if is_taken(answer.status().as_u16()) => Tried::Taken,
        Ok(answer) => Tried::Failed(format!("answered {}", answer.status().as_u16())),
        Err(e) => Tried::Failed(reason(&e).to_owned()),
    }
}

/// In a few words: the error itself may hold the address, and that a token.
fn reason(e: &ureq::Error) -> &'static str {
    match e {
        ureq::Error::Timeout(_) => "took too long",
        ureq::Error::HostNotFound => "the host is not known",
        ureq::Error::ConnectionFailed | ureq::Error::Io(_) => "cannot be reached",
        ureq::Error::Tls(_) | ureq::Error::Rustls(_) => "its certificate is not believed",
        _ => "does not speak HTTP as it should",
    }
}

/// Looks at every key once in each `every`, until it is dropped.
pub async fn rotate(desk: Arc<Desk>, every: Duration) {
    let mut turns = tokio::time::interval(every);
    turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        match round(&desk).await {
            Ok((0, 0)) => {}
            Ok((warned, handed_over)) => {
                tracing::info!(warned, handed_over, "keys looked at for rotation");
            }
            Err(e) => tracing::error!(error = %e, "keys cannot be looked at for rotation"),
        }
    }
}

async fn round(desk: &Arc<Desk>) -> Result<(u32, u32)> {
    let (mut warned, mut handed_over, mut after) = (0, 0, None);
    loop {
        let turn = desk
            .write(move |store| handover::turn(store, &World::of_server(), after))
            .await?;
        warned += turn.warned;
        handed_over += turn.handed_over;
        match turn.next {
            Some(next) => after = Some(next),
            None => return Ok((warned, handed_over)),
        }
    }
}
