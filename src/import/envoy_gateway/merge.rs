//! What other resources say about a SecurityPolicy: those that it is merged with, and grants to
//! name a Secret of another namespace.

use super::parts::Name;
use crate::fields::Object;
use crate::found::Found;
use crate::node::Node;
use keystile_model::error::Result;

/// What a policy asks beside a key, and with which others it is merged.
#[derive(Clone)]
pub struct Merge {
    place: String,
    /// It targets a Gateway, not a route.
    above: bool,
    merges: bool,
    asks: Option<String>,
}

impl Merge {
    pub fn read(
        place: &str,
        spec: &Object<'_>,
        targets: &[String],
        asks: Option<&str>,
        closed: Option<&str>,
    ) -> Result<Self> {
        let is_route = |t: &String| t.split(' ').next().is_some_and(|k| k.ends_with("Route"));
        let asks = asks.map(|what| format!("asks for `{what}` beside a key"));
        let closed = closed.map(|problem| format!("is not understood: {problem}"));
        Ok(Self {
            place: place.to_owned(),
            above: !targets.iter().all(is_route),
            merges: spec.text("mergeType")?.is_some_and(|t| !t.is_empty()),
            asks: asks.or(closed),
        })
    }

    /// A policy that knows no keys is named, if it asks for something.
    pub fn name_alone(&self, found: &mut Found) {
        if let Some(asks) = &self.asks {
            found.leave(
                &self.place,
                format!("it {asks}, on routes that it protects: write these into the policy"),
            );
        }
    }

    /// Why a policy's clients are left out: what a policy asks that it is merged with.
    pub fn shut_by(&self, others: &[Self]) -> Option<String> {
        others.iter().find_map(|other| {
            let merged = self.merges && other.above || other.merges && self.above;
            let asks = other.asks.as_ref().filter(|_| merged)?;
            Some(format!(
                "its SecurityPolicy may be merged with {}, which {asks}; give it keys by hand",
                other.place
            ))
        })
    }
}

/// ReferenceGrants.
#[derive(Default)]
pub struct Grants<'n>(Vec<Grant<'n>>);

struct Grant<'n> {
    /// The namespace of the policies, and that of the Secrets.
    from: &'n str,
    to: &'n str,
    /// One Secret; all if there is none.
    name: Option<&'n str>,
}

impl<'n> Grants<'n> {
    pub fn take(&mut self, grant: &'n Node) {
        let text = |node: &'n Node, name: &str| node.peek(name).and_then(Node::text);
        let list = |name: &str| {
            let list = grant.peek("spec").and_then(|spec| spec.peek(name));
            list.and_then(Node::list).unwrap_or_default()
        };
        let metadata = grant.peek("metadata");
        if metadata.is_some_and(|m| m.peek("deletionTimestamp").is_some()) {
            return;
        }
        let to = metadata.and_then(|m| text(m, "namespace"));
        let to = to.unwrap_or("default");
        let is = |node: &&Node, kind: &str| text_is(node, "kind", kind);
        for from in list("from").iter().filter(|n| is(n, "SecurityPolicy")) {
            let Some(from) = text(from, "namespace") else {
                continue;
            };
            for secret in list("to").iter().filter(|n| is(n, "Secret")) {
                let name = text(secret, "name").filter(|n| !n.is_empty());
                self.0.push(Grant { from, to, name });
            }
        }
    }

    /// Whether a policy, by its namespace and name, may name a Secret.
    pub fn allow(&self, policy: &str, (space, secret): &Name) -> bool {
        let from = policy.split('/').next().unwrap_or_default();
        let granted = |g: &Grant<'_>| {
            g.from == from && g.to == space && g.name.is_none_or(|name| name == secret)
        };
        from == space || self.0.iter().any(granted)
    }
}

fn text_is(node: &Node, name: &str, wanted: &str) -> bool {
    node.peek(name).and_then(Node::text) == Some(wanted)
}
