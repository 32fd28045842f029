//! What is pushed, and when.

use super::*;

#[tokio::test]
async fn a_burst_of_a_thousand_revocations_makes_a_handful_of_pushes() {
    let bed = Bed::new(POLICY).await;
    let ids = bed.issue(1000).await;
    let mut envoy = Stream::open(&bed, "e1", &BOTH).await;
    envoy.take().await;
    let mut last = envoy.take().await;
    let overlays = bed.delivery.numbers().overlays_total;
    let signers = bed.signers().await;
    let started = system::instant();
    let newest = bed.delivery.pool.write(move |store| {
        // One store's writer: a thousand transactions, as a thousand calls would make.
        for id in ids {
            key::revoke_all(store, &system::local(), &[id], "lost")?;
        }
        store.read(|tx| Ok(tx.meta().version))
    });
    let newest = newest.await.unwrap();
    let took = started.elapsed();
    let mut pushes = 0;
    loop {
        let keyset::Artefact::Overlay(overlay) = loaded(&last, &signers) else {
            panic!("only overlays travel");
        };
        if overlay.version >= newest {
            break;
        }
        last = envoy.take().await;
        pushes += 1;
    }
    println!("1,000 revocations in {took:?}: {pushes} pushes");
    // The store tells of changes every 200 ms, and after each write.
    let most = 2 + u64::try_from(took.as_millis()).unwrap() / 20;
    assert!(pushes <= most && pushes >= 1, "{pushes} of {most}");
    assert!(bed.delivery.numbers().overlays_total - overlays <= most);
}

#[tokio::test]
async fn changes_one_after_the_other_share_pushes() {
    let bed = Bed::new(POLICY).await;
    let ids = bed.issue(60).await;
    bed.published(1).await;
    let before = bed.delivery.numbers().overlays_total;
    let started = system::instant();
    let mut newest = 0;
    for id in ids {
        newest = bed.revoke(id).await;
    }
    let took = started.elapsed();
    bed.published(newest).await;
    let made = bed.delivery.numbers().overlays_total - before;
    let most = 2 + u64::try_from(took.as_millis()).unwrap() / 20;
    println!("60 revocations in {took:?}: {made} overlays");
    assert!(made <= most, "{made} overlays in {took:?}");
}

#[tokio::test]
async fn the_base_goes_first_and_its_overlay_after_it_was_acknowledged() {
    let bed = Bed::new(POLICY).await;
    bed.issue(3).await;
    let signers = bed.signers().await;
    let mut base = Stream::open(&bed, "e1", &["keystile-base"]).await;
    let mut overlay = Stream::open(&bed, "e1", &["keystile"]).await;
    let first = base.next().await;
    assert!(overlay.is_quiet(150).await, "the base is not there yet");
    let mut filter = Holding::default();
    feed(&mut filter, &first, &signers);
    base.answer(&first, None).await;
    feed(&mut filter, &overlay.take().await, &signers);
    let version = bed.published(1).await.version();
    assert_eq!(filter.version(), version);

    let node = bed.node("e1");
    assert_eq!((node.streams, node.state.as_str()), (2, "connected"));
    bed.until("both acknowledged", |d| d.numbers().acknowledged_total == 2)
        .await;
}

#[tokio::test]
async fn the_overlay_does_not_wait_for_ever_for_its_base() {
    let mut settings = settings();
    settings.limits.order = Duration::from_millis(200);
    let bed = Bed::with(POLICY, settings).await;
    let mut base = Stream::open(&bed, "e1", &["keystile-base"]).await;
    base.next().await;
    let mut overlay = Stream::open(&bed, "e1", &["keystile"]).await;
    overlay.next().await;
}

#[tokio::test]
async fn a_new_base_follows_when_the_overlay_has_grown_and_nothing_is_lost_meanwhile() {
    let bed = Bed::new(POLICY).await;
    let signers = bed.signers().await;
    let mut envoy = Stream::open(&bed, "e1", &BOTH).await;
    let mut filter = Holding::default();
    feed(&mut filter, &envoy.take().await, &signers);
    feed(&mut filter, &envoy.take().await, &signers);
    let old = filter.base_version();
    let ids = bed.issue(1200).await;
    // Changes go on while the base is built.
    let mut newest = 0;
    for id in ids.into_iter().take(20) {
        newest = bed.revoke(id).await;
    }
    while filter.version() < newest || filter.base_version() == old {
        feed(&mut filter, &envoy.take().await, &signers);
    }
    bed.until("compacted", |d| d.numbers().base_keys == 1200)
        .await;
    assert!(bed.delivery.numbers().overlay_keys <= 20);
    let version = bed.revoke(bed.issue(1).await[0]).await;
    while filter.version() < version {
        feed(&mut filter, &envoy.take().await, &signers);
    }
    assert!(filter.waiting().is_none(), "no base is missing");
}

/// The other way round it would arrive older than the base that is in force by then, and the
/// filter would refuse it and ask for a renewal.
#[tokio::test]
async fn a_new_base_waits_for_the_overlay_of_the_former_one_that_is_on_its_way() {
    let mut settings = settings();
    settings.limits.order = PATIENCE;
    let bed = Bed::with(POLICY, settings).await;
    let signers = bed.signers().await;
    let mut filter = Holding::default();
    let mut base = Stream::open(&bed, "e1", &["keystile-base"]).await;
    feed(&mut filter, &base.take().await, &signers);
    let mut overlay = Stream::open(&bed, "e1", &["keystile"]).await;
    feed(&mut filter, &overlay.take().await, &signers);
    let old = filter.base_version();

    bed.issue(1).await;
    let flying = overlay.next().await;
    bed.issue(1200).await;
    bed.until("the new base", |d| d.numbers().base_version > old)
        .await;
    assert!(base.is_quiet(300).await, "an overlay is on its way");
    feed(&mut filter, &flying, &signers);
    overlay.answer(&flying, None).await;
    feed(&mut filter, &base.take().await, &signers);
    assert!(filter.base_version() > old);
    feed(&mut filter, &overlay.take().await, &signers);
    let version = bed.published(1).await.version();
    assert_eq!(filter.version(), version);
}

#[tokio::test]
async fn another_policy_makes_a_new_base() {
    let bed = Bed::new(POLICY).await;
    let signers = bed.signers().await;
    let mut envoy = Stream::open(&bed, "e1", &BOTH).await;
    envoy.take().await;
    envoy.take().await;
    bed.apply(&POLICY.replace("/healthz", "/status")).await;
    let mut bases = 0;
    while bases == 0 {
        let response = envoy.take().await;
        if let keyset::Artefact::Keyset(base) = loaded(&response, &signers) {
            assert_eq!(base.policy.routes.len(), 1);
            bases += 1;
        }
    }
    bed.until("two bases", |d| d.numbers().bases_total == 2)
        .await;
}

#[tokio::test]
async fn what_filters_do_not_get_of_a_policy_makes_no_new_base() {
    let ours = POLICY.replace("gold: {", "gold: {max_lifetime: 90d, ")
        + "max_lifetime: {any: 365d}\nrequire_enrolment: true\nexposed_keys: revoke\n";
    let bed = Bed::new(POLICY).await;
    let key = bed.issue(1).await[0];
    let mut envoy = Stream::open(&bed, "e1", &BOTH).await;
    envoy.take().await;
    envoy.take().await;
    bed.apply(&ours).await;
    bed.apply(&ours.replace("365d", "180d").replace("90d", "60d"))
        .await;
    // It is in an overlay once the policies before it have been looked at.
    let version = bed.revoke(key).await;
    bed.published(version).await;
    assert_eq!(bed.delivery.numbers().bases_total, 1);
}

#[tokio::test]
async fn a_new_signing_key_seals_both_anew() {
    let bed = Bed::new(POLICY).await;
    let mut envoy = Stream::open(&bed, "e1", &BOTH).await;
    envoy.take().await;
    envoy.take().await;
    let rotate = |store: &mut keystile_store::Store| signing::rotate(store, &system::local(), None);
    let (new, _) = bed.delivery.pool.write(rotate).await.unwrap();
    let all = bed.signers().await;
    let new = all.as_ref().iter().find(|k| k.kid() == new).unwrap();
    let only_new = SigningKeys::new(vec![new.clone()]);
    let mut kinds = BTreeSet::new();
    while kinds.len() < 2 {
        let response = envoy.take().await;
        let overlay = matches!(loaded(&response, &only_new), keyset::Artefact::Overlay(_));
        kinds.insert(overlay);
    }
    assert_eq!(bed.delivery.numbers().bases_total, 1, "the same, resigned");
}
