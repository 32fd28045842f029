//! What a decision does to the request that it lets in (the key is taken out, the upstream is told
//! who calls), and what logs are told of the others. The shells only carry it out.

mod refused;

use std::borrow::Cow;

use crate::decide::{Decision, could_be_ours};
use crate::key::KeyId;
use crate::keyset::{Entry, InForce};
use crate::policy::{Mode, Policy};
use crate::request::credential::{
    Edits, Seen, strip, strip_hosts, strip_ours, strip_query, strip_smuggled,
};
use crate::request::glance::Glance;
use crate::request::headers::Headers;

pub use refused::RefusedCaller;

/// What logs and guards are told of requests that are let in without a key. Guards ask for
/// something that is not empty.
pub const ANONYMOUS: &[u8] = b"-";

const UNVERIFIED: &[u8; 11] = b"unverified:";

/// Adds to the edits what must not reach an upstream, by the policy that decided: keys, and what
/// only we may say. Says what the request asks for besides.
pub fn take_out<'a>(
    keyset: &'a InForce,
    decision: &Decision<'_>,
    headers: Headers<'a>,
    edits: &mut impl Edits<'a>,
) -> Seen {
    let (policy, glance) = (keyset.policy(), decision.glance);
    take_out_keys(keyset, glance, decision.open, headers, edits);
    // What was decided holds for the request as it reads, and not for what it asks a
    // framework to read it as.
    let judged = !decision.open || decision.overridden;
    let overrides = judged && policy.mode == Mode::Enforce;
    let seen = strip_smuggled(policy, glance, headers, overrides, edits);
    if decision.another_host && policy.mode == Mode::Enforce {
        strip_hosts(headers, edits);
    }
    seen
}

/// The same by what a second policy knows of ([`InForce::other`]), for headers as the first edits
/// have left them, because both may change one header.
pub fn take_out_others<'a>(
    other: &'a InForce,
    decision: &Decision<'_>,
    headers: Headers<'a>,
    edits: &mut impl Edits<'a>,
) {
    // Nobody has looked at the request with its policy in hand.
    let glance = Glance::default();
    take_out_keys(other, glance, decision.also_open, headers, edits);
    strip_smuggled(other.policy(), glance, headers, false, edits);
}

fn take_out_keys<'a>(
    keyset: &'a InForce,
    glance: Glance,
    is_open: bool,
    headers: Headers<'a>,
    edits: &mut impl Edits<'a>,
) {
    let policy = keyset.policy();
    match (policy.keys_stay(), is_open) {
        (true, _) => {}
        (false, true) => {
            let ours = |text: &[u8]| could_be_ours(keyset, text);
            strip_ours(policy, glance, headers, &ours, edits);
        }
        (false, false) => strip(policy, glance, headers, edits),
    }
}

/// Adds what a refused request must not hold either: access logs print its path.
pub fn take_out_of_query<'a>(
    keyset: &'a InForce,
    glance: Glance,
    headers: Headers<'a>,
    edits: &mut impl Edits<'a>,
) {
    strip_query(keyset.policy(), glance, headers, edits);
}

/// The key that the upstream, logs and guards are told of, if the request was let in with one.
pub fn caller<'d, 'k>(decision: &'d Decision<'k>) -> Option<&'d Entry<'k>> {
    let caller = decision.entry.as_ref();
    caller.filter(|_| decision.verdict.is_ok() && !decision.anonymous)
}

/// Names and values of the identity headers of a request, none of which it has: what its caller
/// sent was taken out before.
///
/// # Errors
/// Those of `add`.
pub fn identity<E>(
    keyset: &InForce,
    entry: &Entry<'_>,
    mut add: impl FnMut(&str, &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let policy = keyset.policy();
    let mut tell = |name: &str, value: &[u8]| match name {
        "" => Ok(()),
        name => add(name, value),
    };
    tell(&policy.identity.client, entry.client.as_bytes())?;
    tell(&policy.identity.key, &entry.id.digits())?;
    match policy.identity.scopes.as_str() {
        "" => Ok(()),
        name => tell(name, scopes(keyset, entry).as_bytes()),
    }
}

/// The scopes that the upstream is told of: those of the key, and of a publishable one those that
/// every policy leaves to such keys.
fn scopes<'k>(keyset: &'k InForce, entry: &Entry<'_>) -> Cow<'k, str> {
    let policy = keyset.policy();
    // The keys may number scopes by another table than the listener's policy does.
    let name_of = |scope: u16| keyset.scopes().get(usize::from(scope)).map(String::as_str);
    let leaves = |policy: &Policy, name: &str| {
        let number = policy.scope_number(name);
        number.is_some_and(|n| policy.leaves(true, n))
    };
    let other = keyset.other().map(InForce::policy);
    let held = |name: &&str| {
        !entry.publishable
            || (leaves(policy, name) && other.is_none_or(|other| leaves(other, name)))
    };
    let mut all = entry.scopes().filter_map(name_of).filter(held);
    let Some(first) = all.next() else {
        return Cow::Borrowed("");
    };
    // Most keys have one, which needs no memory.
    let Some(second) = all.next() else {
        return Cow::Borrowed(first);
    };
    let mut names = String::with_capacity(64);
    names.push_str(first);
    for name in core::iter::once(second).chain(all) {
        names.push(' ');
        names.push_str(name);
    }
    Cow::Owned(names)
}

/// What logs are told of a key that nobody has verified: the id that it claims.
pub fn unverified(id: KeyId) -> [u8; 21] {
    let mut text = [0; 21];
    let all = UNVERIFIED.iter().copied().chain(id.digits());
    text.iter_mut().zip(all).for_each(|(to, from)| *to = from);
    text
}
