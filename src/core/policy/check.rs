//! The rules, each with the field that it is about and the next step.

mod credentials;
mod limits;
mod routes;

use super::{MAX_SCOPES, PolicyError, RawPolicy, is_scope, seconds};
use crate::advice::Advice;
use crate::key::Name;
use crate::sort;
pub(super) use credentials::{credentials, identity};
pub(super) use limits::{attempts, checked_plan, limits};
pub(super) use routes::routes;

/// What was found so far.
pub(super) struct Errors(pub Vec<PolicyError>);

impl Errors {
    #[inline(never)]
    pub fn push(&mut self, field: impl Into<String>, problem: impl Into<Advice>) {
        self.0.push(PolicyError {
            field: field.into(),
            problem: problem.into(),
            beside: None,
        });
    }

    #[inline(never)]
    pub fn name(&mut self, field: &str, text: &str) -> Option<Name> {
        match text.parse() {
            Ok(name) => Some(name),
            Err(error) => {
                let error: crate::key::NameError = error;
                self.push(field, error.advice());
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

#[inline(never)]
pub(super) fn scope_table<'a>(
    raw: &RawPolicy,
    more: impl IntoIterator<Item = &'a str>,
    e: &mut Errors,
) -> Vec<String> {
    let take = |field: &str, list: &[String], e: &mut Errors| {
        for (i, scope) in list.iter().enumerate() {
            if !is_scope(scope) {
                e.push(format!("{field}[{i}]"), Advice::new(format!("`{scope}` is not a scope"), "use up to 64 printable characters without spaces, commas, quotes and backslashes, such as `read:users`"));
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
    let more = more.into_iter().map(str::to_owned);
    let mut out: Vec<String> = own.cloned().chain(more).collect();
    sort::many(&mut out, |a, b| a < b);
    out.dedup();
    if out.len() > MAX_SCOPES {
        e.push(
            "routes",
            format!(
                "name {} scopes, those of the keys included; {MAX_SCOPES} is the maximum",
                out.len()
            ),
        );
    }
    out
}

#[inline(never)]
pub(super) fn version_and_realm(raw: &RawPolicy, e: &mut Errors) {
    if raw.version != 1 {
        e.push(
            "version",
            Advice::new(
                format!("{} is not known", raw.version),
                "write `version: 1`",
            ),
        );
    }
    if raw.realm.is_empty()
        || raw.realm.len() > 128
        || !raw
            .realm
            .bytes()
            .all(|b| matches!(b, b' '..=b'~') && b != b'"' && b != b'\\')
    {
        e.push(
            "realm",
            "use 1 to 128 printable ASCII characters without quotes and backslashes",
        );
    }
}

#[inline(never)]
pub(super) fn environments(raw: &RawPolicy, e: &mut Errors) -> Vec<Name> {
    let environments: Vec<Name> = raw
        .environments
        .iter()
        .enumerate()
        .filter_map(|(i, n)| e.name(&format!("environments[{i}]"), n))
        .collect();
    if raw.environments.is_empty() {
        e.push(
            "environments",
            "is empty, so no key could ever pass; list at least one, such as `live`",
        );
    }
    environments
}

#[inline(never)]
pub(super) fn not_after(raw: &RawPolicy, e: &mut Errors) -> Option<u64> {
    raw.not_after
        .as_deref()
        .and_then(|text| match seconds(text) {
            Some(s) if s >= 60 => Some(s),
            _ => {
                e.push(
                    "not_after",
                    Advice::new(
                        format!("`{text}` is not a duration of a minute or more"),
                        "write `12h` or `7d`",
                    ),
                );
                None
            }
        })
}

#[cfg(not(target_family = "wasm"))]
pub(super) fn longest(field: &str, text: Option<&String>, e: &mut Errors) -> Option<u64> {
    let text = text?;
    let found = seconds(text).filter(|s| *s > 0);
    if found.is_none() {
        e.push(
            field,
            Advice::new(
                format!("`{text}` is not a duration"),
                "write `90d` or `24h`",
            ),
        );
    }
    found
}
