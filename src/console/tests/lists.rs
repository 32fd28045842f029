//! Lists, and what stands on pages of numbers.

use super::{Person, Site, node};
use keystile_api::Operation;
use keystile_api::overview;
use keystile_registry::client;
use keystile_registry::key;
use keystile_system as system;

/// The number of items in a list, and of its pages.
async fn counted(person: &Person<'_>, first: &str) -> (usize, usize) {
    let (mut path, mut found, mut pages) = (first.to_owned(), 0, 0);
    loop {
        let page = person.get(&path).await;
        assert_eq!(page.status, 200, "{path}");
        found += page.text.matches("role=\"rowheader\"").count();
        pages += 1;
        let Some((before, _)) = page.text.split_once("\" rel=\"next\"") else {
            return (found, pages);
        };
        let (_, next) = before.rsplit_once("href=\"").unwrap();
        path = next.replace("&amp;", "&");
        let kept = first.split(['?', '&']).skip(1).all(|f| path.contains(f));
        assert!(kept, "{path}");
    }
}

#[tokio::test]
async fn envoys_are_paged() {
    let nodes = (0..120).map(|n| node(&format!("edge-{n:03}"), n % 2 == 0));
    let site = Site::with_envoys(nodes.collect());
    let person = site.owner().await;
    assert_eq!(counted(&person, "/console/fleet").await, (120, 3));
}

#[tokio::test]
async fn lists_are_paged_and_the_url_holds_where_one_is() {
    let site = Site::new();
    site.pool
        .write(|store| {
            let world = system::local();
            key::issue(store, &world, "acme", key::KeyDraft::default(), 120, |_| {})?;
            for n in 0..60 {
                let draft = client::ClientDraft::named(&format!("client-{n:02}"));
                client::create(store, &world, draft)?;
            }
            Ok(())
        })
        .await
        .unwrap();
    let person = site.owner().await;
    for (first, rows) in [
        ("/console/keys?client=acme&status=active", 120_usize),
        ("/console/clients?search=client-", 60),
        ("/console/audit?action=key.issue", 120),
    ] {
        let pages = (rows, rows.div_ceil(50));
        assert_eq!(counted(&person, first).await, pages, "{first}");
    }
}

#[tokio::test]
async fn the_overview_counts_what_is_there() {
    let site = Site::new();
    site.key("other").await;
    let id = site.key("acme").await.parse().unwrap();
    let ending = key::KeyDraft {
        expires: Some(system::local().now.seconds() + 3 * 86_400),
        ..key::KeyDraft::default()
    };
    site.pool
        .write(move |store| {
            let world = system::local();
            key::issue(store, &world, "acme", ending, 2, |_| {})?;
            key::revoke_all(store, &world, &[id], "")?;
            keystile_registry::audit::refused(store, &world, "key.revoke", "x", "", "no")
        })
        .await
        .unwrap();
    let seen = site
        .pool
        .ask(&system::local(), |store| {
            overview::Show {}.run(store, &system::local())
        })
        .await
        .unwrap();
    assert_eq!((seen.clients, seen.keys), (2, 3));
    assert_eq!(seen.expiring.len(), 2);
    let ends: Vec<u64> = seen.expiring_by_day.iter().map(|d| d.count).collect();
    assert_eq!((ends.len(), ends.iter().sum::<u64>()), (30, 2));
    let today = seen.activity.unwrap().pop().unwrap();
    // The store, its policy and signing key aside: two clients, four keys, one revocation.
    assert!(today.done >= 7, "{}", today.done);
    assert_eq!(today.refused, 1);
}

#[tokio::test]
async fn pages_are_there_though_usage_cannot_be_read() {
    let site = Site::new();
    let id = site.key("acme").await;
    let person = site.owner().await;
    // A folder where the file should be.
    let file = site.folder.path().join("usage.db");
    let _ = std::fs::remove_file(&file);
    std::fs::create_dir(&file).unwrap();
    for path in [
        "/console".to_owned(),
        "/console/clients/acme".to_owned(),
        format!("/console/keys/{id}"),
    ] {
        let page = person.get(&path).await;
        assert_eq!(page.status, 200, "{path}: {}", page.text);
        assert!(page.text.contains("Usage cannot be read at the moment"));
    }
    assert_eq!(person.get("/console/clients/nobody").await.status, 404);
}

#[tokio::test]
async fn the_page_of_a_key_says_that_it_was_sent_over_plain_http() {
    let site = Site::new();
    let ids = [site.key("acme").await, site.key("acme").await];
    let exposed = ids[0].parse().unwrap();
    site.pool
        .write(move |store| {
            store.with_made_usage(|_, usage| {
                usage.write(|tx| {
                    let key = tx.key_number(exposed, 1)?;
                    let now = system::local().now.seconds();
                    tx.add_anomaly(key, "exposed", now, "{}").map(drop)
                })
            })
        })
        .await
        .unwrap();
    let person = site.owner().await;
    for (id, says) in ids.iter().zip([true, false]) {
        let page = person.get(&format!("/console/keys/{id}")).await;
        assert_eq!(page.status, 200);
        assert_eq!(page.text.contains("sent over plain HTTP"), says);
    }
}
