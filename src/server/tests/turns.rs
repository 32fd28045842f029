//! Who waits for whom.

use std::time::Duration;

use super::*;
use keystile_api::Pace;
use keystile_store::Store;
use keystile_system as system;

/// What must not wait, waits no longer.
pub(super) const SOON: Duration = Duration::from_secs(20);

pub(super) async fn soon<T>(what: &str, f: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(SOON, f).await;
    done.unwrap_or_else(|_| panic!("{what} waits"))
}

/// Writes until it may stop; gives what lets it.
pub(super) async fn held(api: &Api) -> (std::sync::mpsc::Sender<()>, tokio::task::JoinHandle<()>) {
    let (began, begins) = tokio::sync::oneshot::channel();
    let (end, ends) = std::sync::mpsc::channel::<()>();
    let pool = Arc::clone(&api.pool);
    let writing = tokio::spawn(async move {
        let hold = move |_: &mut Store| {
            began.send(()).unwrap();
            let _ = ends.recv_timeout(2 * SOON);
            Ok(())
        };
        pool.write(hold).await.unwrap();
    });
    begins.await.unwrap();
    (end, writing)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_goes_before_forty_bulk_issues() {
    let api = Arc::new(Api::new());
    let (owner, client) = (api.token(Role::Owner).await, api.token(Role::Client).await);
    let one = json!({"client": "acme"});
    let issued = api.ask(&owner, "POST", "/v1/keys", one).await;
    let id = issued.body["id"].as_str().unwrap();
    let bulk = json!({"client": "acme", "count": 2000});
    let before = system::instant();
    let alone = api.ask(&client, "POST", "/v1/keys", bulk.clone()).await;
    let alone_took = before.elapsed();
    assert_eq!(alone.status, 201, "{}", alone.text);
    let mut issuing = tokio::task::JoinSet::new();
    for _ in 0..40 {
        let (api, client, bulk) = (Arc::clone(&api), client.clone(), bulk.clone());
        issuing.spawn(async move { api.ask(&client, "POST", "/v1/keys", bulk).await.status });
    }
    while !api.pool.is_writing() {
        tokio::task::yield_now().await;
    }
    let mut worst = Duration::ZERO;
    for action in ["disable", "revoke"] {
        let path = format!("/v1/keys/{id}/{action}");
        let before = system::instant();
        let done = api.ask(&owner, "POST", &path, json!({})).await;
        assert_eq!(done.status, 200, "{}", done.text);
        worst = worst.max(before.elapsed());
    }
    // On a machine that is busy with other things, all of it takes longer.
    let limit = Duration::from_millis(500).max(alone_took / 2);
    assert!(
        worst < limit,
        "{worst:?}, and one bulk issue {alone_took:?}"
    );
    issuing.abort_all();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_takes_long_is_broken_off_for_a_revocation_and_begun_again() {
    let api = Api::new();
    let (began, mut begins) = tokio::sync::mpsc::unbounded_channel();
    let long = tokio::spawn({
        let pool = Arc::clone(&api.pool);
        async move {
            let world = system::local();
            let mut attempts = 0;
            let begin = || {
                attempts += 1;
                let (first, world, began) = (attempts == 1, world.clone(), began.clone());
                Ok(move |store: &mut Store| {
                    store.write(&world, |tx| {
                        began.send(()).unwrap();
                        let end = system::instant() + 2 * SOON;
                        while first && system::instant() < end {
                            tx.audit(&world, "test.long", "x", None, None)?;
                        }
                        tx.audit(&world, "test.done", "x", None, None)
                    })
                })
            };
            pool.write_for(&world, Pace::Long, begin).await.unwrap();
            attempts
        }
    });
    begins.recv().await.unwrap();
    let revocation = api.pool.write_at(Pace::Urgent, |_| Ok(()));
    soon("a revocation", revocation).await.unwrap();
    assert_eq!(soon("the rest", long).await.unwrap(), 2);
    let owner = api.token(Role::Owner).await;
    let log = async |action: &str| {
        let path = format!("/v1/audit?action={action}");
        let found = api.ask(&owner, "GET", &path, Value::Null).await;
        found.body["records"].as_array().map_or(0, Vec::len)
    };
    assert_eq!(log("test.long").await, 0, "taken back");
    assert_eq!(log("test.done").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_envoys_secret_is_taken_back_and_a_session_ended_before_what_takes_long() {
    let api = Api::new();
    let owner = api.token(Role::Owner).await;
    let node = json!({"node": "edge-1"});
    let enrolled = api.ask(&owner, "POST", "/v1/nodes", node.clone()).await;
    assert_eq!(enrolled.status, 200, "{}", enrolled.text);
    for (method, path, body, status) in [
        ("POST", "/v1/nodes/revoke", node, 200),
        // Nobody has it, which takes the same turn to find out.
        ("DELETE", "/v1/sessions/0123", Value::Null, 404),
    ] {
        let (began, mut begins) = tokio::sync::mpsc::unbounded_channel();
        let pool = Arc::clone(&api.pool);
        let long = tokio::spawn(async move {
            let world = system::local();
            let mut first = true;
            let begin = || {
                let (first, world) = (std::mem::take(&mut first), world.clone());
                let began = began.clone();
                Ok(move |store: &mut Store| {
                    store.write(&world, |tx| {
                        began.send(()).unwrap();
                        let end = system::instant() + 2 * SOON;
                        while first && system::instant() < end {
                            tx.audit(&world, "test.long", "x", None, None)?;
                        }
                        Ok(())
                    })
                })
            };
            pool.write_for(&world, Pace::Long, begin).await
        });
        begins.recv().await.unwrap();
        let done = soon(path, api.ask(&owner, method, path, body)).await;
        assert_eq!(done.status, status, "{}", done.text);
        long.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_caller_leaves_a_turn_to_read_to_others() {
    let api = Api::new();
    let greedy = system::by(1, keystile_model::caller::Grant::nothing());
    let (end, ends) = std::sync::mpsc::channel::<()>();
    let ends = Arc::new(std::sync::Mutex::new(ends));
    let (began, mut begins) = tokio::sync::mpsc::unbounded_channel();
    let mut reading = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let (pool, ends) = (Arc::clone(&api.pool), Arc::clone(&ends));
        let (world, began) = (greedy.clone(), began.clone());
        reading.spawn(async move {
            let hold = move |_: &mut Store| {
                began.send(()).unwrap();
                let _ = ends.lock().unwrap().recv_timeout(2 * SOON);
                Ok(())
            };
            pool.ask(&world, hold).await.unwrap();
        });
    }
    // As many as it may.
    begins.recv().await.unwrap();
    begins.recv().await.unwrap();
    let owner = api.token(Role::Owner).await;
    let asked = api.ask(&owner, "GET", "/v1/keys", Value::Null);
    assert_eq!(soon("a list", asked).await.status, 200);
    (0..10).for_each(|_| end.send(()).unwrap());
    reading.join_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_waits_for_no_writer_and_changes_nothing() {
    let api = Api::new();
    let owner = api.token(Role::Owner).await;
    let digest = "ab".repeat(32);
    let text = format!("client,sha256\nnewcomer,{digest}\n");
    let of_keys = json!({"text": text, "dry_run": true, "create_clients": true});
    let whole = json!({
        "dry_run": true,
        "plans": {"bulk": ["5/1m"]},
        "clients": [{"name": "newcomer", "plan": "bulk"}],
        "keys": [{"client": "newcomer", "sha256": digest}],
    });
    let before = api.ask(&owner, "GET", "/v1/clients", Value::Null).await;
    let (end, writing) = held(&api).await;
    for (path, body) in [("/v1/keys/import", of_keys), ("/v1/import", whole)] {
        let done = soon(path, api.ask(&owner, "POST", path, body)).await;
        assert_eq!(done.status, 201, "{}", done.text);
        let keys = [&done.body["imported"], &done.body["keys_imported"]];
        assert!(keys.contains(&&json!(1)), "{}", done.text);
    }
    let after = api.ask(&owner, "GET", "/v1/clients", Value::Null).await;
    assert_eq!(after.body, before.body);
    end.send(()).unwrap();
    writing.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_does_not_wait_until_the_use_of_its_token_is_remembered() {
    let api = Api::new();
    let owner = api.token(Role::Owner).await;
    let (end, writing) = held(&api).await;
    for _ in 0..2 {
        let asked = api.ask(&owner, "GET", "/v1/clients", Value::Null);
        assert_eq!(soon("a list", asked).await.status, 200);
    }
    end.send(()).unwrap();
    writing.await.unwrap();
}

#[tokio::test]
async fn a_client_is_shown_with_its_keys_page_by_page_and_its_tag_tells_of_all() {
    let api = Api::new();
    let owner = api.token(Role::Owner).await;
    let bulk = json!({"client": "acme", "count": 1200});
    let issued = api.ask(&owner, "POST", "/v1/keys", bulk).await;
    assert_eq!(issued.status, 201);
    let path = "/v1/clients/acme";
    let show = async |query: &str| {
        let path = format!("{path}{query}");
        api.ask(&owner, "GET", &path, Value::Null).await
    };
    let keys = |answer: &Answer| answer.body["keys"].as_array().map_or(0, Vec::len);
    let first = show("").await;
    assert_eq!(keys(&first), 1000);
    let next = first.body["next"].as_str().unwrap();
    let rest = show(&format!("?cursor={next}")).await;
    assert_eq!(keys(&rest), 200);
    assert!(rest.body["next"].is_null());
    let tag = header(&first, "etag").to_owned();
    assert_eq!(header(&rest, "etag"), tag);

    // Any of them, on whatever page.
    let last = rest.body["keys"][199]["id"].as_str().unwrap();
    let revoke = format!("/v1/keys/{last}/revoke");
    let revoked = api.ask(&owner, "POST", &revoke, json!({})).await;
    assert_eq!(revoked.status, 200);
    let expected = [("if-match", tag.as_str())];
    let gold = json!({"plan": "gold"});
    let stale = api.with(&owner, "PATCH", path, gold.clone(), &expected);
    assert_eq!(stale.await.status, 412);
    let now = show("?limit=1").await;
    let expected = [("if-match", header(&now, "etag"))];
    let done = api.with(&owner, "PATCH", path, gold, &expected).await;
    assert_eq!(done.status, 200, "{}", done.text);
}

#[tokio::test]
async fn a_list_of_few_among_many_keys_looks_at_so_many_and_goes_on() {
    const MANY: u32 = 20_100;
    let api = Api::new();
    let owner = api.token(Role::Owner).await;
    let issue = |store: &mut Store| {
        let draft = keystile_registry::key::KeyDraft::default();
        keystile_registry::key::issue(store, &system::local(), "acme", draft, MANY, |_| {})
            .map(drop)
    };
    api.pool.write(issue).await.unwrap();
    let list = async |query: &str| {
        let path = format!("/v1/keys?{query}");
        api.ask(&owner, "GET", &path, Value::Null).await
    };
    for filter in [
        "label=a=b",
        "status=revoked",
        "environment=nowhere",
        "unused=1d",
    ] {
        let first = list(filter).await;
        assert_eq!(first.body["keys"], json!([]), "{filter}: {}", first.text);
        let next = first.body["next"].as_str().expect(filter);
        let rest = list(&format!("{filter}&cursor={next}")).await;
        assert!(rest.body["next"].is_null(), "{filter}");
    }
    for wrong in ["0", "20001"] {
        let refused = list(&format!("scan={wrong}")).await;
        assert_eq!(refused.status, 422, "{}", refused.text);
    }
}
