//! The limits of other systems' plugins as token buckets.

use keystile_core::policy::{By, RawLimit};
use serde_json::Value;

use super::limit;

/// What a plugin's settings become: limits, and what they do not say.
#[derive(Default)]
pub struct Read {
    /// At most one for each period.
    pub limits: Vec<RawLimit>,
    /// What is lost.
    pub lost: Vec<String>,
}

impl Read {
    fn add(&mut self, requests: u64, seconds: u64, burst: Option<u64>, by: By) {
        if requests == 0 || seconds == 0 {
            self.lost.push(
                "a limit of 0 would refuse everything; disable the keys in its place".to_owned(),
            );
            return;
        }
        let new = limit(requests, seconds, burst, by);
        match self
            .limits
            .iter_mut()
            .find(|l| l.per == new.per && l.by == new.by)
        {
            Some(same) if same.requests > new.requests => *same = new,
            Some(_) => {}
            None => self.limits.push(new),
        }
    }

    fn lose(&mut self, what: &str) {
        self.lost.push(what.to_owned());
    }
}

/// Kong's `rate-limiting`: a number for each period.
pub fn kong(config: &Value) -> Read {
    let mut out = Read::default();
    let by = kong_by(config, "limit_by", &mut out);
    for (field, seconds) in [
        ("second", 1),
        ("minute", 60),
        ("hour", 3600),
        ("day", 86_400),
        ("month", 30 * 86_400),
        ("year", 365 * 86_400),
    ] {
        if let Some(n) = config.get(field).and_then(Value::as_u64) {
            out.add(n, seconds, None, by);
        }
    }
    out
}

/// Kong's `rate-limiting-advanced`: numbers, and as many windows in seconds.
pub fn kong_advanced(config: &Value) -> Read {
    let mut out = Read::default();
    let by = kong_by(config, "identifier", &mut out);
    let list = |field: &str| config.get(field).and_then(Value::as_array).cloned();
    let (limits, windows) = (
        list("limit").unwrap_or_default(),
        list("window_size").unwrap_or_default(),
    );
    for (n, window) in limits.iter().zip(&windows) {
        match (n.as_u64(), window.as_u64()) {
            (Some(n), Some(window)) => out.add(n, window, None, by),
            _ => out.lose("a limit that is no whole number of requests and seconds"),
        }
    }
    out
}

fn kong_by(config: &Value, field: &str, out: &mut Read) -> By {
    match config.get(field).and_then(Value::as_str) {
        None | Some("consumer" | "consumer-group") => By::Client,
        Some("credential") => By::Key,
        Some(_) => {
            out.lose(
                "its limit is counted by something else than consumers; it is counted by client",
            );
            By::Client
        }
    }
}

/// APISIX's `limit-count`: a number for each window in seconds.
pub fn apisix_count(config: &Value) -> Read {
    let mut out = Read::default();
    let number = |field: &str| config.get(field).and_then(Value::as_u64);
    match (number("count"), number("time_window")) {
        (Some(n), Some(window)) => {
            apisix_by(config, &mut out);
            out.add(n, window, None, By::Client);
        }
        _ => out.lose("a limit that is no whole number of requests and seconds"),
    }
    out
}

/// APISIX's `limit-req`: requests a second, and how many more at once.
pub fn apisix_req(config: &Value) -> Read {
    let mut out = Read::default();
    let number = |field: &str| config.get(field).and_then(Value::as_u64);
    match (number("rate"), number("burst")) {
        (Some(rate), Some(burst)) => {
            apisix_by(config, &mut out);
            let burst = rate.saturating_add(burst);
            out.add(rate, 1, (burst > rate).then_some(burst), By::Client);
        }
        _ => out.lose("a limit that is no whole number of requests a second"),
    }
    out
}

fn apisix_by(config: &Value, out: &mut Read) {
    let key = config
        .get("key")
        .and_then(Value::as_str)
        .unwrap_or("remote_addr");
    if !matches!(
        key.trim_start_matches('$'),
        "consumer_name" | "consumer_group_id"
    ) {
        out.lose("its limit is counted by something else than consumers; it is counted by client");
    }
}
