//! What the audit log holds of a refused request, and what not.

use super::*;

#[tokio::test]
async fn a_refused_attempt_stands_in_the_audit_log() {
    let api = Api::new();
    let (owner, auditor) = (api.token(Role::Owner).await, api.token(Role::Auditor).await);
    let headers = [("x-request-id", "my-request")];
    let body = json!({"client": "acme"});
    let refused = api.with(&auditor, "POST", "/v1/keys", body, &headers).await;
    assert_eq!(refused.status, 403);
    assert_eq!(header(&refused, "x-request-id"), "my-request");
    let log = api
        .ask(&owner, "GET", "/v1/audit?outcome=refused", Value::Null)
        .await;
    let record = &log.body["records"][0];
    assert_eq!(record["action"], "key.issue", "{}", log.text);
    let user = record["user"].as_str().unwrap();
    let id = user
        .strip_prefix("token auditor (")
        .and_then(|u| u.strip_suffix(')'));
    assert!(id.is_some_and(|id| auditor.contains(id)), "{user}");
    assert_eq!(record["address"], "192.0.2.7");
    assert_eq!(record["request"], "my-request");
}

#[tokio::test]
async fn a_key_in_the_place_of_a_name_does_not_reach_the_audit_log() {
    let api = Api::new();
    let owner = api.token(Role::Owner).await;
    let issued = api
        .ask(&owner, "POST", "/v1/keys", json!({"client": "acme"}))
        .await;
    let key = issued.body["key"].as_str().unwrap();
    let path = format!("/v1/clients/{key}");
    let e = api
        .ask(&owner, "PATCH", &path, json!({"plan": "gold"}))
        .await;
    assert_eq!(e.status, 404);
    let log = api
        .ask(&owner, "GET", "/v1/audit?outcome=refused", Value::Null)
        .await;
    assert_eq!(
        log.body["records"][0]["subject"], issued.body["id"],
        "{}",
        log.text
    );
    assert!(!log.text.contains(key));
}

#[tokio::test]
async fn what_is_sent_in_the_wrong_field_is_not_repeated() {
    let api = Api::new();
    let owner = api.token(Role::Owner).await;
    let body = json!({"client": "acme", "count": "ks_live_secret"});
    let e = api.ask(&owner, "POST", "/v1/keys", body).await;
    assert_eq!(e.status, 422);
    assert!(
        e.text.contains("`count`") && !e.text.contains("secret"),
        "{}",
        e.text
    );
}
