//! What the audit log tells of attempts that were refused, however many there are.

use std::time::Duration;

use serde_json::{Value, json};

use super::Api;
use crate::caller::Role;
use crate::serve::limits::Limits;

#[tokio::test]
async fn refusals_beyond_those_that_have_a_record_each_are_counted_in_one() {
    let mut limits = Limits::new(100_000);
    limits.unrecorded.every = Duration::from_millis(50);
    let api = Api::limited(limits);
    let (owner, auditor) = (api.token(Role::Owner).await, api.token(Role::Auditor).await);
    for _ in 0..75 {
        let body = json!({"client": "acme"});
        let refused = api.ask(&auditor, "POST", "/v1/keys", body).await;
        assert_eq!(refused.status, 403);
    }
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
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
            assert!(!more.is_empty() && more.len() < 10, "{}", more.len());
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{}", log.text);
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
        let path = format!("/v1/audit?actor={}", crate::operation::encoded(actor));
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
