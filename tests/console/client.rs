//! What a client does for itself, from the invitation on, on both screens.

use crate::browser::{Browser, DESK, PHONE, Screen};
use crate::pages::{lived_in, sign_in};
use crate::server::{Server, log_of, token};
use crate::support::word;

fn from_the_invitation_on(screen: Screen) {
    let home = lived_in();
    let owner = token(&home, "owner");
    let server = Server::start(&home, &[]);
    let browser = Browser::start(screen);
    let b = &browser;

    // An owner invites.
    sign_in(b, &server, &owner);
    let link = invited(b, &server);
    let (place, code) = link.split_once('#').unwrap();
    assert_eq!(place, format!("{}/console/invitation", server.url()));
    assert!(code.starts_with("kst_invite_"));
    b.judge("act-invited");
    b.go(&format!("{}/console", server.url()));
    b.follow(".who button");

    // Somebody opens the link.
    b.go(&link);
    assert_eq!(b.value("#f-code"), code);
    assert!(!b.url().contains(code), "{}", b.url());
    b.follow("form button");
    let own = b.value("#secret");
    assert!(own.starts_with("kst_client_"), "{own}");
    b.judge("act-accepted");
    b.follow("a.button");
    assert_eq!(b.text("h1"), "Your keys");
    assert_eq!(b.count("nav ul li"), 2);

    // Creates a key, within what was given to him.
    b.follow(".actions .button");
    assert_eq!(b.count("[name=scopes]"), 1);
    b.write("#f-name", "mine");
    b.click("[name=scopes][value=read]");
    b.write("#f-expires", "365d");
    b.follow("main form button[type=submit]");
    assert!(b.source().contains("expire within 90d"));
    b.judge("client-act-refused");
    b.write("#f-expires", "30d");
    b.follow("main form button[type=submit]");
    let key = b.value("#secret");
    b.judge("client-act-issued");
    b.follow("main .button");
    let id = b.url().rsplit('/').next().unwrap().to_owned();
    let explained = home.json(&["explain", "--key", &key, "--path", "/v1/users"]);
    assert_eq!(word(&explained, "code"), "ok");
    assert_eq!(word(&explained, "client"), "acme");

    // Rotates it, and revokes what came of that.
    b.follow("section[aria-labelledby=rotate] button");
    assert_ne!(b.value("#secret"), key);
    b.follow("main .button");
    let new = b.url().rsplit('/').next().unwrap().to_owned();
    assert_ne!(new, id);
    b.write("#f-confirm", &new);
    b.follow("button.danger");
    assert_eq!(b.text(".facts .chip"), "revoked");
    b.judge("client-act-revoked");
    assert_eq!(
        word(&home.json(&["key", "show", &new]), "status"),
        "revoked"
    );

    // The code is spent, and the token is his.
    b.go(&format!("{}/console", server.url()));
    b.follow(".who button");
    b.go(&link);
    b.follow("form button");
    assert!(b.text(".note.bad").contains("already accepted"));
    sign_in(b, &server, &own);
    for secret in [code, own.as_str(), key.as_str()] {
        assert!(!log_of(&home).contains(secret));
    }
}

/// The link for somebody who may issue keys of one client.
fn invited(b: &Browser, server: &Server) -> String {
    b.go(&format!("{}/console/tokens", server.url()));
    b.write("#f-name", "acme-self");
    b.choose("[name=role]", "client");
    b.write("#f-client", "acme");
    b.write("#f-scopes", "read");
    b.write("#f-max_expiry", "90d");
    b.write("#f-max_keys", "8");
    b.click("[name=invite]");
    b.follow("section[aria-labelledby=new] button");
    b.value("#secret")
}

#[test]
fn a_client_helps_itself_from_the_invitation_on_at_a_desk() {
    from_the_invitation_on(DESK);
}

#[test]
fn a_client_helps_itself_from_the_invitation_on_on_a_telephone() {
    from_the_invitation_on(PHONE);
}
