//! Tyk: sessions of keys, from the gateway's and the dashboard's APIs or from Redis (`apikey-…`),
//! and policies.

use std::collections::BTreeMap;

use keystile_core::key::Digest;

use super::fields::{Kind, Object};
use super::found::Found;
use super::node::{Data, Document, Node};
use super::{How, moment, printable};
use keystile_model::error::Result;
use keystile_model::rules;

mod grant;
mod tables;

use grant::{Grant, grant, says};
use tables::{FILE, ITEM, POLICY, RIGHT, SESSION};

/// Every kind of object that this importer knows.
pub const KINDS: [&Kind; 5] = [&FILE, &ITEM, &SESSION, &RIGHT, &POLICY];

struct Key<'n> {
    session: Object<'n>,
    /// Why it is left out, if what it stands in says so.
    out: Option<String>,
    text: Option<&'n str>,
    hash: Option<&'n str>,
}

impl Key<'_> {
    /// It is left out, so the same key elsewhere is, too.
    fn is_out(&self, found: &mut Found) {
        let hash = self.hash.and_then(rules::hex_digest);
        let own = || Some(Digest::of_foreign(self.text?.as_bytes()));
        if let Some(digest) = hash.map(|d| Digest(d.0)).or_else(own) {
            found.dead(&self.session.place, digest);
        }
    }
}

#[derive(Default)]
struct World<'n> {
    keys: Vec<Key<'n>>,
    policies: BTreeMap<&'n str, Vec<Object<'n>>>,
    /// Why nothing is taken over, if a file says so.
    closed: Option<String>,
}

pub fn read(documents: &[Document], how: &How, found: &mut Found) -> Result<()> {
    let mut world = World::default();
    for document in documents {
        world.document(document, found)?;
    }
    for key in &world.keys {
        world.key(key, how, found)?;
    }
    Ok(())
}

impl<'n> World<'n> {
    fn document(&mut self, document: &'n Document, found: &mut Found) -> Result<()> {
        let root = document.root.see();
        let is = |name: &str| root.peek(name).is_some();
        if let Data::List(items) = &root.data {
            return self.items(document, items, found);
        }
        if is("access_rights") || is("key_id") || is("session") || is("apply_policies") {
            return self.item(document, root, None, 0, found);
        }
        if !is("keys") && !is("data") && !is("policies") && !is("apis") {
            // As in Redis: the names are the keys.
            root.names_are_keys();
            for (i, (name, node)) in root.pairs().into_iter().flatten().enumerate() {
                if is_session(node) {
                    self.item(document, node, Some(name), i, found)?;
                } else {
                    node.pass();
                    let place = Object::at(&document.file, node, format_args!("entry {}", i + 1));
                    found.leave(&place, "is no session of a key");
                }
            }
            return Ok(());
        }
        let mut entries = root.pairs().into_iter().flatten();
        if entries.any(|(name, node)| name != "data" && is_session(node)) {
            root.names_are_keys();
        }
        let file = Object::root(document, &FILE, found)?;
        self.closed = self.closed.take().or_else(|| file.closed());
        for field in ["keys", "data"] {
            match file.get(field).map(|node| (node, &node.data)) {
                Some((_, Data::List(items))) => self.items(document, items, found)?,
                Some((node, Data::Map(_))) if node.peek("keys").is_some() => {
                    let inner = Object::open(node, &FILE, document.file.as_str(), found)?;
                    self.closed = self.closed.take().or_else(|| inner.closed());
                    self.items(document, inner.list("keys")?, found)?;
                }
                Some((node, Data::Map(_))) => {
                    node.names_are_keys();
                    for (i, (name, node)) in node.pairs().into_iter().flatten().enumerate() {
                        self.item(document, node, Some(name), i, found)?;
                    }
                }
                _ => {}
            }
        }
        for (i, node) in file.list("policies")?.iter().enumerate() {
            found.meet(&document.file);
            let place = format!("{}: policies[{i}]", document.file);
            let policy = Object::open(node.see(), &POLICY, place, found)?;
            for id in [policy.text("id")?, policy.text("_id")?]
                .into_iter()
                .flatten()
            {
                let again = Object::open(node, &POLICY, policy.place.as_str(), found)?;
                self.policies.entry(id).or_default().push(again);
            }
        }
        Ok(())
    }

    fn items(
        &mut self,
        document: &'n Document,
        nodes: &'n [Node],
        found: &mut Found,
    ) -> Result<()> {
        for (i, node) in nodes.iter().enumerate() {
            self.item(document, node, None, i, found)?;
        }
        Ok(())
    }

    /// A key; places in messages never contain its text.
    fn item(
        &mut self,
        document: &'n Document,
        node: &'n Node,
        name: Option<&'n str>,
        i: usize,
        found: &mut Found,
    ) -> Result<()> {
        let place = Object::at(&document.file, node, format_args!("key {}", i + 1));
        if let Data::Text(_) = node.see().data {
            found.meet(&document.file);
            found.leave(
                &place,
                "a key without its session; export each with `GET /tyk/keys/{key}`",
            );
            return Ok(());
        }
        let is_item = node.peek("data").or(node.peek("session")).is_some();
        let (mut text, mut hash) = (name.map(bare), None);
        let mut out = None;
        let session = if is_item {
            let item = Object::open(node, &ITEM, place.as_str(), found)?;
            for field in ["key_id", "key", "token"] {
                text = text.or(item.text(field)?);
            }
            for field in ["key_hash", "hash"] {
                hash = hash.or(item.text(field)?);
            }
            let status = item.text("status")?.filter(|s| !is_good(s));
            out = item
                .closed()
                .or_else(|| Some(format!("its status is `{}`", printable(status?, 40))));
            let (data, session) = (item.get("data"), item.get("session"));
            if data.is_some() && session.is_some() {
                out = Some("has both `data` and `session`".to_owned());
            }
            data.or(session).unwrap_or(node)
        } else {
            node
        };
        let session = Object::open(session, &SESSION, place, found)?;
        for field in ["key_id", "key", "token"] {
            let own = session.text(field)?;
            text = text.or(own);
        }
        for field in ["key_hash", "hash"] {
            let own = session.text(field)?;
            hash = hash.or(own);
        }
        found.meet(&document.file);
        self.keys.push(Key {
            session,
            out,
            text,
            hash,
        });
        Ok(())
    }

    fn key(&self, key: &Key<'n>, how: &How, found: &mut Found) -> Result<()> {
        let place = key.session.place.as_str();
        let mut grant = grant(&key.session, found)?;
        grant.off |= says(&key.session, "is_inactive", true)?;
        let closed = [&key.out, &self.closed].into_iter().find_map(Clone::clone);
        grant.out = grant.out.or(closed);
        self.apply_all(&key.session, &mut grant, found)?;
        grant.limits.report(place, found);
        if grant.scopes.is_empty() && grant.out.is_none() {
            grant.out = Some("it has no access rights".to_owned());
        }
        if grant.limits.shut {
            grant.out = Some("it has a limit of 0".to_owned());
        }
        let expires = match expires(&key.session) {
            Ok(expires) => expires,
            Err(problem) => {
                grant.out = Some(problem);
                String::new()
            }
        };
        let (alias, oauth) = (
            key.session.text("alias")?,
            key.session.text("oauth_client_id")?,
        );
        let owner = alias
            .filter(|a| !a.is_empty())
            .or(oauth.filter(|o| !o.is_empty()));
        let Some(owner) = owner.or(how.client.as_deref()) else {
            key.session.node.pass();
            found.leave(place, "has no `alias`; name its client with `--client`");
            key.is_out(found);
            return Ok(());
        };
        if let Some(out) = grant.out {
            found.leave(place, format!("is left out: {out}"));
            key.is_out(found);
            return Ok(());
        }
        let client = found.client(owner);
        let scopes: Vec<String> = grant
            .scopes
            .iter()
            .filter_map(|s| found.scope(s, place))
            .collect();
        let line = match (key.text, key.hash.and_then(rules::hex_digest)) {
            (_, Some(digest)) => found.key(place, &client, Digest(digest.0), how),
            (Some(text), None) => found.plain_key(place, &client, text, how),
            (None, None) => {
                found.leave(
                    place,
                    "has neither a key nor a SHA-256 of it; issue a new key",
                );
                None
            }
        };
        if let Some(line) = line {
            line.scopes = scopes;
            line.limits = grant.limits.words();
            line.expires = expires;
            line.disabled = grant.off;
        }
        Ok(())
    }

    /// Adds what the policies of a session say.
    fn apply_all(&self, session: &Object<'n>, grant: &mut Grant, found: &mut Found) -> Result<()> {
        let mut policies = session.words("apply_policies")?;
        let one = session.text("apply_policy_id")?;
        policies.extend(one.filter(|p| !p.is_empty()));
        for id in policies {
            match self.policies.get(id) {
                // One that stands twice counts twice.
                Some(policies) => {
                    for policy in policies {
                        self.apply(policy, grant, found)?;
                    }
                }
                None => {
                    grant.out = Some(format!(
                        "its policy `{}` is not in the export",
                        printable(id, 80)
                    ));
                }
            }
        }
        Ok(())
    }

    fn apply(&self, policy: &Object<'n>, into: &mut Grant, found: &mut Found) -> Result<()> {
        let theirs = grant(policy, found)?;
        let state = policy.text("state")?;
        let off = says(policy, "active", false)?
            || says(policy, "is_inactive", true)?
            || state.is_some_and(|s| !s.is_empty() && s != "active");
        into.off |= off || theirs.off;
        into.limits.join(theirs.limits);
        into.scopes.extend(theirs.scopes);
        into.out = into.out.take().or(theirs.out);
        Ok(())
    }
}

/// When a session ends; empty for never.
fn expires(session: &Object<'_>) -> std::result::Result<String, String> {
    let written = session.get("expires");
    match written.map(|n| (n.text(), moment::of(n))) {
        None | Some((Some("0" | "-1"), _)) => Ok(String::new()),
        Some((_, Some(at))) => Ok(moment::line(at)),
        Some((_, None)) => Err("`expires` is no time".to_owned()),
    }
}

fn is_session(node: &Node) -> bool {
    [
        "access_rights",
        "apply_policies",
        "allowance",
        "quota_max",
        "session",
    ]
    .iter()
    .any(|name| node.peek(name).is_some())
}

/// Redis holds keys under `apikey-…`.
fn bare(name: &str) -> &str {
    name.strip_prefix("apikey-").unwrap_or(name)
}

fn is_good(status: &str) -> bool {
    matches!(
        status.to_ascii_lowercase().as_str(),
        "" | "ok" | "active" | "enabled" | "valid"
    )
}
