//! The rule that a request belongs to, by every reading of its host and path.

use super::denial::Denial;
use super::trace::Trace;
use crate::policy::{Auth, Policy, Route, Unmatched};
use crate::request::host::{AmbiguousHost, Host};
use crate::request::overrides;
use crate::request::path::{Ambiguous, Readings, readings, split_query};
use crate::request::route::{Comparison, has_capitals};

mod asked;

pub(super) use asked::{is_overridden, names_another_host};

/// The parts of a request that determine its rule.
#[derive(Clone, Copy, Default)]
pub(super) struct Call<'a> {
    pub method: &'a [u8],
    pub target: &'a [u8],
    pub authority: Option<&'a [u8]>,
    /// A second authority differs from the first.
    pub several_hosts: bool,
    /// The virtual host that Envoy chose, where the policy asks.
    pub virtual_host: Option<&'a str>,
}

/// The target of a request with several methods or targets: no path, so that it is refused.
const SEVERAL: &[u8] = b"?";

impl<'a> Call<'a> {
    /// Takes a `:method` header.
    pub fn add_method(&mut self, value: &'a [u8]) {
        if !self.method.is_empty() && self.method != value {
            self.target = SEVERAL;
        }
        self.method = value;
    }

    /// Takes a `:path` header.
    pub fn add_target(&mut self, value: &'a [u8]) {
        self.target = match self.target.is_empty() || self.target == value {
            true => value,
            false => SEVERAL,
        };
    }

    /// Takes a `:authority` or `host` header.
    pub fn add_authority(&mut self, value: &'a [u8]) {
        match self.authority {
            None => self.authority = Some(value),
            Some(first) => self.several_hosts |= first != value,
        }
    }
}

/// The position of the rule among the policy's routes; `None` if all readings are unmatched.
///
/// # Errors
/// [`Denial::AmbiguousHost`] and [`Denial::AmbiguousPath`] if readings belong to rules that differ
/// in what they require, or if the readings cannot be determined.
pub(super) fn find(
    policy: &Policy,
    call: &Call<'_>,
    trace: &mut impl Trace,
) -> Result<Option<usize>, Denial> {
    let path = readings(split_query(call.target).0).map_err(|why| {
        trace.note("path", false, || why.detail().to_owned());
        Denial::AmbiguousPath(why)
    })?;
    let host = host(policy, call).map_err(|why| {
        trace.note("host", false, || why.detail().to_owned());
        Denial::AmbiguousHost(why)
    })?;
    names_no_other_host(policy, &path).map_err(|why| {
        trace.note("path", false, || why.detail().to_owned());
        Denial::AmbiguousPath(why)
    })?;
    let search = Search { policy, call };
    let found = search.find(host.name(), path.as_sent());
    search.hosts_agree(found, &host, &path).map_err(|why| {
        trace.note("host", false, || why.detail().to_owned());
        Denial::AmbiguousHost(why)
    })?;
    search.paths_agree(found, &host, &path).map_err(|why| {
        trace.note("path", false, || why.detail().to_owned());
        Denial::AmbiguousPath(why)
    })?;
    let loosely = search.cases_agree(found, &host, &path);
    let loosely = loosely.and_then(|()| search.empty_parameters_agree(found, &host, &path));
    loosely.map_err(|why| {
        trace.note("path", false, || why.detail().to_owned());
        Denial::AmbiguousPath(why)
    })?;
    let method = methods_agree(policy, call, found);
    let method = method.and_then(|()| query_agrees(policy, call, found));
    method.map_err(|why| {
        trace.note("method", false, || why.detail().to_owned());
        Denial::AmbiguousPath(why)
    })?;
    trace.note("path", true, || match path.others().count() {
        0 => format!("reads as {}", path.as_sent()),
        n => format!(
            "can be read in {} ways, such as {}, and all lead to the same rule",
            n + 1,
            path.as_sent()
        ),
    });
    Ok(found)
}

#[inline]
fn host<'a>(policy: &Policy, call: &Call<'a>) -> Result<Host<'a>, AmbiguousHost> {
    if call.several_hosts {
        return Err(AmbiguousHost::Several);
    }
    // A request that falls to other rules because Envoy does not report the name would bypass the
    // rules with that name.
    if policy.router.names_virtual_hosts() && call.virtual_host.is_none_or(str::is_empty) {
        return Err(AmbiguousHost::VirtualHost);
    }
    call.authority.map_or(Ok(Host::NONE), Host::parse)
}

/// Methods are case-sensitive (RFC 9110 section 9.1), and HTTP/2 lets any case through; but
/// frameworks convert them to upper case before they compare.
fn methods_agree(policy: &Policy, call: &Call<'_>, found: Option<usize>) -> Result<(), Ambiguous> {
    if !call.method.iter().any(u8::is_ascii_lowercase) {
        return Ok(());
    }
    let method = call.method.to_ascii_uppercase();
    let method = method.as_slice();
    let upper = Call { method, ..*call };
    let search = Search { policy, call };
    match find(policy, &upper, &mut ()) {
        Ok(other) if search.alike(found, other) => Ok(()),
        _ => Err(Ambiguous::Method),
    }
}

/// URL parsers take what follows two leading slashes for a host, and there may be rules for that
/// host.
#[inline]
fn names_no_other_host(policy: &Policy, path: &Readings<'_>) -> Result<(), Ambiguous> {
    let mut all = core::iter::once(path.as_sent()).chain(path.others());
    match policy.router.names_hosts() && all.any(|text| text.starts_with("//")) {
        true => Err(Ambiguous::DoubledSlash),
        false => Ok(()),
    }
}

struct Search<'a> {
    policy: &'a Policy,
    call: &'a Call<'a>,
}

impl Search<'_> {
    #[inline(never)]
    fn find(&self, host: &str, path: &str) -> Option<usize> {
        #[cfg(test)]
        super::tests::lookups::count();
        let router = &self.policy.router;
        let method = self.call.method;
        let virtual_host = self
            .call
            .virtual_host
            .filter(|_| router.names_virtual_hosts());
        virtual_host
            .and_then(|name| router.find_in(Comparison::Usual, name, method, path))
            .or_else(|| router.find(host, method, path))
    }

    /// As other readers find it.
    #[cold]
    #[inline(never)]
    fn find_as(&self, comparison: Comparison, host: &str, path: &str) -> Option<usize> {
        #[cfg(test)]
        super::tests::lookups::count();
        let router = &self.policy.router;
        let method = self.call.method;
        let virtual_host = self
            .call
            .virtual_host
            .filter(|_| router.names_virtual_hosts());
        virtual_host
            .and_then(|name| router.find_in(comparison, name, method, path))
            .or_else(|| router.find_as(comparison, host, method, path))
    }

    fn auth(&self, rule: Option<usize>) -> Option<Auth> {
        Some(self.policy.routes.get(rule?)?.auth)
    }

    /// Whether two rules require the same: they are the same rule, or neither checks keys.
    fn alike(&self, a: Option<usize>, b: Option<usize>) -> bool {
        a == b || (self.auth(a) == Some(Auth::None) && self.auth(b) == Some(Auth::None))
    }

    fn hosts_agree(
        &self,
        found: Option<usize>,
        host: &Host<'_>,
        path: &Readings<'_>,
    ) -> Result<(), AmbiguousHost> {
        if host.is_plain() || !self.policy.router.names_hosts() {
            return Ok(());
        }
        for (other, why) in host.others(self.policy.ports_count()) {
            if !self.alike(found, self.find(&other, path.as_sent())) {
                return Err(why);
            }
        }
        Ok(())
    }

    /// Every reading of the path, by every reading of the host.
    fn paths_agree(
        &self,
        found: Option<usize>,
        host: &Host<'_>,
        path: &Readings<'_>,
    ) -> Result<(), Ambiguous> {
        // An open rule opens only the form in which it is written: a reader that distinguishes `/a`
        // from `/a/` may find the other form under a rule that requires a key.
        let is_open = self.auth(found).is_some_and(|auth| auth != Auth::Required);
        let router = &self.policy.router;
        if path.agree() && (host.is_plain() || !router.names_hosts()) {
            // There is only one reading. A reader that minds the slash finds the same rule if it is
            // written that way.
            let is_written_so = |at| router.ends_with_slash(at) == path.as_sent().ends_with('/');
            if !is_open || found.is_some_and(is_written_so) {
                return Ok(());
            }
        }
        let is_one = path.agree() && !is_open;
        let others = match is_one || host.is_plain() || !self.policy.router.names_hosts() {
            true => Vec::new(),
            false => host.others(self.policy.ports_count()),
        };
        let names = || core::iter::once(host.name()).chain(others.iter().map(|(h, _)| h.as_str()));
        for other in path.others() {
            if names().any(|host| !self.alike(found, self.find(host, other))) {
                return Err(path.doubt());
            }
        }
        if is_open {
            let all = core::iter::once(path.as_sent()).chain(path.others());
            for text in all {
                let exactly = |host| self.find_as(Comparison::MindsSlash, host, text);
                if names().any(|host| !self.alike(found, exactly(host))) {
                    return Err(Ambiguous::TrailingSlash);
                }
            }
        }
        Ok(())
    }

    /// Readers that ignore case may find another rule, which is harmless unless it requires more.
    #[inline]
    fn cases_agree(
        &self,
        found: Option<usize>,
        host: &Host<'_>,
        path: &Readings<'_>,
    ) -> Result<(), Ambiguous> {
        let mut all = core::iter::once(path.as_sent()).chain(path.others());
        let has_capitals = self.policy.router.has_capitals() || all.any(has_capitals);
        match has_capitals && self.finds_more(Comparison::IgnoresCase, found, host, path) {
            true => Err(Ambiguous::LetterCase),
            false => Ok(()),
        }
    }

    /// Readers that accept an empty parameter find `/{id}.json` for `/.json`. That does no harm
    /// either unless that rule requires more.
    fn empty_parameters_agree(
        &self,
        found: Option<usize>,
        host: &Host<'_>,
        path: &Readings<'_>,
    ) -> Result<(), Ambiguous> {
        let router = &self.policy.router;
        if !router.may_be_empty() {
            return Ok(());
        }
        let mut all = core::iter::once(path.as_sent()).chain(path.others());
        let has_capitals = router.has_capitals() || all.any(has_capitals);
        let more = |comparison| self.finds_more(comparison, found, host, path);
        match more(Comparison::TakesNothing)
            || has_capitals && more(Comparison::IgnoresCaseAndTakesNothing)
        {
            true => Err(Ambiguous::EmptyParameter),
            false => Ok(()),
        }
    }

    /// Whether a reader that compares like this finds a rule that requires more.
    #[cold]
    #[inline(never)]
    fn finds_more(
        &self,
        comparison: Comparison,
        found: Option<usize>,
        host: &Host<'_>,
        path: &Readings<'_>,
    ) -> bool {
        if found.is_none() && self.policy.unmatched == Unmatched::Deny {
            return false;
        }
        let others = match host.is_plain() || !self.policy.router.names_hosts() {
            true => Vec::new(),
            false => host.others(self.policy.ports_count()),
        };
        let names = || core::iter::once(host.name()).chain(others.iter().map(|(h, _)| h.as_str()));
        let rule = |at: Option<usize>| self.policy.routes.get(at?);
        for text in core::iter::once(path.as_sent()).chain(path.others()) {
            for name in names() {
                let other = self.find_as(comparison, name, text);
                if other != found && rule(other).is_some_and(|other| !covers(rule(found), other)) {
                    return true;
                }
            }
        }
        false
    }
}

/// Whether a request that satisfies `rule` satisfies `other` as well. Without a rule, it has only
/// presented a key.
fn covers(rule: Option<&Route>, other: &Route) -> bool {
    let auth = rule.map_or(Auth::Required, |rule| rule.auth);
    let is_asked = match other.auth {
        Auth::None => return true,
        Auth::Optional => auth != Auth::None,
        Auth::Required => auth == Auth::Required,
    };
    let scopes = rule.map_or(&[][..], |rule| &rule.scopes);
    let any_scope = rule.map_or(&[][..], |rule| &rule.any_scope);
    let has_all = other.scopes.iter().all(|scope| scopes.contains(scope));
    let is_one = |scope: &u16| other.any_scope.contains(scope);
    let has_any = other.any_scope.is_empty()
        || scopes.iter().any(is_one)
        || (!any_scope.is_empty() && any_scope.iter().all(is_one));
    let pays = rule.map_or(1, |rule| rule.cost) >= other.cost && other.limit.is_none();
    is_asked && has_all && has_any && pays
}

/// How many methods, paths, queries, prefixes and hosts a request may name and still have them
/// checked one by one.
const MOST_OVERRIDES: usize = 12;

/// Some frameworks take the method from the query: most of them only for a `POST`, some for any
/// request. That is harmless unless the rule for it requires more.
fn query_agrees(policy: &Policy, call: &Call<'_>, found: Option<usize>) -> Result<(), Ambiguous> {
    let (path, Some(query)) = split_query(call.target) else {
        return Ok(());
    };
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
