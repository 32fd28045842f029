//! Which Envoys are enrolled and which are revoked according to the store. This affects their
//! reports and their open streams.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::watch;

use keystile_core::keyset::SigningKeys;
use keystile_registry::node::Nodes;

/// Nodes that were revoked; `None` before the store was read.
pub type RevokedNodes = Option<Arc<BTreeSet<String>>>;

/// With what reports may be signed.
pub struct ReportKeys {
    /// The secrets of enrolled nodes.
    pub nodes: Nodes,
    /// The keys that all Envoys have.
    pub shared: SigningKeys,
}

/// What the store last said.
pub struct NodeRecords {
    keys: watch::Sender<Option<Arc<ReportKeys>>>,
    /// Separate, because it wakes every stream and changes rarely.
    revoked: watch::Sender<RevokedNodes>,
}

impl Default for NodeRecords {
    fn default() -> Self {
        Self {
            keys: watch::Sender::new(None),
            revoked: watch::Sender::new(None),
        }
    }
}

impl NodeRecords {
    /// Which nodes' reports are accepted; `None` before the store was read.
    pub fn now(&self) -> Option<Arc<ReportKeys>> {
        self.keys.borrow().clone()
    }

    /// The revoked nodes, and changes.
    pub fn changes(&self) -> watch::Receiver<RevokedNodes> {
        self.revoked.subscribe()
    }

    pub(super) fn set(&self, keys: ReportKeys) {
        let revoked = keys.nodes.revoked();
        self.keys.send_replace(Some(Arc::new(keys)));
        self.revoked.send_if_modified(|known| {
            if known.as_deref() == Some(&revoked) {
                return false;
            }
            *known = Some(Arc::new(revoked));
            true
        });
    }
}

/// Whether a node is among them.
pub fn is_revoked(revoked: &RevokedNodes, node: &str) -> bool {
    revoked.as_ref().is_some_and(|all| all.contains(node))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;
    use tonic::Code;

    use crate::delivery::ReportRefusal;
    use crate::delivery::denied::code_of;
    use crate::delivery::tests::*;
    use keystile_registry::{node as registry, signing};
    use keystile_system as system;

    /// Far below the intervals at which anything is looked at again by the clock alone.
    const AT_ONCE: Duration = Duration::from_secs(1);

    async fn enroll(bed: &Bed, node: &'static str) {
        let enrolled = bed
            .delivery
            .pool()
            .write(move |s| registry::enroll(s, &system::local(), node).map(drop));
        enrolled.await.unwrap();
    }

    async fn revoke(bed: &Bed, node: &'static str) {
        let revoked = bed
            .delivery
            .pool()
            .write(move |s| registry::revoke(s, &system::local(), node));
        revoked.await.unwrap();
    }

    /// Until a report signed with the secret that all share is refused for this reason, or is
    /// accepted.
    async fn reports(bed: &Bed, node: &str, refused: Option<&str>) {
        let sealed = sealed(bed, node, (0, 1), 1, 1, 0).await;
        let said = async {
            loop {
                let taken = bed
                    .delivery
                    .reported(&sealed.body, &sealed.kid, &sealed.tag);
                match (&taken, refused) {
                    (Ok(()), None) => return,
                    (Err(ReportRefusal::Report(why)), Some(said)) if why.contains(said) => return,
                    _ => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        };
        let in_time = tokio::time::timeout(AT_ONCE, said).await;
        assert!(in_time.is_ok(), "{node}: {refused:?}");
    }

    #[tokio::test]
    async fn a_retired_signing_key_signs_no_report_any_more() {
        let bed = Bed::new(POLICY).await;
        bed.published(1).await;
        let change = |store: &mut keystile_store::Store| {
            signing::rotate(store, &system::local(), None).map(drop)
        };
        let report = sealed(&bed, "e1", (0, 1), 1, 1, 0).await;
        let kid = report.kid.clone();
        bed.delivery.pool().write(change).await.unwrap();
        let taken = bed
            .delivery
            .reported(&report.body, &report.kid, &report.tag);
        assert!(taken.is_ok(), "before it is retired: {taken:?}");
        let retire = move |store: &mut keystile_store::Store| {
            signing::retire(store, &system::local(), &kid).map(drop)
        };
        bed.delivery.pool().write(retire).await.unwrap();
        let refused = async {
            while bed
                .delivery
                .reported(&report.body, &report.kid, &report.tag)
                .is_ok()
            {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        assert!(tokio::time::timeout(AT_ONCE, refused).await.is_ok());
    }

    #[tokio::test]
    async fn enrolling_and_revoking_count_for_reports_at_once() {
        let bed = Bed::new(POLICY).await;
        bed.published(1).await;
        reports(&bed, "e1", None).await;
        for _ in 0..3 {
            enroll(&bed, "e1").await;
            reports(&bed, "e1", Some("its node is enrolled")).await;
            revoke(&bed, "e1").await;
            reports(&bed, "e1", Some("its node was revoked")).await;
        }
        reports(&bed, "e2", None).await;
    }

    #[tokio::test]
    async fn the_streams_of_a_revoked_node_end_at_once_and_no_other_begins() {
        let bed = Bed::new(POLICY).await;
        let [mut one, mut two] = [
            Stream::open(&bed, "e1", &BOTH).await,
            Stream::open(&bed, "e1", &BOTH).await,
        ];
        let mut other = Stream::open(&bed, "e2", &BOTH).await;
        for stream in [&mut one, &mut two, &mut other] {
            stream.take().await;
            stream.take().await;
        }
        enroll(&bed, "e1").await;
        revoke(&bed, "e1").await;
        for stream in [&mut one, &mut two] {
            let ended = tokio::time::timeout(AT_ONCE, stream.step()).await;
            let status = ended.expect("at once").unwrap_err();
            assert_eq!(status.code(), Code::PermissionDenied);
            assert!(status.message().contains("`keystilectl node enroll`"));
            assert_eq!(code_of(&status), "node_revoked");
        }
        bed.until("both to be gone", |d| d.numbers().nodes == 1)
            .await;
        let version = bed.published(1).await.version();
        let waited = bed.delivery.in_force(version, Duration::ZERO).await;
        let missing = waited.missing.iter().find(|m| m.node == "e1");
        let why = missing.map(|m| m.why.as_str()).unwrap_or_default();
        assert!(why.contains("its node was revoked"), "{why}");
        let forgotten = bed.delivery.forget(system::local(), vec!["e1".to_owned()]);
        forgotten.await.unwrap();
        let mut again = Stream::open(&bed, "e1", &BOTH).await;
        let status = again.step().await.unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied);
        let fleet = bed.delivery.fleet();
        assert!(fleet.iter().all(|n| n.id != "e1"), "nobody waits for it");

        let changed = bed.issue(1).await;
        bed.revoke(changed[0]).await;
        other.next().await;
        enroll(&bed, "e1").await;
        let accepted =
            async { while Stream::open(&bed, "e1", &BOTH).await.step().await.is_err() {} };
        tokio::time::timeout(AT_ONCE, accepted).await.unwrap();
    }
}
