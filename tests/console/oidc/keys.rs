//! The provider's keys: fetched when they are needed, and no more often.

use std::net::TcpListener;
use std::time::Instant;

use super::site::{Site, Visitor};
use crate::idp::Signer;
use crate::server::Server;
use crate::support::Home;

#[test]
fn keys_that_the_provider_changed_are_fetched_and_an_absent_provider_is_said() {
    let site = Site::new();
    assert!(Visitor::default().sign_in(&site).lets_in());
    site.idp.rename_keys("second");
    assert!(Visitor::default().sign_in(&site).lets_in());
    // Of whom nobody knows where he is, nothing is begun.
    let elsewhere = site.url("/console/oidc").replace("127.0.0.1", "localhost");
    let refused = Visitor::default().get(&elsewhere);
    refused.is_refused(422, "This page was opened at");

    let home = Home::new();
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let mut args = vec![
        "--console-url",
        "http://127.0.0.1:9",
        "--oidc-issuer",
        &nobody,
    ];
    args.extend(["--oidc-client-id", "x", "--oidc-role", "groups:a=owner"]);
    let refused =
        home.command(&[&["serve"], args.as_slice(), &["--oidc-role", "x=client"]].concat());
    let mut refused = refused;
    assert_eq!(refused.output().unwrap().status.code(), Some(2));
    let server = Server::start(&home, &args);
    let port = server.address.rsplit(':').next().unwrap();
    let request = ureq::http::Request::get(format!("{}/console/oidc", server.url()));
    let request = request.header("host", "127.0.0.1:9");
    let away = Visitor::default().send(request, port, "");
    away.is_refused(503, "The identity provider cannot be reached");
    assert!(away.text.contains("name=\"token\""), "{}", away.text);
}

#[test]
fn a_key_that_the_provider_swapped_under_the_same_name_or_none_is_believed_and_the_dropped_one_no_more()
 {
    for are_named in [true, false] {
        let site = Site::new();
        if !are_named {
            site.idp.name_no_keys();
        }
        assert!(Visitor::default().sign_in(&site).lets_in());
        site.idp.swap_keys();
        site.idp.say(|_| Signer::OtherRsa);
        assert!(Visitor::default().sign_in(&site).lets_in(), "{are_named}");
        site.idp.say(|_| Signer::Rs256);
        let words = "its signature does not match";
        Visitor::default().sign_in(&site).is_refused(401, words);
    }
}

#[test]
fn forged_tokens_make_nobody_ask_for_the_providers_keys_again_and_again() {
    let site = Site::new();
    assert!(Visitor::default().sign_in(&site).lets_in());
    assert_eq!(site.idp.fetches(), 1);
    let began = Instant::now();
    site.idp.say(|_| Signer::OtherRsa);
    for _ in 0..10 {
        let words = "its signature does not match";
        Visitor::default().sign_in(&site).is_refused(401, words);
    }
    // Once in ten seconds.
    let most = 2 + usize::try_from(began.elapsed().as_secs() / 10).unwrap();
    let fetches = site.idp.fetches();
    assert!((2..=most).contains(&fetches), "{fetches}");
}
