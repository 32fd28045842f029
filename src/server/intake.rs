//! Accepts batches: those that arrive within some milliseconds share a transaction, and each is
//! acknowledged when it is on disk.
//!
//! One task counts, with its own connections: operations neither wait for it nor make it wait.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use keystile_core::keyset::{SigningKey, SigningKeys};
use keystile_core::limit::quota::Quota;
use keystile_core::report::message::{MessageError, Sealed};
use keystile_core::report::usage::{self, Batch, Receipt};
use tokio::sync::{mpsc, oneshot};

use super::usage_counted::Count;
use crate::pool::StorePool;
use keystile_model::error::{Error, Result};
use keystile_registry as registry;
use keystile_registry::node::{EnrolledOnly, Nodes};
use keystile_registry::signing;
use keystile_registry::usage::count::{CountedBatch, Registry, count};
use keystile_registry::usage::{anomaly, prune, quotas as quotas_of};
use keystile_store::Store;
use keystile_system as system;

/// The most batches that wait; senders of more are told to try again.
const WAITING: usize = 64;
/// How long a transaction waits for more batches.
const GATHER: Duration = Duration::from_millis(5);
/// About how many rows one transaction counts.
const ROWS: usize = 4 * usage::MAX_ROWS;
/// Pause between searches for anomalies.
const LOOK: Duration = Duration::from_secs(15);
/// Pause between removals of what is too old.
const PRUNE: Duration = Duration::from_secs(600);

/// Accepts batches.
pub struct Intake {
    pool: Arc<StorePool>,
    queue: mpsc::Sender<Waiting>,
    line: Mutex<Option<mpsc::Receiver<Waiting>>>,
    believed: Mutex<Option<Believed>>,
    count: Count,
    /// Only nodes that are enrolled may report.
    enrolled_only: Arc<EnrolledOnly>,
}

/// Why a batch is not counted.
#[derive(Debug)]
pub enum NotCounted {
    /// It is not authentic.
    Message(MessageError),
    /// It will never be counted; the refusal is signed, so that its sender accepts it.
    Never(Box<Sealed>),
    /// It is of another store.
    OtherStore,
    /// Its node did not sign it.
    Node(Error),
    /// There is no room, or the database cannot be written: it has to be sent again.
    Later(Error),
}

struct Waiting {
    batch: Batch,
    done: oneshot::Sender<Result<Receipt>>,
}

/// The keys for batches and receipts, and the store that they are for.
#[derive(Clone)]
struct Believed {
    keys: Arc<SigningKeys>,
    nodes: Arc<Nodes>,
    store: String,
    /// The last audit record when they were read: none of them changes without a new record.
    record: u64,
}

/// What the counting task has open.
struct Bench {
    store: Store,
    /// Quotas of the policy's plans, and its revision.
    quotas: (u64, HashMap<String, Quota>),
}

impl Intake {
    /// Accepts nothing before [`Intake::run`].
    pub fn new(pool: Arc<StorePool>, enrolled_only: Arc<EnrolledOnly>) -> Arc<Self> {
        let (queue, line) = mpsc::channel(WAITING);
        Arc::new(Self {
            pool,
            queue,
            line: Mutex::new(Some(line)),
            believed: Mutex::new(None),
            count: Count::default(),
            enrolled_only,
        })
    }

    /// The numbers of what was accepted.
    pub fn count(&self) -> &Count {
        &self.count
    }

    /// Counts a batch, with body and signature as they arrived; gives the signed receipt once it is
    /// on disk.
    ///
    /// # Errors
    /// [`NotCounted`]; the batch is not counted then.
    pub async fn take(&self, body: &[u8], kid: &str, tag: &str) -> Result<Sealed, NotCounted> {
        let taken = self.taken(body, kid, tag).await;
        match &taken {
            Ok(_) => {}
            Err(NotCounted::Later(_)) => self.count.put_off(),
            Err(_) => self.count.refused(),
        }
        taken
    }

    async fn taken(&self, body: &[u8], kid: &str, tag: &str) -> Result<Sealed, NotCounted> {
        let believed = self.believed().await.map_err(NotCounted::Later)?;
        let keys = believed.nodes.keys(kid, body, &believed.keys);
        let batch =
            usage::open_batch(body, kid, tag, &keys).map_err(|e| {
                match usage::final_refusal(body, kid, tag, &keys) {
                    Some(sealed) => NotCounted::Never(Box::new(sealed)),
                    None => NotCounted::Message(e),
                }
            })?;
        // An Envoy may only report its own counts.
        let admitted = believed.nodes.admit(kid, &batch.node);
        admitted.map_err(NotCounted::Node)?;
        if batch.store != believed.store {
            return Err(NotCounted::OtherStore);
        }
        let (done, receipt) = oneshot::channel();
        self.queue
            .try_send(Waiting { batch, done })
            .map_err(|_| NotCounted::Later(busy()))?;
        let receipt = receipt
            .await
            .unwrap_or_else(|_| Err(busy()))
            .map_err(NotCounted::Later)?;
        // With the key that signed the batch, because an Envoy with its old environment after a
        // rotation knows no other.
        let keys: &[SigningKey] = keys.as_ref();
        let signer = keys.iter().filter(|key| key.kid() == kid).cloned();
        let signer = SigningKeys::new(signer.collect());
        usage::seal_receipt(&receipt, &signer).ok_or_else(|| NotCounted::Later(busy()))
    }

    /// The signing keys of the store and its nodes, read again only when the store has changed, so
    /// that messages signed with other keys cost no reads.
    async fn believed(&self) -> Result<Believed> {
        let known = locked(&self.believed).clone();
        let record = *self.pool.records().borrow();
        if let Some(known) = known
            && known.record >= record
        {
            return Ok(known);
        }
        let enrolled_only = Arc::clone(&self.enrolled_only);
        let fresh = self
            .pool
            .read(move |tx| {
                Ok(Believed {
                    keys: Arc::new(signing::accepted(tx)?),
                    nodes: Arc::new(Nodes::read(tx, &enrolled_only)?),
                    store: tx.meta().store.to_string(),
                    record: tx.meta().head.seq,
                })
            })
            .await?;
        *locked(&self.believed) = Some(fresh.clone());
        Ok(fresh)
    }

    /// Counts, searches for anomalies and removes what is too old, until it is dropped. Batches
    /// that are waiting then get no answer, and are sent again.
    pub async fn run(self: Arc<Self>) {
        let Some(mut line) = locked(&self.line).take() else {
            return;
        };
        let bench = Arc::new(Mutex::new(None));
        let mut looks = tokio::time::interval(LOOK);
        let mut prunes = tokio::time::interval(PRUNE);
        for turns in [&mut looks, &mut prunes] {
            turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        }
        loop {
            tokio::select! {
                biased;
                _ = looks.tick() => {
                    if let Err(e) = self.look(&bench).await {
                        tracing::error!(error = %e, "usage cannot be searched for anomalies");
                    }
                }
                _ = prunes.tick() => {
                    if let Err(e) = self.tidy(&bench, &mut line).await {
                        tracing::error!(error = %e, "old usage cannot be removed");
                    }
                }
                first = line.recv() => match first {
                    Some(first) => {
                        tokio::time::sleep(GATHER).await;
                        if self.turn(&bench, gathered(first, &mut line)).await {
                            // What becomes of a key that others have read does not wait.
                            looks.reset_immediately();
                        }
                    }
                    None => return,
                },
            }
        }
    }

    /// Counts what waits, and answers it; whether there is something to look at without delay.
    async fn turn(&self, bench: &Arc<Mutex<Option<Bench>>>, waiting: Vec<Waiting>) -> bool {
        let (batches, answers): (Vec<Batch>, Vec<_>) =
            waiting.into_iter().map(|w| (w.batch, w.done)).unzip();
        let batches = Arc::new(batches);
        let now = system::now().seconds();
        let began = system::instant();
        let all = Arc::clone(&batches);
        let counted = self.at(bench, move |b| b.count(&all, now)).await;
        self.count.committed(began.elapsed());
        match counted {
            Ok(counted) => {
                let exposes = counted.iter().any(|c| c.exposes);
                for ((batch, counted), done) in batches.iter().zip(counted).zip(answers) {
                    self.count.counted(batch, &counted, now);
                    // The sender may be gone, and will send again.
                    let _ = done.send(Ok(counted.receipt));
                }
                exposes
            }
            Err(e) if batches.len() == 1 => {
                tracing::error!(error = %e, "a batch cannot be counted");
                for done in answers {
                    let _ = done.send(Err(busy()));
                }
                false
            }
            // An error in one of them must not keep the others out.
            Err(_) => {
                let batches = Arc::unwrap_or_clone(batches);
                let mut exposes = false;
                for (batch, done) in batches.into_iter().zip(answers) {
                    exposes |= Box::pin(self.turn(bench, vec![Waiting { batch, done }])).await;
                }
                exposes
            }
        }
    }

    async fn look(&self, bench: &Arc<Mutex<Option<Bench>>>) -> Result<()> {
        let now = system::now().seconds();
        let (untold, bytes) = self
            .at(bench, move |b| {
                if !b.store.has_usage() {
                    return Ok((false, 0));
                }
                b.store.with_made_usage(|_, usage| {
                    usage.be_patient()?;
                    usage.write(|tx| {
                        anomaly::look(tx, now)?;
                        Ok((!tx.untold(1)?.is_empty(), tx.bytes()?))
                    })
                })
            })
            .await?;
        self.count.bytes(bytes);
        // Of several servers one tells, so that nothing is told twice under two ids.
        if !untold || !self.pool.leads() {
            return Ok(());
        }
        let told = self
            .pool
            .write(|store| anomaly::tell(store, &system::of_server()))
            .await?;
        self.at(bench, move |b| {
            b.store
                .with_made_usage(|_, usage| usage.write(|tx| tx.set_told(&told)))
        })
        .await
    }

    /// Removes what is too old, a step at a time; waiting batches are counted in between.
    async fn tidy(
        &self,
        bench: &Arc<Mutex<Option<Bench>>>,
        line: &mut mpsc::Receiver<Waiting>,
    ) -> Result<()> {
        let now = system::now().seconds();
        loop {
            let more = self
                .at(bench, move |b| {
                    if !b.store.has_usage() {
                        return Ok(false);
                    }
                    b.store
                        .with_made_usage(|_, usage| usage.write(|tx| prune(tx, now)))
                })
                .await?;
            if !more {
                return Ok(());
            }
            if let Ok(first) = line.try_recv() {
                self.turn(bench, gathered(first, line)).await;
            }
        }
    }

    /// Calls a function with what the task has open, on a thread that may block.
    async fn at<T: Send + 'static>(
        &self,
        bench: &Arc<Mutex<Option<Bench>>>,
        f: impl FnOnce(&mut Bench) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (bench, home) = (Arc::clone(bench), self.pool.home().clone());
        let done = tokio::task::spawn_blocking(move || {
            let mut bench = locked(&bench);
            // Another process may have given the store another master key.
            let mut open = match bench.take().and_then(Bench::still_readable) {
                Some(open) => open,
                None => Bench {
                    store: home.open()?,
                    quotas: (0, HashMap::new()),
                },
            };
            let out = f(&mut open);
            // After a failure everything is reopened: the disk may have been full, or a file may
            // have been replaced.
            if out.is_ok() {
                *bench = Some(open);
            }
            out
        });
        let done = done.await.unwrap_or_else(|_| Err(busy()));
        done.inspect_err(|e| self.pool.health().heed(e))
    }
}

impl Bench {
    fn still_readable(self) -> Option<Self> {
        let store = self.store.still_readable()?;
        Some(Self { store, ..self })
    }

    fn count(&mut self, batches: &[Batch], now: u64) -> Result<Vec<CountedBatch>> {
        let (known, quotas) = &mut self.quotas;
        let registry = self.store.read(|tx| {
            let revision = tx.policy()?.revision;
            if revision != *known {
                *quotas = quotas_of(&registry::policy(tx)?.raw, now);
                *known = revision;
            }
            Registry::read(tx, quotas.clone(), batches)
        })?;
        self.store.with_made_usage(|_, usage| {
            usage.be_patient()?;
            usage.write(|tx| count(tx, &registry, batches, now))
        })
    }
}

/// Waiting batches, up to what fits into one transaction.
fn gathered(first: Waiting, line: &mut mpsc::Receiver<Waiting>) -> Vec<Waiting> {
    let mut rows = first.batch.rows.len();
    let mut out = vec![first];
    while rows < ROWS
        && let Ok(next) = line.try_recv()
    {
        rows += next.batch.rows.len();
        out.push(next);
    }
    out
}

fn busy() -> Error {
    keystile_model::error::refuse(
        keystile_model::error::Code::NotReady,
        "usage cannot be counted at the moment",
        "send the same batch again",
    )
}

/// A panic while the lock was held left the state consistent.
fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
