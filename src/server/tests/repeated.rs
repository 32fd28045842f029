//! Requests that are sent again, and changes of what has changed.

use super::*;

#[tokio::test]
async fn a_creation_that_is_repeated_is_done_once() {
    let api = Api::new();
    let owner = api.token(Role::Owner).await;
    let headers = [("idempotency-key", "once-1")];
    let body = json!({"client": "acme", "name": "ci"});
    let first = api
        .with(&owner, "POST", "/v1/keys", body.clone(), &headers)
        .await;
    let again = api.with(&owner, "POST", "/v1/keys", body, &headers).await;
    assert_eq!((first.status, again.status), (201, 201), "{}", again.text);
    assert!(first.body["key"].is_string());
    assert_eq!(again.body["key"], Value::Null);
    assert_eq!(again.body["id"], first.body["id"]);
    assert_eq!(again.body["replayed"], true);
    assert_eq!(header(&again, "idempotency-replayed"), "true");

    let other = json!({"client": "acme", "name": "another"});
    let clash = api.with(&owner, "POST", "/v1/keys", other, &headers).await;
    assert_eq!(clash.status, 409, "{}", clash.text);
    let keys = api.ask(&owner, "GET", "/v1/keys", Value::Null).await;
    assert_eq!(keys.body["keys"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn whatever_holds_a_secret_is_answered_without_it_when_it_is_repeated() {
    let api = Api::new();
    let owner = api.token(Role::Owner).await;
    let made = |name: &str| json!({"name": name, "url": "https://hooks.example.com/in"});
    let own = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let mut given = made("given");
    given["secret"] = own.into();
    for (path, field, body) in [
        ("/v1/keys", "key", json!({"client": "acme"})),
        (
            "/v1/tokens",
            "token",
            json!({"name": "ci", "role": "issuer"}),
        ),
        ("/v1/webhooks", "secret", made("chosen")),
        ("/v1/webhooks", "secret", given),
    ] {
        let once = format!("once-{}", body["name"]);
        let headers = [("idempotency-key", once.as_str())];
        let first = api.with(&owner, "POST", path, body.clone(), &headers).await;
        assert_eq!(first.status, 201, "{path}: {}", first.text);
        let secret = first.body[field].as_str().unwrap();
        let again = api.with(&owner, "POST", path, body, &headers).await;
        assert_eq!(again.body["replayed"], true, "{path}: {}", again.text);
        assert_eq!(again.body[field], Value::Null, "{path}");
        assert!(!again.text.contains(secret), "{path}: {}", again.text);
    }
}

#[tokio::test]
async fn a_change_of_what_has_changed_meanwhile_is_refused() {
    let api = Api::new();
    let owner = api.token(Role::Owner).await;
    let shown = api
        .ask(&owner, "GET", "/v1/clients/acme", Value::Null)
        .await;
    let tag = header(&shown, "etag").to_owned();
    let known = [("if-none-match", tag.as_str())];
    let same = api
        .with(&owner, "GET", "/v1/clients/acme", Value::Null, &known)
        .await;
    assert_eq!(same.status, StatusCode::NOT_MODIFIED);

    let expected = [("if-match", tag.as_str())];
    let gold = json!({"plan": "gold"});
    let path = "/v1/clients/acme";
    let done = api.with(&owner, "PATCH", path, gold, &expected).await;
    assert_eq!(done.status, 200, "{}", done.text);
    let free = json!({"plan": "free"});
    let stale = api
        .with(&owner, "PATCH", path, free.clone(), &expected)
        .await;
    assert_eq!(stale.status, 412, "{}", stale.text);
    assert_eq!(stale.body["code"], "stale");
    let now = api.ask(&owner, "GET", path, Value::Null).await;
    assert_eq!(now.body["plan"], "gold");
    let any = api
        .with(&owner, "PATCH", path, free, &[("if-match", "*")])
        .await;
    assert_eq!(any.status, 200);
}
