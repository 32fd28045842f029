//! Servers of the store that may not have published a version yet.

use tokio::time::Instant;

use super::Delivery;
use super::fleet::{Waited, exchange};
use keystile_api::fleet::Missing;
use keystile_system as system;

impl Delivery {
    /// Waits until every server of the store has published the version, and then which Envoys were
    /// ever sent one; gives what is missing if that takes too long.
    pub(super) async fn late(&self, version: u64, deadline: Instant) -> Option<Waited> {
        let replicas = self.pool.replicas()?;
        let late = exchange::until_published(self, replicas, version, deadline).await;
        let missing = |server: String| Missing {
            node: server,
            why: "it has not published the version, and may send an older one".to_owned(),
            since: None,
        };
        if !late.is_empty() {
            return Some(Waited {
                in_force: Vec::new(),
                missing: late.into_iter().map(missing).collect(),
            });
        }
        match self.pool.read(|tx| tx.envoys()).await {
            Ok(envoys) => {
                self.fleet.learn(envoys, system::now(), system::instant());
                None
            }
            Err(e) => Some(Waited {
                in_force: Vec::new(),
                missing: vec![Missing {
                    node: "(all)".to_owned(),
                    why: format!("the known Envoys cannot be read: {e}"),
                    since: None,
                }],
            }),
        }
    }
}
