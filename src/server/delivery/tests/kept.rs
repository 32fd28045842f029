//! Bases that a restarted server finds.

use super::*;

#[tokio::test]
async fn a_restarted_server_takes_up_its_base_and_leaves_envoys_that_have_it_alone() {
    let bed = Bed::new(POLICY).await;
    bed.issue(5).await;
    let base;
    let overlay;
    {
        let mut first = Stream::open(&bed, "e1", &["keystile-base"]).await;
        let mut second = Stream::open(&bed, "e1", &["keystile"]).await;
        first.take().await;
        second.take().await;
        (base, overlay) = (first.version, second.version);
    }
    let bed = bed.restarted().await;
    let mut first = Stream::again(&bed, "e1", &["keystile-base"], &base).await;
    let mut second = Stream::again(&bed, "e1", &["keystile"], &overlay).await;
    assert!(first.is_quiet(300).await && second.is_quiet(50).await);
    assert_eq!(bed.delivery.numbers().bases_total, 0);
    let id = bed.issue(1).await[0];
    let version = bed.revoke(id).await;
    let signers = bed.signers().await;
    loop {
        let response = second.take().await;
        let keyset::Artefact::Overlay(overlay) = loaded(&response, &signers) else {
            panic!("an overlay");
        };
        assert_eq!(
            format!("{}", overlay.base.version),
            base.split('-').next().unwrap()
        );
        if overlay.version == version {
            break;
        }
    }
    assert!(first.is_quiet(50).await);
}

#[tokio::test]
async fn a_kept_base_that_was_spoilt_is_not_used_again() {
    let bed = Bed::new(POLICY).await;
    bed.issue(5).await;
    bed.published(1).await;
    let path = bed.folder.path().join("base.keyset");
    bed.until("the base to be kept", |_| path.exists()).await;
    // Another one, which has keys in it.
    std::fs::remove_file(&path).unwrap();
    let bed = bed.restarted().await;
    bed.published(1).await;
    assert_eq!(bed.delivery.numbers().base_keys, 5);
    let mut bytes = std::fs::read(&path).unwrap();
    let end = bytes.len() - 3;
    bytes[end] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let bed = bed.restarted().await;
    bed.published(1).await;
    assert_eq!(bed.delivery.numbers().bases_total, 1);
}

#[tokio::test]
async fn a_base_of_another_timeline_is_neither_served_nor_built_upon() {
    let bed = Bed::new(POLICY).await;
    let early = bed.issue(2).await;
    let folder = Arc::clone(&bed.folder);
    let path = |name: &str| folder.path().join(name);
    bed.published(1).await;
    // A copy of the store as it is, put in its place by hand.
    let home = Home::new(folder.path().to_owned(), None);
    home.backup(&system::local(), &path("copy.db")).unwrap();
    bed.issue(1200).await;
    bed.until("a base with all of them", |d| d.numbers().base_keys == 1202)
        .await;
    let bed = bed
        .restarted_after(|| {
            std::fs::copy(path("copy.db"), path("store.db")).unwrap();
            // Its version lies above that of the base: numbers alone do not tell.
            signing::renew(&mut home.open().unwrap(), &system::local()).unwrap();
        })
        .await;
    assert!(path("base.keyset").exists());
    let published = bed.published(1).await;
    assert_eq!(published.base.built().keys, early.len());
    assert_eq!(bed.delivery.numbers().bases_total, 1, "made anew");
}
