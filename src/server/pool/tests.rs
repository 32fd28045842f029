use super::*;
use keystile_registry::signing;

fn home(folder: &std::path::Path) -> Home {
    Home::new(folder.to_owned(), None)
}

fn fresh(folder: &std::path::Path) -> Arc<StorePool> {
    let world = system::at(1_800_000_000);
    home(folder)
        .create(&world, |store| {
            store.write(&world, |tx| signing::insert(tx, &world).map(drop))
        })
        .unwrap();
    StorePool::open(home(folder)).unwrap()
}

#[tokio::test]
async fn a_write_is_announced_when_it_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let pool = fresh(folder.path());
    let mut versions = pool.versions();
    let before = *versions.borrow_and_update();
    pool.write(|store| signing::renew(store, &system::at(1_800_000_001)))
        .await
        .unwrap();
    assert!(versions.has_changed().unwrap());
    let after = *versions.borrow_and_update();
    assert!(after > before);
    assert_eq!(pool.read(|tx| Ok(tx.meta().version)).await.unwrap(), after);
}

#[tokio::test]
async fn a_change_by_another_process_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let pool = fresh(folder.path());
    let mut versions = pool.versions();
    versions.borrow_and_update();
    let looking = tokio::spawn(Arc::clone(&pool).watch_others());
    let mut other = home(folder.path()).open().unwrap();
    signing::renew(&mut other, &system::at(1_800_000_002)).unwrap();
    tokio::time::timeout(Duration::from_secs(10), versions.changed())
        .await
        .unwrap()
        .unwrap();
    looking.abort();
}

#[tokio::test]
async fn a_rotation_of_the_master_key_by_another_process_is_no_outage() {
    let folder = tempfile::tempdir().unwrap();
    let pool = fresh(folder.path());
    for n in 10..13 {
        // A reader that is idle, and the writer, have the store open with the former key.
        let before = pool.read(|tx| Ok(tx.meta().version)).await.unwrap();
        home(folder.path())
            .rotate_master_key(&system::at(1_800_000_000 + n), None)
            .unwrap();
        assert_eq!(pool.read(|tx| Ok(tx.meta().version)).await.unwrap(), before);
        pool.write(move |store| signing::renew(store, &system::at(1_800_000_000 + n)))
            .await
            .unwrap();
        assert!(pool.read(|tx| Ok(tx.meta().version)).await.unwrap() > before);
    }
}

#[tokio::test]
async fn a_change_was_made_even_if_the_store_cannot_be_read_just_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let pool = fresh(folder.path());
    let before = pool.read(|tx| Ok(tx.meta().version)).await.unwrap();
    let home = home(folder.path());
    let renewed = pool.write(move |store| {
        signing::renew(store, &system::at(1_800_000_010))?;
        // What is open has the former key from here on.
        home.rotate_master_key(&system::at(1_800_000_011), None)?;
        assert!(!store.is_readable());
        Ok(())
    });
    renewed.await.unwrap();
    assert!(pool.read(|tx| Ok(tx.meta().version)).await.unwrap() > before);
}

#[tokio::test]
async fn readers_do_not_wait_for_a_writer() {
    let folder = tempfile::tempdir().unwrap();
    let pool = fresh(folder.path());
    let (started, is_started) = tokio::sync::oneshot::channel();
    let (go_on, may_go_on) = std::sync::mpsc::channel();
    let writing = tokio::spawn({
        let pool = Arc::clone(&pool);
        async move {
            pool.write(move |store| {
                store.write(&system::at(1_800_000_003), |tx| {
                    let _ = started.send(());
                    let _ = may_go_on.recv_timeout(Duration::from_secs(10));
                    tx.keyset_changed();
                    Ok(())
                })
            })
            .await
        }
    });
    is_started.await.unwrap();
    let read = pool.read(|tx| Ok(tx.meta().version));
    tokio::time::timeout(Duration::from_secs(5), read)
        .await
        .unwrap()
        .unwrap();
    go_on.send(()).unwrap();
    writing.await.unwrap().unwrap();
}
