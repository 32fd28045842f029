//! Routes, and the hosts that they name.

use sha2::Digest as _;
use sha2::Sha256;

use super::super::{Auth, HostPorts, Limit, PolicyError, RawPolicy, RawRoute, Route, number};
use super::limits::limit;
use super::{Errors, is_token};
use crate::advice::Advice;
use crate::request::route::{HostPattern, Places, Router, Template};
use crate::sort;

#[inline(never)]
pub(crate) fn routes(raw: &RawPolicy, scopes: &[String], e: &mut Errors) -> (Vec<Route>, Router) {
    let mut out = Vec::new();
    let mut router = Router::default();
    for (i, r) in raw.routes.iter().enumerate() {
        let field = format!("routes[{i}]");
        let template = match Template::parse(&r.path) {
            Ok(t) => Some(t),
            Err(error) => {
                e.push(format!("{field}.path"), error.advice());
                None
            }
        };
        let hosts = hosts(raw, r, &field, e);
        virtual_hosts(r, &field, e);
        methods(r, &field, e);
        promises(r, &field, e);
        let own_limit = r
            .limit
            .as_ref()
            .and_then(|l| limit(&format!("{field}.limit"), l, e));
        let cost = cost(r, own_limit.as_ref(), &field, e);
        // Without its path or one of its hosts it matches other requests than its author meant.
        let Some(template) = template.filter(|_| hosts.len() == r.hosts.len()) else {
            continue;
        };
        let places = Places {
            hosts: &hosts,
            virtual_hosts: &r.virtual_hosts,
        };
        if let Err(conflict) = router.insert(i, places, &template, &r.methods) {
            e.0.push(indistinct(raw, conflict.first, field));
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

/// What is wrong with the methods of a route.
#[inline(never)]
fn methods(r: &RawRoute, field: &str, e: &mut Errors) {
    for (j, method) in r.methods.iter().enumerate() {
        if !is_token(method) {
            e.push(
                format!("{field}.methods[{j}]"),
                Advice::new(format!("`{method}` is not a method"), "write `GET`"),
            );
        } else if method.bytes().any(|b| b.is_ascii_lowercase()) {
            e.push(
                format!("{field}.methods[{j}]"),
                Advice::new(
                    "methods are case-sensitive",
                    format!("write `{}`", method.to_ascii_uppercase()),
                ),
            );
        }
    }
}

/// What a route asks for that it cannot keep.
#[inline(never)]
fn promises(r: &RawRoute, field: &str, e: &mut Errors) {
    if r.auth != Auth::Required && !(r.scopes.is_empty() && r.any_scope.is_empty()) {
        e.push(
            format!("{field}.auth"),
            Advice::new(
                "lets requests in without a key, so `scopes` would be a false promise",
                "remove one of the two",
            ),
        );
    }
    if r.auth == Auth::None && (r.limit.is_some() || r.cost.is_some()) {
        e.push(
            format!("{field}.auth"),
            Advice::new(
                "looks at no key, so there is no bucket to charge",
                "remove `limit` and `cost`, or `auth: none`",
            ),
        );
    }
}

/// What a request costs on a route, and what is wrong with that.
#[inline(never)]
fn cost(r: &RawRoute, own_limit: Option<&Limit>, field: &str, e: &mut Errors) -> u64 {
    let cost = r.cost.unwrap_or(1);
    if cost == 0 {
        e.push(
            format!("{field}.cost"),
            Advice::new(
                "is 0, which would switch every limit off",
                "write 1 or more",
            ),
        );
    }
    if let Some(l) = own_limit
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
    cost
}

/// Two routes that match exactly the same requests.
#[inline(never)]
fn indistinct(raw: &RawPolicy, first_at: usize, field: String) -> PolicyError {
    let first = raw.routes.get(first_at).map_or("", |r| r.path.as_str());
    PolicyError {
        field,
        problem: Advice::new(
            format!(
                "matches exactly the same requests as `routes[{}]` (`{first}`)",
                first_at
            ),
            "change its path, methods or hosts, or remove it",
        ),
        beside: Some(format!("routes[{}]", first_at)),
    }
}

/// The hosts of a route, and what is wrong with them.
#[inline(never)]
fn hosts(raw: &RawPolicy, route: &RawRoute, field: &str, e: &mut Errors) -> Vec<HostPattern> {
    let mut hosts = Vec::new();
    for (j, text) in route.hosts.iter().enumerate() {
        let field = format!("{field}.hosts[{j}]");
        match HostPattern::parse(text) {
            Some(host) if host.has_port() && raw.host_ports == HostPorts::Ignore => e.push(
                field,
                Advice::new(format!("`{text}` names a port, and `host_ports: ignore` says that ports do not count"), "remove one of the two"),
            ),
            Some(host) => hosts.push(host),
            None => e.push(
                field,
                Advice::new(format!("`{text}` is not a host"), "write `api.example.com` or `*.example.com`"),
            ),
        }
    }
    hosts
}

#[inline(never)]
fn virtual_hosts(route: &RawRoute, field: &str, e: &mut Errors) {
    if !route.virtual_hosts.is_empty() && !route.hosts.is_empty() {
        e.push(
            format!("{field}.virtual_hosts"),
            Advice::new(
                "cannot be combined with `hosts`",
                "remove one of the two: Envoy's choice, or the host as it was sent",
            ),
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

#[inline(never)]
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

#[inline(never)]
fn stable_id(places: Places<'_>, template: &Template, methods: &[String]) -> u64 {
    let mut hosts: Vec<String> = places.hosts.iter().map(ToString::to_string).collect();
    // Brackets around a name that is not an address: no host looks like that.
    hosts.extend(places.virtual_hosts.iter().map(|name| format!("[{name}]")));
    let mut methods = methods.to_vec();
    sort::many(&mut hosts, |a, b| a < b);
    sort::many(&mut methods, |a, b| a < b);
    let text = format!("{}\n{template}\n{}", hosts.join(","), methods.join(","));
    let digest: [u8; 32] = Sha256::digest(text.as_bytes()).into();
    let (head, _) = digest.split_at(8);
    // Zero is reserved for limits that belong to no route.
    u64::from_be_bytes(head.try_into().unwrap_or_default()).max(1)
}
