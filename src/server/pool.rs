//! A server's access to the store: many tasks, one writer, a few readers.
//!
//! SQLite blocks, so everything runs on the runtime's blocking threads. Writers queue for one
//! connection; readers see the last committed state and never wait.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};

use crate::replicas::Replicas;
use keystile_api::Pace;
use keystile_model::error::{Code, Error, Kind, Result, Trouble, refuse};
use keystile_model::world::World;
use keystile_registry::home::{FileId, Home};
use keystile_store::{BaseMark, SeenHead, Store, Tx};
use keystile_system as system;

mod health;
mod look;
mod now;
mod turns;
mod write;

pub use health::{Health, StoreProbe};
use turns::{Shares, Turns};

/// Readers at once; more would only wait for the disk.
const READERS: usize = 4;
/// Reads of one caller at a time: of three, one is left for others.
const READS: usize = 2;
/// Changes of one caller that run or queue at a time. Its further changes wait behind these,
/// not in front of other callers'.
const WRITES: usize = 2;
/// How often a long change is interrupted by urgent ones before it is refused.
const BREAKS: usize = 12;
/// How many of these times it is interrupted immediately.
const AT_ONCE: usize = 4;
/// After that, urgent changes wait this long first, so that shorter changes always finish.
const SPARED: Duration = Duration::from_millis(800);
/// How often a mass revocation by staff is interrupted by single ones. It also revokes, so it is
/// never refused.
const SWEEP_BREAKS: usize = 2;
/// How long a change in parts may run before it is interrupted: enough for at least one part.
const PART: Duration = Duration::from_millis(250);

/// A server's access to the store.
pub struct StorePool {
    home: Home,
    /// The store's file as it was opened.
    file: FileId,
    writer: Mutex<Store>,
    readers: Mutex<Vec<Store>>,
    turns: Arc<Semaphore>,
    /// Operations may take their time; one reader is always left for short reads, such as the check
    /// of a token.
    asks: Semaphore,
    asking: Arc<Shares>,
    /// Writers wait here instead of each on a thread.
    turn: Arc<Turns>,
    writing: Arc<Shares>,
    version: watch::Sender<u64>,
    record: watch::Sender<u64>,
    base: watch::Sender<BaseMark>,
    /// For looking whether anything has changed.
    watcher: Mutex<Option<Store>>,
    /// What was seen of the store, if it is in a database.
    seen: Option<Arc<SeenHead>>,
    health: Health,
    /// The other servers of the store, if it is in a database.
    replicas: Option<Arc<Replicas>>,
}

impl StorePool {
    /// Opens the store.
    ///
    /// # Errors
    /// Those of [`Home::open`].
    pub fn open(home: Home) -> Result<Arc<Self>> {
        let mut store = home.open()?;
        let file = home.file()?;
        let seen = home.database().map(|_| Arc::new(SeenHead::default()));
        if let Some(seen) = &seen {
            store.follow(Arc::clone(seen));
        }
        let now = store.read(now::now)?;
        let replicas = home.database().map(Replicas::new).transpose()?;
        let turn = Arc::new(Turns::default());
        store.break_off_when(turn.hurry());
        Ok(Arc::new(Self {
            home,
            file,
            writer: Mutex::new(store),
            readers: Mutex::new(Vec::new()),
            turns: Arc::new(Semaphore::new(READERS)),
            asks: Semaphore::new(READERS - 1),
            asking: Shares::new(READS),
            turn,
            writing: Shares::new(WRITES),
            version: watch::Sender::new(now.version),
            record: watch::Sender::new(now.record),
            base: watch::Sender::new(now.base),
            watcher: Mutex::default(),
            seen,
            health: Health::default(),
            replicas,
        }))
    }

    /// The folder of the store.
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// Reads consistently.
    ///
    /// # Errors
    /// Those of `f`, and of the store.
    pub async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        f: impl FnOnce(&Tx<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.look_at(|store| store.read(f)).await
    }

    /// Reads with operations that open their own transactions and change nothing, within the
    /// caller's share.
    ///
    /// # Errors
    /// Those of `f`, and of the store.
    pub async fn ask<T: Send + 'static>(
        self: &Arc<Self>,
        world: &World,
        f: impl FnOnce(&mut Store) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let _share = self.asking.take(world.caller.number()).await;
        let _ask = self.asks.acquire().await.map_err(|_| closed())?;
        self.look_at(f).await
    }

    async fn look_at<T: Send + 'static>(
        self: &Arc<Self>,
        f: impl FnOnce(&mut Store) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let turns = Arc::clone(&self.turns);
        let turn = turns.acquire_owned().await.map_err(|_| closed())?;
        let pool = Arc::clone(self);
        let look = move |pool: &Self| {
            pool.is_in_place()?;
            let idle = locked(&pool.readers).pop();
            let mut store = match idle.and_then(Store::still_readable) {
                Some(store) => store,
                None => pool.open_again()?,
            };
            let out = f(&mut store);
            locked(&pool.readers).push(store);
            out
        };
        let done = blocking(move || {
            // The thread's, not the request's, which may be given up while the database stands still.
            let _turn = turn;
            pool.heeded(look(&pool))
        });
        done.await
    }

    /// Checks that the store's file is still in place: writes to one that was moved away would be
    /// lost, and another in its place is not what Envoys and this process know.
    fn is_in_place(&self) -> Result<()> {
        let gone = || {
            refuse(
                Code::StoreAccess,
                "the store's file was moved or replaced while the server was running",
                "nothing was changed; put it back, or stop the server, check the folder and start it again",
            )
        };
        self.seen.as_ref().map_or(Ok(()), |seen| seen.went_on())?;
        self.home.still_held()?;
        match self.home.file() {
            Ok(file) if file == self.file => Ok(()),
            Ok(_) => Err(gone()),
            Err(e) => Err(gone().because(&e)),
        }
    }

    /// Opens the store again, as a rotation of the master key requires. The reason names files, so
    /// it is only for the log.
    fn open_again(&self) -> Result<Store> {
        let mut store = self.home.open().map_err(|e| {
            let kind = match e.kind() {
                kind @ (Kind::Store(_) | Kind::Unavailable) => kind,
                _ => Kind::Store(Trouble::Access),
            };
            refuse(
                Code::StoreFailing,
                "the store cannot be opened any more",
                "nothing was changed; the server's log says why",
            )
            .with_kind(kind)
            .because(&e)
        })?;
        if let Some(seen) = &self.seen {
            store.follow(Arc::clone(seen));
        }
        Ok(store)
    }

    fn heeded<T>(&self, done: Result<T>) -> Result<T> {
        done.inspect_err(|e| self.health.heed(e))
    }

    /// Whether the store is healthy.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// Finds out whether the store is healthy.
    ///
    /// # Errors
    /// If it is not, or was not a short while ago.
    pub async fn is_well(self: &Arc<Self>) -> Result<()> {
        let trouble = match self.health.next() {
            StoreProbe::Well => return self.read(|tx| Ok(tx.meta())).await.map(drop),
            StoreProbe::Wait(trouble) => Err(trouble),
            StoreProbe::Write(_) => {
                let world = system::of_server();
                let write = move |store: &mut Store| store.write(&world, |_| Ok(()));
                self.write_at(Pace::Urgent, write).await?;
                Ok(())
            }
            StoreProbe::Check(_) => {
                // Idle readers hold pages that were good in the past.
                locked(&self.readers).clear();
                self.look_at(Store::check).await?;
                Ok(())
            }
        };
        match trouble {
            Ok(()) => {
                self.health.is_well();
                Ok(())
            }
            Err(trouble) => Err(refuse(
                Code::StoreFailing,
                format_args!("the store is failing ({})", trouble.as_str()),
                "see the server's log; the store is tried again every few seconds",
            )
            .with_kind(Kind::Store(trouble))),
        }
    }

    /// The version of the keyset, and its changes by any process.
    pub fn versions(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// The number of the last audit record, and its changes by any process: every change of the
    /// store leaves a record, including changes that do not affect the keyset.
    pub fn records(&self) -> watch::Receiver<u64> {
        self.record.subscribe()
    }
}

/// How long a change that was interrupted this often may run before the next interruption; `None`
/// if it is no longer interrupted.
///
/// # Errors
/// If it takes too long among so many urgent ones.
fn spared(world: &World, pace: Pace, breaks: usize) -> Result<Option<Duration>> {
    match pace {
        Pace::Urgent | Pace::Usual => Ok(None),
        Pace::Parts => Ok(Some(PART)),
        // A client's own mass revocation must not prevent revocations of other clients' keys.
        Pace::Sweep if world.caller.bound().is_none() => {
            Ok((breaks < SWEEP_BREAKS).then_some(Duration::ZERO))
        }
        Pace::Sweep | Pace::Long if breaks < AT_ONCE => Ok(Some(Duration::ZERO)),
        Pace::Sweep | Pace::Long if breaks < BREAKS => Ok(Some(SPARED)),
        Pace::Sweep | Pace::Long => Err(refuse(
            Code::Interrupted,
            format_args!(
                "it was interrupted {BREAKS} times by revocations and the like, which go first"
            ),
            "nothing was changed; try again later, or in smaller parts: a change that takes less than half a second always completes",
        )),
    }
}

/// A panic while the lock was held ended its transaction without a commit, so the state behind the
/// lock is consistent.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Boxed, so that the runtime's part is compiled once, not for every operation.
async fn blocking<T: Send + 'static>(f: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let (done, out) = tokio::sync::oneshot::channel();
    let job: Box<dyn FnOnce() + Send> = Box::new(move || {
        // The caller may be gone.
        let _ = done.send(f());
    });
    let ended = tokio::task::spawn_blocking(job).await;
    match (ended, out.await) {
        (Ok(()), Ok(out)) => out,
        _ => Err(refuse(
            Code::Defect,
            "the operation was aborted by a bug in Keystile",
            "nothing was changed; see the server's log",
        )),
    }
}

fn closed() -> Error {
    refuse(
        Code::ShuttingDown,
        "the server is shutting down",
        "try again",
    )
}

/// A pool for tests. Always compiled, like the benches that it uses.
#[doc(hidden)]
pub mod bench {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;

    use super::StorePool;

    /// A fresh store with this policy, a signing key and clients of these names, in a folder
    /// that is removed with it.
    pub fn pool(policy: &str, clients: &[&str]) -> (tempfile::TempDir, Arc<StorePool>) {
        let (folder, home) = keystile_registry::bench::home(policy, clients);
        (folder, StorePool::open(home).unwrap())
    }
}

#[cfg(test)]
mod tests;
