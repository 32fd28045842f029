//! What a node may report follows the store without delay.

use keystile_core::keyset::{NodeKey, SigningKeys};
use keystile_core::report::usage::seal_batch;

use keystile_registry::node;

use super::*;
use crate::pool::bench::pool;
use keystile_system as system;

#[tokio::test]
async fn a_batch_is_judged_by_what_the_store_says_when_it_arrives() {
    let (_folder, pool) = pool("version: 1\nroutes:\n- {path: /, auth: none}\n", &["acme"]);
    let intake = Intake::new(std::sync::Arc::clone(&pool), Default::default());
    let counting = tokio::spawn(std::sync::Arc::clone(&intake).run());
    let store = pool.read(|tx| Ok(tx.meta().store)).await.unwrap();
    let batch = |seq| Batch {
        node: "edge-0".to_owned(),
        epoch: u64::MAX,
        vm: 0,
        claimed: 77,
        seq,
        store: store.to_string(),
        at: 1_800_000_000,
        routes: Vec::new(),
        outcomes: Vec::new(),
        keys: Vec::new(),
        rows: Vec::new(),
        dropped: 0,
    };
    let enroll = async || {
        let enrolled = pool.write(|s| node::enroll(s, &system::local(), "edge-0"));
        SigningKeys::new(vec![enrolled.await.unwrap().signing_key()])
    };
    let send = async |seq, keys: &SigningKeys| {
        let sealed = seal_batch(&batch(seq), keys).unwrap();
        intake.take(&sealed.body, &sealed.kid, &sealed.tag).await
    };
    let shared = pool.read(signing::accepted).await.unwrap();
    assert!(send(1, &shared).await.is_ok());
    let first = enroll().await;
    assert_eq!(first.as_ref()[0].kid(), NodeKey::KID);
    assert!(matches!(send(2, &shared).await, Err(NotCounted::Node(_))));
    assert!(send(2, &first).await.is_ok());
    let second = enroll().await;
    assert!(matches!(send(3, &first).await, Err(NotCounted::Message(_))));
    assert!(send(3, &second).await.is_ok());
    pool.write(|s| node::revoke(s, &system::local(), "edge-0"))
        .await
        .unwrap();
    assert!(matches!(
        send(4, &second).await,
        Err(NotCounted::Message(_))
    ));
    assert!(matches!(send(4, &shared).await, Err(NotCounted::Node(_))));
    counting.abort();
}
