//! Settings of usage, as an owner changes them and as an auditor reads them; and what a
//! client reads and does beside making keys.

use crate::browser::{Browser, DESK, PHONE, Screen};
use crate::pages::{client_token, lived_in, sign_in, without_report};
use crate::server::{Server, token};
use crate::support::word;

fn settings_of_usage(screen: Screen) {
    let home = lived_in();
    without_report(&home);
    let (owner, auditor) = (token(&home, "owner"), token(&home, "auditor"));
    let server = Server::start(&home, &[]);
    let browser = Browser::start(screen);
    let b = &browser;
    let go = |path: &str| b.go(&format!("{}{path}", server.url()));
    sign_in(b, &server, &owner);
    go("/console/settings");
    assert_eq!(b.value("#f-minutes"), "2d");
    assert!(b.text("section[aria-labelledby=told]").contains("Nothing"));
    b.judge("owner-settings");

    b.write("#f-days", "soon");
    b.follow("section[aria-labelledby=change] button");
    assert!(b.text("#f-days-fault").contains("is not a duration"));
    assert_eq!(b.value("#f-days"), "soon");
    b.judge("act-settings-refused");
    b.write("#f-days", "30d");
    b.follow("section[aria-labelledby=change] button");
    assert!(
        b.text(".note.bad").contains("Keep the coarser ones")
            || b.text(".note.bad").contains("keep the coarser ones")
    );

    // What somebody else changed while this page was open stays as he made it.
    home.ok(&["usage", "settings", "--scope-denials", "5"]);
    b.write("#f-days", "365d");
    b.write("#f-revoked_tries", "3");
    b.follow("section[aria-labelledby=change] button");
    assert!(b.text(".note.good").contains("Changes saved"));
    let kept = home.json(&["usage", "settings"]);
    assert_eq!(word(&kept, "days"), "365d");
    assert_eq!(
        (&kept["revoked_tries"], &kept["scope_denials"]),
        (&3.into(), &5.into())
    );
    assert_eq!(b.value("#f-scope_denials"), "5");
    let log = home.json(&["audit", "list", "--action", "usage.configure"]);
    assert!(word(&log[0], "user").starts_with("token owner ("));

    // Out of reach before it is typed.
    let disabled = "return document.querySelector('button.danger').disabled";
    assert_eq!(b.script(disabled, &[]), true);
    b.write("#f-confirm", "forget");
    b.follow("button.danger");
    assert!(b.text(".note.good").contains("are forgotten"));
    let log = home.json(&["audit", "list", "--action", "usage.forget"]);
    assert_eq!(log.as_array().unwrap().len(), 1);

    let text = home.ok(&["policy", "show", "--default"]);
    let asked = text.replace(
        "address: truncated, agent: false",
        "address: full, agent: true",
    );
    assert_ne!(asked, text);
    std::fs::write(home.path("policy.yaml"), asked).unwrap();
    home.ok(&["policy", "apply", "policy.yaml"]);
    go("/console");
    b.follow(".who button");
    sign_in(b, &server, &auditor);
    go("/console/settings");
    assert_eq!(b.count("main form"), 0);
    assert!(b.text("section[aria-labelledby=kept]").contains("365d"));
    let told = b.text("section[aria-labelledby=told]");
    assert!(told.contains("in full"), "{told}");
    b.judge("auditor-settings");

    nothing_to_press(b, &go);
}

/// An auditor reads every page, and finds nothing to press on it but to search and to leave.
fn nothing_to_press(b: &Browser, go: &impl Fn(&str)) {
    for page in [
        "clients/acme",
        "keys",
        "policy",
        "tokens",
        "webhooks",
        "fleet",
        "audit",
    ] {
        go(&format!("/console/{page}"));
        assert!(!b.text("h1").contains("Not "), "{page}");
        let changes = "main form[method=post]:not([action$=verify])";
        assert_eq!(b.count(changes), 0, "{page}");
        b.judge(&format!("auditor-{}", page.replace('/', "-")));
    }
}

fn what_a_client_does_beside(screen: Screen) {
    let home = lived_in();
    let client = client_token(&home);
    let server = Server::start(&home, &[]);
    let browser = Browser::start(screen);
    let b = &browser;
    let go = |path: &str| b.go(&format!("{}{path}", server.url()));
    sign_in(b, &server, &client);
    let listed = home.json(&["key", "list", "--client", "acme"]);
    let id = word(&listed[0], "id");
    let status = || word(&home.json(&["key", "show", &id]), "status");

    go(&format!("/console/keys/{id}"));
    b.write("section[aria-labelledby=change] [name=name]", "mine");
    b.follow("section[aria-labelledby=change] button");
    assert!(b.text(".note.good").contains("Changes saved"));
    assert_eq!(word(&home.json(&["key", "show", &id]), "name"), "mine");
    b.follow(&format!("form[action='/console/keys/{id}/disable'] button"));
    assert_eq!(status(), "disabled");
    b.judge("client-act-disabled");
    // To undo that is not his: somebody of the staff may have meant it.
    assert_eq!(b.count("form[action$='/enable']"), 0);
    assert!(
        b.text("section[aria-labelledby=off]")
            .contains("operator of this API")
    );

    // The documentation is made of the policy that is in force.
    b.follow("nav a[href='/console/guide']");
    let page = b.text("main");
    for words in [
        "/v1/{*rest}",
        "read",
        "authorization",
        "x-api-key",
        "rate_limited",
        "429",
    ] {
        assert!(page.contains(words), "{words}: {page}");
    }
    assert!(b.text("#curl").starts_with("curl"));
    // One language at a time.
    b.click("label[for=tab-python]");
    assert!(b.text("#python").contains("import"));
    b.click("label[for=tab-javascript]");
    assert!(b.text("#javascript").contains("fetch("));
    b.click("label[for=tab-curl]");
    b.click("[data-copy=curl]");
    b.until("a word from the button", || {
        ["Copied", "Press Ctrl+C"].contains(&b.text("[data-copy=curl]").as_str())
    });
    let text = home.ok(&["policy", "show"]);
    std::fs::write(
        home.path("policy.yaml"),
        text.replace("/v1/{*rest}", "/v2/{*rest}"),
    )
    .unwrap();
    home.ok(&["policy", "apply", "policy.yaml"]);
    go("/console/guide");
    let page = b.text("main");
    assert!(
        page.contains("/v2/{*rest}") && !page.contains("/v1/{*rest}"),
        "{page}"
    );
    // And nothing of the staff's is within reach.
    go("/console/settings");
    assert!(
        b.text("main").contains("may not do this"),
        "{}",
        b.text("main")
    );
}

#[test]
fn an_owner_sets_how_usage_is_kept_and_an_auditor_reads_it_at_a_desk() {
    settings_of_usage(DESK);
}

#[test]
fn an_owner_sets_how_usage_is_kept_and_an_auditor_reads_it_on_a_telephone() {
    settings_of_usage(PHONE);
}

#[test]
fn a_client_changes_its_keys_and_reads_how_to_use_them_at_a_desk() {
    what_a_client_does_beside(DESK);
}

#[test]
fn a_client_changes_its_keys_and_reads_how_to_use_them_on_a_telephone() {
    what_a_client_does_beside(PHONE);
}
