//! Routes: path templates, and the one route that a request belongs to.
//!
//! The most specific route wins; the order in the file does not matter: first by host (one of
//! Envoy's virtual hosts by name, then exact, then `*.suffix`, longest first, then any), then by
//! path, segment by segment, then by method (named, then any). That is the precedence of the
//! Kubernetes Gateway API. Among the templates that match a segment, the order is:
//!
//! 1. text: `me`;
//! 2. text around parameters: `{id}.json`, `{base}...{head}`, `{id}:cancel`. If there are several,
//!    the one with the most text; then the one with more text before its first parameter; then the
//!    one with more after its last; then the first in alphabetical order, ignoring parameter names;
//! 3. a parameter, `{id}`;
//! 4. one or more further segments: `{rest+}`;
//! 5. any number of further segments: `{*rest}`.
//!
//! Two routes that match exactly the same requests are a [`Conflict`]. A request that matches a
//! route's path but none of its methods falls to the next less specific route.

use std::collections::BTreeSet;

mod comparison;
mod host;
mod pattern;
mod table;
mod template;
mod tree;

pub use comparison::Comparison;
pub(crate) use comparison::has_capitals;
pub use host::HostPattern;
pub use pattern::Pattern;
use table::Table;
pub use template::{Template, TemplateError};
pub use tree::Conflict;
use tree::{Tree, Wanted, relative};

/// The routes of a policy, indexed. Lookup time does not grow with their number.
#[derive(Clone, Debug, Default)]
pub struct Router {
    virtual_hosts: Table<Tree>,
    exact: Table<Tree>,
    /// Longest first.
    suffixes: Vec<(String, Tree)>,
    any: Tree,
    /// Routes whose templates end with a slash.
    slashed: BTreeSet<usize>,
    /// Some template has a capital letter.
    has_capitals: bool,
    /// Some template has a parameter that some readers let be empty.
    may_be_empty: bool,
}

/// Where a route applies: everywhere, if both lists are empty.
#[derive(Clone, Copy, Debug, Default)]
pub struct Places<'a> {
    /// By the host of the request.
    pub hosts: &'a [HostPattern],
    /// By the name of the virtual host that Envoy chose.
    pub virtual_hosts: &'a [String],
}

impl Router {
    /// Adds a route under its number.
    ///
    /// # Errors
    /// [`Conflict`] with a route added before.
    #[inline(never)]
    pub fn insert(
        &mut self,
        route: usize,
        places: Places<'_>,
        template: &Template,
        methods: &[String],
    ) -> Result<(), Conflict> {
        let everywhere = [HostPattern::Any];
        let hosts = match (places.hosts, places.virtual_hosts) {
            ([], []) => &everywhere,
            (hosts, _) => hosts,
        };
        for name in places.virtual_hosts {
            let tree = self.virtual_hosts.entry(name.clone()).or_default();
            tree.insert(route, template, methods)?;
        }
        for host in hosts {
            self.tree(host).insert(route, template, methods)?;
        }
        if template.slash {
            self.slashed.insert(route);
        }
        self.has_capitals |= template.has_capitals();
        self.may_be_empty |= template.may_be_empty();
        Ok(())
    }

    #[inline(never)]
    fn tree(&mut self, host: &HostPattern) -> &mut Tree {
        match host {
            HostPattern::Any => &mut self.any,
            HostPattern::Exact(h) => self.exact.entry(h.clone()).or_default(),
            HostPattern::Suffix(s) => {
                let at = match self.suffixes.iter().position(|(have, _)| have == s) {
                    Some(at) => at,
                    None => {
                        let at = self
                            .suffixes
                            .partition_point(|(have, _)| have.len() >= s.len());
                        self.suffixes.insert(at, (s.clone(), Tree::default()));
                        at
                    }
                };
                match self.suffixes.get_mut(at) {
                    Some((_, tree)) => tree,
                    // The position was found or made just above.
                    None => &mut self.any,
                }
            }
        }
    }

    /// Whether any route asks for a host.
    pub fn names_hosts(&self) -> bool {
        !self.exact.is_empty() || !self.suffixes.is_empty()
    }

    /// Whether any route asks for one of Envoy's virtual hosts.
    pub fn names_virtual_hosts(&self) -> bool {
        !self.virtual_hosts.is_empty()
    }

    /// Whether a template has a capital letter. If none has, a path without one reads the same
    /// to readers that ignore case.
    pub fn has_capitals(&self) -> bool {
        self.has_capitals
    }

    /// Whether a template has a parameter that some readers let be empty: one beside text, or
    /// `{rest+}`.
    pub fn may_be_empty(&self) -> bool {
        self.may_be_empty
    }

    /// Whether a route's template ends with a slash.
    pub fn ends_with_slash(&self, route: usize) -> bool {
        self.slashed.contains(&route)
    }

    /// The route that a request belongs to, by one reading of its host and path.
    pub fn find(&self, host: &str, method: &[u8], path: &str) -> Option<usize> {
        self.find_as(Comparison::Usual, host, method, path)
    }

    /// Likewise, as other readers compare.
    pub fn find_as(
        &self,
        comparison: Comparison,
        host: &str,
        method: &[u8],
        path: &str,
    ) -> Option<usize> {
        self.find_by_host(host, self.wanted(method, comparison), path)
    }

    /// The route of one of Envoy's virtual hosts that a request belongs to; `None` if it belongs
    /// to none that names this virtual host.
    pub fn find_in(
        &self,
        comparison: Comparison,
        virtual_host: &str,
        method: &[u8],
        path: &str,
    ) -> Option<usize> {
        let tree = self.virtual_hosts.get(virtual_host)?;
        tree.find(self.wanted(method, comparison), relative(path))
    }

    fn wanted<'a>(&'a self, method: &'a [u8], comparison: Comparison) -> Wanted<'a> {
        let slashed = &self.slashed;
        Wanted {
            method,
            comparison,
            slashed,
        }
    }

    fn find_by_host(&self, host: &str, wanted: Wanted<'_>, path: &str) -> Option<usize> {
        let path = relative(path);
        let exact = if self.exact.is_empty() {
            None
        } else {
            self.exact.get(host)
        };
        exact
            .and_then(|tree| tree.find(wanted, path))
            .or_else(|| {
                self.suffixes
                    .iter()
                    .filter(|(suffix, _)| {
                        host.len() > suffix.len() && host.ends_with(suffix.as_str())
                    })
                    .find_map(|(_, tree)| tree.find(wanted, path))
            })
            .or_else(|| self.any.find(wanted, path))
    }
}

#[cfg(test)]
mod tests;
