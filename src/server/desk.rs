//! A server's access to the store: many tasks, one writer, a few readers.
//!
//! SQLite blocks, so everything runs on the runtime's blocking threads. Writers queue
//! for one connection; readers see the last committed moment and wait for nobody.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};

use keystile_api::Pace;
use keystile_model::error::{Code, Error, Kind, Result, Trouble, refuse};
use keystile_model::world::World;
use keystile_registry::home::{FileId, Home};
use keystile_store::{Store, Tx};
use keystile_system as system;

mod health;
mod turns;

pub use health::{Health, Next};
use turns::{Share, Shares, Turn, Turns};

/// Readers at once; more would only wait for the disk.
const READERS: usize = 4;
/// Reads of one caller at a time: of three, one is left to others.
const READS: usize = 2;
/// Changes of one caller that run or queue at a time. Its further changes wait behind these,
/// not in front of other callers'.
const WRITES: usize = 2;
/// How often a long change is broken off for urgent ones before it is refused.
const BREAKS: usize = 12;
/// As often it is broken off at once.
const AT_ONCE: usize = 4;
/// Afterwards, urgent changes wait so long first: what takes less ends in any case, whoever
/// would interrupt it for ever.
const SPARED: Duration = Duration::from_millis(800);
/// How often a mass revocation by staff is broken off for single ones. It revokes as well, only
/// more, so it is never refused.
const SWEEP_BREAKS: usize = 2;
/// What is done in parts may run so long before it is broken off: enough for one part at least.
const PART: Duration = Duration::from_millis(250);
/// How often changes by other processes (a `keystilectl` on the same machine) are
/// looked for.
const LOOK: Duration = Duration::from_millis(200);

/// A server's access to the store.
pub struct Desk {
    home: Home,
    /// The store's file as it was opened.
    file: FileId,
    writer: Mutex<Store>,
    readers: Mutex<Vec<Store>>,
    turns: Semaphore,
    /// Operations may take their time; one turn is always left for who only looks, such as
    /// the check of a token.
    asks: Semaphore,
    asking: Arc<Shares>,
    /// Writers wait here, and not each on a thread.
    turn: Arc<Turns>,
    writing: Arc<Shares>,
    version: watch::Sender<u64>,
    record: watch::Sender<u64>,
    health: Health,
}

impl Desk {
    /// Opens the store.
    ///
    /// # Errors
    /// Those of [`Home::open`].
    pub fn open(home: Home) -> Result<Arc<Self>> {
        let mut store = home.open()?;
        let file = home.file()?;
        let (version, record) = store.read(|tx| Ok(now(tx)))?;
        let turn = Arc::new(Turns::default());
        store.break_off_when(turn.hurry());
        Ok(Arc::new(Self {
            home,
            file,
            writer: Mutex::new(store),
            readers: Mutex::new(Vec::new()),
            turns: Semaphore::new(READERS),
            asks: Semaphore::new(READERS - 1),
            asking: Shares::new(READS),
            turn,
            writing: Shares::new(WRITES),
            version: watch::Sender::new(version),
            record: watch::Sender::new(record),
            health: Health::default(),
        }))
    }

    /// The folder of the store.
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// Reads, all from one moment.
    ///
    /// # Errors
    /// Those of `f`, and of the store.
    pub async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        f: impl FnOnce(&Tx<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.look_at(|store| store.read(f)).await
    }

    /// Reads with operations that open their own transactions, and change nothing: in the
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
        let _turn = self.turns.acquire().await.map_err(|_| closed())?;
        let desk = Arc::clone(self);
        let done = blocking(move || {
            desk.is_in_place()?;
            let idle = locked(&desk.readers).pop();
            let mut store = match idle.and_then(Store::still_readable) {
                Some(store) => store,
                None => desk.open_again()?,
            };
            let out = f(&mut store);
            locked(&desk.readers).push(store);
            Ok(out)
        });
        self.heeded(done.await.flatten())
    }

    /// That the store's file is still where it was: what is written to one that was moved away is
    /// lost, and another in its place is not what Envoys and this process know.
    fn is_in_place(&self) -> Result<()> {
        let gone = || {
            refuse(
                Code::StoreAccess,
                "the store's file was moved or replaced while the server was running",
                "nothing was changed; put it back, or stop the server, check the folder and start it again",
            )
        };
        self.home.still_held()?;
        match self.home.file() {
            Ok(file) if file == self.file => Ok(()),
            Ok(_) => Err(gone()),
            Err(e) => Err(gone().because(&e)),
        }
    }

    /// Opens the store once more: a rotation of the master key asks for that. The reason names
    /// files, so it is for the log alone.
    fn open_again(&self) -> Result<Store> {
        self.home.open().map_err(|e| {
            let kind = match e.kind() {
                kind @ (Kind::Store(_) | Kind::Unavailable) => kind,
                _ => Kind::Store(Trouble::Access),
            };
            refuse(
                Code::StoreFailing,
                "the store cannot be opened any more",
                "nothing was changed; the server's log says why",
            )
            .of(kind)
            .because(&e)
        })
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
    /// It is not, or was not a short while ago.
    pub async fn is_well(self: &Arc<Self>) -> Result<()> {
        let trouble = match self.health.next() {
            Next::Well => return self.read(|tx| Ok(tx.meta())).await.map(drop),
            Next::Wait(trouble) => Err(trouble),
            Next::Write(_) => {
                let world = system::of_server();
                let write = move |store: &mut Store| store.write(&world, |_| Ok(()));
                self.write_at(Pace::Urgent, write).await?;
                Ok(())
            }
            Next::Check(_) => {
                // Those that are idle hold pages that were good once.
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
            .of(Kind::Store(trouble))),
        }
    }

    /// Changes. `f` opens its own transactions, as the functions of [`keystile_registry`] do.
    ///
    /// # Errors
    /// Those of `f`, and of the store.
    pub async fn write<T: Send + 'static>(
        self: &Arc<Self>,
        f: impl FnOnce(&mut Store) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.write_at(Pace::Usual, f).await
    }

    /// The same at another pace.
    ///
    /// # Errors
    /// Those of `f`, and of the store.
    pub async fn write_at<T: Send + 'static>(
        self: &Arc<Self>,
        pace: Pace,
        f: impl FnOnce(&mut Store) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let turn = self.turn.take(pace, None).await.ok_or_else(closed)?;
        self.write_in(turn, f).await.0
    }

    /// The same for a caller, in its share. What takes long gives way: it is broken off, and
    /// begun again by the next `f` that `begin` makes.
    ///
    /// # Errors
    /// Those of `f`, and of the store.
    pub async fn write_for<T, F>(
        self: &Arc<Self>,
        world: &World,
        pace: Pace,
        mut begin: impl FnMut() -> Result<F>,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Store) -> Result<T> + Send + 'static,
    {
        let _share = self.share(world, pace).await;
        let mut breaks = 0;
        loop {
            let spared = spared(world, pace, breaks)?;
            let f = begin()?;
            let turn = self.turn.take(pace, spared).await.ok_or_else(closed)?;
            let (done, hurried) = self.write_in(turn, f).await;
            if done.is_ok() || !hurried {
                return done;
            }
            breaks += 1;
        }
    }

    /// The same for what acts on the store alone: while somebody writes, an urgent change that has
    /// nothing to write (it is done already, or refused) is answered by a reader, so that repeating
    /// it interrupts nobody's work.
    ///
    /// # Errors
    /// Those of [`Desk::write_for`].
    pub async fn write_unless_done<T, F>(
        self: &Arc<Self>,
        world: &World,
        pace: Pace,
        mut begin: impl FnMut() -> Result<F>,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Store) -> Result<T> + Send + 'static,
    {
        if pace == Pace::Urgent && self.turn.is_taken() {
            let f = begin()?;
            match self.look_at(move |store| store.glance(f)).await {
                Ok(Some(done)) => return Ok(done),
                Ok(None) => {}
                // The writer tries all the same.
                Err(e) if matches!(e.kind(), Kind::Store(_) | Kind::Unavailable) => {}
                Err(e) => return Err(e),
            }
        }
        self.write_for(world, pace, begin).await
    }

    /// A share of the writer's turns. What is urgent waits for no other change of its caller.
    async fn share(&self, world: &World, pace: Pace) -> Option<Share> {
        match pace {
            Pace::Urgent => None,
            _ => Some(self.writing.take(world.caller.number()).await),
        }
    }

    /// Gives what `f` gave, and whether it was told to break off meanwhile.
    async fn write_in<T: Send + 'static>(
        self: &Arc<Self>,
        turn: Turn,
        f: impl FnOnce(&mut Store) -> Result<T> + Send + 'static,
    ) -> (Result<T>, bool) {
        let desk = Arc::clone(self);
        let done = blocking(move || {
            // Held until it is done, even if nobody waits for it any more.
            let turn = turn;
            let mut store = locked(&desk.writer);
            desk.is_in_place()?;
            if !store.is_readable() {
                *store = desk.open_again()?;
                store.break_off_when(desk.turn.hurry());
            }
            let out = f(&mut store);
            let hurried = turn.is_hurried();
            desk.health.heed_beside(store.take_unnoted());
            desk.look(&mut store)?;
            Ok((out, hurried))
        });
        match done.await {
            Ok((out, hurried)) => (self.heeded(out), hurried),
            Err(e) => (self.heeded(Err(e)), false),
        }
    }

    /// Whether somebody writes.
    #[cfg(test)]
    pub fn is_writing(&self) -> bool {
        self.turn.is_taken()
    }

    /// Whether the one that writes is told to break off.
    #[cfg(test)]
    pub fn is_hurried(&self) -> bool {
        self.turn.hurry().load(std::sync::atomic::Ordering::Relaxed)
    }

    /// The version of the keyset, and its changes, by whichever process.
    pub fn versions(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// The number of the last audit record, and its changes, by whichever process: every change
    /// of the store leaves a record, those that no keyset shows included.
    pub fn records(&self) -> watch::Receiver<u64> {
        self.record.subscribe()
    }

    /// Looks for changes by other processes until it is dropped.
    pub async fn watch_others(self: Arc<Self>) {
        let mut turns = tokio::time::interval(LOOK);
        turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            turns.tick().await;
            match self.read(|tx| Ok(now(tx))).await {
                Ok(now) => self.announce(now),
                // Counted and logged already.
                Err(e) if matches!(e.kind(), Kind::Store(_)) => {}
                Err(e) => tracing::error!(error = %e, "the store cannot be read"),
            }
        }
    }

    fn look(&self, store: &mut Store) -> Result<()> {
        self.announce(store.read(|tx| Ok(now(tx)))?);
        Ok(())
    }

    fn announce(&self, (version, record): (u64, u64)) {
        for (known, now) in [(&self.version, version), (&self.record, record)] {
            known.send_if_modified(|known| {
                let newer = now > *known;
                *known = now.max(*known);
                newer
            });
        }
    }
}

/// How long a change that was broken off so often may run before it is again; `None` if it is
/// not broken off any more.
///
/// # Errors
/// It takes too long among so many urgent ones.
fn spared(world: &World, pace: Pace, breaks: usize) -> Result<Option<Duration>> {
    match pace {
        Pace::Urgent | Pace::Usual => Ok(None),
        Pace::Parts => Ok(Some(PART)),
        // A client's own mass revocation must not keep other clients' keys from being revoked.
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

/// The version of the keyset, and the number of the last audit record.
fn now(tx: &Tx<'_>) -> (u64, u64) {
    let meta = tx.meta();
    (meta.version, meta.head.seq)
}

/// A panic while the lock was held ended its transaction without a commit: what is
/// behind the lock is whole.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Boxed, so that the runtime's part of it is compiled once and not for every operation.
async fn blocking<T: Send + 'static>(f: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let (done, out) = tokio::sync::oneshot::channel();
    let job: Box<dyn FnOnce() + Send> = Box::new(move || {
        // Who asked may be gone.
        let _ = done.send(f());
    });
    let ended = tokio::task::spawn_blocking(job).await;
    match (ended, out.await) {
        (Ok(()), Ok(out)) => out,
        _ => Err(refuse(
            Code::Defect,
            "the operation was broken off by a mistake of ours",
            "nothing was changed; look at the server's log",
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

/// A desk for tests. Compiled always, like what it stands on.
#[doc(hidden)]
pub mod bench {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;

    use super::Desk;

    /// A fresh store with this policy, a signing key and clients of these names, in a folder
    /// that is removed with it.
    pub fn desk(policy: &str, clients: &[&str]) -> (tempfile::TempDir, Arc<Desk>) {
        let (folder, home) = keystile_registry::bench::home(policy, clients);
        (folder, Desk::open(home).unwrap())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keystile_registry::signing;

    fn home(folder: &std::path::Path) -> Home {
        Home::new(folder.to_owned(), None)
    }

    fn fresh(folder: &std::path::Path) -> Arc<Desk> {
        let world = system::at(1_800_000_000);
        home(folder)
            .create(&world, |store| {
                store.write(&world, |tx| signing::insert(tx, &world).map(drop))
            })
            .unwrap();
        Desk::open(home(folder)).unwrap()
    }

    #[tokio::test]
    async fn a_write_is_announced_when_it_is_done() {
        let folder = tempfile::tempdir().unwrap();
        let desk = fresh(folder.path());
        let mut versions = desk.versions();
        let before = *versions.borrow_and_update();
        desk.write(|store| signing::renew(store, &system::at(1_800_000_001)))
            .await
            .unwrap();
        assert!(versions.has_changed().unwrap());
        let after = *versions.borrow_and_update();
        assert!(after > before);
        assert_eq!(desk.read(|tx| Ok(tx.meta().version)).await.unwrap(), after);
    }

    #[tokio::test]
    async fn a_change_by_another_process_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let desk = fresh(folder.path());
        let mut versions = desk.versions();
        versions.borrow_and_update();
        let looking = tokio::spawn(Arc::clone(&desk).watch_others());
        let mut other = home(folder.path()).open().unwrap();
        signing::renew(&mut other, &system::at(1_800_000_002)).unwrap();
        tokio::time::timeout(Duration::from_secs(10), versions.changed())
            .await
            .unwrap()
            .unwrap();
        looking.abort();
    }

    #[tokio::test]
    async fn a_rotation_of_the_master_key_by_another_process_is_no_outage() {
        let folder = tempfile::tempdir().unwrap();
        let desk = fresh(folder.path());
        for n in 10..13 {
            // A reader that is idle, and the writer, have the store open with the former key.
            let before = desk.read(|tx| Ok(tx.meta().version)).await.unwrap();
            home(folder.path())
                .rotate_master_key(&system::at(1_800_000_000 + n), None)
                .unwrap();
            assert_eq!(desk.read(|tx| Ok(tx.meta().version)).await.unwrap(), before);
            desk.write(move |store| signing::renew(store, &system::at(1_800_000_000 + n)))
                .await
                .unwrap();
            assert!(desk.read(|tx| Ok(tx.meta().version)).await.unwrap() > before);
        }
    }

    #[tokio::test]
    async fn readers_do_not_wait_for_a_writer() {
        let folder = tempfile::tempdir().unwrap();
        let desk = fresh(folder.path());
        let (started, is_started) = tokio::sync::oneshot::channel();
        let (go_on, may_go_on) = std::sync::mpsc::channel();
        let writing = tokio::spawn({
            let desk = Arc::clone(&desk);
            async move {
                desk.write(move |store| {
                    store.write(&system::at(1_800_000_003), |tx| {
                        let _ = started.send(());
                        let _ = may_go_on.recv_timeout(Duration::from_secs(10));
                        tx.keyset_changed();
                        Ok(())
                    })
                })
                .await
            }
        });
        is_started.await.unwrap();
        let read = desk.read(|tx| Ok(tx.meta().version));
        tokio::time::timeout(Duration::from_secs(5), read)
            .await
            .unwrap()
            .unwrap();
        go_on.send(()).unwrap();
        writing.await.unwrap().unwrap();
    }
}
