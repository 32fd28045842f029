//! What an owner does in a day, on both screens.

use std::fs;

use crate::browser::{Browser, DESK, PHONE, Screen};
use crate::pages::{lived_in, sign_in};
use crate::server::{Server, log_of, token};
use crate::support::{Home, word};

struct Desk {
    home: Home,
    server: Server,
    browser: Browser,
    token: String,
}

impl Desk {
    fn new(screen: Screen) -> Self {
        let home = lived_in();
        let token = token(&home, "owner");
        let server = Server::start(&home, &[]);
        let browser = Browser::start(screen);
        sign_in(&browser, &server, &token);
        Self {
            home,
            server,
            browser,
            token,
        }
    }

    fn go(&self, path: &str) {
        self.browser.go(&format!("{}{path}", self.server.url()));
    }

    fn is_at(&self, path: &str) {
        let url = self.browser.url();
        let at = url.strip_prefix(&self.server.url()).unwrap();
        assert_eq!(at.split('?').next().unwrap(), path, "{url}");
    }

    /// What was just done, as the page says it.
    fn done(&self, words: &str) {
        let said = self.browser.text(".note.good");
        assert!(said.contains(words), "{said}");
    }
}

fn clients_and_their_keys(screen: Screen) {
    let desk = Desk::new(screen);
    let b = &desk.browser;

    desk.go("/console/clients");
    b.write("[name=search]", "glob");
    b.follow(".filters button");
    assert!(b.url().contains("search=glob"));
    assert_eq!(b.count("tbody tr"), 1);

    a_client_is_made(&desk);

    b.follow(".actions .button");
    desk.is_at("/console/clients/hooli/issue");
    b.write("[name=name]", "indexer");
    b.click("input[value=read]");
    b.write("[name=expires]", "soon");
    b.follow("main form button[type=submit]");
    assert!(b.text("#f-expires-fault").contains("is not a time"));
    b.judge("act-issue-refused");
    b.write("[name=expires]", "90d");
    b.follow("main form button[type=submit]");
    let key = b.value("#secret");
    assert!(key.starts_with("ks_live_") && key.len() == 67, "{key}");
    assert!(
        b.text("#curl")
            .contains(&format!("authorization: Bearer {key}"))
    );
    b.judge("act-issued");
    b.click("[data-copy=secret]");
    b.until("a word from the button", || {
        ["Copied", "Press Ctrl+C"].contains(&b.text("[data-copy=secret]").as_str())
    });
    // Who goes back to the page finds no key on it.
    desk.go("/console");
    b.script("history.back()", &[]);
    b.until("the page before", || b.url().ends_with("/issue"));
    b.until("no key", || !b.source().contains(&key));
    let explained = desk
        .home
        .json(&["explain", "--key", &key, "--path", "/v1/users"]);
    assert_eq!(word(&explained, "code"), "ok");
    let listed = desk.home.json(&["key", "list", "--client", "hooli"]);
    assert_eq!(listed.as_array().unwrap().len(), 1);
    let id = word(&listed[0], "id");

    desk.go(&format!("/console/keys/{id}"));
    b.write("#f-scopes", "read wriet");
    b.follow("section[aria-labelledby=change] button");
    assert!(b.text("#f-scopes-fault").contains("wriet"));
    b.write("#f-scopes", "read write");
    b.follow("section[aria-labelledby=change] button");
    desk.done("Changes saved");

    b.write("#f-grace", "1h");
    b.follow("section[aria-labelledby=rotate] button");
    let new = b.value("#secret");
    assert_ne!(new, key);
    b.judge("act-rotated");
    b.follow("main .button");
    assert!(b.text("dl.facts").contains(&id));
    let new_id = b.url().rsplit('/').next().unwrap().to_owned();

    a_key_is_ended(&desk, &new_id);

    desk.go("/console/keys?status=revoked");
    assert!(b.text("tbody").contains(&new_id));
    assert_eq!(b.value("[name=status]"), "revoked");

    desk.go("/console/clients/hooli");
    b.write("#f-confirm", "hooli");
    b.follow("section[aria-labelledby=delete] button.danger");
    desk.done("Client deleted");
    desk.is_at("/console/clients");
    desk.home.refused(&["client", "show", "hooli"]);
    for secret in [&key, &new, &desk.token] {
        assert!(!log_of(&desk.home).contains(secret.as_str()));
    }
}

fn a_client_is_made(desk: &Desk) {
    let b = &desk.browser;
    desk.go("/console/clients/new");
    b.write("[name=name]", "not a name");
    b.follow("main form button[type=submit]");
    assert!(
        b.text("#f-name-fault")
            .contains("is not a valid name for a client")
    );
    b.judge("act-client-refused");
    b.write("[name=name]", "hooli");
    b.choose("[name=plan]", "gold");
    b.write("[name=labels]", "team=search");
    b.follow("main form button[type=submit]");
    desk.is_at("/console/clients/hooli");
    desk.done("Client created");
    b.write("main [name=description]", "the other one");
    b.follow("form[action='/console/clients/hooli'] button:not(.quiet)");
    desk.done("Changes saved");
    let shown = desk.home.json(&["client", "show", "hooli"]);
    assert_eq!(word(&shown, "description"), "the other one");
    assert_eq!(shown["labels"]["team"], "search");
}

fn a_key_is_ended(desk: &Desk, new_id: &str) {
    let b = &desk.browser;
    b.follow(&format!(
        "form[action='/console/keys/{new_id}/disable'] button"
    ));
    desk.done("Key disabled");
    assert_eq!(b.text(".facts .chip"), "disabled");
    b.judge("act-disabled");
    b.follow(&format!(
        "form[action='/console/keys/{new_id}/enable'] button"
    ));
    desk.done("Key enabled");

    // Out of reach before its id is typed.
    let disabled = "return document.querySelector('button.danger').disabled";
    assert_eq!(b.script(disabled, &[]), true);
    b.write("#f-reason", "seen in a chat");
    b.write("#f-confirm", new_id);
    assert_eq!(b.script(disabled, &[]), false);
    b.follow("button.danger");
    desk.done("Key revoked");
    b.judge("act-revoked");
    let shown = desk.home.json(&["key", "show", new_id]);
    assert_eq!(
        (word(&shown, "status"), word(&shown, "reason")),
        ("revoked".to_owned(), "seen in a chat".to_owned())
    );
}

fn policy_explain_and_audit(screen: Screen) {
    let desk = Desk::new(screen);
    let b = &desk.browser;
    let writer = ["key", "issue", "initech", "--scope", "write"];
    desk.home.ok(&writer);

    desk.go("/console/policy");
    b.follow(".actions .button:not(.quiet)");
    let before = b.value("textarea");
    let put = |text: &str| {
        b.script(
            "document.querySelector('textarea').value = arguments[0]",
            &[text],
        );
    };
    put(&before.replace("scopes: [read]", "scops: [read]"));
    b.follow("button[value=check]");
    let mistakes = b.text(".note.bad");
    assert!(mistakes.contains("did you mean scopes?"), "{mistakes}");
    at_its_line(b, &before);
    b.judge("act-policy-refused");
    put(&before.replace("scopes: [write]", "scopes: [admin]"));
    b.follow("button[value=check]");
    let meaning = b.text("section[aria-labelledby=meaning]");
    assert!(
        meaning.contains("/v1/{*rest}") && meaning.contains("admin"),
        "{meaning}"
    );
    // Two keys have `write`, of which one is revoked.
    assert!(meaning.contains("1 key shut out"), "{meaning}");
    b.judge("act-policy-compared");
    if b.count("[name=opens]") == 1 {
        b.click("[name=opens]");
    }
    b.follow("button[value=apply]");
    desk.done("Policy applied");
    assert!(b.text("table").contains("admin"));
    assert!(
        desk.home
            .ok(&["policy", "show"])
            .contains("scopes: [admin]")
    );

    desk.go("/console/policy/history");
    assert_eq!(b.count("tbody tr"), 2);
    b.judge("act-policy-history");
    b.follow("tbody button");
    assert!(b.text(".question").contains("/v1/{*rest}"));
    b.judge("act-policy-to-roll-back");
    b.follow(".question .danger");
    desk.done("Policy applied");
    assert_eq!(desk.home.ok(&["policy", "show"]), before);

    let key = word(
        &desk.home.json(&["key", "issue", "acme", "--scope", "read"]),
        "key",
    );
    desk.go("/console/explain");
    b.write("#f-key", &key);
    b.write("#f-path", "/v1/users");
    b.choose("[name=method]", "POST");
    b.follow("main form button[type=submit]");
    assert!(b.text("#verdict").contains("insufficient_scope"));
    assert!(b.count(".rules li") > 3);
    assert!(!b.source().contains(&key) && !b.url().contains(&key));
    b.judge("act-explained");
    b.write("#f-key", &key[8..18]);
    b.choose("[name=method]", "GET");
    b.follow("main form button[type=submit]");
    assert_eq!(b.text("#verdict"), "Let in");

    the_log(&desk, &key);
}

/// A mistake stands at its line, and the caret goes there.
fn at_its_line(b: &Browser, before: &str) {
    let line = 1 + before
        .lines()
        .position(|l| l.contains("scopes: [read]"))
        .unwrap();
    assert!(b.text(".numbers .bad").starts_with(&line.to_string()));
    assert_eq!(b.text("#mistakes a"), format!("Line {line}"));
    b.click("#mistakes a");
    let caret = "const t = document.querySelector('textarea'); return t.value.slice(t.selectionStart, t.selectionEnd)";
    let chosen = b.script(caret, &[]);
    assert!(
        chosen.as_str().unwrap().contains("scops: [read]"),
        "{chosen}"
    );
    // Numbers follow the lines.
    let numbers = "return document.querySelector('.numbers').childElementCount";
    let lines = b.script(numbers, &[]).as_u64().unwrap();
    let typed = "const t = document.querySelector('textarea'); t.value += '\\n#\\n#'; t.dispatchEvent(new Event('input', {bubbles: true}))";
    b.script(typed, &[]);
    assert_eq!(b.script(numbers, &[]), lines + 2);
}

fn the_log(desk: &Desk, key: &str) {
    let b = &desk.browser;
    desk.go("/console/audit");
    b.write("[name=action]", "policy.");
    b.choose("[name=outcome]", "done");
    b.follow(".filters button");
    assert!(b.url().contains("action=policy.") && b.url().contains("outcome=done"));
    assert_eq!(b.count("tbody tr"), 3);
    b.click("tbody details summary");
    b.judge("act-audit-filtered");
    b.click("a[download]");
    let file = b.downloads.join("audit.jsonl");
    // Chromium takes the name with an empty file before it has the content.
    b.until("the export", || {
        fs::metadata(&file).is_ok_and(|f| f.len() > 0)
    });
    let exported = fs::read_to_string(&file).unwrap();
    assert_eq!(exported.lines().count(), 3, "{exported}");
    assert!(!exported.contains(key));
    b.follow("form[action='/console/audit/verify'] button");
    desk.done("The log is intact");
    b.judge("act-audit-verified");
}

fn tokens_webhooks_and_the_way_out(screen: Screen) {
    let desk = Desk::new(screen);
    let b = &desk.browser;

    desk.go("/console/tokens");
    b.write("#f-name", "ci");
    b.choose("[name=role]", "issuer");
    b.follow("section[aria-labelledby=new] button");
    let token = b.value("#secret");
    assert!(token.starts_with("kst_issuer_"), "{token}");
    b.judge("act-token");
    b.follow("main .button");
    assert!(b.text("tbody").contains("ci") && !b.source().contains(&token));
    b.follow("button[aria-label='Revoke ci']");
    assert_eq!(b.text("h1"), "Revoke the token ci?");
    b.judge("act-token-to-revoke");
    b.follow(".question .danger");
    desk.done("Token revoked");
    desk.go("/console/tokens?show=all");
    assert!(b.text("tbody").contains("revoked"));

    desk.go("/console/webhooks");
    b.write("#f-name", "chat");
    b.write("#f-url", "ftp://example.com");
    b.follow("section[aria-labelledby=new] button");
    assert!(b.text("#f-url-fault").contains("ftp://example.com"));
    b.write("#f-url", "https://example.com/hook");
    b.write("#f-events", "key.revoke token.*");
    b.follow("section[aria-labelledby=new] button");
    assert!(b.value("#secret").starts_with("whsec_"));
    b.judge("act-webhook");
    b.follow("main .button");
    b.follow("button[aria-label='Remove chat']");
    assert_eq!(b.text("h1"), "Remove the webhook chat?");
    b.follow(".question .danger");
    desk.done("Webhook removed");

    desk.go("/console");
    b.follow(".who button");
    desk.is_at("/console/sign-in");
    desk.go("/console/tokens");
    desk.is_at("/console/sign-in");
    // And what was seen is not seen again by going back.
    b.script("history.go(-2)", &[]);
    b.until("the door", || b.count("[name=token]") == 1);

    b.write("[name=token]", "kst_owner_wrong");
    b.follow("button[type=submit]");
    assert!(b.text(".note.bad").contains("paste all of it"));
    b.judge("act-sign-in-refused");
}

#[test]
fn an_owner_manages_clients_and_keys_at_a_desk() {
    clients_and_their_keys(DESK);
}

#[test]
fn an_owner_manages_clients_and_keys_on_a_telephone() {
    clients_and_their_keys(PHONE);
}

#[test]
fn an_owner_changes_the_policy_and_asks_why_at_a_desk() {
    policy_explain_and_audit(DESK);
}

#[test]
fn an_owner_changes_the_policy_and_asks_why_on_a_telephone() {
    policy_explain_and_audit(PHONE);
}

#[test]
fn an_owner_hands_out_tokens_and_leaves_at_a_desk() {
    tokens_webhooks_and_the_way_out(DESK);
}

#[test]
fn an_owner_hands_out_tokens_and_leaves_on_a_telephone() {
    tokens_webhooks_and_the_way_out(PHONE);
}
