//! Whether what headers and a query ask for belongs to the rule that the request itself does.

use super::{Call, Search, covers, find};
use crate::policy::Policy;
use crate::request::credential::percent_decoded;
use crate::request::headers::Headers;
use crate::request::host::Host;
use crate::request::overrides::{self, Override};
use crate::request::path::{Ambiguous, split_query};

/// Whether a request that was let in without a look at keys asks, by its headers, for a method or
/// a path that another rule covers: any of the methods with any of the paths, at any of the hosts.
/// What is no method or no path by itself, nobody here reads, and so it counts as another rule.
///
/// Hosts and prefixes that a request names are looked at by themselves ([`names_another_host`]):
/// once what this is about is taken out, that is all that is left.
pub(in super::super) fn is_overridden(
    policy: &Policy,
    call: &Call<'_>,
    found: Option<usize>,
    headers: Headers<'_>,
) -> bool {
    let mut asked = overrides::find(headers).peekable();
    if asked.peek().is_none() {
        return false;
    }
    let mut methods = vec![call.method.to_vec()];
    let mut targets = vec![call.target];
    for asked in asked {
        match asked {
            Override::Method(name) => {
                let name = name.trim_ascii();
                if name.is_empty() || !name.iter().all(u8::is_ascii_alphabetic) {
                    return true;
                }
                // Servers compare it as it is, or in upper case.
                methods.extend([name.to_vec(), name.to_ascii_uppercase()]);
            }
            // What is no path, `find` refuses. Of several, joined as a list, servers take one.
            Override::Target(path) => {
                let listed = path.split(|b| *b == b',').skip(1).map(<[u8]>::trim_ascii);
                let listed = listed.filter(|one| one.starts_with(b"/"));
                let first = path.split(|b| *b == b',').next();
                let first = first.filter(|_| listed.clone().next().is_some());
                targets.push(path);
                targets.extend(first.into_iter().chain(listed));
            }
        }
    }
    is_elsewhere(policy, call, found, headers, &methods, targets)
}

/// Whether a request asks, by its headers, to be taken for one for a host that has another rule,
/// or for one whose path lacks a prefix and so has another.
pub(in super::super) fn names_another_host(
    policy: &Policy,
    call: &Call<'_>,
    found: Option<usize>,
    headers: Headers<'_>,
) -> bool {
    let mut names = headers.iter().map(|(name, _)| name);
    let methods = || [call.method.to_vec()];
    names.any(overrides::is_host)
        && is_elsewhere(policy, call, found, headers, &methods(), vec![call.target])
}

/// Whether any of the methods has another rule with any of the targets, or with what is left of
/// one without a prefix, at any of the hosts that the headers name.
#[cold]
#[inline(never)]
fn is_elsewhere(
    policy: &Policy,
    call: &Call<'_>,
    found: Option<usize>,
    headers: Headers<'_>,
    methods: &[Vec<u8>],
    mut targets: Vec<&[u8]>,
) -> bool {
    let minds = policy.router.names_hosts();
    // Where no rule minds, what is no host is still read as a part of a URL by some.
    let is_other =
        |host: &&[u8]| Some(*host) != call.authority && (minds || Host::parse(host).is_err());
    let named = overrides::hosts(headers).filter(is_other);
    let hosts = core::iter::once(call.authority).chain(named.map(Some));
    let hosts: Vec<_> = hosts.take(MOST_OVERRIDES).collect();
    let whole = targets.len();
    for prefix in overrides::prefixes(headers).take(MOST_OVERRIDES) {
        for at in 0..whole.min(MOST_OVERRIDES) {
            targets.extend(targets.get(at).and_then(|target| without(prefix, target)));
        }
    }
    // The request's own host is always there.
    if methods.len() + targets.len() + hosts.len() > MOST_OVERRIDES + 1 {
        return true;
    }
    let search = Search { policy, call };
    let is_another = |other: &Call<'_>| {
        !find(policy, other, &mut ()).is_ok_and(|other| search.alike(found, other))
    };
    hosts.iter().any(|&authority| {
        targets.iter().any(|&target| {
            methods.iter().any(|method| {
                is_another(&Call {
                    method,
                    target,
                    authority,
                    ..*call
                })
            })
        })
    })
}

/// What a server makes of a target that cuts a prefix off its path, wherever it finds it. Some
/// decode the path first: of an escaped one, what is no path, because nobody can tell.
fn without<'a>(prefix: &[u8], target: &'a [u8]) -> Option<&'a [u8]> {
    let path = split_query(target).0;
    let found = |path: &[u8]| path.windows(prefix.len()).position(|part| part == prefix);
    if path.contains(&b'%') {
        let at = found(path).or_else(|| found(&percent_decoded(path)));
        return at.map(|_| &b""[..]);
    }
    let end = found(path)? + prefix.len();
    match end == path.len() {
        true => Some(b"/"),
        false => target.get(end..),
    }
}

/// Methods, paths and hosts that a request may ask for and still be asked about one by one.
const MOST_OVERRIDES: usize = 12;

/// Of a `POST` some frameworks take the method from the query. That does no harm unless its rule asks
/// for more.
pub(super) fn query_agrees(
    policy: &Policy,
    call: &Call<'_>,
    found: Option<usize>,
) -> Result<(), Ambiguous> {
    let (path, Some(query)) = split_query(call.target) else {
        return Ok(());
    };
    if !call.method.eq_ignore_ascii_case(b"POST") {
        return Ok(());
    }
    let search = Search { policy, call };
    let rule = |at: Option<usize>| policy.routes.get(at?);
    let is_another = |method: &[u8]| {
        let asked = Call {
            method,
            target: path,
            ..*call
        };
        match find(policy, &asked, &mut ()) {
            Ok(other) if search.alike(found, other) => false,
            Ok(other) => rule(other).is_none_or(|other| !covers(rule(found), other)),
            Err(_) => true,
        }
    };
    let mut asked = overrides::methods_in_query(query).enumerate();
    match asked.any(|(n, method)| n >= MOST_OVERRIDES || is_another(&method)) {
        true => Err(Ambiguous::MethodParameter),
        false => Ok(()),
    }
}
