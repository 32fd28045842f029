//! Stores which Envoys are known, so that a restarted server waits for them, too.

use std::sync::Arc;
use std::time::Duration;

use super::Fleet;
use crate::delivery::Delivery;
use keystile_model::error::Result;
use keystile_model::world::World;
use keystile_registry as registry;
use keystile_store::Store;
use keystile_system as system;

/// After the store could not be read or written to.
const PAUSE: Duration = Duration::from_secs(1);

/// Keeps them until it is dropped.
pub async fn run(delivery: &Delivery) {
    let fleet = &delivery.fleet;
    loop {
        match delivery.pool.read(|tx| tx.envoys()).await {
            Ok(envoys) => {
                fleet.load(envoys, system::now(), system::instant());
                break;
            }
            Err(e) => tracing::error!(error = %e, "the known Envoys cannot be read"),
        }
        tokio::time::sleep(PAUSE).await;
    }
    let mut changed = fleet.watch();
    loop {
        changed.borrow_and_update();
        if !fleet.has_unkept() {
            if changed.changed().await.is_err() {
                return;
            }
            continue;
        }
        let world = (delivery.settings.world)();
        let keeping = Arc::clone(fleet);
        let kept = delivery
            .pool
            .write(move |store| keep(&keeping, store, &world));
        if let Err(e) = kept.await {
            tracing::error!(error = %e, "the known Envoys cannot be stored");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Everything that has accumulated, in one transaction.
fn keep(fleet: &Fleet, store: &mut Store, world: &World) -> Result<()> {
    // Taken here, where nobody else writes, so that an Envoy that is forgotten meanwhile stays
    // forgotten.
    let unkept = fleet.take_unkept();
    match registry::envoy::keep(store, world, &unkept.envoys, &unkept.dropped) {
        Ok(()) => {
            fleet.kept(&unkept);
            Ok(())
        }
        Err(e) => {
            fleet.not_kept(unkept);
            Err(e)
        }
    }
}
