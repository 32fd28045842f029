//! `If-Match` on every route that changes something, and methods that a path does not take.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{Answer, Api, header, routes};
use keystile_api::Method;
use keystile_model::caller::Role;
use keystile_registry::key;
use keystile_system as system;

/// A change: its name, where, what it says, and where its `ETag` is read. Those without one
/// make something new, or touch many things.
type Change = (&'static str, String, Value, Option<String>);

#[expect(clippy::too_many_lines, reason = "a table")]
fn changes(id: &str, token: &str) -> Vec<Change> {
    let key = format!("/v1/keys/{id}");
    let of_key = |verb: &str| format!("{key}/{verb}");
    let alone = |name, path: &str, body| (name, path.to_owned(), body, None);
    let of =
        |name, path: &str, body, tag: &str| (name, path.to_owned(), body, Some(tag.to_owned()));
    let policy = json!({"name": "p", "text": "version: 1"});
    let hook = json!({"name": "two", "url": "https://hooks.example.com/in"});
    vec![
        alone("client.create", "/v1/clients", json!({"name": "more"})),
        of(
            "client.update",
            "/v1/clients/acme",
            json!({}),
            "/v1/clients/acme",
        ),
        of(
            "client.delete",
            "/v1/clients/other?sure=true",
            Value::Null,
            "/v1/clients/other",
        ),
        alone("key.issue", "/v1/keys", json!({"client": "acme"})),
        of("key.update", &key, json!({"name": "n"}), &key),
        of("key.disable", &of_key("disable"), Value::Null, &key),
        of("key.enable", &of_key("enable"), Value::Null, &key),
        of("key.rotate", &of_key("rotate"), Value::Null, &key),
        of("key.fetch", &of_key("secret"), Value::Null, &key),
        of("key.revoke", &of_key("revoke"), Value::Null, &key),
        alone("key.revoke_all", "/v1/keys/revoke", json!({"ids": [id]})),
        alone("key.import", "/v1/keys/import", json!({"text": "[]"})),
        of("policy.apply", "/v1/policy", policy, "/v1/policy"),
        of(
            "policy.rollback",
            "/v1/policy/rollback",
            json!({"revision": 1}),
            "/v1/policy",
        ),
        alone("keyset.build", "/v1/keyset/build", Value::Null),
        alone("keyset.renew", "/v1/keyset/renew", Value::Null),
        of(
            "signing-key.create",
            "/v1/signing-keys",
            json!({"algorithm": "ed25519"}),
            "/v1/signing-keys",
        ),
        of(
            "signing-key.rotate",
            "/v1/signing-keys/rotate",
            Value::Null,
            "/v1/signing-keys",
        ),
        of(
            "signing-key.retire",
            "/v1/signing-keys/none",
            Value::Null,
            "/v1/signing-keys",
        ),
        alone("import.take", "/v1/import", json!({})),
        alone("audit.prune", "/v1/audit/prune", json!({"before": "90d"})),
        alone(
            "token.create",
            "/v1/tokens",
            json!({"name": "ci", "role": "issuer"}),
        ),
        of(
            "token.revoke",
            &format!("/v1/tokens/{token}"),
            Value::Null,
            &format!("/v1/tokens/{token}"),
        ),
        alone(
            "fleet.forget",
            "/v1/fleet/forget",
            json!({"nodes": ["envoy"]}),
        ),
        alone("session.end", "/v1/sessions/0123", Value::Null),
        alone("backup.make", "/v1/backups", json!({})),
        alone("backup.end", "/v1/backups/0123", Value::Null),
        alone("node.enroll", "/v1/nodes", json!({"node": "envoy"})),
        alone("node.revoke", "/v1/nodes/revoke", json!({"node": "envoy"})),
        alone("quota.reset", "/v1/quotas/reset", json!({"of": "acme"})),
        alone("webhook.create", "/v1/webhooks", hook),
        alone("webhook.test", "/v1/webhooks/one/test", Value::Null),
        alone(
            "webhook.resend",
            "/v1/webhooks/one/resend",
            json!({"audit_seq": 1}),
        ),
        of(
            "webhook.pause",
            "/v1/webhooks/one/pause",
            Value::Null,
            "/v1/webhooks/one",
        ),
        of(
            "webhook.resume",
            "/v1/webhooks/one/resume",
            Value::Null,
            "/v1/webhooks/one",
        ),
        of(
            "webhook.delete",
            "/v1/webhooks/one",
            Value::Null,
            "/v1/webhooks/one",
        ),
        of(
            "usage.configure",
            "/v1/usage/settings",
            json!({}),
            "/v1/usage/settings",
        ),
        alone("usage.forget", "/v1/usage/forget", Value::Null),
    ]
}

async fn furnished(api: &Api) -> (String, String, String) {
    let owner = api.token(Role::Owner).await;
    let key = api
        .ask(&owner, "POST", "/v1/keys", json!({"client": "acme"}))
        .await;
    let token = json!({"name": "short", "role": "issuer"});
    let token = api.ask(&owner, "POST", "/v1/tokens", token).await;
    let hook = json!({"name": "one", "url": "https://hooks.example.com/in"});
    let hook = api.ask(&owner, "POST", "/v1/webhooks", hook).await;
    assert_eq!(hook.status, 201, "{}", hook.text);
    let id = |a: &Answer| a.body["id"].as_str().unwrap().to_owned();
    (owner, id(&key), id(&token))
}

#[tokio::test]
async fn every_change_is_refused_when_what_it_is_about_is_not_as_if_match_says() {
    let api = Api::new();
    let (owner, id, token) = furnished(&api).await;
    let changes = changes(&id, &token);
    let mut writes: Vec<&str> = routes()
        .iter()
        .filter(|r| r.writes)
        .map(|r| r.name)
        .collect();
    let mut told: Vec<&str> = changes.iter().map(|c| c.0).collect();
    writes.sort_unstable();
    told.sort_unstable();
    assert_eq!(
        told, writes,
        "a route that changes something is not in the table"
    );

    let records = || {
        api.pool
            .read(|tx| Ok((tx.meta().version, tx.policy()?.revision, tx.keys()?.len())))
    };
    let before = records().await.unwrap();
    for (name, path, body, tag) in &changes {
        let route = routes().into_iter().find(|r| r.name == *name).unwrap();
        assert_eq!(route.etag, tag.is_some(), "{name}");
        let method = route.method.as_str();
        let wrong = [("if-match", "\"0123\""), ("idempotency-key", *name)];
        let refused = api.with(&owner, method, path, body.clone(), &wrong).await;
        assert_eq!(refused.status, 412, "{name}: {}", refused.text);
        assert_eq!(refused.body["code"], "stale", "{name}");
    }
    assert_eq!(records().await.unwrap(), before, "nothing was changed");
    for (name, path, body, tag) in changes {
        let Some(tag) = tag else { continue };
        let shown = api.ask(&owner, "GET", &tag, Value::Null).await;
        let tag = header(&shown, "etag").to_owned();
        let method = routes()
            .into_iter()
            .find(|r| r.name == name)
            .unwrap()
            .method;
        let right = [("if-match", tag.as_str())];
        let done = api.with(&owner, method.as_str(), &path, body, &right).await;
        assert_ne!(done.status, 412, "{name}: {}", done.text);
    }
}

#[tokio::test]
async fn a_dry_run_keeps_to_if_match_too() {
    let api = Api::new();
    let owner = api.token(Role::Owner).await;
    for path in ["/v1/keys/import", "/v1/import"] {
        let body = match path {
            "/v1/import" => json!({"dry_run": true}),
            _ => json!({"dry_run": true, "text": "client,sha256\n"}),
        };
        let wrong = [("if-match", "\"0123\"")];
        let refused = api.with(&owner, "POST", path, body.clone(), &wrong).await;
        assert_eq!(refused.status, 412, "{path}: {}", refused.text);
        let done = api.ask(&owner, "POST", path, body).await;
        assert_ne!(done.status, 412, "{path}: {}", done.text);
    }
}

/// What reads is not asked whether anything changed since.
#[tokio::test]
async fn a_question_is_answered_whatever_if_match_says() {
    let api = Api::new();
    let owner = api.token(Role::Owner).await;
    let any = [("if-match", "\"0123\"")];
    let body = json!({"name": "p", "text": "version: 1"});
    let answer = api.with(&owner, "POST", "/v1/policy/check", body, &any);
    assert_eq!(answer.await.status, 200);
}

#[tokio::test]
async fn the_secret_of_a_successor_is_posted_for_and_neither_read_nor_looked_at() {
    let api = Api::new();
    let (owner, id, _) = furnished(&api).await;
    let path = format!("/v1/keys/{id}/secret");
    for method in ["GET", "HEAD", "DELETE", "PUT"] {
        let refused = api.ask(&owner, method, &path, Value::Null).await;
        assert_eq!(refused.status, StatusCode::METHOD_NOT_ALLOWED, "{method}");
        assert_eq!(header(&refused, "allow"), "POST", "{method}");
        if method != "HEAD" {
            let detail = refused.body["detail"].as_str().unwrap();
            assert!(
                detail.contains("it takes POST (Fetch the successor"),
                "{detail}"
            );
        }
    }
    let key = id.parse().unwrap();
    api.pool
        .write(move |store| {
            let world = system::local();
            let now = world.now.seconds();
            store.write(&world, |tx| {
                tx.insert_handover(key, now)?;
                let before = tx.key(key)?.unwrap();
                let mut after = before.clone();
                after.overlap_end = Some(now + 3600);
                key::change(tx, &world, "key.hand-over", &before, after).map(drop)
            })
        })
        .await
        .unwrap();
    let client = api.token(Role::Client).await;
    let once = [("idempotency-key", "fetch-1")];
    let first = api.with(&client, "POST", &path, Value::Null, &once).await;
    assert_eq!(first.status, 201, "{}", first.text);
    assert!(first.body["key"].is_string());
    let again = api.with(&client, "POST", &path, Value::Null, &once).await;
    assert_eq!((again.status, &again.body["key"]), (201, &Value::Null));
    assert_eq!(again.body["id"], first.body["id"]);
}

/// A proxy, a browser that looks ahead and a scanner of links may `GET` anything.
#[test]
fn nothing_is_changed_by_a_get() {
    for route in routes() {
        assert!(
            route.method != Method::Get || !route.writes,
            "{}",
            route.path
        );
    }
}

#[tokio::test]
async fn a_token_of_some_plans_reaches_no_other_by_naming_none() {
    let api = Api::new();
    let owner = api.token(Role::Owner).await;
    let (silver, gold) = (
        json!({"limits": [{"requests": 1, "per": "1s"}]}),
        json!({"limits": [{"requests": 100, "per": "1s"}]}),
    );
    let policy = json!({"version": 1, "plans": {"silver": silver, "gold": gold}}).to_string();
    let applied = json!({"name": "p", "text": policy});
    let applied = api.ask(&owner, "PUT", "/v1/policy", applied).await;
    assert_eq!(applied.status, 200, "{}", applied.text);
    let set = json!({"plan": "gold"});
    api.ask(&owner, "PATCH", "/v1/clients/acme", set).await;
    let token = json!({"name": "c", "role": "client", "client": "acme", "plans": ["silver"], "max_keys": 1});
    let token = api.ask(&owner, "POST", "/v1/tokens", token).await;
    let token = token.body["token"].as_str().unwrap().to_owned();
    let bare = api
        .ask(&token, "POST", "/v1/keys", json!({"client": "acme"}))
        .await;
    assert_eq!(bare.status, 422, "{}", bare.text);
    let own = json!({"client": "acme", "plan": "silver"});
    let own = api.ask(&token, "POST", "/v1/keys", own).await;
    assert_eq!(own.status, 201, "{}", own.text);
    let path = format!("/v1/keys/{}", own.body["id"].as_str().unwrap());
    let none = api.ask(&token, "PATCH", &path, json!({"plan": null})).await;
    assert_eq!(none.status, 422, "{}", none.text);
    let shown = api.ask(&token, "GET", &path, Value::Null).await;
    assert_eq!(shown.body["plan"], "silver");

    // Neither are two keys had for one by never giving way.
    for change in [
        json!({"rotate_every": "0"}),
        json!({"rotate_every": "91d"}),
        json!({"grace": "3650d"}),
    ] {
        let refused = api.ask(&token, "PATCH", &path, change.clone()).await;
        assert_eq!(refused.status, 422, "{change}: {}", refused.text);
    }
    let long = json!({"grace": "3650d"});
    let long = api
        .ask(&token, "POST", &format!("{path}/rotate"), long)
        .await;
    assert_eq!(long.status, 422, "{}", long.text);
    let rotate = format!("{path}/rotate");
    let rotated = api
        .ask(&token, "POST", &rotate, json!({"grace": "7d"}))
        .await;
    assert_eq!(rotated.status, 201, "{}", rotated.text);
    let next = format!("/v1/keys/{}/rotate", rotated.body["id"].as_str().unwrap());
    let third = api.ask(&token, "POST", &next, Value::Null).await;
    assert_eq!(third.status, 422, "{}", third.text);
}
