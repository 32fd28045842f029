//! The other servers of the same store, if it is in a database: their turns, what they say, and for
//! how long this one may go on if the others do not hear from it.
//!
//! Each renews a lease in the database. One that cannot, because it is cut off, ends its streams
//! before the others stop waiting for it ([`ALONE`] is shorter than their [`LEASE`]): no Envoy is
//! sent an old keyset by a server that nobody knows of.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use keystile_core::hex;
use keystile_model::error::{Result, defect};
use keystile_store::DatabaseAddress;
use keystile_store::shared::fleet::{Announcement, LEASE, ObservedRow, OtherReplica};
use keystile_store::shared::{ChangeListener, FLEET, SharedTables};
use keystile_store::turn::ServerTurn;
use keystile_system as system;

/// How often a lease is renewed.
pub const RENEW: Duration = Duration::from_secs(1);
/// After this long without being heard by the others, a server ends its streams.
pub const ALONE: Duration = Duration::from_secs(5);
/// How often a server asks for its turn.
const TURN: Duration = Duration::from_millis(500);
/// Pause after a connection was lost.
const PAUSE: Duration = Duration::from_millis(500);

const _: () = assert!(ALONE.as_secs() + 2 < LEASE.as_secs());

/// This server, among the others of its store.
pub struct Replicas {
    id: String,
    address: Arc<DatabaseAddress>,
    shared: Mutex<Option<SharedTables>>,
    /// It has announced its end, and must not renew its lease.
    ended: AtomicBool,
    turn: Mutex<Option<ServerTurn>>,
    /// For sessions and limits, which do not wait for what is said.
    side: Mutex<Option<SharedTables>>,
    store: watch::Sender<u64>,
    fleet: watch::Sender<u64>,
    listens: watch::Sender<bool>,
    others: watch::Sender<Vec<OtherReplica>>,
    heard: watch::Sender<Option<Instant>>,
    /// When the last read of the store that succeeded began.
    read: watch::Sender<Option<Instant>>,
    leads: watch::Sender<bool>,
    alone: watch::Sender<bool>,
    /// When the last exchange that succeeded began.
    exchanged: watch::Sender<Option<Instant>>,
    /// Lets one use [`Replicas::aside`] at a time, so that the others wait without a thread.
    aside: Arc<Semaphore>,
}

/// What this server says.
#[derive(Default)]
pub struct ServerNews {
    /// The version that it has published.
    pub published: u64,
    /// It renews its lease.
    pub renews: bool,
    /// What it observes that it has not said before.
    pub rows: Vec<ObservedRow>,
    /// Rows up to this one that only say "forgotten" may be deleted: all others have read them.
    pub sweep: Option<u64>,
}

/// What the others have said.
pub struct Heard {
    /// The others.
    pub others: Vec<OtherReplica>,
    /// What each observes that was not read before.
    pub rows: Vec<(String, Vec<ObservedRow>)>,
    /// They have forgotten what this server said before.
    pub forgotten: bool,
}

impl Replicas {
    /// This server of a store in a database.
    ///
    /// # Errors
    /// If the system gives no randomness.
    pub fn new(address: &Arc<DatabaseAddress>) -> Result<Arc<Self>> {
        let mut id = [0; 8];
        (system::local().entropy)(&mut id)?;
        let new = Arc::new(Self {
            id: hex::text(id),
            address: Arc::clone(address),
            shared: Mutex::default(),
            ended: AtomicBool::new(false),
            turn: Mutex::default(),
            side: Mutex::default(),
            store: watch::Sender::new(0),
            fleet: watch::Sender::new(0),
            listens: watch::Sender::new(false),
            others: watch::Sender::new(Vec::new()),
            heard: watch::Sender::new(None),
            read: watch::Sender::new(None),
            leads: watch::Sender::new(false),
            alone: watch::Sender::new(false),
            exchanged: watch::Sender::new(None),
            aside: Arc::new(Semaphore::new(1)),
        });
        listen(Arc::downgrade(&new), Arc::clone(address));
        Ok(new)
    }

    /// Wakes when the store has changed.
    pub fn store(&self) -> watch::Receiver<u64> {
        self.store.subscribe()
    }

    /// Wakes when another server has observed something.
    pub fn fleet(&self) -> watch::Receiver<u64> {
        self.fleet.subscribe()
    }

    /// Whether changes are announced at once; if not, the store has to be polled.
    pub fn listens(&self) -> bool {
        *self.listens.borrow()
    }

    /// The other servers, as last heard.
    pub fn others(&self) -> watch::Receiver<Vec<OtherReplica>> {
        self.others.subscribe()
    }

    /// When the last exchange that succeeded began: what the others had said by then is known.
    pub fn exchanged(&self) -> watch::Receiver<Option<Instant>> {
        self.exchanged.subscribe()
    }

    /// Asks for an exchange now.
    pub fn ask(&self) {
        self.fleet.send_modify(|n| *n = n.wrapping_add(1));
    }

    /// Whether it is this server's turn to do what only one does.
    pub fn leads(&self) -> watch::Receiver<bool> {
        self.leads.subscribe()
    }

    /// Whether the others may soon count this server as dead, because its lease was not renewed for
    /// too long; or whether it could not read the store for as long, so that it knows nothing of what
    /// the others change.
    pub fn is_alone(&self) -> bool {
        let now = system::instant();
        let is_old = |then: Option<Instant>| {
            then.is_none_or(|then| now.saturating_duration_since(then) >= ALONE)
        };
        is_old(*self.heard.borrow()) || is_old(*self.read.borrow())
    }

    /// Whether its lease is renewed.
    pub fn renews(&self) -> bool {
        let heard = *self.heard.borrow();
        heard.is_some_and(|then| system::instant().saturating_duration_since(then) < ALONE)
    }

    /// The store was read, as it was at that time or later.
    pub fn has_read(&self, began: Instant) {
        self.read.send_replace(Some(began));
    }

    /// The same, as it changes.
    pub fn alone(&self) -> watch::Receiver<bool> {
        self.alone.subscribe()
    }

    /// Checks that, and tells those who follow it.
    pub fn look(&self) -> bool {
        let alone = self.is_alone();
        self.alone
            .send_if_modified(|known| std::mem::replace(known, alone) != alone);
        alone
    }

    /// Says what is new, and hears what the others have said: `since` is the last row that was read
    /// of each. Blocks.
    ///
    /// # Errors
    /// Those of the database.
    pub fn exchange(&self, said: &ServerNews, since: impl Fn(&str) -> u64) -> Result<Heard> {
        let began = system::instant();
        let mut shared = locked(&self.shared);
        // One that waited on its thread meanwhile would have the others wait for this server.
        if self.ended.load(Ordering::Relaxed) {
            return Err(defect("this server has ended"));
        }
        let shared = match &mut *shared {
            Some(shared) => shared,
            none => none.insert(SharedTables::open(&self.address)?),
        };
        let announced = Announcement {
            id: &self.id,
            published: said.published,
            renews: said.renews,
            rows: &said.rows,
            sweep: said.sweep,
        };
        let is_news = said.renews || !said.rows.is_empty();
        let forgotten = is_news && shared.say(&announced)?;
        let others = shared.others(&self.id)?;
        let mut all = Vec::new();
        for other in others.iter().filter(|o| o.lives) {
            all.push((
                other.id.clone(),
                shared.observed(&other.id, since(&other.id))?,
            ));
        }
        if said.renews {
            self.heard.send_replace(Some(began));
        }
        self.others.send_if_modified(|known| {
            let differs = *known != others;
            known.clone_from(&others);
            differs
        });
        self.exchanged.send_replace(Some(began));
        Ok(Heard {
            others,
            rows: all,
            forgotten,
        })
    }

    /// Does something in the database, beside the store. Blocks.
    ///
    /// # Errors
    /// Those of `f`, and of the database.
    pub fn with<T>(&self, f: impl FnOnce(&mut SharedTables) -> Result<T>) -> Result<T> {
        let mut side = locked(&self.side);
        match &mut *side {
            Some(shared) => f(shared),
            none => f(none.insert(SharedTables::open(&self.address)?)),
        }
    }

    /// The same on a thread that may block.
    ///
    /// # Errors
    /// Those of `f`, and of the database.
    pub async fn aside<T: Send + 'static>(
        self: &Arc<Self>,
        f: impl FnOnce(&mut SharedTables) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let broken = || defect("the state that servers share could not be used");
        let turns = Arc::clone(&self.aside);
        let turn = turns.acquire_owned().await.map_err(|_| broken())?;
        let this = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || {
            // The thread's, not the request's, which may be given up while the database stands still.
            let _turn = turn;
            this.with(f)
        })
        .await;
        done.unwrap_or_else(|_| Err(broken()))
    }

    /// This server ends. Blocks.
    pub fn end(&self) {
        let mut shared = locked(&self.shared);
        self.ended.store(true, Ordering::Relaxed);
        if let Some(shared) = &mut *shared
            && let Err(e) = shared.end(&self.id)
        {
            tracing::warn!(error = %e, "the other servers were not told that this one is shutting down; they will wait for it for some seconds");
        }
    }

    /// Asks for the turn again and again, until it is dropped.
    pub async fn take_turns(self: Arc<Self>) {
        let mut turns = tokio::time::interval(TURN);
        turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            turns.tick().await;
            let this = Arc::clone(&self);
            let taken = tokio::task::spawn_blocking(move || this.take_turn()).await;
            let leads = taken.unwrap_or(Ok(false)).unwrap_or_else(|e| {
                tracing::warn!(error = %e, "the database cannot be asked which server's turn it is");
                false
            });
            self.leads.send_if_modified(|known| {
                let differs = *known != leads;
                if differs && leads {
                    tracing::info!("it is this server's turn to rotate, renew, prune and send");
                }
                *known = leads;
                differs
            });
        }
    }

    fn take_turn(&self) -> Result<bool> {
        let mut turn = locked(&self.turn);
        // Another can do it; this one may not even see what there is to do.
        if self.is_alone() {
            *turn = None;
            return Ok(false);
        }
        let turn = match &mut *turn {
            Some(turn) => turn,
            none => none.insert(ServerTurn::open(&self.address)?),
        };
        turn.take()
    }
}

/// Hears what the others say, on a thread of its own, until nobody wants to know.
fn listen(replicas: Weak<Replicas>, address: Arc<DatabaseAddress>) {
    std::thread::spawn(move || {
        let mut listener = None;
        while let Some(replicas) = replicas.upgrade() {
            if let Err(e) = hear(&replicas, &address, &mut listener) {
                listener = None;
                if replicas.listens.send_replace(false) {
                    tracing::warn!(error = %e, "notifications of changes are lost; the store is polled until they are back");
                }
                drop(replicas);
                std::thread::sleep(PAUSE);
            }
        }
    });
}

fn hear(
    replicas: &Replicas,
    address: &Arc<DatabaseAddress>,
    kept: &mut Option<ChangeListener>,
) -> Result<()> {
    let listener = match kept {
        Some(listener) => listener,
        None => {
            let new = kept.insert(ChangeListener::open(address)?);
            replicas.listens.send_replace(true);
            // Something may have been said before.
            replicas.store.send_modify(|n| *n = n.wrapping_add(1));
            new
        }
    };
    if let Some(said) = listener.wait(RENEW)? {
        let heard = match said == FLEET {
            true => &replicas.fleet,
            false => &replicas.store,
        };
        heard.send_modify(|n| *n = n.wrapping_add(1));
    }
    Ok(())
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
