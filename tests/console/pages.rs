//! Every page, on both screens, for both roles: it is there, it fits, and axe has nothing
//! serious to say.

use crate::browser::{Browser, DESK, PHONE, Screen};
use crate::server::{Server, token};
use crate::support::{Home, word};

/// Envoys are not asked to report any more.
pub fn without_report(home: &Home) {
    let text = home.ok(&["policy", "show"]);
    let lines = text.lines().filter(|l| !l.starts_with("report: {"));
    let left: String = lines.map(|l| format!("{l}\n")).collect();
    assert_ne!(left, text);
    std::fs::write(home.path("policy.yaml"), left).unwrap();
    home.ok(&["policy", "apply", "policy.yaml"]);
}

/// A store in which something has happened.
pub fn lived_in() -> Home {
    let home = Home::new();
    for (name, plan) in [
        ("globex", "free"),
        ("initech", "gold"),
        ("umbrella", "free"),
    ] {
        home.ok(&[
            "client",
            "create",
            name,
            "--plan",
            plan,
            "--description",
            "made for the pictures",
        ]);
    }
    for n in 0..6 {
        let (name, expires) = (format!("worker {n}"), format!("{}d", 3 + 4 * n));
        let args = [
            "key",
            "issue",
            "acme",
            "--name",
            &name,
            "--scope",
            "read",
            "--expires",
            &expires,
            "--label",
            "team=web",
        ];
        home.ok(&args);
    }
    let made = home.json(&[
        "key", "issue", "globex", "--name", "old", "--scope", "write",
    ]);
    home.ok(&[
        "key",
        "revoke",
        &word(&made, "id"),
        "--reason",
        "left the company",
    ]);
    let made = home.json(&["key", "issue", "initech", "--name", "due"]);
    home.ok(&["key", "rotate", &word(&made, "id"), "--grace", "24h"]);
    let made = home.json(&["key", "issue", "initech", "--name", "off"]);
    home.ok(&["key", "disable", &word(&made, "id")]);
    home.ok(&[
        "webhook",
        "create",
        "ops",
        "https://hooks.example.com/keystile",
        "--event",
        "key.*",
    ]);
    home
}

/// A token that is bound to `acme`.
pub fn client_token(home: &Home) -> String {
    let args = [
        "token",
        "create",
        "acme-self",
        "--role",
        "client",
        "--client",
        "acme",
        "--scope",
        "read",
        "--plan",
        "free",
        "--max-expiry",
        "90d",
        "--max-keys",
        "20",
    ];
    word(&home.json(&args), "token")
}

/// Signs in.
pub fn sign_in(browser: &Browser, server: &Server, token: &str) {
    browser.sign_in(&server.url(), token);
}

fn look_at(browser: &Browser, server: &Server, role: &str, pages: &[(&str, String)]) {
    for (name, path) in pages {
        browser.go(&format!("{}{path}", server.url()));
        let title = browser.text("h1");
        assert!(!title.contains("Not "), "{path}: {title}");
        browser.judge(&format!("{role}-{name}"));
    }
}

fn every_page_of_the_staff(screen: Screen) {
    let home = lived_in();
    let owner = token(&home, "owner");
    let id = home.ids()[0].clone();
    let server = Server::start(&home, &[]);
    let browser = Browser::start(screen);
    browser.go(&format!("{}/console/sign-in", server.url()));
    browser.judge("sign-in");
    browser.go(&format!("{}/console/invitation", server.url()));
    browser.judge("invitation");
    sign_in(&browser, &server, &owner);
    let pages = [
        ("overview", "/console".to_owned()),
        ("clients", "/console/clients".to_owned()),
        ("client-new", "/console/clients/new".to_owned()),
        ("client", "/console/clients/acme".to_owned()),
        ("issue", "/console/clients/acme/issue".to_owned()),
        ("keys", "/console/keys".to_owned()),
        ("key", format!("/console/keys/{id}")),
        ("posture", "/console/posture".to_owned()),
        ("policy", "/console/policy".to_owned()),
        ("policy-edit", "/console/policy/edit".to_owned()),
        ("policy-history", "/console/policy/history".to_owned()),
        ("explain", "/console/explain".to_owned()),
        ("audit", "/console/audit".to_owned()),
        ("fleet", "/console/fleet".to_owned()),
        ("tokens", "/console/tokens".to_owned()),
        ("webhooks", "/console/webhooks".to_owned()),
        ("webhook", "/console/webhooks/ops".to_owned()),
        ("go", "/console/go".to_owned()),
        ("settings", "/console/settings".to_owned()),
        ("guide", "/console/guide".to_owned()),
    ];
    look_at(&browser, &server, "owner", &pages);
    browser.go(&format!("{}/console/nothing-here", server.url()));
    browser.judge("nowhere");
}

fn every_page_of_a_client(screen: Screen) {
    let home = lived_in();
    let client = client_token(&home);
    let listed = home.json(&["key", "list", "--client", "acme"]);
    let id = word(&listed[0], "id");
    let server = Server::start(&home, &[]);
    let browser = Browser::start(screen);
    sign_in(&browser, &server, &client);
    let pages = [
        ("keys", "/console".to_owned()),
        ("issue", "/console/clients/acme/issue".to_owned()),
        ("key", format!("/console/keys/{id}")),
        ("guide", "/console/guide".to_owned()),
    ];
    look_at(&browser, &server, "client", &pages);
}

#[test]
fn every_page_of_the_staff_is_good_to_use_at_a_desk() {
    every_page_of_the_staff(DESK);
}

#[test]
fn every_page_of_the_staff_is_good_to_use_on_a_telephone() {
    every_page_of_the_staff(PHONE);
}

#[test]
fn every_page_of_a_client_is_good_to_use_at_a_desk() {
    every_page_of_a_client(DESK);
}

#[test]
fn every_page_of_a_client_is_good_to_use_on_a_telephone() {
    every_page_of_a_client(PHONE);
}
