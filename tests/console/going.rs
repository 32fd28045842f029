//! By keyboard: from any page to a page, a client or a key, and through a list.

use serde_json::Value;

use crate::browser::{Browser, DESK, PHONE, Screen};
use crate::pages::{client_token, lived_in, sign_in};
use crate::server::{Server, token};

/// A key, as if it was pressed where the focus is.
fn press(b: &Browser, key: &str, ctrl: bool) {
    let script =
        "(document.activeElement ?? document.body).dispatchEvent(new KeyboardEvent('keydown',
        {key: arguments[0], ctrlKey: arguments[1] === 'ctrl', bubbles: true, cancelable: true}))";
    b.script(script, &[key, if ctrl { "ctrl" } else { "" }]);
}

fn offered(b: &Browser) -> Vec<String> {
    let all = b.script(
        "return [...document.querySelectorAll('.places [role=option]')].map((o) => o.textContent)",
        &[],
    );
    let all = all.as_array().unwrap().iter();
    all.map(|w| w.as_str().unwrap().to_owned()).collect()
}

fn anywhere_by_a_few_letters(screen: Screen) {
    let home = lived_in();
    let (owner, client) = (token(&home, "owner"), client_token(&home));
    let server = Server::start(&home, &[]);
    let browser = Browser::start(screen);
    let b = &browser;
    sign_in(b, &server, &owner);
    b.go(&format!("{}/console/fleet", server.url()));

    press(b, "k", true);
    b.until("the pages", || offered(b).len() == 12);
    b.write("#go", "umbr");
    b.until("the client", || {
        offered(b) == ["umbrella Client · made for the pictures"]
    });
    b.judge("going");
    press(b, "Enter", false);
    b.until("the client's page", || {
        b.url().ends_with("/console/clients/umbrella")
    });

    // A key by its name, the second of several; and closed again without a choice.
    b.until("the script", || b.count("[data-go]") == 1);
    press(b, "/", false);
    b.until("it to open or the search to have the focus", || {
        let found = b.script(
            "return document.activeElement.name || document.activeElement.id",
            &[],
        );
        found == "search" || found == "go"
    });
    b.go(&format!("{}/console/posture", server.url()));
    press(b, "/", false);
    b.until("it to open", || b.count(".palette[open]") == 1);
    b.write("#go", "worker");
    b.until("the keys", || offered(b).len() == 6);
    press(b, "ArrowDown", false);
    let second = offered(b)[1].clone();
    let chosen = "return document.querySelector('.places [aria-selected=true]').textContent";
    assert_eq!(b.script(chosen, &[]), Value::from(second));
    let named = "return document.getElementById('go').getAttribute('aria-activedescendant')";
    assert_eq!(b.script(named, &[]), "place-1");
    b.write("#go", "no such thing");
    b.until("a word about it", || {
        b.text(".palette [role=status]")
            .contains("Nothing has that")
    });
    press(b, "k", true);
    b.until("it to close", || b.count(".palette[open]") == 0);

    // Without the script, the same is a page.
    b.go(&format!("{}/console/go?search=globex", server.url()));
    assert!(b.text("tbody").contains("globex"));
    b.judge("going-as-a-page");

    through_a_list(b, &server);

    b.go(&format!("{}/console", server.url()));
    b.follow(".who button");
    sign_in(b, &server, &client);
    b.go(&format!("{}/console/go?search=o", server.url()));
    let seen = b.text("tbody");
    assert!(
        seen.contains("worker 0") && seen.contains("Documentation"),
        "{seen}"
    );
    for foreign in ["globex", "initech", "old", "Policy"] {
        assert!(!seen.contains(foreign), "{seen}");
    }
}

/// Arrows go from row to row, and a key chooses one.
fn through_a_list(b: &Browser, server: &Server) {
    b.go(&format!("{}/console/keys", server.url()));
    b.script("document.querySelector('tbody tr a').focus()", &[]);
    press(b, "ArrowDown", false);
    let at = "return [...document.querySelectorAll('tbody tr')].indexOf(document.activeElement.closest('tr'))";
    assert_eq!(b.script(at, &[]), 1);
    press(b, "x", false);
    let chosen = "return document.querySelector('tbody tr:nth-child(2) [name=id]').checked";
    assert_eq!(b.script(chosen, &[]), true);
    assert_eq!(b.text("[data-count]"), "1 chosen");
    press(b, "ArrowUp", false);
    assert_eq!(b.script(at, &[]), 0);
}

/// The operator's name, logo and colour are what clients see, and nobody else.
fn the_portal_is_the_operators(screen: Screen) {
    let home = lived_in();
    let (owner, client) = (token(&home, "owner"), client_token(&home));
    let logo = r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 26 26"><circle cx="13" cy="13" r="12" fill="#7a1f5c"/></svg>"##;
    std::fs::write(home.path("logo.svg"), logo).unwrap();
    let logo = home.path("logo.svg").display().to_string();
    let named = [
        "--portal-name",
        "Initech API",
        "--portal-logo",
        &logo,
        "--portal-color",
        "#7a1f5c",
    ];
    let server = Server::start(&home, &named);
    let browser = Browser::start(screen);
    let b = &browser;
    b.go(&format!("{}/console/sign-in", server.url()));
    b.judge("portal-sign-in");
    sign_in(b, &server, &client);
    assert_eq!(b.text(".side .brand"), "Initech API");
    let seen = "return document.querySelector('.side .brand img').naturalWidth > 0";
    b.until("the logo", || b.script(seen, &[]) == true);
    let accent = "return getComputedStyle(document.documentElement).getPropertyValue('--accent')";
    // On dark pages it is lighter, so that it can be read.
    let colour = b.script(accent, &[]);
    assert!(screen.dark != (colour == "#7a1f5c"), "{colour}");
    b.judge("portal-of-an-operator");
    b.go(&format!("{}/console/guide", server.url()));
    assert!(
        b.script("return document.title", &[])
            .as_str()
            .unwrap()
            .ends_with("· Initech API")
    );
    a_language_at_a_time(b);

    b.follow(".who button");
    sign_in(b, &server, &owner);
    assert_eq!(b.text(".side .brand"), "Keystile");
}

fn a_language_at_a_time(b: &Browser) {
    let shown = "return [...document.querySelectorAll('.tabs pre')].filter((p) => p.checkVisibility()).map((p) => p.querySelector('code').id).join()";
    assert_eq!(b.script(shown, &[]), "curl");
    b.click("label[for=tab-python]");
    assert_eq!(b.script(shown, &[]), "python");
    let clipped = "return [...document.querySelectorAll('.tabs pre')].some((p) => p.scrollWidth > p.clientWidth)";
    for tab in ["curl", "python", "javascript"] {
        b.click(&format!("label[for=tab-{tab}]"));
        assert_eq!(b.script(clipped, &[]), false, "{tab}");
    }
    b.judge("portal-guide");
}

#[test]
fn every_page_client_and_key_is_a_few_letters_away_at_a_desk() {
    anywhere_by_a_few_letters(DESK);
}

#[test]
fn every_page_client_and_key_is_a_few_letters_away_on_a_telephone() {
    anywhere_by_a_few_letters(PHONE);
}

#[test]
fn clients_see_the_operators_name_logo_and_colour_at_a_desk() {
    the_portal_is_the_operators(DESK);
}

#[test]
fn clients_see_the_operators_name_logo_and_colour_on_a_telephone() {
    the_portal_is_the_operators(PHONE);
}

#[test]
fn an_operation_is_found_on_the_page_of_the_api() {
    for screen in [DESK, PHONE] {
        let home = lived_in();
        let server = Server::start(&home, &[]);
        let browser = Browser::start(screen);
        let b = &browser;
        b.go(&format!("{}/docs", server.url()));
        b.write("#search", "resend /v1/webhooks");
        let shown = "return [...document.querySelectorAll('.side li')].filter((l) => !l.hidden).map((l) => l.textContent).join()";
        assert_eq!(
            b.script(shown, &[]),
            "Send a message to a webhook once more, or now instead of later"
        );
        press(b, "Enter", false);
        b.until("the operation", || b.url().ends_with("#webhook.resend"));
        let told = b.text("[id='webhook.resend']");
        assert!(
            told.contains("curl -X POST") && told.contains("audit_seq"),
            "{told}"
        );
        b.script(
            "document.querySelectorAll('article:nth-of-type(n+8)').forEach((a) => a.remove())",
            &[],
        );
        b.judge("api");
    }
}
