//! The Envoys that the store knows.

use std::collections::BTreeSet;

use serde_json::json;

use keystile_model::error::Result;
use keystile_model::when;
use keystile_model::world::World;
use keystile_store::{KnownEnvoy, Store};

/// Stores Envoys as they are, and forgets those that made room for others. This is an observation
/// of the server, not somebody's action, so no audit record is written.
///
/// # Errors
/// Those of the store.
pub fn keep(
    store: &mut Store,
    world: &World,
    envoys: &[KnownEnvoy],
    dropped: &BTreeSet<String>,
) -> Result<()> {
    store.write(world, |tx| {
        for node in dropped {
            tx.forget_envoy(node)?;
        }
        envoys.iter().try_for_each(|e| tx.keep_envoy(e))
    })
}

/// Forgets Envoys that will not come back, so that nothing waits for them.
///
/// # Errors
/// If the caller is not an owner; those of the store.
pub fn forget(store: &mut Store, world: &World, nodes: &[String]) -> Result<()> {
    world.caller.owner("forget Envoys")?;
    store.write(world, |tx| {
        let known = tx.envoys()?;
        for node in nodes {
            tx.forget_envoy(node)?;
            let before = known.iter().find(|e| e.node == *node);
            let before = before.map(|e| {
                json!({"cluster": e.cluster, "address": e.address, "gone": e.gone.map(when::rfc3339)})
            });
            tx.audit(world, "fleet.forget", node, before.as_ref(), None)?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{Bench, NOON};
    use keystile_store::{KnownDoubt, KnownProcess, KnownProcesses};
    use keystile_system as system;

    #[test]
    fn an_envoy_is_kept_with_the_processes_that_report_under_its_name() {
        let mut b = Bench::new();
        let process = |number, is_twin| KnownProcess { number, is_twin };
        let envoys = [
            (Vec::new(), None),
            (vec![process(None, false)], Some(KnownDoubt::Lasting)),
            (
                vec![process(Some(0), false), process(Some(u64::MAX), true)],
                Some(KnownDoubt::Passing),
            ),
        ];
        let envoys = envoys
            .into_iter()
            .zip(0..)
            .map(|((all, doubt), n)| KnownEnvoy {
                node: format!("edge-{n}"),
                processes: KnownProcesses { all, doubt },
                ..KnownEnvoy::default()
            });
        let envoys: Vec<_> = envoys.collect();
        keep(&mut b.store, &system::at(NOON), &envoys, &BTreeSet::new()).unwrap();
        assert_eq!(b.store.read(|tx| tx.envoys()).unwrap(), envoys);
    }
}
