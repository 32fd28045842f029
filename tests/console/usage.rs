//! Usage on the pages: what is read there is what Envoys sent, to the request.

use keystile_core::keyset::SigningKeys;
use keystile_core::report::usage::{Batch, KeyUse, Row, seal_batch};
use serde_json::{Value, json};

use crate::browser::{Browser, DESK, PHONE, Screen};
use crate::pages::{client_token, lived_in, sign_in, without_report};
use crate::reading::{chart, figures, table};
use crate::server::{Server, token};
use crate::support::{Home, word};

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;
/// Requests of a month on the plan of `acme`.
const QUOTA: u64 = 10_000;

/// What a VM counted of a key in a minute: let through, refused by reason.
struct Counted<'a> {
    ago: u64,
    key: Option<&'a str>,
    route: &'a str,
    outcomes: &'a [(&'a str, u64)],
}

/// A VM, and the server that it tells.
struct Edge<'s> {
    server: &'s Server,
    keys: SigningKeys,
    store: String,
    seq: u64,
}

impl<'s> Edge<'s> {
    fn new(home: &Home, server: &'s Server) -> Self {
        home.ok(&["keyset", "build", "--out", "keyset.json"]);
        let inspected = home.json(&["keyset", "inspect", "keyset.json"]);
        Self {
            server,
            keys: SigningKeys::parse(&home.ok(&["signing-key", "export"])).unwrap(),
            store: word(&inspected, "store"),
            seq: 0,
        }
    }

    fn tell(&mut self, counted: &Counted<'_>) {
        let at = now() - counted.ago;
        self.seq += 1;
        let rows = counted.outcomes.iter().zip(0..);
        let batch = Batch {
            node: "edge-1".into(),
            epoch: 5,
            vm: 0,
            claimed: 1,
            seq: self.seq,
            store: self.store.clone(),
            at: at - at % 60,
            routes: vec![counted.route.into()],
            outcomes: counted.outcomes.iter().map(|o| o.0.into()).collect(),
            keys: counted
                .key
                .iter()
                .map(|id| KeyUse {
                    id: (*id).into(),
                    last: at,
                    address: Some("192.0.2.0".into()),
                    agent: Some("curl/8".into()),
                })
                .collect(),
            rows: rows
                .map(|((_, requests), outcome)| Row {
                    key: counted.key.map(|_| 0),
                    route: Some(0),
                    outcome,
                    requests: *requests,
                })
                .collect(),
            dropped: 0,
        };
        let sealed = seal_batch(&batch, &self.keys).unwrap();
        let answer = ureq::post(format!("{}/v1/usage", self.server.url()))
            .header("x-keystile-kid", &sealed.kid)
            .header("x-keystile-signature", &sealed.tag)
            .send(&sealed.body[..])
            .unwrap();
        assert_eq!(answer.status(), 200);
    }
}

fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap().as_secs()
}

fn counting_policy(home: &Home) {
    let text = home.ok(&["policy", "show", "--default"]);
    let gold = "gold: {limits: [{requests: 100, per: 1s}]}";
    assert!(text.contains(gold) && text.contains("\nreport: {"));
    let text = text.replace(
        gold,
        &format!("gold: {{limits: [{{requests: 100, per: 1s}}], quota: {{requests: {QUOTA}, per: month}}}}"),
    );
    std::fs::write(home.path("policy.yaml"), text).unwrap();
    home.ok(&["policy", "apply", "policy.yaml"]);
}

fn numbers_are_those_that_were_sent(screen: Screen) {
    let home = lived_in();
    without_report(&home);
    let (owner, client) = (token(&home, "owner"), client_token(&home));
    let of = |client: &str, name: &str| {
        let listed = home.json(&["key", "list", "--client", client]);
        let keys = listed.as_array().unwrap().iter();
        let mut found = keys.filter(|k| k["name"] == name).map(|k| word(k, "id"));
        found.next().unwrap()
    };
    let (first, second) = (of("acme", "worker 0"), of("acme", "worker 1"));
    let (revoked, other) = (of("globex", "old"), of("initech", "due"));
    let server = Server::start(&home, &[]);
    let browser = Browser::start(screen);
    let b = &browser;
    let go = |path: &str| b.go(&format!("{}{path}", server.url()));
    sign_in(b, &server, &owner);

    // Nothing was counted, and the page says why.
    assert!(b.text(".usage").contains("the policy does not ask for it"));
    b.judge("usage-not-asked-for");
    counting_policy(&home);
    go("/console");
    assert!(b.text(".usage").contains("none has so far"));
    assert_eq!(b.count(".usage svg"), 0);

    let mut edge = Edge::new(&home, &server);
    tell(&mut edge, [&first, &second, &revoked, &other]);

    go("/console");
    overview(b, &go, &revoked);

    narrowed(b);
    go("/console");
    ranges(b);

    client_page(b, &go, &first, &second);

    key_pages(b, &go, &first, &other);

    // Who holds keys sees its own, and nobody else's.
    go("/console");
    b.follow(".who button");
    sign_in(b, &server, &client);
    its_own(b, &go, &first, &second, [&revoked, &other]);
}

fn tell(edge: &mut Edge<'_>, [first, second, revoked, other]: [&str; 4]) {
    // Of today: these two alone count in the quota, whatever day it is.
    edge.tell(&Counted {
        ago: 0,
        key: Some(first),
        route: "/v1/{*rest}",
        outcomes: &[
            ("ok", 1234),
            ("rate_limited", 56),
            ("insufficient_scope", 7),
        ],
    });
    edge.tell(&Counted {
        ago: 0,
        key: Some(second),
        route: "/v1/{*rest}",
        outcomes: &[("ok", 21)],
    });
    edge.tell(&Counted {
        ago: 2 * HOUR,
        key: Some(other),
        route: "/v1/reports",
        outcomes: &[("ok", 800), ("rate_limited", 44), ("quota_exceeded", 3)],
    });
    edge.tell(&Counted {
        ago: 3 * HOUR,
        key: None,
        route: "/v1/{*rest}",
        outcomes: &[("missing_api_key", 11)],
    });
    edge.tell(&Counted {
        ago: 0,
        key: Some(revoked),
        route: "/v1/{*rest}",
        outcomes: &[("revoked_api_key", 5)],
    });
    edge.tell(&Counted {
        ago: 3 * DAY,
        key: Some(other),
        route: "/v1/reports",
        outcomes: &[("ok", 10_000), ("rate_limited", 1)],
    });
    edge.tell(&Counted {
        ago: 20 * DAY,
        key: Some(other),
        route: "/v1/reports",
        outcomes: &[("ok", 500)],
    });
}

fn overview(b: &Browser, go: &impl Fn(&str), revoked: &str) {
    let refused = [
        ("rate_limited", 100),
        ("missing_api_key", 11),
        ("insufficient_scope", 7),
        ("revoked_api_key", 5),
        ("quota_exceeded", 3),
    ];
    let told: Vec<Value> = refused
        .iter()
        .map(|(r, n)| json!([r, n.to_string()]))
        .collect();
    assert_eq!(
        figures(b),
        ["2181requests in 24 hours", "126of them refused"]
    );
    assert_eq!(
        chart(b),
        json!([
            ["let through", 2055],
            ["rate_limited", 100],
            ["missing_api_key", 11],
            ["other refusals", 15]
        ])
    );
    assert_eq!(table(b, "reasons"), json!(told));
    let share = b.text(".figure:nth-of-type(3)");
    assert!(
        share.contains("5.7 %") && share.contains("refused share"),
        "{share}"
    );
    assert_eq!(
        table(b, "busiest"),
        json!([
            ["acme", "1318", "63"],
            ["initech", "847", "47"],
            ["no known key", "11", "11"],
            ["globex", "5", "5"]
        ])
    );
    // The server looks for what is odd every quarter of a minute.
    b.until("an anomaly", || {
        go("/console");
        !b.text("section[aria-labelledby=odd]")
            .contains("No anomalies")
    });
    let odd = b.text("section[aria-labelledby=odd]");
    assert!(
        odd.contains("tried after it was revoked") && odd.contains(revoked),
        "{odd}"
    );
    b.click(".usage .chart summary");
    b.judge("usage-overview");
}

/// Every reason and route leads to the requests with it, and back.
fn narrowed(b: &Browser) {
    b.follow(".usage table.reasons tbody tr:nth-child(1) a");
    assert!(b.url().contains("reason=rate_limited"), "{}", b.url());
    assert_eq!(chart(b), json!([["let through", 0], ["rate_limited", 100]]));
    assert_eq!(
        table(b, "busiest"),
        json!([["acme", "56", "56"], ["initech", "44", "44"]])
    );
    let routes = json!([["/v1/{*rest}", "56", "56"], ["/v1/reports", "44", "44"]]);
    assert_eq!(table(b, "routes"), routes);
    b.judge("usage-narrowed");
    // One filter goes with another, and with another time.
    b.follow(".usage table.routes tbody tr:nth-child(2) a");
    assert_eq!(chart(b), json!([["let through", 0], ["rate_limited", 44]]));
    b.follow(".ranges a:nth-child(4)");
    assert!(b.url().contains("reason=rate_limited") && b.url().contains("route="));
    assert_eq!(chart(b), json!([["let through", 0], ["rate_limited", 45]]));
    b.follow(".usage table.busiest tbody tr:nth-child(1) a");
    assert!(b.url().contains("/clients/initech?"), "{}", b.url());
    assert_eq!(chart(b), json!([["let through", 0], ["rate_limited", 45]]));
    b.follow(".usage .only a:nth-of-type(1)");
    assert_eq!(table(b, "reasons")[0], json!(["rate_limited", "45"]));
    assert!(!b.url().contains("reason="), "{}", b.url());
}

/// The range is in the URL.
fn ranges(b: &Browser) {
    b.follow(".ranges a:nth-child(4)");
    assert!(b.url().ends_with("/console?since=7d"), "{}", b.url());
    assert_eq!(b.text(".ranges [aria-current]"), "7 days");
    assert_eq!(
        figures(b),
        ["12182requests in 7 days", "127of them refused"]
    );
    b.follow(".ranges a:nth-child(5)");
    assert_eq!(figures(b)[0], "12682requests in 30 days");
    b.judge("usage-overview-30d");
}

fn client_page(b: &Browser, go: &impl Fn(&str), first: &str, second: &str) {
    go("/console/clients/acme?status=active");
    assert_eq!(
        chart(b),
        json!([
            ["let through", 1255],
            ["rate_limited", 56],
            ["insufficient_scope", 7]
        ])
    );
    let expected = json!([[first, "1297", "63"], [second, "21", "0"]]);
    assert_eq!(table(b, "busiest"), expected);
    b.judge("usage-client");
    // One filter does not undo the other.
    b.follow(".ranges a:nth-child(4)");
    assert!(b.url().contains("since=7d") && b.url().contains("status=active"));
    b.follow("form[role=search] button");
    assert!(b.url().contains("since=7d") && b.url().contains("status=active"));
}

fn key_pages(b: &Browser, go: &impl Fn(&str), first: &str, other: &str) {
    go(&format!("/console/keys/{first}"));
    let lately = b.text("section[aria-label='Use']").replace('\u{202f}', "");
    for words in [
        "192.0.2.0",
        "curl/8",
        "8766 of 10000 left",
        "1234 used this month",
    ] {
        assert!(lately.contains(words), "{words}: {lately}");
    }
    assert_eq!(table(b, "busiest"), json!([["/v1/{*rest}", "1297", "63"]]));
    b.judge("usage-key");
    go(&format!("/console/keys/{other}?since=30d"));
    assert_eq!(
        chart(b),
        json!([
            ["let through", 11_300],
            ["rate_limited", 45],
            ["quota_exceeded", 3]
        ])
    );
}

/// Who holds keys sees its own, and nobody else's.
fn its_own(b: &Browser, go: &impl Fn(&str), first: &str, second: &str, foreign: [&str; 2]) {
    assert_eq!(
        chart(b),
        json!([
            ["let through", 1255],
            ["rate_limited", 56],
            ["insufficient_scope", 7]
        ])
    );
    let expected = json!([[first, "1297", "63"], [second, "21", "0"]]);
    assert_eq!(table(b, "busiest"), expected);
    let quotas = b
        .text("section[aria-labelledby=quotas]")
        .replace('\u{202f}', "");
    for words in [
        "8766 of 10000 left",
        "9979 of 10000 left",
        "10000 of 10000 left",
    ] {
        assert!(quotas.contains(words), "{words}: {quotas}");
    }
    for foreign in foreign.into_iter().chain(["initech", "globex"]) {
        assert!(!b.source().contains(foreign), "{foreign}");
    }
    b.judge("client-usage");
    go(&format!("/console/keys/{first}"));
    assert!(b.text("section[aria-label='Use']").contains("192.0.2.0"));
    b.judge("client-usage-key");
}

#[test]
fn the_numbers_on_the_pages_are_those_that_envoys_sent_at_a_desk() {
    numbers_are_those_that_were_sent(DESK);
}

#[test]
fn the_numbers_on_the_pages_are_those_that_envoys_sent_on_a_telephone() {
    numbers_are_those_that_were_sent(PHONE);
}
