//! What the audit log tells of attempts that were refused, however many there are.

use std::time::Duration;

use serde_json::{Value, json};

use super::Api;
use crate::limits::RateLimits;
use keystile_model::caller::Role;
use keystile_system as system;

#[tokio::test]
async fn refusals_beyond_those_that_have_a_record_each_are_counted_in_one() {
    let mut limits = RateLimits::new(100_000);
    limits.unrecorded.every = Duration::from_millis(50);
    let api = Api::limited(limits);
    let (owner, auditor) = (api.token(Role::Owner).await, api.token(Role::Auditor).await);
    for _ in 0..75 {
        let body = json!({"client": "acme"});
        let refused = api.ask(&auditor, "POST", "/v1/keys", body).await;
        assert_eq!(refused.status, 403);
    }
    let deadline = system::instant() + Duration::from_secs(30);
    loop {
        let log = "/v1/audit?outcome=refused&limit=1000";
        let log = api.ask(&owner, "GET", log, Value::Null).await;
        let records = log.body["records"].as_array().unwrap();
        let (more, single): (Vec<_>, Vec<_>) = records
            .iter()
            .partition(|r| r["action"] == "server.refused");
        let told = more.iter().map(|r| {
            let reason = r["reason"].as_str().unwrap();
            assert!(reason.contains("192.0.2.7"), "{reason}");
            reason.split(' ').next().unwrap().parse::<usize>().unwrap()
        });
        // All of them, whatever the clock did meanwhile.
        if told.sum::<usize>() + single.len() == 75 {
            assert!(!more.is_empty(), "{}", log.text);
            break;
        }
        assert!(system::instant() < deadline, "{}", log.text);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_token_is_found_in_the_log_by_its_name_and_by_its_id() {
    let api = Api::new();
    let owner = api.token(Role::Owner).await;
    let made = api
        .ask(&owner, "POST", "/v1/clients", json!({"name": "more"}))
        .await;
    assert_eq!(made.status, 201, "{}", made.text);
    let all = api
        .ask(
            &owner,
            "GET",
            "/v1/audit?action=client.create&limit=1",
            Value::Null,
        )
        .await;
    let user = all.body["records"][0]["user"].as_str().unwrap().to_owned();
    assert!(user.starts_with("token owner ("), "{user}");
    for actor in ["token owner", &user] {
        let path = format!("/v1/audit?actor={}", keystile_api::encoded(actor));
        let found = api.ask(&owner, "GET", &path, Value::Null).await;
        assert_eq!(
            found.body["records"].as_array().unwrap().len(),
            1,
            "{actor}"
        );
    }
    let none = api
        .ask(&owner, "GET", "/v1/audit?actor=token%20own", Value::Null)
        .await;
    assert_eq!(none.body["records"], json!([]));
}

/// What is kept for good has bounds, and nothing in it is a secret or deceives the eye.
#[tokio::test]
async fn text_that_is_kept_is_refused_by_the_name_of_its_field() {
    let api = Api::new();
    let owner = api.token(Role::Owner).await;
    let issued = api
        .ask(&owner, "POST", "/v1/keys", json!({"client": "acme"}))
        .await;
    let (key, id) = (
        issued.body["key"].as_str().unwrap(),
        issued.body["id"].as_str().unwrap(),
    );
    for (method, path, field, body) in kept(id, key) {
        let refused = api.ask(&owner, method, &path, body).await;
        assert_eq!(refused.status, 422, "{method} {path}: {}", refused.text);
        let detail = refused.body["detail"].as_str().unwrap();
        assert!(detail.contains(&format!("`{field}`")), "{field}: {detail}");
        assert!(!refused.text.contains(&key[20..]) && !refused.text.contains('\u{202e}'));
    }
    let log = api
        .ask(&owner, "GET", "/v1/audit?limit=1000", Value::Null)
        .await;
    assert!(!log.text.contains(&key[20..]), "{}", log.text);
    let none = api.ask(&owner, "GET", "/v1/keys?scan=0", Value::Null).await;
    assert_eq!(none.status, 422, "{}", none.text);
    assert!(none.text.contains("`scan`"));
}

/// Changes of text that nobody could want, each with the field that is wrong.
fn kept(id: &str, key: &str) -> Vec<(&'static str, String, &'static str, Value)> {
    let path = format!("/v1/keys/{id}");
    let many: serde_json::Map<String, Value> =
        (0..60_000).map(|n| (format!("l{n}"), "x".into())).collect();
    let (own, acme) = (path.as_str(), "/v1/clients/acme");
    let rows = vec![
        ("PATCH", acme, "labels", json!({"labels": many})),
        (
            "PATCH",
            acme,
            "description",
            json!({"description": "x".repeat(900_000)}),
        ),
        ("PATCH", acme, "description", json!({"description": "a\nb"})),
        (
            "PATCH",
            acme,
            "labels",
            json!({"labels": {"a": "\u{202e}b"}}),
        ),
        ("PATCH", own, "name", json!({"name": "\u{202e}gpj"})),
        ("PATCH", own, "name", json!({"name": "a\u{1b}[2J"})),
        ("PATCH", own, "name", json!({"name": key})),
        ("PATCH", own, "labels", json!({"labels": {"old": key}})),
        (
            "POST",
            "/v1/keys/revoke",
            "reason",
            json!({"ids": [id], "reason": key}),
        ),
        ("POST", "/v1/backups", "name", json!({"name": key})),
        (
            "PATCH",
            own,
            "certificates",
            json!({"certificates": [format!("spiffe://example.org/{key}")]}),
        ),
        ("POST", "/v1/nodes", "node", json!({"node": key})),
        ("POST", "/v1/nodes", "node", json!({"node": "a\u{202e}b"})),
        (
            "POST",
            "/v1/clients",
            "description",
            json!({"name": "b", "description": key}),
        ),
        (
            "POST",
            "/v1/tokens",
            "name",
            json!({"name": format!("a{}", &key[8..]), "role": "issuer"}),
        ),
    ];
    let owned =
        |(method, path, field, body): (_, &str, _, _)| (method, path.to_owned(), field, body);
    rows.into_iter().map(owned).collect()
}

#[tokio::test]
async fn nothing_is_read_from_behind_the_end_of_a_backup() {
    let api = Api::new();
    let owner = api.token(Role::Owner).await;
    let made = api.ask(&owner, "POST", "/v1/backups", json!({})).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let (id, bytes) = (
        made.body["id"].as_str().unwrap(),
        &made.body["store"]["bytes"],
    );
    let bytes = bytes.as_u64().unwrap();
    let piece = async |offset: u64| {
        let path = format!("/v1/backups/{id}?offset={offset}");
        api.ask(&owner, "GET", &path, Value::Null).await
    };
    for behind in [bytes + 1, i64::MAX as u64 + 1, u64::MAX] {
        let refused = piece(behind).await;
        assert_eq!(refused.status, 422, "{}", refused.text);
        assert!(refused.text.contains("`offset`"), "{}", refused.text);
    }
    let end = piece(bytes).await;
    assert_eq!((end.status, &end.body["next"]), (200, &Value::Null));
}

#[test]
fn the_document_names_every_status_and_says_where_null_is_sent() {
    let document = crate::openapi::document();
    let schemas = &document["components"]["schemas"];
    for (name, field) in [
        ("AuditRecord", "before"),
        ("AuditRecord", "after"),
        ("Key", "plan"),
    ] {
        let kinds = &schemas[name]["properties"][field]["type"];
        let null = kinds
            .as_array()
            .is_some_and(|all| all.contains(&"null".into()));
        assert!(null, "{name}.{field}: {kinds}");
    }
    for field in ["before", "after"] {
        let any = &schemas["KeysetChange"]["properties"][field];
        assert_eq!(any["type"], Value::Null, "anything stands there: {any}");
    }
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let told = operation["responses"].as_object().unwrap();
            assert!(!told.contains_key("default"), "{method} {path}");
            for status in ["400", "401", "403", "404", "422", "429", "503", "507"] {
                assert!(told.contains_key(status), "{method} {path}: {status}");
            }
        }
    }
}

#[tokio::test]
async fn a_backup_that_is_asked_for_again_under_its_key_is_made_once() {
    let api = Api::new();
    let owner = api.token(Role::Owner).await;
    let make = async |name: &str, key: &str| {
        let headers = [("idempotency-key", key)];
        let body = json!({ "name": name });
        api.with(&owner, "POST", "/v1/backups", body, &headers)
            .await
    };
    let made = make("nightly", "one").await;
    assert_eq!(made.status, 201, "{}", made.text);
    let again = make("nightly", "one").await;
    assert_eq!(again.status, 201, "{}", again.text);
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(again.body["id"], made.body["id"]);
    assert_eq!(again.body["replayed"], true);
    for (name, key, why) in [
        ("weekly", "one", "used for another request"),
        ("nightly", "two", "another backup"),
    ] {
        let refused = make(name, key).await;
        assert_eq!(refused.status, 409, "{}", refused.text);
        assert!(refused.text.contains(why), "{}", refused.text);
    }
    assert_eq!(make("nightly", "a key").await.status, 422);
}
