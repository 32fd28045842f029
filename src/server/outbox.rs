//! Background tasks of a server: sends webhook messages, and rotates keys.

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_rustls::rustls;
use ureq::tls::{RootCerts, TlsConfig};
use ureq::unversioned::resolver::{DefaultResolver, Resolver};
use ureq::unversioned::transport::DefaultConnector;

use crate::pool::StorePool;
use keystile_api::remote;
use keystile_model::error::Result;
use keystile_model::reach::Reach;
use keystile_model::webhook::is_taken;
use keystile_registry::handover;
use keystile_registry::webhook;
use keystile_registry::webhook::Tried;
use keystile_store::{DueMessage, Tx};
use keystile_system as system;

mod pinned;

use pinned::{Closed, Pinned};

/// The most messages in transit to one receiver at once: each holds a thread.
const AT_ONCE: u32 = 4;
/// How long a receiver may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// Pause between checks of the queue: the first retry is after five seconds.
const LOOK: Duration = Duration::from_millis(500);
/// After the store could not be read.
const PAUSE: Duration = Duration::from_secs(10);

/// Sends to receivers.
#[derive(Clone)]
pub struct WebhookSender {
    agent: ureq::Agent,
    reach: Reach,
    /// Messages that wait, by the webhook's name.
    backlog: Arc<Mutex<Vec<(String, u64)>>>,
}

impl WebhookSender {
    /// `ca` is a file of certificates to trust in place of the public ones; `reach` says which
    /// receivers may be contacted.
    ///
    /// # Errors
    /// If the file contains none.
    pub fn new(ca: Option<&Path>, reach: Reach) -> Result<Self> {
        Self::resolving(ca, reach, DefaultResolver::default())
    }

    fn resolving(ca: Option<&Path>, reach: Reach, resolver: impl Resolver) -> Result<Self> {
        let mut config = ureq::Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            // Redirects are not followed: whoever can answer for a receiver could send our messages
            // anywhere.
            .max_redirects(0)
            // A proxy would resolve names itself, and its result would not be checked.
            .proxy(None)
            .http_status_as_error(false)
            .user_agent("keystile");
        if let Some(ca) = ca {
            let roots = RootCerts::Specific(Arc::new(remote::certificates(ca)?));
            config = config.tls_config(TlsConfig::builder().root_certs(roots).build());
        }
        let pinned = Pinned::new(reach.clone(), resolver);
        Ok(Self {
            agent: ureq::Agent::with_parts(config.build(), DefaultConnector::new(), pinned),
            reach,
            backlog: Arc::default(),
        })
    }

    /// Messages that wait, by the webhook's name.
    pub fn backlog(&self) -> Vec<(String, u64)> {
        self.waiting().clone()
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<(String, u64)>> {
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which receivers may be contacted.
    pub fn reach(&self) -> Reach {
        self.reach.clone()
    }
}

/// Sends messages until it is dropped. Messages in transit then are sent again.
///
/// Of several servers, one sends: its receivers get them in order, over few connections, whatever
/// the number of servers is, and what was in transit when the turn changes is all that is sent
/// twice. If each took some (`SKIP LOCKED`), every message would need a row to be locked while a
/// receiver takes its time, and order would be lost; a receiver is slower than one sender anyway.
pub async fn run(pool: Arc<StorePool>, sender: WebhookSender) {
    let mut turns = tokio::time::interval(LOOK);
    turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // Each receiver has a task of its own, so that one that does not answer does not delay others.
    let mut busy = HashSet::new();
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            _ = turns.tick() => {}
            Some(done) = tasks.join_next_with_id() => {
                let id = match done {
                    Ok((id, ())) => id,
                    Err(e) => e.id(),
                };
                busy.retain(|(_, task)| *task != id);
                continue;
            }
        }
        // What was begun by a server that is not to do it any more is ended by it.
        if !pool.leads() {
            continue;
        }
        match receivers(&pool, &sender).await {
            Ok(all) => {
                for hook in all {
                    if busy.iter().all(|(number, _)| *number != hook) {
                        let task = tasks.spawn(serve(Arc::clone(&pool), sender.clone(), hook));
                        busy.insert((hook, task.id()));
                    }
                }
            }
            Err(e) => {
                tracing::error!(error = %e, "webhooks cannot be sent");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Queues new messages; gives the webhooks for which there are some.
async fn receivers(pool: &Arc<StorePool>, sender: &WebhookSender) -> Result<Vec<u32>> {
    loop {
        let collected = pool
            .write(|store| webhook::collect(store, &system::of_server()))
            .await?;
        if collected.dropped > 0 {
            tracing::warn!(
                dropped = collected.dropped,
                "webhook messages were dropped: their audit records were pruned"
            );
        }
        if !collected.more {
            break;
        }
    }
    let all = pool.read(|tx: &Tx<'_>| tx.webhooks()).await?;
    *sender.waiting() = all.iter().map(|w| (w.name.clone(), w.waiting)).collect();
    let waiting = all.iter().filter(|w| w.waiting > 0 && w.paused.is_none());
    Ok(waiting.map(|w| w.number).collect())
}

/// Sends what is due to one receiver.
async fn serve(pool: Arc<StorePool>, sender: WebhookSender, hook: u32) {
    if let Err(e) = turn(&pool, &sender, hook).await {
        tracing::error!(error = %e, webhook = hook, "a webhook message cannot be sent");
        tokio::time::sleep(PAUSE).await;
    }
}

async fn turn(pool: &Arc<StorePool>, sender: &WebhookSender, hook: u32) -> Result<()> {
    loop {
        // Another server's turn: it sends the rest.
        if !pool.leads() {
            return Ok(());
        }
        let now = system::of_server().now.seconds();
        let due = move |tx: &Tx<'_>| tx.due_messages(hook, now, AT_ONCE);
        let due = pool.read(due).await?;
        if due.is_empty() {
            return Ok(());
        }
        let mut sending = JoinSet::new();
        for message in due {
            let sender = sender.clone();
            sending.spawn_blocking(move || {
                let tried = send(&sender, &message);
                (message, tried)
            });
        }
        while let Some(sent) = sending.join_next().await {
            let Ok((message, tried)) = sent else { continue };
            if let Some(why) = &tried.failure {
                tracing::warn!(
                    webhook = message.webhook,
                    audit_seq = message.record.seq,
                    failures = message.failures + 1,
                    reason = %why,
                    "a webhook message was not accepted"
                );
            }
            pool.write(move |store| webhook::tried(store, &system::of_server(), &message, &tried))
                .await?;
        }
    }
}

fn send(sender: &WebhookSender, message: &DueMessage) -> Tried {
    let (id, body) = webhook::content(message);
    let timestamp = system::of_server().now.seconds();
    let signature = message.secret.sign(&id, timestamp, &body);
    let began = system::instant();
    let answer = sender
        .agent
        .post(&message.url)
        .header("content-type", "application/json")
        .header("webhook-id", &id)
        .header("webhook-timestamp", timestamp.to_string())
        .header("webhook-signature", signature)
        .send(&body[..]);
    // Of an answer only its status is kept: its text is the receiver's, and may hold anything.
    let (status, failure) = match answer.map(|a| a.status().as_u16()) {
        Ok(status) if is_taken(status) => (Some(status), None),
        Ok(status) => (Some(status), Some(format!("answered {status}"))),
        Err(e) => (None, Some(reason(&e).to_owned())),
    };
    Tried {
        status,
        took_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        failure,
    }
}

/// In a few words: the error itself may contain the URL, which may contain a token.
fn reason(e: &ureq::Error) -> &'static str {
    match e {
        ureq::Error::Timeout(_) => "took too long",
        ureq::Error::HostNotFound => "the host is not known",
        ureq::Error::Other(e) if e.is::<Closed>() => {
            "its address is not public, and no `--webhook-allow` names its network"
        }
        ureq::Error::Tls(_) | ureq::Error::Rustls(_) => "its certificate is not trusted",
        // If TLS fails while reading, it appears as an I/O error.
        ureq::Error::Io(e) if e.get_ref().is_some_and(|e| e.is::<rustls::Error>()) => {
            "its certificate is not trusted"
        }
        ureq::Error::ConnectionFailed | ureq::Error::Io(_) => "cannot be reached",
        _ => "does not speak proper HTTP",
    }
}

/// Checks every key once per `every`, until it is dropped.
pub async fn rotate(pool: Arc<StorePool>, every: Duration) {
    let mut turns = tokio::time::interval(every);
    turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        pool.until_leading().await;
        match round(&pool).await {
            Ok((0, 0)) => {}
            Ok((warned, handed_over)) => {
                tracing::info!(warned, handed_over, "keys checked for rotation");
            }
            Err(e) => tracing::error!(error = %e, "keys cannot be checked for rotation"),
        }
    }
}

async fn round(pool: &Arc<StorePool>) -> Result<(u32, u32)> {
    let (mut warned, mut handed_over, mut after) = (0, 0, None);
    loop {
        let turn = pool
            .write(move |store| handover::turn(store, &system::of_server(), after))
            .await?;
        warned += turn.warned;
        handed_over += turn.handed_over;
        match turn.next {
            Some(next) => after = Some(next),
            None => return Ok((warned, handed_over)),
        }
    }
}
