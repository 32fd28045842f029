//! What keeps strangers and other sites out.

use super::*;

#[tokio::test]
async fn who_is_not_signed_in_is_led_to_the_door_and_then_back() {
    let site = Site::new();
    for page in PAGES {
        let answer = site.send(get(page, "")).await;
        assert_eq!(answer.status, 303, "{page}");
        assert!(
            answer.header("location").starts_with("/console/sign-in"),
            "{page}"
        );
        assert!(answer.text.is_empty());
    }
    let answer = site.send(get("/console/keys?client=acme", "")).await;
    assert_eq!(
        answer.header("location"),
        "/console/sign-in?next=%2Fconsole%2Fkeys%3Fclient%3Dacme"
    );
    let (owner, _) = site.token(Role::Owner, false).await;
    let form = format!("token={owner}&next=%2Fconsole%2Fkeys%3Fclient%3Dacme");
    let answer = site.send(post("/console/sign-in", "", &form)).await;
    assert_eq!(answer.header("location"), "/console/keys?client=acme");
    let answer = site.send(get("/", "")).await;
    assert_eq!(answer.header("location"), "/console");
}

#[tokio::test]
async fn every_page_carries_the_headers_that_keep_others_out() {
    let site = Site::new();
    let person = site.owner().await;
    for page in PAGES
        .iter()
        .chain(&["/console/sign-in", "/console/nowhere", "/console/style.css"])
    {
        let answer = person.get(page).await;
        let policy = answer.header("content-security-policy");
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "form-action 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
        ] {
            assert!(policy.contains(part), "{page}: {policy}");
        }
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{page}");
        assert_eq!(answer.header("referrer-policy"), "same-origin", "{page}");
        if !page.ends_with(".css") {
            assert_eq!(answer.header("cache-control"), "no-store", "{page}");
            // Nothing inline that the policy would have to allow.
            for bad in [" style=", "<style", " onclick=", "<script>", "javascript:"] {
                assert!(!answer.text.contains(bad), "{page} holds `{bad}`");
            }
        }
    }
}

#[tokio::test]
async fn the_cookie_is_out_of_reach_for_scripts_other_sites_and_other_hosts() {
    let site = Site::new();
    let (owner, _) = site.token(Role::Owner, false).await;
    let form = format!("token={owner}");
    let answer = site.send(post("/console/sign-in", "", &form)).await;
    let cookie = answer.header("set-cookie");
    assert!(cookie.starts_with("__Host-keystile="), "{cookie}");
    assert!(
        cookie.ends_with("; Path=/; HttpOnly; SameSite=Strict; Secure"),
        "{cookie}"
    );
    // In clear, on this machine, there is no TLS that `Secure` could ask for.
    let plain = post_from("/console/sign-in", "", &form, &format!("http://{HOST}"));
    let answer = site.from(plain, false).await;
    let cookie = answer.header("set-cookie");
    assert!(cookie.starts_with("keystile="), "{cookie}");
    assert!(
        !cookie.contains("Secure") && cookie.contains("HttpOnly"),
        "{cookie}"
    );
    // Behind something that speaks TLS for us it is as strict.
    let mut behind = post("/console/sign-in", "", &form);
    behind
        .headers_mut()
        .insert("x-forwarded-proto", "https".parse().unwrap());
    let answer = site.from(behind, false).await;
    assert!(answer.header("set-cookie").starts_with("__Host-keystile="));
}

#[tokio::test]
async fn a_form_that_another_site_sends_does_nothing() {
    let site = Site::new();
    let (owner, _) = site.token(Role::Owner, false).await;
    let person = site.sign_in(&owner).await;
    let form = format!("csrf={}&name=planted", person.form_token);
    for origin in [
        "https://evil.example",
        "null",
        "https://keystile.example.com.evil.example",
        "",
    ] {
        let sent = post_from("/console/clients", &person.cookie, &form, origin);
        assert_eq!(site.send(sent).await.status, 403, "{origin}");
        let sent = post_from("/console/sign-in", "", &format!("token={owner}"), origin);
        assert_eq!(site.send(sent).await.status, 403, "{origin}");
    }
    let mut without = post("/console/clients", &person.cookie, &form);
    without.headers_mut().remove("origin");
    assert_eq!(site.send(without).await.status, 403);
    for wrong in ["csrf=wrong&name=planted", "name=planted"] {
        let sent = post("/console/clients", &person.cookie, wrong);
        assert_eq!(site.send(sent).await.status, 403, "{wrong}");
    }
    assert!(
        !person
            .get("/console/clients")
            .await
            .text
            .contains("planted")
    );
    assert!(site.log().await[0].starts_with("console.form refused"));
    // The same form from our own page does.
    let sent = post("/console/clients", &person.cookie, &form);
    assert_eq!(site.send(sent).await.status, 303);
    assert!(
        person
            .get("/console/clients")
            .await
            .text
            .contains("planted")
    );
}

#[tokio::test]
async fn guessing_at_the_door_is_slowed_down() {
    let site = Site::new();
    let mut seen = Vec::new();
    for _ in 0..15 {
        let answer = site
            .send(post("/console/sign-in", "", "token=kst_owner_wrong"))
            .await;
        seen.push(answer.status);
        assert!(!answer.text.contains("kst_owner_wrong"));
    }
    assert_eq!(seen[0], 401);
    assert_eq!(seen.last(), Some(&429));
    let (owner, _) = site.token(Role::Owner, false).await;
    let answer = site
        .send(post("/console/sign-in", "", &format!("token={owner}")))
        .await;
    assert_eq!(answer.status, 303, "a good one is never refused for it");
    let invited = site
        .send(post("/console/invitation", "", "code=kst_invite_wrong"))
        .await;
    assert_eq!(invited.status, 429);
}
