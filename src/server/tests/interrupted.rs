//! Changes that take long, interrupted by others and not.

use super::*;
use keystile_api::Pace;
use keystile_store::Store;
use keystile_system as system;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::turns::{SOON, held, soon};

/// A long change under way, begun again as often as it is broken off; it goes on for ever unless
/// it may end.
struct LongChange {
    pub(super) begins: tokio::sync::mpsc::UnboundedReceiver<()>,
    may_end: Arc<std::sync::atomic::AtomicBool>,
    pub(super) done: tokio::task::JoinHandle<Result<(), keystile_model::error::Error>>,
}

fn long_change(api: &Api, world: keystile_model::world::World, pace: Pace) -> LongChange {
    let (began, begins) = tokio::sync::mpsc::unbounded_channel();
    let may_end = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (pool, end) = (Arc::clone(&api.pool), Arc::clone(&may_end));
    let done = tokio::spawn(async move {
        let begin = || {
            let (end, world, began) = (end.clone(), world.clone(), began.clone());
            Ok(move |store: &mut Store| {
                store.write(&world, |tx| {
                    began.send(()).unwrap();
                    let last = system::instant() + 2 * SOON;
                    while !end.load(Ordering::SeqCst) && system::instant() < last {
                        tx.audit(&world, "test.long", "x", None, None)?;
                    }
                    Ok(())
                })
            })
        };
        pool.write_for(&world, pace, begin).await
    });
    LongChange {
        begins,
        may_end,
        done,
    }
}

/// Whatever its size: the last attempt is broken off like the first. It is refused then, so that
/// its caller need not wait for ever either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_urgent_never_waits_for_what_takes_long_to_end() {
    let api = Api::new();
    let client = keystile_model::caller::Grant {
        role: Role::Client,
        ..keystile_model::caller::Grant::nothing()
    };
    for (pace, world) in [
        (Pace::Long, system::local()),
        (Pace::Sweep, system::by(1, client)),
    ] {
        let mut long = long_change(&api, world, pace);
        let mut worst = Duration::ZERO;
        while soon("the long change", long.begins.recv()).await.is_some() {
            let before = system::instant();
            let urgent = api.pool.write_at(Pace::Urgent, |_: &mut Store| Ok(()));
            soon("the urgent one", urgent).await.unwrap();
            worst = worst.max(before.elapsed());
        }
        assert!(worst < Duration::from_secs(5), "{pace:?}: {worst:?}");
        let refused = soon("its end", long.done).await.unwrap().unwrap_err();
        assert_eq!(refused.kind(), keystile_model::error::Kind::Unavailable);
        let words = refused.to_string();
        assert!(words.contains("interrupted 12 times"), "{words}");
        assert!(!long.may_end.load(Ordering::SeqCst));
    }
}

/// Otherwise one client's token, whose keys are disabled again and again, keeps an owner from
/// changing the policy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_takes_less_than_half_a_second_ends_however_often_it_is_interrupted() {
    let api = Api::new();
    let mut long = long_change(&api, system::local(), Pace::Long);
    for _ in 0..4 {
        soon("the long change", long.begins.recv()).await.unwrap();
        let urgent = api.pool.write_at(Pace::Urgent, |_: &mut Store| Ok(()));
        soon("the urgent one", urgent).await.unwrap();
    }
    soon("the long change", long.begins.recv()).await.unwrap();
    // From now on it is spared for a while, so this one waits.
    let urgent = tokio::spawn({
        let pool = Arc::clone(&api.pool);
        async move { pool.write_at(Pace::Urgent, |_: &mut Store| Ok(())).await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!urgent.is_finished());
    long.may_end.store(true, Ordering::SeqCst);
    soon("the long change", long.done).await.unwrap().unwrap();
    soon("the urgent one", urgent).await.unwrap().unwrap();
    assert!(long.begins.recv().await.is_none(), "it was not begun again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keyset_is_built_while_somebody_writes() {
    let api = Api::new();
    let owner = api.token(Role::Owner).await;
    let (end, writing) = held(&api).await;
    let path = "/v1/keyset/build";
    let built = soon(path, api.ask(&owner, "POST", path, json!({}))).await;
    assert_eq!(built.status, 200, "{}", built.text);
    assert!(built.body["configuration"].is_string(), "{}", built.text);
    end.send(()).unwrap();
    writing.await.unwrap();
}

/// While somebody writes, a policy is checked against all keys; when it is its turn, only against
/// those that have changed since.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_that_waits_for_its_turn_has_looked_at_all_keys_already() {
    let without_gold = keystile_policy::file::DEFAULT
        .lines()
        .filter(|l| !l.trim_start().starts_with("gold:"));
    let text = without_gold.collect::<Vec<_>>().join("\n");
    let on_gold = |store: &mut Store| {
        let draft = keystile_registry::key::KeyDraft {
            plan: Some("gold".to_owned()),
            ..Default::default()
        };
        let world = system::local();
        keystile_registry::key::issue(store, &world, "acme", draft, 1, |_| {}).unwrap();
    };
    // As if it had been there before: nobody looks at it again.
    let unchanged = |store: &mut Store| store.batch("UPDATE key SET plan = 'gold'");
    type Change = fn(&mut Store);
    for (change, status) in [(on_gold as Change, 422), (unchanged, 200)] {
        let api = Arc::new(Api::new());
        let owner = api.token(Role::Owner).await;
        let one = json!({"client": "acme"});
        assert_eq!(api.ask(&owner, "POST", "/v1/keys", one).await.status, 201);
        let (end, writing) = held(&api).await;
        let (put, body) = (Arc::clone(&api), json!({"text": text}));
        let put = tokio::spawn(async move { put.ask(&owner, "PUT", "/v1/policy", body).await });
        let waits = async {
            while api.pool.waiting(Pace::Long) == 0 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        soon("the policy", waits).await;
        // By another process, which waits for no turn.
        change(&mut api.pool.home().open().unwrap());
        end.send(()).unwrap();
        writing.await.unwrap();
        let done = soon("the policy", put).await.unwrap();
        assert_eq!(done.status, status, "{}", done.text);
    }
}

/// It goes on where it was, so that it need not be spared, nor refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_done_in_parts_is_interrupted_as_often_as_others_go_first() {
    let api = Api::new();
    let mut parts = long_change(&api, system::local(), Pace::Parts);
    for _ in 0..15 {
        soon("the parts", parts.begins.recv()).await.unwrap();
        let urgent = api.pool.write_at(Pace::Urgent, |_: &mut Store| Ok(()));
        soon("the urgent one", urgent).await.unwrap();
    }
    parts.may_end.store(true, Ordering::SeqCst);
    soon("the parts", parts.done).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_client_with_many_keys_is_deleted_if_it_is_as_if_match_says() {
    let api = Api::new();
    let owner = api.token(Role::Owner).await;
    let bulk = json!({"client": "acme", "count": 1200});
    let issued = api.ask(&owner, "POST", "/v1/keys", bulk).await;
    assert_eq!(issued.status, 201, "{}", issued.text);
    let path = "/v1/clients/acme?sure=true";
    let delete = async |tag: &str| {
        let headers = [("if-match", tag)];
        api.with(&owner, "DELETE", path, Value::Null, &headers)
            .await
    };
    assert_eq!(delete("\"another\"").await.status, 412);
    let kept = api
        .ask(&owner, "GET", "/v1/clients/acme", Value::Null)
        .await;
    let deleted = delete(header(&kept, "etag")).await;
    assert_eq!(deleted.status, 200, "{}", deleted.text);
    assert_eq!(deleted.body["keys_revoked"], 1200);
}

/// Otherwise the least token, with one key, keeps everybody else's imports from ending.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_done_already_and_what_is_refused_interrupt_nothing() {
    let api = Api::new();
    let (owner, client) = (api.token(Role::Owner).await, api.token(Role::Client).await);
    let mut ids = Vec::new();
    for of in ["acme", "other"] {
        let one = api
            .ask(&owner, "POST", "/v1/keys", json!({"client": of}))
            .await;
        ids.push(one.body["id"].as_str().unwrap().to_owned());
    }
    let disable = |id: &str| format!("/v1/keys/{id}/disable");
    let done = api.ask(&client, "POST", &disable(&ids[0]), json!({})).await;
    assert_eq!(done.status, 200, "{}", done.text);
    let mut long = long_change(&api, system::local(), Pace::Long);
    soon("the long change", long.begins.recv()).await.unwrap();
    for _ in 0..15 {
        let path = disable(&ids[0]);
        let again = soon(&path, api.ask(&client, "POST", &path, json!({}))).await;
        assert_eq!((again.status, &again.body), (200, &done.body));
    }
    assert!(long.begins.try_recv().is_err(), "it was not begun again");
    // Another client's key, and none at all.
    for id in [ids[1].as_str(), "0Ab3dEfGh1"] {
        let grant = keystile_model::caller::Grant {
            role: Role::Client,
            client: Some("acme".to_owned()),
            ..keystile_model::caller::Grant::nothing()
        };
        let world = system::by(1, grant);
        let begin = || {
            let (world, id) = (world.clone(), id.parse().unwrap());
            Ok(move |store: &mut Store| {
                keystile_registry::key::set_disabled(store, &world, id, true)
            })
        };
        let refused = api.pool.write_unless_done(&world, Pace::Urgent, begin);
        let refused = soon("a refusal", refused).await.err().unwrap();
        assert_eq!(refused.kind(), keystile_model::error::Kind::NotFound);
    }
    assert!(long.begins.try_recv().is_err(), "it was not begun again");
    // What has something to switch off goes first still.
    let revoke = format!("/v1/keys/{}/revoke", ids[0]);
    let revoked = soon(&revoke, api.ask(&client, "POST", &revoke, json!({}))).await;
    assert_eq!(revoked.status, 200, "{}", revoked.text);
    soon("the long change", long.begins.recv()).await.unwrap();
    long.may_end.store(true, Ordering::SeqCst);
    soon("the long change", long.done).await.unwrap().unwrap();
}

/// It revokes as well, only more: it is interrupted twice, and never refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mass_revocation_by_staff_is_interrupted_twice_at_most() {
    let api = Api::new();
    let mut sweep = long_change(&api, system::local(), Pace::Sweep);
    for _ in 0..2 {
        soon("the sweep", sweep.begins.recv()).await.unwrap();
        let urgent = api.pool.write_at(Pace::Urgent, |_: &mut Store| Ok(()));
        soon("the urgent one", urgent).await.unwrap();
    }
    soon("the sweep", sweep.begins.recv()).await.unwrap();
    let urgent = api.pool.write_at(Pace::Urgent, |_: &mut Store| Ok(()));
    let mut urgent = std::pin::pin!(urgent);
    let early = tokio::time::timeout(Duration::ZERO, &mut urgent).await;
    assert!(early.is_err(), "it waits");
    sweep.may_end.store(true, Ordering::SeqCst);
    soon("the urgent one", urgent).await.unwrap();
    soon("the sweep", sweep.done).await.unwrap().unwrap();
}

/// Lines of an import that were begun, and which attempt they belong to.
static BEGUN: AtomicUsize = AtomicUsize::new(0);

/// The pool that an import goes on at until somebody waits for it.
static WAITED_FOR: std::sync::OnceLock<Arc<crate::pool::StorePool>> = std::sync::OnceLock::new();

const BREAKS_AT: usize = 5;

/// Each key that is imported draws its id once.
fn drawn(id: &mut [u8]) -> keystile_model::error::Result<()> {
    if BEGUN.fetch_add(1, Ordering::SeqCst) + 1 == BREAKS_AT {
        let end = system::instant() + SOON;
        let is_hurried = || WAITED_FOR.get().is_some_and(|pool| pool.is_hurried());
        while !is_hurried() && system::instant() < end {
            std::thread::yield_now();
        }
    }
    (system::local().entropy)(id)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_disabled_beside_an_import_which_begins_no_further_line_before() {
    const LINES: usize = 300;
    let api = Api::new();
    let owner = api.token(Role::Owner).await;
    let one = json!({"client": "acme"});
    let issued = api.ask(&owner, "POST", "/v1/keys", one).await;
    let disable = format!("/v1/keys/{}/disable", issued.body["id"].as_str().unwrap());
    assert!(WAITED_FOR.set(Arc::clone(&api.pool)).is_ok());
    let pool = Arc::clone(&api.pool);
    let importing = tokio::spawn(async move {
        let world = keystile_model::world::World {
            entropy: drawn,
            ..system::local()
        };
        let begin = || {
            let world = world.clone();
            Ok(move |store: &mut Store| {
                let text: String = (0..LINES).map(|n| format!("acme,{n:064x}\n")).collect();
                let text = format!("client,sha256\n{text}");
                let how = keystile_registry::import::ImportOptions {
                    create_clients: false,
                    any_scope: false,
                    dry_run: false,
                };
                let lines = keystile_registry::import::read("keys.csv", &text, || store.go_on())?;
                keystile_registry::import::import(store, &world, lines, how).map(|i| i.keys.len())
            })
        };
        pool.write_for(&world, Pace::Long, begin).await
    });
    while BEGUN.load(Ordering::SeqCst) < BREAKS_AT {
        tokio::task::yield_now().await;
    }
    let disabled = soon("it", api.ask(&owner, "POST", &disable, json!({}))).await;
    assert_eq!(disabled.status, 200, "{}", disabled.text);
    let imported = soon("the import", importing).await.unwrap().unwrap();
    assert_eq!(imported, LINES);
    // Those of the attempt that was broken off, and all once more.
    assert_eq!(BEGUN.load(Ordering::SeqCst), BREAKS_AT + LINES);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_that_cannot_be_made_now_says_when_to_try_again_and_leaves_nothing() {
    let api = Arc::new(Api::new());
    let owner = api.token(Role::Owner).await;
    // The writer breaks off whatever comes, as if something urgent came each time.
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let hurried = |store: &mut Store| {
        store.break_off_when(stop);
        Ok(())
    };
    api.pool.write(hurried).await.unwrap();
    let text = format!("client,sha256\nacme,{:064x}\n", 1);
    for (path, body) in [
        ("/v1/keys/import", json!({"text": text})),
        (
            "/v1/import",
            json!({"keys": [{"client": "acme", "sha256": "ab".repeat(32)}]}),
        ),
    ] {
        let refused = api.ask(&owner, "POST", path, body).await;
        assert_eq!(refused.status, 503, "{}", refused.text);
        assert_eq!(header(&refused, "retry-after"), "5");
    }
    let keys = api.ask(&owner, "GET", "/v1/keys", Value::Null).await;
    assert_eq!(keys.body["keys"], json!([]), "nothing is left");
}
