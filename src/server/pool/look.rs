//! What changes by whichever process: other servers of the store, a command on the same machine.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::StorePool;
use super::now::{CommittedState, now};
use crate::replicas::Replicas;
use keystile_model::error::{Kind, Result};
use keystile_store::{BaseMark, Store};

/// How often to look for changes.
const LOOK: Duration = Duration::from_millis(200);
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
            match self.read(now).await {
                Ok(now) => self.announce(now),
                // Counted and logged already.
                Err(e) if matches!(e.kind(), Kind::Store(_)) => {}
                Err(e) => tracing::error!(error = %e, "the store cannot be read"),
            }
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

async fn changed(told: &mut Option<watch::Receiver<u64>>) {
    if let Some(told) = told
        && told.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}
