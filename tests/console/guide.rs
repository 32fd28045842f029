//! The guide, as a reader meets it: found, searched, read on both screens.

use crate::browser::{Browser, DESK, PHONE, Screen};
use crate::server::Server;
use crate::support::Home;

const WIDE_AND_DARK: Screen = Screen {
    name: "1440-dark",
    width: 1440,
    height: 900,
    dark: true,
};
const WIDE: Screen = Screen {
    name: "1440-light",
    dark: false,
    ..WIDE_AND_DARK
};
const PHONE_BY_DAY: Screen = Screen {
    name: "390-light",
    dark: false,
    ..PHONE
};

#[test]
fn a_word_is_searched_for_and_its_chapter_opened() {
    let home = Home::new();
    let server = Server::start(&home, &[]);
    for screen in [DESK, PHONE] {
        let browser = Browser::start(screen);
        // Nobody is signed in.
        browser.go(&format!("{}/docs/guide", server.url()));
        assert!(browser.url().ends_with("/docs/guide/"), "{}", browser.url());
        assert_eq!(browser.text("h1"), "Keystile");
        browser.write("#query", "revoke");
        browser.until("results", || browser.count("#hits a") > 0);
        let found = browser.text("#found");
        assert!(found.contains("Disable and revoke"), "{found}");
        browser.judge("guide-search");
        browser.follow("#hits a[href='keys.html#disable-and-revoke']");
        assert!(
            browser
                .url()
                .ends_with("/docs/guide/keys.html#disable-and-revoke")
        );
        // It is not underneath the bar at the top.
        let top = browser.script(
            "const bar = document.querySelector('header').getBoundingClientRect().bottom;
             return document.getElementById('disable-and-revoke').getBoundingClientRect().top >= bar - 1",
            &[],
        );
        assert_eq!(top, true);

        browser.write("#query", "xylophone");
        browser.until("nothing", || {
            browser.text("#count").starts_with("Nothing found")
        });
        assert_eq!(browser.count("#hits a"), 0);
    }
}

/// The order of results is the reader's expectation: what the chapter is about comes first.
#[test]
fn the_first_result_is_the_one_that_was_meant() {
    let home = Home::new();
    let server = Server::start(&home, &[]);
    let browser = Browser::start(DESK);
    for (asked, first) in [
        ("overlay", "concepts.html"),
        ("insufficient_scope", "refusals.html"),
        ("quota", "limits.html"),
        ("istio", "istio.html"),
    ] {
        browser.go(&format!("{}/docs/guide/", server.url()));
        browser.write("#query", asked);
        browser.until("results", || browser.count("#hits a") > 0);
        let links = "return [...document.querySelectorAll('#hits a')].slice(0, 5).map(a => a.getAttribute('href')).join(' ')";
        let links = browser.script(links, &[]);
        let links = links.as_str().unwrap();
        assert!(links.contains(first), "{asked}: {links}");
    }
}

fn every_chapter(screen: Screen, judged: &[&str]) {
    let home = Home::new();
    let server = Server::start(&home, &[]);
    let browser = Browser::start(screen);
    browser.go(&format!("{}/docs/guide/", server.url()));
    let links = "return [...document.querySelectorAll('#contents a')].map(a => a.getAttribute('href')).join(' ')";
    let links = browser.script(links, &[]);
    let links: Vec<&str> = links.as_str().unwrap().split(' ').collect();
    assert!(links.len() > 20, "{links:?}");
    let wanted = |link: &&&str| judged.is_empty() || judged.contains(*link);
    for link in links.iter().filter(wanted) {
        browser.go(&format!("{}/docs/guide/{link}", server.url()));
        let name = link.trim_end_matches(".html");
        browser.judge(&format!("guide-{name}"));
    }
    browser.go(&format!("{}/docs/guide/no-such-page.html", server.url()));
    assert_eq!(browser.text("h1"), "There is no such page");
    browser.judge("guide-nowhere");
}

#[test]
fn every_chapter_is_good_to_read_at_a_desk() {
    every_chapter(WIDE, &[]);
}

#[test]
fn every_chapter_is_good_to_read_on_a_telephone() {
    every_chapter(PHONE, &[]);
}

#[test]
fn chapters_are_good_to_read_by_day_and_by_night() {
    let some = ["index.html", "concepts.html", "policy-fields.html"];
    every_chapter(WIDE_AND_DARK, &some);
    every_chapter(PHONE_BY_DAY, &some);
}
