//! Sign-in over an identity provider: the whole way there and back, over HTTP and in a real
//! browser; and everything on it that somebody could turn to his own ends.

mod keys;
mod site;

use serde_json::{Value, json};

use crate::browser::{Browser, DESK, PHONE, Screen};
use crate::idp::{CLIENT, SECRET, Signer, now};
use crate::pages::lived_in;
use crate::server::log_of;
use crate::support::{Home, word};
use keystile_tests::database::Database;
use site::{Site, Visitor, of, with};

#[test]
fn a_person_signs_in_acts_under_his_name_and_signs_out() {
    let site = Site::new();
    for signer in [Signer::Rs256, Signer::Es256] {
        site.idp.say(move |_| signer);
        let mut ana = Visitor::default();
        let door = ana.get(&site.url("/console/sign-in?next=%2Fconsole%2Fclients"));
        assert!(
            door.text
                .contains("href=\"/console/oidc?next=%2Fconsole%2Fclients\""),
            "{}",
            door.text
        );
        let there = ana.get(&site.url("/console/oidc?next=%2Fconsole%2Fclients"));
        assert_eq!(of(&there.location, "code_challenge_method"), "S256");
        assert_eq!(of(&there.location, "scope"), "openid%20profile%20email");
        assert!(!there.location.contains("s3cret"));
        let cookie = &there.cookies[0];
        assert!(cookie.starts_with("keystile-flow="), "{cookie}");
        assert!(
            cookie.ends_with("; Path=/; HttpOnly; SameSite=Lax; Max-Age=600"),
            "{cookie}"
        );
        let page = Visitor::default().get(&there.location);
        let (_, rest) = page.text.split_once("id=\"in\" href=\"").unwrap();
        let back = rest.split_once('"').unwrap().0.replace("&amp;", "&");
        let welcome = ana.get(&back);
        assert_eq!(welcome.status, 200, "{}", welcome.text);
        assert!(welcome.text.contains("content=\"0; url=/console/clients\""));
        let cookies = welcome.cookies.join("\n");
        assert!(cookies.contains("HttpOnly; SameSite=Strict"), "{cookies}");
        assert!(cookies.contains("keystile-flow=; Path=/"), "{cookies}");

        let clients = ana.get(&site.url("/console/clients"));
        assert_eq!(clients.status, 200);
        assert!(clients.text.contains("ana@example.com"), "{}", clients.text);
        let (_, rest) = clients.text.split_once("name=\"csrf\" value=\"").unwrap();
        let csrf = rest.split_once('"').unwrap().0.to_owned();
        let name = format!("by-{signer:?}").to_ascii_lowercase();
        let form = format!("csrf={csrf}&name={name}");
        // Without what our pages know, the session is of no use to anybody else.
        let forged = ana.post(&site.url("/console/clients"), "name=planted");
        assert_eq!(forged.status, 403);
        assert_eq!(ana.post(&site.url("/console/clients"), &form).status, 303);
        let listed = site
            .home
            .json(&["audit", "list", "--action", "client.create"]);
        let last = &listed[0];
        assert_eq!(word(last, "user"), "oidc:u-4711 (ana@example.com)");

        let out = ana.post(&site.url("/console/sign-out"), &format!("csrf={csrf}"));
        assert_eq!(out.status, 303);
        assert_eq!(ana.get(&site.url("/console/clients")).status, 303);
    }
    let log = site.log();
    assert_eq!(log.len(), 2, "{log:?}");
    assert_eq!(word(&log[0], "outcome"), "done");
    let written = format!("{}{log:?}", log_of(&site.home));
    assert!(written.contains("oidc:u-4711"));
    for token in site.idp.tokens() {
        assert!(!written.contains(&token));
    }
    for secret in [SECRET, "code-", "code_verifier"] {
        assert!(!written.contains(secret), "{secret}");
    }
}

#[test]
fn a_role_is_what_the_mapping_says_and_who_has_none_is_told_so() {
    let site = Site::new();
    site.idp.say(|claims| {
        claims["groups"] = json!(["audit"]);
        Signer::Rs256
    });
    let mut auditor = Visitor::default();
    assert!(auditor.sign_in(&site).lets_in());
    let page = auditor.get(&site.url("/console/audit"));
    assert_eq!(page.status, 200);
    let csrf = page.text.split_once("name=\"csrf\" value=\"").unwrap().1;
    let csrf = csrf.split_once('"').unwrap().0;
    let form = format!("csrf={csrf}&name=planted");
    let refused = auditor.post(&site.url("/console/clients"), &form);
    assert_eq!(refused.status, 403, "{}", refused.text);

    site.idp.say(|claims| {
        claims["groups"] = json!(["everybody"]);
        Signer::Rs256
    });
    let nobody = Visitor::default().sign_in(&site);
    nobody.is_refused(
        403,
        "nothing that it says about you is mapped to a role here",
    );
    assert!(nobody.text.contains("ana@example.com"));
    let log = site.log();
    assert_eq!(word(&log[0], "outcome"), "refused");
    assert_eq!(word(&log[0], "user"), "oidc:u-4711 (ana@example.com)");

    // An address that nobody vouches for is none.
    for (verified, let_in) in [(json!(false), false), (json!(true), true)] {
        site.idp.say(move |claims| {
            claims["groups"] = json!(null);
            claims["email"] = json!("bob@example.com");
            claims["email_verified"] = verified.clone();
            Signer::Rs256
        });
        assert_eq!(Visitor::default().sign_in(&site).lets_in(), let_in);
    }
}

#[test]
fn a_way_back_that_this_browser_did_not_set_out_on_leads_nowhere() {
    let site = Site::new();
    let refused = "sign-in was not started in this browser";
    let mut ana = Visitor::default();
    let back = ana.go_and_click(&site, "/console/oidc", "in");
    // Somebody else's browser: the code of an attacker, or his victim's.
    Visitor::default().get(&back).is_refused(401, refused);
    let mut mallory = Visitor::default();
    mallory.go_and_click(&site, "/console/oidc", "in");
    mallory.get(&back).is_refused(401, refused);
    // Nor is that what spends it.
    let kept = ana.cookies.clone();
    let changed = with(&back, "state", &"A".repeat(43));
    ana.get(&changed).is_refused(401, refused);
    ana.cookies = kept.clone();
    let twice = format!("{back}&state={}", of(&back, "state"));
    ana.get(&twice).is_refused(401, refused);
    assert!(site.idp.exchanges().is_empty());
    ana.cookies = kept.clone();
    assert!(ana.get(&back).lets_in());
    // The same once more, and with the cookie that the browser was told to forget.
    ana.get(&back).is_refused(401, refused);
    let mut again = Visitor { cookies: kept };
    again.get(&back).is_refused(401, refused);
    assert_eq!(site.idp.exchanges(), [200]);
    // The code in a sign-in that was begun as it should.
    let mut later = Visitor::default();
    let fresh = later.go_and_click(&site, "/console/oidc", "in");
    let replayed = later.get(&with(&fresh, "code", &of(&back, "code")));
    replayed.is_refused(
        401,
        "The identity provider refused (<code>invalid_grant</code>)",
    );
    assert_eq!(site.idp.exchanges(), [200, 400]);
}

#[test]
fn the_code_of_one_sign_in_is_of_no_use_in_another() {
    let site = Site::new();
    // Stolen before it was used: PKCE binds it to who asked for it.
    let mut victim = Visitor::default();
    let stolen = victim.go_and_click(&site, "/console/oidc", "in");
    let mut thief = Visitor::default();
    let own = thief.go_and_click(&site, "/console/oidc", "in");
    let injected = thief.get(&with(&own, "code", &of(&stolen, "code")));
    injected.is_refused(
        401,
        "The identity provider refused (<code>invalid_grant</code>)",
    );
    // And of another provider.
    let mut ana = Visitor::default();
    let back = ana.go_and_click(&site, "/console/oidc", "in");
    let mixed = with(&back, "iss", "https://evil.example");
    ana.get(&mixed)
        .is_refused(401, "was not started in this browser");
    assert_eq!(site.idp.exchanges(), [400]);
    // Who does not want to is told so.
    let mut nobody = Visitor::default();
    let back = nobody.go_and_click(&site, "/console/oidc", "out");
    let denied = nobody.get(&back);
    denied.is_refused(
        401,
        "The identity provider refused (<code>access_denied</code>)",
    );
    let mut script = Visitor::default();
    let back = script.go_and_click(&site, "/console/oidc", "out");
    let shown = script.get(&with(&back, "error", "%3Cscript%3E"));
    shown.is_refused(401, "The identity provider refused (<code>error</code>)");
    assert!(!shown.text.contains("<script>"));
}

#[test]
fn a_token_is_believed_only_if_everything_in_it_is_as_it_should_be() {
    let site = Site::new();
    type Lie = fn(&mut Value) -> Signer;
    let lies: [(&str, Lie); 9] = [
        ("it was issued for another sign-in", |claims| {
            claims["nonce"] = json!("of another one");
            Signer::Rs256
        }),
        ("it was issued for another application", |claims| {
            claims["aud"] = json!("another-application");
            Signer::Rs256
        }),
        ("it was issued by another provider", |claims| {
            claims["iss"] = json!("https://evil.example");
            Signer::Es256
        }),
        ("it has expired", |claims| {
            claims["exp"] = json!(now() - 3600);
            Signer::Rs256
        }),
        ("it was issued in the future", |claims| {
            claims["iat"] = json!(now() + 3600);
            Signer::Es256
        }),
        ("it is not signed with RS256 or ES256", |_| Signer::None),
        ("it is not signed with RS256 or ES256", |_| Signer::Hs256),
        ("its signature does not match", |_| Signer::OtherRsa),
        ("it names no person", |claims| {
            claims["sub"] = json!("");
            Signer::Rs256
        }),
    ];
    for (words, lie) in lies {
        site.idp.say(lie);
        Visitor::default().sign_in(&site).is_refused(401, words);
        let reason = word(&site.log()[0], "reason");
        assert!(reason.contains(words), "{reason}");
    }
    assert_eq!(site.idp.exchanges(), [200; 9]);
    site.idp.say(|_| Signer::Rs256);
    assert!(Visitor::default().sign_in(&site).lets_in());
}

#[test]
fn one_lands_on_a_page_of_ours_whatever_the_link_said() {
    let site = Site::new();
    for (next, lands) in [
        ("https%3A%2F%2Fevil.example", "/console"),
        ("%2F%2Fevil.example", "/console"),
        ("%2Fconsole%2F%5C%5Cevil.example", "/console"),
        ("%2Fconsole%2Foidc", "/console"),
        ("javascript%3Aalert(1)", "/console"),
        (
            "%2Fconsole%2Fkeys%3Fclient%3Dacme",
            "/console/keys?client=acme",
        ),
    ] {
        let mut ana = Visitor::default();
        let from = format!("/console/oidc?next={next}");
        let back = ana.go_and_click(&site, &from, "in");
        let welcome = ana.get(&back);
        assert!(welcome.lets_in());
        assert!(
            welcome
                .text
                .contains(&format!("content=\"0; url={lands}\"")),
            "{next}: {}",
            welcome.text
        );
        assert!(!welcome.text.contains("evil"), "{}", welcome.text);
    }
}

#[test]
fn a_way_back_that_nobody_set_out_on_costs_nobody_anything() {
    let site = Site::new();
    // Image tags on any page can make browsers ask for this.
    let guess = site.url("/console/oidc/callback?code=x&state=y");
    for _ in 0..100 {
        assert_eq!(Visitor::default().get(&guess).status, 401);
    }
    assert!(site.log().is_empty());
    let made = site
        .home
        .json(&["token", "create", "ops", "--role", "owner"]);
    let asked = ureq::get(site.url("/v1/clients"))
        .header(
            "authorization",
            format!("Bearer {}", made["token"].as_str().unwrap()),
        )
        .call();
    assert_eq!(asked.unwrap().status(), 200);
    assert!(Visitor::default().sign_in(&site).lets_in());
}

fn in_a_browser(screen: Screen) {
    let site = Site::of(lived_in());
    let browser = Browser::start(screen);
    let b = &browser;
    b.go(&site.url("/console/clients?search=glob"));
    assert!(b.url().contains("/console/sign-in"), "{}", b.url());
    b.judge("sign-in-oidc");
    b.follow("main a.button");
    // Another site, where a strict cookie of ours does not come back from.
    assert!(b.url().starts_with("http://localhost:"), "{}", b.url());
    b.click("#in");
    b.until("the page that was asked for", || {
        b.url() == site.url("/console/clients?search=glob")
    });
    assert_eq!(b.count("tbody tr"), 1);
    assert!(b.text(".who").contains("ana@example.com"));
    assert!(b.text(".who").contains("owner"));
    b.go(&site.url("/console/clients/new"));
    b.write("[name=name]", "by-ana");
    b.follow("main form button[type=submit]");
    assert!(b.url().contains("/console/clients/by-ana"), "{}", b.url());
    b.go(&site.url("/console/audit"));
    assert!(b.text("tbody").contains("oidc:u-4711 (ana@example.com)"));
    b.judge("audit-oidc");
    b.follow(".who button");
    b.go(&site.url("/console/clients"));
    assert!(b.url().contains("/console/sign-in"), "{}", b.url());

    site.idp.say(|claims| {
        claims["groups"] = json!([]);
        Signer::Es256
    });
    b.follow("main a.button");
    b.follow("#in");
    assert!(b.text(".note.bad").contains("is mapped to a role here"));
    b.judge("sign-in-oidc-refused");
    b.follow("main a.button");
    b.follow("#out");
    assert!(b.text(".note.bad").contains("access_denied"));
}

#[test]
fn a_person_signs_in_over_another_site_at_a_desk() {
    in_a_browser(DESK);
}

#[test]
fn a_person_signs_in_over_another_site_on_a_telephone() {
    in_a_browser(PHONE);
}

/// A balancer sends each request to any server.
#[test]
fn a_sign_in_that_begins_at_one_server_ends_at_another() {
    let database = Database::start();
    let mut homes = Home::several(database.address(), 2);
    let other = homes.remove(1);
    let site = Site::of(homes.remove(0));
    let other = site.another(&other);
    let mut ana = Visitor::default();
    let back = ana.go_and_click(&site, "/console/oidc", "in");
    let there = back.replacen(&site.server.url(), &other.url(), 1);
    assert_ne!(back, there);
    let welcome = ana.get(&there);
    assert_eq!(welcome.status, 200, "{}", welcome.text);
    assert!(welcome.lets_in(), "{:?}", welcome.cookies);
    for server in [&site.server, &other] {
        let clients = ana.get(&format!("{}/console/clients", server.url()));
        assert_eq!(clients.status, 200, "{}", clients.text);
        assert!(clients.text.contains("ana@example.com"), "{}", clients.text);
    }
    // Forms of a page that one server made are taken by the other.
    let clients = ana.get(&site.url("/console/clients"));
    let (_, rest) = clients.text.split_once("name=\"csrf\" value=\"").unwrap();
    let form = format!("csrf={}&name=new", rest.split_once('"').unwrap().0);
    let posted = ana.post(&format!("{}/console/clients", other.url()), &form);
    assert_eq!(posted.status, 303, "{}", posted.text);
}

/// While servers change over to another provider, one after the other.
#[test]
fn a_sign_in_that_begins_at_one_provider_does_not_end_at_another() {
    let database = Database::start();
    let mut homes = Home::several(database.address(), 2);
    let other = homes.remove(1);
    let site = Site::of(homes.remove(0));
    let other = site.another_for(&other, &[(CLIENT, "another-application")]);
    let mut ana = Visitor::default();
    let back = ana.go_and_click(&site, "/console/oidc", "in");
    let there = back.replacen(&site.server.url(), &other.url(), 1);
    ana.get(&there)
        .is_refused(401, "was not started in this browser");
}
