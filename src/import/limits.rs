//! The limits of other systems' plugins as token buckets and quotas.

use keystile_core::policy::{By, QuotaPeriod, RawLimit, RawPlan, RawQuota, RollOver};

use super::fields::{FieldFate, Object, ObjectKind, becomes, lost, no_effect};
use super::found::Found;
use super::node::Node;
use keystile_model::error::Result;
use keystile_model::rules;
use keystile_model::when;

/// The settings of a plugin: its own, then those that it shares with others.
pub struct PluginConfig<'n>(Vec<Object<'n>>);

impl<'n> PluginConfig<'n> {
    pub fn open(
        nodes: impl IntoIterator<Item = &'n Node>,
        kind: &'static ObjectKind,
        place: &str,
        found: &mut Found,
    ) -> Result<Self> {
        let open = |node| Object::open(node, kind, place, found);
        nodes.into_iter().map(open).collect::<Result<_>>().map(Self)
    }

    pub fn get(&self, field: &str) -> Option<&'n Node> {
        // All are marked as read; the first that has a value counts.
        let mut all = self.0.iter().map(|object| object.get(field));
        let first = all.by_ref().flatten().next();
        all.for_each(drop);
        first
    }

    pub fn words(&self, field: &str) -> Vec<&'n str> {
        let words = self.get(field).and_then(Node::words);
        words.unwrap_or_default()
    }

    pub fn text(&self, field: &str) -> Option<&'n str> {
        self.get(field).and_then(Node::text)
    }

    /// What in it closes, if a field that nobody knows does.
    pub fn closed(&self) -> Option<String> {
        self.0.iter().find_map(Object::closed)
    }

    /// A list's texts, and whether there is anything in it that is none.
    pub fn texts(&self, field: &str) -> (Vec<&'n str>, bool) {
        let node = self.get(field);
        let items = node.map(|n| n.list().unwrap_or(std::slice::from_ref(n)));
        let items = items.unwrap_or_default();
        let texts: Vec<&str> = items.iter().filter_map(Node::text).collect();
        let all = texts.len() == items.len();
        items.iter().for_each(Node::pass);
        (texts, !all)
    }

    pub fn flag(&self, field: &str) -> bool {
        self.get(field).and_then(Node::flag) == Some(true)
    }
}

/// What plugins' settings become: limits, and what limits cannot express.
#[derive(Default)]
pub struct ReadLimits {
    /// At most one for each period.
    pub limits: Vec<RawLimit>,
    /// Requests of a calendar month.
    pub month: Option<u64>,
    /// What is lost.
    pub lost: Vec<String>,
    /// A limit of 0: nothing is let through.
    pub shut: bool,
    /// Unknown settings that close something.
    pub closed: Option<String>,
}

impl ReadLimits {
    /// The strictest limit of each period.
    pub fn add(&mut self, requests: u64, seconds: u64, burst: Option<u64>, by: By) {
        if requests == 0 {
            self.shut = true;
            return;
        }
        if seconds == 0 {
            self.lose("a limit for a period of 0 seconds");
            return;
        }
        let per = when::duration(seconds);
        let new = RawLimit {
            requests,
            per,
            burst,
            by,
        };
        self.put(new);
    }

    /// Of two limits for the same period, the stricter counts.
    fn put(&mut self, new: RawLimit) {
        let same = |l: &&mut RawLimit| l.per == new.per && l.by == new.by;
        let Some(there) = self.limits.iter_mut().find(same) else {
            self.limits.push(new);
            return;
        };
        let holds = |l: &RawLimit| l.burst.unwrap_or(l.requests);
        let holds = holds(there).min(holds(&new));
        there.requests = there.requests.min(new.requests);
        there.burst = (holds != there.requests).then_some(holds);
    }

    pub fn lose(&mut self, what: &str) {
        self.lost.push(what.to_owned());
    }

    /// Adds another plugin's settings: the stricter of two counts.
    pub fn join(&mut self, other: Self) {
        for limit in other.limits {
            self.put(limit);
        }
        self.month = match (self.month, other.month) {
            (Some(one), Some(two)) => Some(one.min(two)),
            (one, two) => one.or(two),
        };
        self.lost.extend(other.lost);
        self.shut |= other.shut;
        self.closed = self.closed.take().or(other.closed);
    }

    /// In the form for keys.
    pub fn words(&self) -> Vec<String> {
        self.limits.iter().map(rules::limit_word).collect()
    }

    /// Lists what is lost.
    pub fn report(&mut self, place: &str, found: &mut Found) {
        for lost in std::mem::take(&mut self.lost) {
            found.leave(place, lost);
        }
    }

    /// In the form for a plan. None if there are none.
    pub fn plan(&self) -> Option<RawPlan> {
        let quota = self.month.map(month);
        (!self.limits.is_empty() || quota.is_some()).then(|| RawPlan {
            limits: self.limits.clone(),
            quota,
            ..RawPlan::default()
        })
    }
}

/// A calendar month.
fn month(requests: u64) -> RawQuota {
    RawQuota {
        requests,
        per: QuotaPeriod::Month,
        time_zone: "UTC".to_owned(),
        rolls_over: RollOver::default(),
    }
}

/// How it counts and stores does not matter here: buckets count exactly.
const COUNTING: FieldFate = no_effect(&[
    "policy",
    "redis*",
    "redis",
    "sync_rate",
    "fault_tolerant",
    "hide_client_headers",
    "error_code",
    "error_message",
    "namespace",
    "strategy",
    "dictionary_name",
    "lock_dictionary_name",
    "retry_after_jitter_max",
    "window_type",
]);

/// Kong's `rate-limiting`.
pub const KONG: ObjectKind = ObjectKind {
    name: "settings of `rate-limiting`",
    fields: &[
        becomes(
            &["second", "minute", "hour", "day"],
            "a token bucket of this size, refilled over the period",
        ),
        becomes(&["month"], "a quota of the calendar month, in a plan"),
        becomes(
            &["limit_by"],
            "`by: client` or, for `credential`, by key; others are listed",
        ),
        becomes(
            &["year"],
            "listed: there is no yearly quota; write a monthly or daily one",
        ),
        lost(
            &["header_name", "path"],
            "counts by header or path; here it counts by client",
        ),
        lost(&["throttling"], "requests are refused, never delayed"),
        COUNTING,
    ],
};

/// Kong's `rate-limiting-advanced`, and the settings of consumer groups for it.
pub const KONG_ADVANCED: ObjectKind = ObjectKind {
    name: "settings of `rate-limiting-advanced`",
    fields: &[
        becomes(&["limit", "window_size"], "a token bucket for each window"),
        becomes(
            &["identifier"],
            "`by: client` or, for `credential`, by key; others are listed",
        ),
        lost(
            &["header_name", "path", "compound_identifier"],
            "counts by other things; here it counts by client",
        ),
        lost(
            &["enforce_consumer_groups", "consumer_groups"],
            "put these clients on plans",
        ),
        lost(
            &["disable_penalty", "throttling"],
            "here, refused requests take nothing, and none are delayed",
        ),
        COUNTING,
    ],
};

/// A number for each period.
pub fn kong(config: &PluginConfig<'_>) -> ReadLimits {
    let mut out = ReadLimits::default();
    let by = kong_by(config, "limit_by", &mut out);
    for (field, seconds) in [
        ("second", 1),
        ("minute", 60),
        ("hour", 3600),
        ("day", 86_400),
    ] {
        match config.get(field).map(Node::number) {
            Some(Some(n)) => out.add(n, seconds, None, by),
            Some(None) => out.lose("a limit that is not a whole number of requests"),
            None => {}
        }
    }
    match config.get("month").map(Node::number) {
        Some(Some(0)) => out.shut = true,
        Some(Some(n)) => out.month = Some(n),
        Some(None) => out.lose("a limit that is not a whole number of requests"),
        None => {}
    }
    match config.get("year").map(Node::number) {
        Some(Some(0)) => out.shut = true,
        Some(_) => out.lose("`year`: there is no yearly quota; write a monthly or daily one"),
        None => {}
    }
    out
}

/// Numbers, and as many windows in seconds.
pub fn kong_advanced(config: &PluginConfig<'_>) -> ReadLimits {
    let mut out = ReadLimits::default();
    let by = kong_by(config, "identifier", &mut out);
    let number = |text: &str| text.trim().parse::<f64>().ok().filter(|n| n.fract() == 0.0);
    let whole = |text: &str| number(text).and_then(|n| format!("{n:.0}").parse::<u64>().ok());
    let (limits, windows) = (config.words("limit"), config.words("window_size"));
    if limits.len() != windows.len() || limits.is_empty() {
        out.lose("limits without a window for each of them");
        return out;
    }
    for (n, window) in limits.iter().zip(&windows) {
        match (whole(n), whole(window)) {
            (Some(n), Some(window)) => out.add(n, window, None, by),
            _ => out.lose("a limit that is not a whole number of requests and seconds"),
        }
    }
    out
}

fn kong_by(config: &PluginConfig<'_>, field: &str, out: &mut ReadLimits) -> By {
    match config.text(field) {
        None | Some("consumer" | "consumer-group") => By::Client,
        Some("credential") => By::Key,
        Some(_) => {
            out.lose(BY_OTHERS);
            By::Client
        }
    }
}

const BY_OTHERS: &str =
    "its limit is counted by something else than consumers; it is counted by client";

/// APISIX's `limit-count`.
pub const APISIX_COUNT: ObjectKind = ObjectKind {
    name: "settings of `limit-count`",
    fields: &[
        becomes(&["count", "time_window"], "a token bucket"),
        becomes(
            &["key", "key_type"],
            "`by: client`; anything but the consumer is listed",
        ),
        becomes(&["_meta", "disable"], "a disabled plugin limits nothing"),
        lost(
            &["group"],
            "shares its counter with other routes; here it counts by client",
        ),
        lost(&["rules"], "write these limits into plans by hand"),
        no_effect(&[
            "rejected_code",
            "rejected_msg",
            "policy",
            "redis*",
            "allow_degradation",
            "show_limit_quota_header",
            "sync_interval",
            "window_type",
        ]),
    ],
};

/// APISIX's `limit-req`.
pub const APISIX_REQ: ObjectKind = ObjectKind {
    name: "settings of `limit-req`",
    fields: &[
        becomes(
            &["rate", "burst"],
            "a token bucket that refills `rate` a second and holds `rate` + `burst`",
        ),
        becomes(
            &["key", "key_type"],
            "`by: client`; anything but the consumer is listed",
        ),
        becomes(&["_meta", "disable"], "a disabled plugin limits nothing"),
        no_effect(&[
            "rejected_code",
            "rejected_msg",
            "nodelay",
            "policy",
            "redis*",
            "allow_degradation",
        ]),
    ],
};

/// A number for each window in seconds.
pub fn apisix_count(config: &PluginConfig<'_>) -> ReadLimits {
    let mut out = ReadLimits::default();
    let number = |field: &str| config.get(field).and_then(Node::number);
    match (number("count"), number("time_window")) {
        (Some(n), Some(window)) => {
            apisix_by(config, &mut out);
            out.add(n, window, None, By::Client);
        }
        _ => out.lose("a limit that is not a whole number of requests and seconds"),
    }
    out
}

/// Requests a second, and how many more at once.
pub fn apisix_req(config: &PluginConfig<'_>) -> ReadLimits {
    let mut out = ReadLimits::default();
    let number = |field: &str| config.get(field).and_then(Node::number);
    match (number("rate"), number("burst")) {
        (Some(rate), Some(burst)) => {
            apisix_by(config, &mut out);
            let burst = rate.saturating_add(burst);
            out.add(rate, 1, (burst > rate).then_some(burst), By::Client);
        }
        _ => out.lose("a limit that is not a whole number of requests a second"),
    }
    out
}

fn apisix_by(config: &PluginConfig<'_>, out: &mut ReadLimits) {
    let kind = config.text("key_type").unwrap_or("var");
    let key = config.text("key").unwrap_or("remote_addr");
    let key = key.trim_start_matches('$');
    if kind == "constant" || !matches!(key, "consumer_name" | "consumer_group_id") {
        out.lose(BY_OTHERS);
    }
}
