//! What each role sees and does, and what is never shown.

use axum::body::Body;
use axum::http::Request;

use super::{PAGES, Person, Site, held, post};
use keystile_model::caller::Role;
use keystile_registry::key;
use keystile_system as system;

#[tokio::test]
async fn a_client_reaches_its_own_keys_and_nothing_else() {
    let site = Site::new();
    let (own, foreign) = (site.key("acme").await, site.key("other").await);
    let (token, _) = site.token(Role::Client, false).await;
    let person = site.sign_in(&token).await;
    let home = person.get("/console").await;
    assert!(home.text.contains(&own) && !home.text.contains(&foreign));
    assert_eq!(
        person.get(&format!("/console/keys/{own}")).await.status,
        200
    );
    assert_eq!(person.get("/console/guide").await.status, 200);
    for (path, status) in [
        (format!("/console/keys/{foreign}"), 404),
        ("/console/clients/other".to_owned(), 404),
        ("/console/clients/other/issue".to_owned(), 404),
        ("/console/keys?client=other".to_owned(), 404),
        ("/console/policy".to_owned(), 403),
        ("/console/policy/edit".to_owned(), 403),
        ("/console/audit".to_owned(), 403),
        ("/console/audit/export".to_owned(), 403),
        ("/console/fleet".to_owned(), 403),
        ("/console/tokens".to_owned(), 403),
        ("/console/webhooks".to_owned(), 403),
        ("/console/settings".to_owned(), 403),
    ] {
        let answer = person.get(&path).await;
        assert_eq!(answer.status, status, "{path}");
        assert!(
            !answer.text.contains(&foreign) || path.contains(&foreign),
            "{path}"
        );
    }
    changes_nothing_of_others(&person, &foreign).await;
    let status = site
        .pool
        .read(move |tx| Ok(tx.key(foreign.parse().unwrap())?.unwrap()))
        .await
        .unwrap();
    assert!(!status.disabled && status.revoked.is_none() && status.overlap_end.is_none());
}

async fn changes_nothing_of_others(person: &Person<'_>, foreign: &str) {
    for (path, form) in [
        (format!("/console/keys/{foreign}/disable"), String::new()),
        (
            format!("/console/keys/{foreign}/rotate"),
            "nonce=a&grace=0".to_owned(),
        ),
        (
            format!("/console/keys/{foreign}/revoke"),
            format!("confirm={foreign}"),
        ),
        (
            "/console/clients/other/issue".to_owned(),
            "nonce=b".to_owned(),
        ),
        ("/console/clients".to_owned(), "name=planted".to_owned()),
        (
            "/console/tokens".to_owned(),
            "nonce=c&name=t&role=owner".to_owned(),
        ),
        (
            "/console/policy/rollback".to_owned(),
            "revision=1".to_owned(),
        ),
        (
            "/console/explain".to_owned(),
            format!("path=/&key={foreign}"),
        ),
    ] {
        let answer = person.post(&path, &form).await;
        assert!(
            [403, 404].contains(&answer.status),
            "{path}: {}",
            answer.status
        );
    }
}

#[tokio::test]
async fn an_auditor_sees_everything_and_changes_nothing() {
    let site = Site::new();
    let id = site.key("acme").await;
    let (token, _) = site.token(Role::Auditor, false).await;
    let person = site.sign_in(&token).await;
    for page in PAGES {
        // To issue is not his; the rest he may read.
        let want = 200;
        assert_eq!(person.get(page).await.status, want, "{page}");
    }
    for (path, form) in [
        (format!("/console/keys/{id}/disable"), String::new()),
        (
            format!("/console/keys/{id}/revoke"),
            format!("confirm={id}"),
        ),
        (
            "/console/clients/acme/issue".to_owned(),
            "nonce=a".to_owned(),
        ),
        (
            "/console/clients/acme/delete".to_owned(),
            "confirm=acme".to_owned(),
        ),
        (
            "/console/policy/edit".to_owned(),
            "do=apply&revision=1&text=version: 1".to_owned(),
        ),
        (
            "/console/tokens".to_owned(),
            "nonce=b&name=x&role=owner".to_owned(),
        ),
    ] {
        assert_eq!(person.post(&path, &form).await.status, 403, "{path}");
    }
    assert!(
        !person
            .get(&format!("/console/keys/{id}"))
            .await
            .text
            .contains("Revoke permanently")
    );
}

#[tokio::test]
async fn a_key_is_shown_once_and_made_once() {
    let site = Site::new();
    let person = site.owner().await;
    let page = person.get("/console/clients/acme/issue").await;
    let form = format!("nonce={}&name=once&scopes=read", held(&page.text, "nonce"));
    let made = person.post("/console/clients/acme/issue", &form).await;
    assert_eq!(made.status, 200);
    let (_, key) = made.text.split_once("value=\"ks_live_").unwrap();
    let key = format!("ks_live_{}", key.split_once('"').unwrap().0);
    assert_eq!(key.len(), 67, "{key}");
    // The curl line, too.
    assert_eq!(made.text.matches(&key).count(), 2);
    let again = person.post("/console/clients/acme/issue", &form).await;
    assert_eq!(again.status, 200);
    assert!(again.text.contains("already done") && !again.text.contains(&key));
    for page in PAGES {
        assert!(!person.get(page).await.text.contains(&key), "{page}");
    }
    let keys = site.pool.read(|tx| tx.keys()).await.unwrap();
    assert_eq!(keys.len(), 1);
    assert!(!format!("{:?}", site.log().await).contains(&key));
}

#[tokio::test]
async fn what_is_wrong_stands_beside_its_field_in_the_words_of_the_api() {
    let site = Site::new();
    let person = site.owner().await;
    let form = "nonce=a&name=x&scopes=read&expires=soon&cidrs=10.1.2.3/8";
    let answer = person.post("/console/clients/acme/issue", form).await;
    assert_eq!(answer.status, 422);
    let (_, after) = answer.text.split_once("id=\"f-expires-fault\"").unwrap();
    assert!(after.contains("is not a time; write"), "{}", answer.text);
    assert!(answer.text.contains("id=\"f-cidrs-fault\""));
    assert!(answer.text.contains("aria-invalid=\"true\""));
    assert!(answer.text.contains("value=\"soon\""));
    let answer = person.post("/console/clients", "name=a+b").await;
    assert_eq!(answer.status, 422);
    let (_, after) = answer.text.split_once("id=\"f-name-fault\"").unwrap();
    assert!(after.contains("is not a valid name for a client"));
}

#[tokio::test]
async fn what_cannot_be_undone_wants_its_name_typed() {
    let site = Site::new();
    let id = site.key("acme").await;
    let person = site.owner().await;
    let path = format!("/console/keys/{id}/revoke");
    for wrong in ["", "confirm=", "confirm=yes"] {
        assert_eq!(person.post(&path, wrong).await.status, 422, "{wrong}");
    }
    assert_eq!(
        person
            .post(&path, &format!("confirm={id}&reason=lost"))
            .await
            .status,
        303
    );
    let wrong = person
        .post("/console/clients/acme/delete", "confirm=acm")
        .await;
    assert_eq!(wrong.status, 422);
    assert_eq!(person.get("/console/clients/acme").await.status, 200);
}

#[tokio::test]
async fn a_key_to_explain_stands_in_no_answer_and_no_log() {
    let site = Site::new();
    let person = site.owner().await;
    let (issued, _) = site
        .pool
        .write(|store| {
            key::issue(
                store,
                &system::local(),
                "acme",
                key::KeyDraft::default(),
                1,
                |_| {},
            )
        })
        .await
        .unwrap();
    let text = issued[0].text.expose_secret().to_owned();
    let form = format!("key={text}&path=%2Fv1%2Fusers&method=GET");
    let answer = person.post("/console/explain", &form).await;
    assert_eq!(answer.status, 200);
    assert!(
        answer.text.contains("insufficient_scope"),
        "{}",
        answer.text
    );
    assert!(answer.text.contains(&issued[0].key.id.to_string()));
    assert!(!answer.text.contains(&text));
    let form = format!("key={text}x&path=%2Fv1");
    assert!(
        !person
            .post("/console/explain", &form)
            .await
            .text
            .contains(&text)
    );
    assert!(!format!("{:?}", site.log().await).contains(&text));
}

#[tokio::test]
async fn an_invitation_is_good_once_and_for_nothing_else() {
    let site = Site::new();
    let (code, _) = site.token(Role::Client, true).await;
    assert!(code.starts_with("kst_invite_"));
    let signed = site
        .send(post("/console/sign-in", "", &format!("token={code}")))
        .await;
    assert_eq!(signed.status, 401);
    let api = Request::get("/v1/keys")
        .header("authorization", format!("Bearer {code}"))
        .body(Body::empty())
        .unwrap();
    assert_eq!(site.send(api).await.status, 401);
    let accepted = site
        .send(post("/console/invitation", "", &format!("code={code}")))
        .await;
    assert_eq!(accepted.status, 200, "{}", accepted.text);
    assert!(accepted.header("set-cookie").contains("keystile="));
    let (_, token) = accepted.text.split_once("value=\"kst_client_").unwrap();
    let token = format!("kst_client_{}", token.split_once('"').unwrap().0);
    let again = site
        .send(post("/console/invitation", "", &format!("code={code}")))
        .await;
    assert_eq!(again.status, 401);
    assert!(again.text.contains("already accepted"), "{}", again.text);
    let person = site.sign_in(&token).await;
    assert_eq!(person.get("/console").await.status, 200);
    // A token is no invitation: nobody makes himself a fresh one of it.
    let renewed = site
        .send(post("/console/invitation", "", &format!("code={token}")))
        .await;
    assert_eq!(renewed.status, 401);
    let log = site.log().await;
    assert!(
        log.iter().any(|l| l.starts_with("token.accept done")),
        "{log:?}"
    );
    assert!(!format!("{log:?}").contains(&token));
}

#[tokio::test]
async fn a_policy_that_somebody_else_replaced_meanwhile_is_not_overwritten() {
    let site = Site::new();
    let person = site.owner().await;
    let apply = |revision: u32, realm: &str| {
        format!(
            "do=apply&opens=true&revision={revision}&text=version%3A%201%0D%0Arealm%3A%20{realm}"
        )
    };
    let first = person.post("/console/policy/edit", &apply(1, "one")).await;
    assert_eq!(first.header("location"), "/console/policy?done=applied");
    let late = person.post("/console/policy/edit", &apply(1, "two")).await;
    assert_eq!(late.status, 412);
    assert!(late.text.contains("was applied since you loaded this one"));
    let policy = site.pool.read(|tx| tx.policy()).await.unwrap();
    assert_eq!(
        (policy.revision, policy.text.as_str()),
        (2, "version: 1\nrealm: one")
    );
}
