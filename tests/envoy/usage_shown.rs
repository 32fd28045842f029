//! What was sent through real Envoys, read in a real browser off the pages of the real server.

use crate::browser::{Browser, DESK};
use crate::reading::{chart, figures, rows, table};
use crate::support::{Envoy, Server};
use crate::usage_served::{Kind, Sent, Sums, of_key, of_outcome, of_route};
use serde_json::Value;

/// What the pages should show.
pub struct Shown<'a> {
    pub server: &'a Server,
    pub sent: &'a Sent,
    /// With all the keys of each that were used.
    pub clients: [(&'static str, Vec<&'a String>); 2],
}

/// Reads every page that has numbers, and the one of the fleet.
pub fn compare(shown: &Shown, envoys: &[Envoy]) {
    let browser = Browser::start(DESK);
    let url = format!("http://{}", shown.server.address());
    browser.sign_in(&url, shown.server.token());
    shown.page(&browser, |_| true, |kind| shown.client(kind));
    let go = |path: &str| browser.go(&format!("{url}/console/{path}"));
    for (client, keys) in &shown.clients {
        go(&format!("clients/{client}"));
        shown.page(&browser, |kind| shown.client(kind) == *client, of_key);
        for key in keys {
            go(&format!("keys/{key}"));
            shown.page(&browser, |kind| kind.key.as_ref() == Some(*key), of_route);
        }
    }
    go("fleet");
    fleet(&browser, envoys);
    browser.judge("envoy-fleet");
}

impl Shown<'_> {
    /// Figures, chart and tables of a page; the second table by this name.
    fn page(
        &self,
        browser: &Browser,
        which: impl Fn(&Kind) -> bool,
        name: impl Fn(&Kind) -> String,
    ) {
        let outcomes = self.sent.sums(&which, of_outcome);
        let all: u64 = outcomes.values().sum();
        let refusals: Sums = outcomes
            .clone()
            .into_iter()
            .filter(|(name, _)| name != "ok")
            .collect();
        let refused: u64 = refusals.values().sum();
        assert!(all > 0);

        let at = browser.url();
        if at.ends_with("/console") {
            let told = [
                format!("{all}requests in 24 hours"),
                format!("{refused}of them refused"),
            ];
            assert_eq!(figures(browser), told);
        }
        // Two reasons have a part of their own; which of many, where some have as many
        // requests as another, is of no matter.
        let parts: Vec<(String, u64)> = serde_json::from_value(chart(browser)).unwrap();
        let parts: Sums = parts.into_iter().collect();
        assert_eq!(parts.values().sum::<u64>(), all, "{at}");
        assert_eq!(parts["let through"], all - refused, "{at}");
        let named = parts
            .iter()
            .filter(|(name, _)| !["let through", "other refusals"].contains(&name.as_str()));
        for (name, requests) in named {
            assert_eq!(refusals.get(name), Some(requests), "{at}: {name}");
        }
        assert_eq!(numbers(&table(browser, "reasons"), 1), refusals, "{at}");

        let busiest = table(browser, "busiest");
        assert_eq!(numbers(&busiest, 1), self.sent.sums(&which, &name), "{at}");
        let refused = |kind: &Kind| which(kind) && kind.outcome != "ok";
        let mut refused = self.sent.sums(refused, &name);
        for name in self.sent.sums(&which, &name).into_keys() {
            refused.entry(name).or_default();
        }
        assert_eq!(numbers(&busiest, 2), refused, "{at}");
    }

    fn client(&self, kind: &Kind) -> String {
        let Some(key) = &kind.key else {
            return "no known key".to_owned();
        };
        let mut clients = self.clients.iter();
        let client = clients.find(|(_, keys)| keys.contains(&key));
        client.unwrap().0.to_owned()
    }
}

/// Names and the numbers of a column.
fn numbers(table: &Value, column: usize) -> Sums {
    let rows = table.as_array().unwrap().iter();
    let cell = |row: &Value, i: usize| row[i].as_str().unwrap().to_owned();
    rows.map(|row| (cell(row, 0), cell(row, column).parse().unwrap()))
        .collect()
}

/// The page of the fleet says of each Envoy what its own gauges say.
fn fleet(browser: &Browser, envoys: &[Envoy]) {
    let url = browser.url();
    browser.until("every Envoy to be current", || {
        browser.go(&url);
        let shown = browser.text("main table.list tbody");
        shown.matches("current").count() == envoys.len()
    });
    let told = rows(browser, "main table.list tbody");
    assert_eq!(told.as_array().unwrap().len(), envoys.len(), "{told}");
    for (row, envoy) in told.as_array().unwrap().iter().zip(envoys) {
        let versions = envoy.versions();
        let version = versions[0];
        assert!(versions.iter().all(|v| *v == version), "{versions:?}");
        let cell = |i: usize| row[i].as_str().unwrap();
        assert!(cell(0).starts_with("edge-"), "{row}");
        assert!(cell(1).starts_with("connected"), "{row}");
        assert_eq!(cell(2), "current", "{version}");
        assert_eq!(cell(4), versions.len().to_string(), "{row}");
    }
}
