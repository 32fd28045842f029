//! Who is signed in, and how that is ended.

use axum::body::Body;
use axum::http::Request;

use super::*;
use super::{Answer, Site};
use keystile_model::caller::Role;

impl Site {
    async fn api(&self, method: &str, path: &str, token: &str) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {token}"))
            .body(Body::empty())
            .unwrap();
        self.send(request).await
    }
}

#[tokio::test]
async fn a_session_is_listed_and_ended_by_the_api_and_by_the_console() {
    let site = Site::new();
    let (owner, _) = site.token(Role::Owner, false).await;
    let (issuer, id) = site.token(Role::Issuer, false).await;
    let [one, two] = [site.sign_in(&issuer).await, site.sign_in(&issuer).await];
    let listed = site.api("GET", "/v1/sessions", &owner).await;
    assert_eq!(listed.status, 200, "{}", listed.text);
    let listed: serde_json::Value = serde_json::from_str(&listed.text).unwrap();
    let all = listed["sessions"].as_array().unwrap();
    assert_eq!(all.len(), 2, "{listed}");
    for session in all {
        assert_eq!(session["user"], format!("token issuer-false ({id})"));
        assert_eq!(session["address"], "192.0.2.7");
        // What is shown signs nobody in.
        let shown = session["id"].as_str().unwrap();
        assert!(!one.cookie.contains(shown) && !two.cookie.contains(shown));
    }
    let refused = site.api("GET", "/v1/sessions", &issuer).await;
    assert_eq!(refused.status, 403);
    let end = format!("/v1/sessions/{}", all[0]["id"].as_str().unwrap());
    assert_eq!(site.api("DELETE", &end, &issuer).await.status, 403);
    assert_eq!(site.api("DELETE", &end, &owner).await.status, 200);
    assert_eq!(site.api("DELETE", &end, &owner).await.status, 404);
    let signed_in = [
        one.get("/console").await.status,
        two.get("/console").await.status,
    ];
    assert_eq!(signed_in.iter().filter(|s| **s == 200).count(), 1);

    let person = site.sign_in(&owner).await;
    let page = person.get("/console/sessions").await;
    assert!(page.text.contains("token issuer-false") && page.text.contains("yours"));
    let end = format!("/console/sessions/{}/end", all[1]["id"].as_str().unwrap());
    assert!(page.text.contains(&end));
    let ended = person.post(&end, "").await;
    assert_eq!(
        ended.header("location"),
        "/console/sessions?done=session-ended"
    );
    for person in [&one, &two] {
        assert_eq!(
            person.get("/console").await.header("location"),
            "/console/sign-in"
        );
    }
    assert_eq!(person.get("/console").await.status, 200);
    let log = site.log().await;
    assert_eq!(
        log.iter()
            .filter(|l| l.starts_with("session.end done"))
            .count(),
        2
    );
}

#[tokio::test]
async fn an_envoy_is_forgotten_by_an_owner_and_by_nobody_else() {
    let site = Site::new();
    let (auditor, _) = site.token(Role::Auditor, false).await;
    let (owner, _) = site.token(Role::Owner, false).await;
    let person = site.sign_in(&auditor).await;
    let refused = person.post("/console/fleet/forget", "node=edge-7").await;
    assert_eq!(refused.status, 403);
    assert!(
        !person
            .get("/console/fleet")
            .await
            .text
            .contains("/console/fleet/forget")
    );
    let person = site.sign_in(&owner).await;
    let page = person.get("/console/fleet").await.text;
    assert!(page.contains("aria-label=\"Forget edge-7\""), "{page}");
    assert!(!page.contains("Forget edge-8"), "it is connected");
    let done = person.post("/console/fleet/forget", "node=edge-7").await;
    assert_eq!(
        done.header("location"),
        "/console/fleet?done=envoy-forgotten"
    );
}

#[tokio::test]
async fn a_form_of_one_session_is_none_of_another() {
    let site = Site::new();
    let (owner, _) = site.token(Role::Owner, false).await;
    let (one, two) = (site.sign_in(&owner).await, site.sign_in(&owner).await);
    assert_ne!(one.form_token, two.form_token);
    let form = format!("csrf={}&name=planted", one.form_token);
    let sent = post("/console/clients", &two.cookie, &form);
    assert_eq!(site.send(sent).await.status, 403);
}

#[tokio::test]
async fn a_session_ends_with_its_token_and_with_sign_out() {
    let site = Site::new();
    let (owner, id) = site.token(Role::Owner, false).await;
    let (one, two) = (site.sign_in(&owner).await, site.sign_in(&owner).await);
    let out = one.post("/console/sign-out", "").await;
    assert!(out.header("set-cookie").contains("Max-Age=0"));
    assert_eq!(one.get("/console").await.status, 303);
    assert_eq!(two.get("/console").await.status, 200);
    site.pool
        .write(move |store| token::revoke(store, &system::local(), id))
        .await
        .unwrap();
    assert_eq!(two.get("/console").await.status, 303);
    let refused = site
        .send(post("/console/sign-in", "", &format!("token={owner}")))
        .await;
    assert_eq!(refused.status, 401);
    assert!(
        refused.text.contains("The token was revoked"),
        "{}",
        refused.text
    );
}
