//! The rules, each with the field it is about and the next step.

use std::collections::BTreeSet;

use sha2::{Digest as _, Sha256};

use super::{
    Auth, Credential, HostPorts, Limit, MAX_SCOPES, Plan, PolicyError, QuotaPeriod, RawIdentity,
    RawLimit, RawPlan, RawPolicy, RawQuota, RawRoute, Route, is_plan_name, is_scope, number,
    seconds,
};
use crate::key::Name;
use crate::limit::bucket::{Bucket, MAX_LIMITS};
use crate::request::credential::PROTOCOLS;
use crate::request::route::{HostPattern, Places, Router, Template};

/// What was found so far.
pub(super) struct Errors(pub Vec<PolicyError>);

impl Errors {
    pub fn push(&mut self, field: impl Into<String>, problem: impl Into<String>) {
        self.0.push(PolicyError {
            field: field.into(),
            problem: problem.into(),
            beside: None,
        });
    }

    pub fn name(&mut self, field: &str, text: &str) -> Option<Name> {
        match text.parse() {
            Ok(name) => Some(name),
            Err(error) => {
                let error: crate::key::NameError = error;
                self.push(field, error.to_string());
                None
            }
        }
    }
}

/// A name that means the same in a query, a cookie and a log.
fn is_plain(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 128
        && text.bytes().all(|b| {
            b.is_ascii_alphanumeric()
                || matches!(
                    b,
                    b'!' | b'#'
                        | b'$'
                        | b'%'
                        | b'&'
                        | b'\''
                        | b'*'
                        | b'+'
                        | b'-'
                        | b'.'
                        | b'^'
                        | b'_'
                        | b'`'
                        | b'|'
                        | b'~'
                )
        })
}

const ONE_PLACE: &str = "write exactly one of `header`, `basic`, `query` and `cookie`";

pub(super) fn credentials(raw: &RawPolicy, e: &mut Errors) -> Vec<Credential> {
    if raw.credentials.is_empty() {
        e.push(
            "credentials",
            "is empty, so no key could be found; list at least one, such as `- header: x-api-key`",
        );
    }
    let mut out = Vec::new();
    for (i, c) in raw.credentials.iter().enumerate() {
        let field = format!("credentials[{i}]");
        let place = match (&c.header, &c.query, &c.cookie) {
            (None, None, None) if c.basic.is_some() && c.scheme.is_some() => {
                e.push(
                    format!("{field}.scheme"),
                    "goes with `header` only, not with `basic`",
                );
                continue;
            }
            (None, None, None) => match c.basic {
                Some(part) => Credential::Basic(part),
                None => {
                    e.push(field, ONE_PLACE);
                    continue;
                }
            },
            _ if c.basic.is_some() => {
                e.push(field, ONE_PLACE);
                continue;
            }
            (Some(name), None, None) => {
                if !is_token(name) {
                    e.push(
                        format!("{field}.header"),
                        format!("`{name}` is not a header name"),
                    );
                    continue;
                }
                if let Some(scheme) = &c.scheme
                    && !is_token(scheme)
                {
                    e.push(
                        format!("{field}.scheme"),
                        format!("`{scheme}` is not an authentication scheme; write `Bearer`"),
                    );
                    continue;
                }
                Credential::Header {
                    name: name.to_ascii_lowercase(),
                    scheme: c.scheme.clone(),
                }
            }
            (None, Some(name), None) | (None, None, Some(name)) if c.scheme.is_some() => {
                e.push(
                    format!("{field}.scheme"),
                    format!("goes with `header` only, not with `{name}`"),
                );
                continue;
            }
            (None, Some(name), None) if is_plain(name) => Credential::Query(name.clone()),
            (None, None, Some(name)) if is_plain(name) => Credential::Cookie(name.clone()),
            (None, Some(name), None) | (None, None, Some(name)) => {
                e.push(
                    field,
                    format!("`{name}` is not a name: use letters, digits, `-`, `_` and `.`"),
                );
                continue;
            }
            _ => {
                e.push(field, ONE_PLACE);
                continue;
            }
        };
        if out.contains(&place) {
            e.push(field, "stands here twice; remove one");
        } else {
            out.push(place);
        }
    }
    out
}

pub(super) fn identity(raw: &RawPolicy, credentials: &[Credential], e: &mut Errors) -> RawIdentity {
    let mut seen: Vec<String> = Vec::new();
    let mut lower = |field: &str, name: &str| {
        let name = name.to_ascii_lowercase();
        let field = format!("identity.{field}");
        let reserved = matches!(
            name.as_str(),
            "host"
                | "content-length"
                | "transfer-encoding"
                | "connection"
                | "te"
                | "upgrade"
                | "cookie"
                | "authorization"
        );
        let read = credentials
            .iter()
            .any(|c| matches!(c, Credential::Header { name: n, .. } if *n == name))
            || name == PROTOCOLS;
        if name.is_empty() {
            return name;
        }
        if !is_token(&name) || reserved {
            e.push(field, format!("`{name}` cannot carry an identity; choose a header of your own, such as `x-client`"));
        } else if read {
            e.push(
                field,
                format!("`{name}` is listed in `credentials` as well; choose another header"),
            );
        } else if seen.contains(&name) {
            e.push(
                field,
                format!("`{name}` is used twice; choose another header"),
            );
        }
        seen.push(name.clone());
        name
    };
    RawIdentity {
        client: lower("client", &raw.identity.client),
        key: lower("key", &raw.identity.key),
        scopes: lower("scopes", &raw.identity.scopes),
    }
}

pub(super) fn scope_table<'a>(
    raw: &RawPolicy,
    more: impl IntoIterator<Item = &'a str>,
    e: &mut Errors,
) -> Vec<String> {
    let take = |field: &str, list: &[String], e: &mut Errors| {
        for (i, scope) in list.iter().enumerate() {
            if !is_scope(scope) {
                e.push(format!("{field}[{i}]"), format!("`{scope}` is not a scope: use up to 64 printable characters without spaces, commas, quotes and backslashes, such as `read:users`"));
            }
        }
    };
    take("publishable.scopes", &raw.publishable.scopes, e);
    for (i, route) in raw.routes.iter().enumerate() {
        take(&format!("routes[{i}].scopes"), &route.scopes, e);
        take(&format!("routes[{i}].any_scope"), &route.any_scope, e);
    }
    let own = raw
        .routes
        .iter()
        .flat_map(|r| r.scopes.iter().chain(&r.any_scope))
        .chain(&raw.publishable.scopes);
    let mut out: BTreeSet<String> = own.cloned().collect();
    out.extend(more.into_iter().map(str::to_owned));
    if out.len() > MAX_SCOPES {
        e.push(
            "routes",
            format!(
                "speak of {} scopes with those of the keys; {MAX_SCOPES} is the most",
                out.len()
            ),
        );
    }
    out.into_iter().collect()
}

pub(super) fn checked_plan(name: &str, raw: &RawPlan, e: &mut Errors) -> Plan {
    let field = format!("plans.{name}");
    if !is_plan_name(name) {
        e.push(
            &field,
            "is not a plan name: use up to 32 of `a-z`, `0-9`, `-` and `_`",
        );
    }
    if let Some(raw) = &raw.quota {
        quota(&format!("{field}.quota"), raw, e);
    }
    Plan {
        limits: limits(&format!("{field}.limits"), &raw.limits, e),
        quota: raw.quota.clone(),
        rotate_every: span(
            &field,
            "rotate_every",
            raw.rotate_every.as_deref(),
            "never",
            e,
        ),
        grace: span(&field, "grace", raw.grace.as_deref(), "0", e),
    }
}

fn quota(field: &str, raw: &RawQuota, e: &mut Errors) {
    if raw.requests == 0 {
        e.push(
            format!("{field}.requests"),
            "is 0, which would refuse everything; to take access away, disable the key",
        );
    }
    let in_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'_' | b'-' | b'+');
    if !(1..=64).contains(&raw.time_zone.len()) || !raw.time_zone.bytes().all(in_name) {
        e.push(
            format!("{field}.time_zone"),
            "is not the name of a time zone; write `UTC` or `Europe/Berlin`",
        );
    }
    if !(1..=28).contains(&raw.rolls_over.day) {
        e.push(
            format!("{field}.rolls_over.day"),
            format!(
                "is {}; write 1 to 28, the days that every month has",
                raw.rolls_over.day
            ),
        );
    }
    if raw.rolls_over.day != 1 && raw.per == QuotaPeriod::Day {
        e.push(
            format!("{field}.rolls_over.day"),
            "says nothing for a quota by day; remove it, or write `per: month`",
        );
    }
    if raw.rolls_over.hour > 23 {
        e.push(
            format!("{field}.rolls_over.hour"),
            format!("is {}; write 0 to 23", raw.rolls_over.hour),
        );
    }
}

/// A duration, or the word for none at all.
fn span(plan: &str, field: &str, raw: Option<&str>, none: &str, e: &mut Errors) -> Option<u64> {
    let raw = raw?;
    if raw == none {
        return Some(0);
    }
    let found = seconds(raw);
    if found.is_none() {
        e.push(
            format!("{plan}.{field}"),
            format!("`{raw}` is no duration; write `90d`, `12h` or `{none}`"),
        );
    }
    found
}

pub(super) fn limits(field: &str, raw: &[RawLimit], e: &mut Errors) -> Vec<Limit> {
    if raw.len() > MAX_LIMITS {
        e.push(
            field,
            format!("holds {} limits; {MAX_LIMITS} is the most", raw.len()),
        );
    }
    let mut out: Vec<Limit> = Vec::new();
    for (i, r) in raw.iter().enumerate() {
        let field = format!("{field}[{i}]");
        if let Some(limit) = limit(&field, r, e) {
            if out.iter().any(|l| l.per == limit.per && l.by == limit.by) {
                e.push(
                    format!("{field}.per"),
                    "is that of another limit in this list; keep the stricter one",
                );
            } else {
                out.push(limit);
            }
        }
    }
    out
}

fn limit(field: &str, raw: &RawLimit, e: &mut Errors) -> Option<Limit> {
    let before = e.0.len();
    if raw.requests == 0 {
        e.push(
            format!("{field}.requests"),
            "is 0, which would refuse everything; write 1 or more, or close the route",
        );
    }
    if raw.burst == Some(0) {
        e.push(
            format!("{field}.burst"),
            "is 0, which would refuse everything; write 1 or more, or leave it out",
        );
    }
    let per = seconds(&raw.per).filter(|&s| s <= 366 * 86_400);
    if per.is_none() {
        e.push(
            format!("{field}.per"),
            format!(
                "`{}` is not a period; write `1s`, `1m`, `1h` or `1d`",
                raw.per
            ),
        );
    }
    if before != e.0.len() {
        return None;
    }
    let (per, burst) = (per?, raw.burst.unwrap_or(raw.requests));
    let Some(bucket) = Bucket::new(raw.requests, per, burst) else {
        e.push(
            format!("{field}.requests"),
            "with this `per` and `burst` is beyond what a bucket can count; choose smaller figures",
        );
        return None;
    };
    Some(Limit {
        bucket,
        requests: raw.requests,
        per,
        burst,
        by: raw.by,
    })
}

pub(super) fn routes(raw: &RawPolicy, scopes: &[String], e: &mut Errors) -> (Vec<Route>, Router) {
    let mut out = Vec::new();
    let mut router = Router::default();
    for (i, r) in raw.routes.iter().enumerate() {
        let field = format!("routes[{i}]");
        let template = match Template::parse(&r.path) {
            Ok(t) => t,
            Err(error) => {
                e.push(format!("{field}.path"), error.to_string());
                continue;
            }
        };
        let hosts = hosts(raw, r, &field, e);
        virtual_hosts(r, &field, e);
        for (j, method) in r.methods.iter().enumerate() {
            if !is_token(method) {
                e.push(
                    format!("{field}.methods[{j}]"),
                    format!("`{method}` is not a method; write `GET`"),
                );
            } else if method.bytes().any(|b| b.is_ascii_lowercase()) {
                e.push(
                    format!("{field}.methods[{j}]"),
                    format!(
                        "methods are compared with their case; write `{}`",
                        method.to_ascii_uppercase()
                    ),
                );
            }
        }
        if r.auth != Auth::Required && !(r.scopes.is_empty() && r.any_scope.is_empty()) {
            e.push(format!("{field}.auth"), "lets requests in without a key, so `scopes` would be a false promise; remove one of the two");
        }
        if r.auth == Auth::None && (r.limit.is_some() || r.cost.is_some()) {
            e.push(format!("{field}.auth"), "looks at no key, so there is no bucket to charge; remove `limit` and `cost`, or `auth: none`");
        }
        let own_limit = r
            .limit
            .as_ref()
            .and_then(|l| limit(&format!("{field}.limit"), l, e));
        let cost = r.cost.unwrap_or(1);
        if cost == 0 {
            e.push(
                format!("{field}.cost"),
                "is 0, which would switch every limit off; write 1 or more",
            );
        }
        if let Some(l) = &own_limit
            && cost > l.burst
        {
            e.push(
                format!("{field}.cost"),
                format!(
                    "{cost} is above this route's own burst of {}, so nobody could ever call it",
                    l.burst
                ),
            );
        }
        let places = Places {
            hosts: &hosts,
            virtual_hosts: &r.virtual_hosts,
        };
        if let Err(conflict) = router.insert(i, places, &template, &r.methods) {
            let first = raw
                .routes
                .get(conflict.first)
                .map_or("", |r| r.path.as_str());
            e.0.push(PolicyError {
                field,
                problem: format!(
                    "no request could tell it from `routes[{}]` (`{first}`); change its path, methods or hosts, or remove it",
                    conflict.first
                ),
                beside: Some(format!("routes[{}]", conflict.first)),
            });
            continue;
        }
        let numbers = |list: &[String]| list.iter().filter_map(|s| number(scopes, s)).collect();
        out.push(Route {
            path: r.path.clone(),
            name: route_name(r),
            auth: r.auth,
            scopes: numbers(&r.scopes),
            any_scope: numbers(&r.any_scope),
            cost,
            limit: own_limit,
            stable_id: stable_id(places, &template, &r.methods),
        });
    }
    (out, router)
}

/// The hosts of a route, and what is wrong with them.
fn hosts(raw: &RawPolicy, route: &RawRoute, field: &str, e: &mut Errors) -> Vec<HostPattern> {
    let mut hosts = Vec::new();
    for (j, text) in route.hosts.iter().enumerate() {
        let field = format!("{field}.hosts[{j}]");
        match HostPattern::parse(text) {
            Some(host) if host.has_port() && raw.host_ports == HostPorts::Ignore => e.push(
                field,
                format!("`{text}` names a port, and `host_ports: ignore` says that ports do not count; remove one of the two"),
            ),
            Some(host) => hosts.push(host),
            None => e.push(
                field,
                format!("`{text}` is not a host; write `api.example.com` or `*.example.com`"),
            ),
        }
    }
    hosts
}

fn virtual_hosts(route: &RawRoute, field: &str, e: &mut Errors) {
    if !route.virtual_hosts.is_empty() && !route.hosts.is_empty() {
        e.push(
            format!("{field}.virtual_hosts"),
            "stands beside `hosts`; remove one of the two: Envoy's choice, or the host as it was sent",
        );
    }
    for (j, name) in route.virtual_hosts.iter().enumerate() {
        if !(1..=128).contains(&name.len()) || !name.bytes().all(|b| b.is_ascii_graphic()) {
            e.push(
                format!("{field}.virtual_hosts[{j}]"),
                "is not a name: write that of a virtual host in Envoy's routes, 1 to 128 printable ASCII characters without spaces",
            );
        }
    }
}

fn route_name(raw: &RawRoute) -> String {
    let hosts = match raw.virtual_hosts.is_empty() {
        true => raw.hosts.join(","),
        false => format!("[{}]", raw.virtual_hosts.join(",")),
    };
    match raw.methods.is_empty() {
        true => format!("{hosts}{}", raw.path),
        false => format!("{} {hosts}{}", raw.methods.join(","), raw.path),
    }
}

fn stable_id(places: Places<'_>, template: &Template, methods: &[String]) -> u64 {
    let mut hosts: Vec<String> = places.hosts.iter().map(ToString::to_string).collect();
    // Brackets around a name that is no address: no host looks like it.
    hosts.extend(places.virtual_hosts.iter().map(|name| format!("[{name}]")));
    let mut methods = methods.to_vec();
    hosts.sort_unstable();
    methods.sort_unstable();
    let text = format!("{}\n{template}\n{}", hosts.join(","), methods.join(","));
    let digest: [u8; 32] = Sha256::digest(text.as_bytes()).into();
    let (head, _) = digest.split_at(8);
    // Zero is kept for limits that belong to no route.
    u64::from_be_bytes(head.try_into().unwrap_or_default()).max(1)
}
