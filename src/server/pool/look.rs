//! What changes by whichever process: other servers of the store, a command on the same machine.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::now::{CommittedState, now};
use super::{StorePool, blocking, locked};
use crate::replicas::Replicas;
use keystile_model::error::{Code, Kind, Result, refuse};
use keystile_store::{BaseMark, Store};
use keystile_system as system;

/// How often to look for changes.
const LOOK: Duration = Duration::from_millis(200);
/// How far apart, in milliseconds, the clocks of a server and of the database may be.
const CLOCKS_APART: u64 = 30_000;
/// How many of these times are skipped while changes are announced at once.
const TOLD: u32 = 10;

impl StorePool {
    /// The other servers of the store, if there may be some.
    pub fn replicas(&self) -> Option<&Arc<Replicas>> {
        self.replicas.as_ref()
    }

    /// Whether this server does what only one of them does.
    pub fn leads(&self) -> bool {
        let replicas = self.replicas.as_ref();
        replicas.is_none_or(|r| *r.leads().borrow())
    }

    /// Waits until this server does what only one of them does.
    pub async fn until_leading(&self) {
        if let Some(replicas) = &self.replicas {
            // A sender that is dropped is the end of the server.
            let _ = replicas.leads().wait_for(|leads| *leads).await;
        }
    }

    /// Which base is published, and its changes by any process.
    pub fn bases(&self) -> watch::Receiver<BaseMark> {
        self.base.subscribe()
    }

    /// Looks for changes by other processes until it is dropped.
    pub async fn watch_others(self: Arc<Self>) {
        let mut turns = tokio::time::interval(LOOK);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = self.replicas.as_ref().map(|r| r.store());
        let mut left_out = 0;
        loop {
            tokio::select! {
                _ = turns.tick() => {
                    let listens = self.replicas.as_ref().is_some_and(|r| r.listens());
                    left_out += 1;
                    if listens && left_out < TOLD {
                        continue;
                    }
                }
                () = changed(&mut told) => {}
            }
            left_out = 0;
            let began = system::instant();
            match self.watched().await {
                Ok(now) => {
                    self.announce(now);
                    if let Some(replicas) = &self.replicas {
                        replicas.has_read(began);
                    }
                }
                // Counted and logged already.
                Err(e) if matches!(e.kind(), Kind::Store(_)) => {}
                Err(e) => tracing::error!(error = %e, "the store cannot be read"),
            }
        }
    }

    /// Reads the state over a connection that nobody else waits for: that it can be read says that
    /// the store works.
    async fn watched(self: &Arc<Self>) -> Result<CommittedState> {
        let pool = Arc::clone(self);
        let read = move |pool: &Self| {
            pool.is_in_place()?;
            let mut watcher = locked(&pool.watcher);
            let mut store = match watcher.take().and_then(Store::still_readable) {
                Some(store) => store,
                None => pool.open_again()?,
            };
            let asked = system::now().ms();
            let (clock, now) = store.read(|tx| Ok((tx.clock()?, now(tx)?)))?;
            // Beside this folder, too, stands what other servers have written.
            if clock.is_some() && now.record > *pool.record.borrow() {
                store.note();
                pool.health.heed_beside(store.take_unnoted());
            }
            *watcher = Some(store);
            if let Some(clock) = clock {
                agrees(asked, clock, system::now().ms())?;
            }
            Ok(now)
        };
        blocking(move || pool.heeded(read(&pool))).await
    }

    /// Checks this server's clock before a change: a keyset that is dated by a wrong one may have
    /// expired before it arrives, and then every Envoy refuses everything.
    pub(super) fn is_on_time(&self, store: &mut Store) -> Result<()> {
        if self.replicas.is_none() {
            return Ok(());
        }
        let asked = system::now().ms();
        match store.read(|tx| tx.clock())? {
            Some(clock) => agrees(asked, clock, system::now().ms()),
            None => Ok(()),
        }
    }

    pub(super) fn look(&self, store: &mut Store) -> Result<()> {
        self.announce(store.read(now)?);
        Ok(())
    }

    fn announce(&self, now: CommittedState) {
        for (known, now) in [(&self.version, now.version), (&self.record, now.record)] {
            known.send_if_modified(|known| {
                let newer = now > *known;
                *known = now.max(*known);
                newer
            });
        }
        self.base.send_if_modified(|known| {
            let differs = *known != now.base;
            *known = now.base;
            differs
        });
    }
}

/// Checks this server's clock against that of the database, which all servers share: it was read
/// between two times here. All in milliseconds.
fn agrees(before: u64, clock: u64, after: u64) -> Result<()> {
    let off = before
        .saturating_sub(clock)
        .max(clock.saturating_sub(after));
    if off <= CLOCKS_APART {
        return Ok(());
    }
    let way = if clock < before { "ahead of" } else { "behind" };
    Err(refuse(
        Code::StoreUnreachable,
        format_args!(
            "the clock of this server is {} s {way} that of the database",
            off / 1000
        ),
        "nothing was changed; correct the one that is wrong: sessions, lifetimes and versions are times",
    ))
}

async fn changed(told: &mut Option<watch::Receiver<u64>>) {
    if let Some(told) = told
        && told.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_that_are_half_a_minute_apart_are_noticed_however_long_the_answer_took() {
        assert_eq!(agrees(100_000, 100_000, 100_001), Ok(()));
        assert_eq!(agrees(100_000, 70_000, 100_001), Ok(()));
        assert_eq!(agrees(100_000, 190_000, 160_000), Ok(()));
        let why = |e: Result<()>| e.unwrap_err().to_string();
        assert!(why(agrees(100_000, 69_999, 100_001)).contains("30 s ahead of"));
        assert!(why(agrees(100_000, 130_002, 100_001)).contains("30 s behind"));
    }
}
