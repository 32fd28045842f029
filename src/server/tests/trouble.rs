//! The disk under the store fails.

use std::io::{Seek as _, SeekFrom, Write as _};
use std::time::Duration;

use super::*;
use keystile_system as system;

async fn metrics(api: &Api, owner: &str) -> String {
    api.ask(owner, "GET", "/metrics", Value::Null).await.text
}

async fn is_ready(api: &Api) -> u16 {
    api.ask("", "GET", "/readyz", Value::Null).await.status
}

#[tokio::test]
async fn a_full_disk_is_told_apart_from_a_wrong_request() {
    let api = Api::new();
    let owner = api.token(Role::Owner).await;
    assert_eq!(is_ready(&api).await, 200);
    let full = |store: &mut keystile_store::Store| {
        store.room(Some(0));
        Ok(())
    };
    api.pool.write(full).await.unwrap();
    let bulk = json!({"client": "acme", "count": 900});
    let refused = api.ask(&owner, "POST", "/v1/keys", bulk.clone()).await;
    assert_eq!(refused.status, 507, "{}", refused.text);
    assert_eq!(refused.body["code"], "storage_full");
    assert!(refused.text.contains("free some space"), "{}", refused.text);
    assert_eq!(
        api.ask("", "GET", "/healthz", Value::Null).await.status,
        200
    );
    let ready = api.ask("", "GET", "/readyz", Value::Null).await;
    assert_eq!(ready.status, 503, "{}", ready.text);
    let counted = "keystile_control_store_errors_total{kind=\"full\"} 1";
    assert!(metrics(&api, &owner).await.contains(counted));
    let log = api
        .ask(&owner, "GET", "/v1/audit?action=key.issue", Value::Null)
        .await;
    assert_eq!(
        log.body["records"],
        json!([]),
        "the caller did nothing wrong"
    );

    let room = |store: &mut keystile_store::Store| {
        store.room(None);
        Ok(())
    };
    api.pool.write(room).await.unwrap();
    let end = system::instant() + Duration::from_secs(60);
    while is_ready(&api).await != 200 {
        assert!(system::instant() < end, "it is never ready again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let done = api.ask(&owner, "POST", "/v1/keys", bulk).await;
    assert_eq!(done.status, 201, "{}", done.text);
}

#[tokio::test]
async fn a_damaged_page_is_told_apart_from_a_wrong_request() {
    let api = Api::new();
    let owner = api.token(Role::Owner).await;
    let bulk = json!({"client": "acme", "count": 900});
    assert_eq!(api.ask(&owner, "POST", "/v1/keys", bulk).await.status, 201);
    // All of it in the file, and nobody with pages in memory: as after a start.
    let home = api.pool.home().clone();
    let Api {
        folder,
        router,
        pool,
    } = api;
    drop((router, pool));
    damage(&folder.path().join("store.db"));
    let api = Api::over(
        folder,
        StorePool::open(home).unwrap(),
        RateLimits::new(100_000),
    );
    assert_eq!(is_ready(&api).await, 200, "nobody has met it yet");

    let refused = api.ask(&owner, "GET", "/v1/keys", Value::Null).await;
    assert_eq!(refused.status, 503, "{}", refused.text);
    assert_eq!(refused.body["code"], "store_trouble");
    assert!(
        refused.text.contains("the store is damaged")
            || refused.text.contains("cannot be decrypted"),
        "{}",
        refused.text
    );
    assert_eq!(is_ready(&api).await, 503);
    let counted = "keystile_control_store_errors_total{kind=\"damaged\"} 1";
    let text = metrics(&api, &owner).await;
    assert!(text.contains(counted), "{text}");
}

/// The answers to what reads and to what writes, and whether it is ready.
async fn refused_everywhere(api: &Api, owner: &str) -> Vec<String> {
    let counted = |api: &Api| api.pool.health().counted().map(|(_, n)| n).sum::<u64>();
    let before = counted(api);
    let body = json!({"name": "newcomer"});
    let answers = [
        api.ask(owner, "GET", "/v1/keys", Value::Null).await,
        api.ask(owner, "POST", "/v1/clients", body).await,
    ];
    assert!(counted(api) >= before + 2);
    assert_eq!(is_ready(api).await, 503);
    let told = answers.map(|answer| {
        assert_eq!(answer.status, 503, "{}", answer.text);
        assert_eq!(answer.body["code"], "store_trouble");
        let folder = api.folder.path().to_string_lossy();
        assert!(!answer.text.contains(folder.as_ref()), "{}", answer.text);
        answer.text
    });
    told.to_vec()
}

#[tokio::test]
async fn a_store_that_a_newer_version_has_updated_is_trouble_and_no_mistake_of_the_caller() {
    let api = Api::new();
    let owner = api.token(Role::Owner).await;
    let other = api.pool.home().open().unwrap();
    other.batch("PRAGMA user_version = 99");
    for told in refused_everywhere(&api, &owner).await {
        assert!(told.contains("the server's log says why"), "{told}");
    }
}

#[tokio::test]
async fn a_store_that_was_moved_away_is_neither_read_nor_written() {
    let api = Api::new();
    let owner = api.token(Role::Owner).await;
    let folder = api.folder.path().to_owned();
    let there = folder.join("store.db");
    let moved = folder.join("moved.db");
    std::fs::rename(&there, &moved).unwrap();
    for told in refused_everywhere(&api, &owner).await {
        assert!(told.contains("moved or replaced"), "{told}");
    }
    // Another in its place is none of ours, whatever it holds.
    std::fs::copy(&moved, &there).unwrap();
    for told in refused_everywhere(&api, &owner).await {
        assert!(told.contains("moved or replaced"), "{told}");
    }
    std::fs::rename(&moved, &there).unwrap();
    let end = system::instant() + Duration::from_secs(60);
    while is_ready(&api).await != 200 {
        assert!(system::instant() < end, "it is never ready again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let listed = api.ask(&owner, "GET", "/v1/clients", Value::Null).await;
    assert_eq!(listed.status, 200);
    assert!(!listed.text.contains("newcomer"));
}

#[tokio::test]
async fn a_file_beside_the_store_that_cannot_be_written_is_counted() {
    let api = Api::new();
    let owner = api.token(Role::Owner).await;
    let counted = "keystile_control_store_errors_total{kind=\"beside\"} ";
    assert!(metrics(&api, &owner).await.contains(&format!("{counted}0")));
    let head = api.folder.path().join("audit.head");
    std::fs::remove_file(&head).unwrap();
    std::fs::create_dir(&head).unwrap();
    let body = json!({"name": "newcomer"});
    let done = api.ask(&owner, "POST", "/v1/clients", body).await;
    assert_eq!(done.status, 201, "{}", done.text);
    let text = metrics(&api, &owner).await;
    assert!(text.contains(counted), "{text}");
    assert!(!text.contains(&format!("{counted}0")), "{text}");
    assert_eq!(is_ready(&api).await, 200);
}

#[tokio::test]
async fn damaged_counts_of_usage_are_found_and_the_store_is_saved_without_them() {
    let api = Api::new();
    let home = api.pool.home().clone();
    let verify = |home: &keystile_registry::home::Home| {
        let operation = keystile_api::audit::Verify { expect: None };
        keystile_api::Operation::run(operation, &mut home.open().unwrap(), &system::local())
    };
    assert!(verify(&home).is_ok());
    std::fs::write(api.folder.path().join("usage.db"), [7; 40_000]).unwrap();
    let words = verify(&home).err().unwrap().to_string();
    assert!(words.contains("`usage.db`"), "{words}");
    assert!(
        words.contains("the store and its audit log are whole"),
        "{words}"
    );
    let to = api.folder.path().join("backup.db");
    let kept = home.backup(&system::local(), &to).unwrap();
    assert!(kept.usage_damaged.is_some());
    assert!(kept.bytes > 0 && to.exists());
}

/// The second half of the file, where the keys are.
fn damage(file: &std::path::Path) {
    let length = std::fs::metadata(file).unwrap().len();
    let pages = length / 4096;
    assert!(pages > 40, "{pages}");
    let mut file = std::fs::File::options().write(true).open(file).unwrap();
    for page in pages / 2..pages {
        file.seek(SeekFrom::Start(page * 4096 + 100)).unwrap();
        file.write_all(&[1, 2, 3]).unwrap();
    }
}
