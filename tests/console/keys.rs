//! Keys in number: found, sorted, and switched off together, on both screens.

use crate::browser::{Browser, DESK, PHONE, Screen};
use crate::pages::{lived_in, sign_in};
use crate::server::{Server, token};
use crate::support::{Home, word};

fn several_keys_are_found_and_ended(screen: Screen) {
    let home = lived_in();
    let owner = token(&home, "owner");
    let server = Server::start(&home, &[]);
    let browser = Browser::start(screen);
    let b = &browser;
    sign_in(b, &server, &owner);
    b.go(&format!("{}/console", server.url()));
    found(b, &home);
    ended(b, &home);
    not_found(b);
}

fn found(b: &Browser, home: &Home) {
    // `/` leads to the search of a page, and to everything where there is none.
    let slash = "document.dispatchEvent(new KeyboardEvent('keydown', {key: '/', bubbles: true}))";
    let slash = slash.replace("document.", "document.body.");
    b.script(&slash, &[]);
    b.until("everything", || b.count(".palette[open]") == 1);
    b.go(&b.url().replace("/console", "/console/keys"));
    b.script(&slash, &[]);
    b.until("the search", || {
        b.script("return document.activeElement.name", &[]) == "search"
    });
    let key = word(
        &home.json(&["key", "issue", "globex", "--name", "late"]),
        "key",
    );
    b.write("[name=search]", &key);
    b.follow(".filters button");
    assert!(
        !b.url().contains(&key) && b.url().contains(&key[8..18]),
        "{}",
        b.url()
    );
    assert_eq!(b.count("tbody tr"), 1);
    b.write("[name=search]", "worker");
    b.choose("[name=order]", "ending");
    b.follow(".filters button");
    assert_eq!(b.count("tbody tr"), 6);
    assert!(b.text("tbody tr:first-child th").contains("worker 0"));
}

fn ended(b: &Browser, home: &Home) {
    // Nothing can be done before something is chosen.
    let shown = "return getComputedStyle(document.querySelector('[value=disable]')).visibility";
    assert_eq!(b.script(shown, &[]), "hidden");
    b.click("tbody tr:nth-child(1) [name=id]");
    b.click("tbody tr:nth-child(2) [name=id]");
    assert_eq!(b.text("[data-count]"), "2 chosen");
    assert_eq!(b.script(shown, &[]), "visible");
    b.judge("act-keys-chosen");
    b.follow("[value=revoke]");
    assert_eq!(b.text("h1"), "Revoke 2 keys permanently?");
    let out_of_reach = "return document.querySelector('button.danger').disabled";
    assert_eq!(b.script(out_of_reach, &[]), true);
    b.judge("act-keys-to-revoke");
    b.follow(".question form:last-of-type .quiet[type=submit]");
    assert_eq!(b.text("h1"), "Disable 2 keys?");
    b.judge("act-keys-to-disable");
    b.follow(".question .danger");
    assert!(b.text(".note.good").contains("The keys are disabled"));
    assert!(b.url().contains("search=worker") && b.url().contains("order=ending"));
    let listed = home.json(&["key", "list", "--client", "acme", "--status", "disabled"]);
    let mut names: Vec<String> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|k| word(k, "name"))
        .collect();
    names.sort();
    assert_eq!(names, ["worker 0", "worker 1"]);

    b.click("[data-all]");
    assert_eq!(b.text("[data-count]"), "6 chosen");
    b.follow("[value=revoke]");
    b.write("#f-reason", "the contract ended");
    b.write("#f-confirm", "6");
    b.follow("button.danger");
    assert!(b.text(".note.good").contains("revoked permanently"));
    let left = home.json(&["key", "list", "--client", "acme", "--status", "revoked"]);
    assert_eq!(left.as_array().unwrap().len(), 6);
}

fn not_found(b: &Browser) {
    // A search without a match says so, and leads back.
    b.write("[name=search]", "no such key");
    b.follow(".filters button");
    assert!(b.text(".empty").contains("No key matches"));
    b.judge("keys-no-match");
    b.follow(".empty a");
    assert!(b.count("tbody tr") > 6);
    b.follow(".actions .button");
    b.write("[name=client]", "initech");
    b.judge("key-new");
    b.follow("main form button[type=submit]");
    assert!(b.url().ends_with("/console/clients/initech/issue"));
}

#[test]
fn several_keys_are_found_and_ended_at_a_desk() {
    several_keys_are_found_and_ended(DESK);
}

#[test]
fn several_keys_are_found_and_ended_on_a_telephone() {
    several_keys_are_found_and_ended(PHONE);
}
