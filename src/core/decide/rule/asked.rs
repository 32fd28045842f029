//! Whether what headers and the query ask for belongs to the same rule as the request itself.

use super::{Call, MOST_OVERRIDES, Search, find};
use crate::policy::Policy;
use crate::request::credential::percent_decoded;
use crate::request::headers::Headers;
use crate::request::host::Host;
use crate::request::overrides::{self, Override};
use crate::request::path::{readings, split_query};

/// Whether headers of a request that was let in without checking keys ask for a method or a path
/// that another rule covers: any of the methods, with any of the paths and everything in queries,
/// at any of the hosts. A value that is not a valid method or path counts as another rule; so do
/// more values than can be checked one by one.
///
/// Hosts and prefixes that a request names are checked separately ([`names_another_host`]): once
/// these overrides are removed, only those are left.
pub(in super::super) fn is_overridden(
    policy: &Policy,
    call: &Call<'_>,
    found: Option<usize>,
    headers: Headers<'_>,
) -> bool {
    let mut overrides = overrides::find(headers).peekable();
    if overrides.peek().is_none() {
        return false;
    }
    let mut asked = Asked::from_call(call);
    for one in overrides {
        match one {
            Override::Method(name) => {
                let name = name.trim_ascii();
                if name.is_empty() || !name.iter().all(u8::is_ascii_alphabetic) {
                    return true;
                }
                // Servers compare it as it is, or in upper case.
                asked.add_method(name.to_vec());
                asked.add_method(name.to_ascii_uppercase());
            }
            // `find` refuses what is not a path. If several are joined as a list, servers take one
            // of them.
            Override::Target(path) => {
                asked.add_target(path);
                let mut listed = path.split(|b| *b == b',').map(<[u8]>::trim_ascii);
                let first = listed.next().unwrap_or_default();
                asked.add_target(first);
                let listed = listed.filter(|one| one.starts_with(b"/"));
                listed.for_each(|one| asked.add_target(one));
            }
        }
        if asked.is_too_much() {
            return true;
        }
    }
    asked.leads_elsewhere(policy, call, found, headers)
}

/// Whether headers of a request name a host that has another rule, or a prefix without which the
/// path has another rule.
pub(in super::super) fn names_another_host(
    policy: &Policy,
    call: &Call<'_>,
    found: Option<usize>,
    headers: Headers<'_>,
) -> bool {
    let mut names = headers.iter().map(|(name, _)| name);
    names.any(overrides::is_host)
        && Asked::from_call(call).leads_elsewhere(policy, call, found, headers)
}

/// What a request may be taken for: any combination of these, each listed once.
struct Asked<'a> {
    methods: Vec<Vec<u8>>,
    /// Without queries.
    paths: Vec<&'a [u8]>,
    /// A server may read the path in one place and the query in another, so each query counts with
    /// all paths.
    queries: Vec<&'a [u8]>,
    prefixes: Vec<&'a [u8]>,
    hosts: Vec<Option<&'a [u8]>>,
}

impl<'a> Asked<'a> {
    /// What the request itself says.
    fn from_call(call: &Call<'a>) -> Self {
        let mut asked = Self {
            methods: vec![call.method.to_vec()],
            paths: Vec::new(),
            queries: Vec::new(),
            prefixes: Vec::new(),
            hosts: vec![call.authority],
        };
        asked.add_target(call.target);
        asked
    }

    #[inline]
    fn add_method(&mut self, method: Vec<u8>) {
        add(&mut self.methods, method);
    }

    fn add_target(&mut self, target: &'a [u8]) {
        let (path, query) = split_query(target);
        add(&mut self.paths, path);
        if let Some(query) = query.filter(|query| !query.is_empty()) {
            add(&mut self.queries, query);
        }
    }

    /// The request's own host is always there.
    fn is_too_much(&self) -> bool {
        let rest = self.hosts.len() + self.prefixes.len() + self.queries.len().saturating_sub(1);
        self.methods.len() + self.paths.len() + rest > MOST_OVERRIDES + 1
    }

    /// Whether any of the methods has another rule with any of the paths, or with what is left of
    /// one without a prefix, at any of the hosts that the headers name.
    #[cold]
    #[inline(never)]
    fn leads_elsewhere(
        mut self,
        policy: &Policy,
        call: &Call<'a>,
        found: Option<usize>,
        headers: Headers<'a>,
    ) -> bool {
        let minds = policy.router.names_hosts();
        for host in overrides::hosts(headers) {
            // Even if no rule distinguishes hosts, some servers read an invalid host as a part of a
            // URL.
            if minds || Host::parse(host).is_err() {
                add(&mut self.hosts, Some(host));
            }
            if self.is_too_much() {
                return true;
            }
        }
        for prefix in overrides::prefixes(headers) {
            add(&mut self.prefixes, prefix);
            if self.is_too_much() {
                return true;
            }
        }
        if self.cut_prefixes().is_err() || self.is_too_much() {
            return true;
        }
        let search = Search { policy, call };
        let is_another = |other: &Call<'_>| {
            !find(policy, other, &mut ()).is_ok_and(|other| search.alike(found, other))
        };
        // `find` looks at each method that the query asks for.
        let query = self.queries.join(&b'&');
        let mut targets = self.paths.iter().map(|path| match query.is_empty() {
            true => path.to_vec(),
            false => [*path, b"?", &query].concat(),
        });
        targets.any(|target| {
            self.hosts.iter().any(|&authority| {
                self.methods.iter().any(|method| {
                    is_another(&Call {
                        method,
                        target: &target,
                        authority,
                        ..*call
                    })
                })
            })
        })
    }

    /// Adds the paths that remain for a server that cuts off a prefix. With several prefixes, it is
    /// unknown which are cut: perhaps one after another, perhaps joined to a list.
    fn cut_prefixes(&mut self) -> Result<(), Doubt> {
        let several = self.prefixes.len() > 1;
        for prefix in &self.prefixes {
            let is_doubtful = several || prefix.iter().any(|b| matches!(b, b',' | b'%'));
            if is_doubtful {
                for part in prefix.split(|b| *b == b',') {
                    let part = overrides::without_slashes(part);
                    if self.paths.iter().any(|path| may_hold(part, path)) {
                        return Err(Doubt);
                    }
                }
                continue;
            }
            // What is left may begin with it again.
            let mut at = 0;
            while let Some(path) = self.paths.get(at).filter(|_| at <= MOST_OVERRIDES) {
                if let Some(rest) = without(prefix, path)? {
                    add(&mut self.paths, rest);
                }
                at += 1;
            }
        }
        Ok(())
    }
}

/// It is unknown what servers make of it.
struct Doubt;

#[inline]
fn add<T: PartialEq>(all: &mut Vec<T>, one: T) {
    if !all.contains(&one) {
        all.push(one);
    }
}

/// The path that remains for a server that cuts off a prefix at its first occurrence. Some servers
/// rewrite the path before they search.
fn without<'a>(prefix: &[u8], path: &'a [u8]) -> Result<Option<&'a [u8]>, Doubt> {
    if !may_hold(prefix, path) {
        return Ok(None);
    }
    let is_as_written = readings(path).is_ok_and(|readings| readings.agree());
    let at = path.windows(prefix.len()).position(|part| part == prefix);
    let end = at.filter(|_| is_as_written).ok_or(Doubt)? + prefix.len();
    Ok(match end == path.len() {
        true => Some(b"/"),
        false => path.get(end..),
    })
}

/// Whether some reading of a path may contain a text, ignoring escapes and letter case.
fn may_hold(part: &[u8], path: &[u8]) -> bool {
    let Ok(readings) = readings(path) else {
        return true;
    };
    let folded = |text: &[u8]| percent_decoded(text).to_ascii_lowercase();
    let part = folded(part);
    let mut texts = core::iter::once(readings.as_sent()).chain(readings.others());
    part.is_empty()
        || texts.any(|text| {
            let text = folded(text.as_bytes());
            text.windows(part.len()).any(|here| here == part)
        })
}
