//! What goes on while there is delivery: publishing, forgetting, following the store.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::Delivery;
use super::nodes::ReportKeys;
use super::{discovery, fleet, publisher};
use keystile_registry::node::Nodes;
use keystile_registry::signing;
use keystile_system as system;

/// How often gone Envoys are forgotten, and the age of the keyset is checked.
const SWEEP: Duration = Duration::from_secs(1);

/// Pause between reads while changes follow one another; the first change after a pause is read at
/// once.
const JOIN: Duration = Duration::from_millis(100);

/// After the store could not be read.
const RETRY: Duration = Duration::from_secs(1);

impl Delivery {
    /// Publishes until `shutdown`, then ends all streams.
    pub async fn run(self: Arc<Self>, shutdown: impl Future<Output = ()>) {
        tokio::select! {
            () = shutdown => {}
            () = publisher::run(Arc::clone(&self)) => {}
            () = self.sweep() => {}
            () = fleet::keeper::run(&self) => {}
            () = fleet::exchange::run(&self) => {}
            () = follow(&self) => {}
        }
        self.closing.send_replace(true);
    }

    /// The discovery services, for a listener, which puts the address of a stream into the
    /// request's extensions as axum's `ConnectInfo<SocketAddr>`, and its certificate as
    /// [`Papers`](super::node_identity::Papers).
    pub fn router(self: &Arc<Self>) -> axum::Router {
        discovery::router(self)
    }

    async fn sweep(&self) {
        let mut turns = tokio::time::interval(SWEEP);
        loop {
            turns.tick().await;
            let every = self.known.borrow().as_ref().and_then(|k| k.report_every());
            if let Some(every) = every {
                self.fleet.bury(every, system::instant());
            }
            for node in self.fleet.lacking(system::instant()) {
                self.repair(&node);
            }
        }
    }
}

/// Follows the store until it is dropped.
async fn follow(delivery: &Delivery) {
    let mut records = delivery.pool.records();
    loop {
        records.borrow_and_update();
        let only = Arc::clone(&delivery.enrolled_only);
        let read = delivery.pool.read(move |tx| {
            Ok(ReportKeys {
                nodes: Nodes::read(tx, &only)?,
                shared: signing::accepted(tx)?,
            })
        });
        match read.await {
            Ok(keys) => delivery.nodes.set(keys),
            Err(e) => {
                tracing::error!(error = %e, "the keys that reports are signed with cannot be read");
                tokio::time::sleep(RETRY).await;
                continue;
            }
        }
        tokio::time::sleep(JOIN).await;
        if records.changed().await.is_err() {
            return;
        }
    }
}
