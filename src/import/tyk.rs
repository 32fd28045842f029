//! Tyk: sessions of keys, from the gateway's and the dashboard's APIs or from Redis (`apikey-…`),
//! and policies.

use std::collections::{BTreeMap, BTreeSet};

use keystile_core::key::Digest;

use super::fields::{Object, ObjectKind};
use super::found::Found;
use super::node::{Data, ExportDocument, Node};
use super::{How, moment, printable};
use keystile_model::error::Result;
use keystile_model::rules;

mod grant;
mod policies;
mod tables;

use grant::{PartsInForce, TykGrant, grant, positive, says};
use tables::{FILE, ITEM, PARTS, POLICY, RIGHT, SESSION};

/// Every kind of object that this importer knows.
pub const KINDS: [&ObjectKind; 6] = [&FILE, &ITEM, &SESSION, &RIGHT, &POLICY, &PARTS];

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

pub fn read(documents: &[ExportDocument], how: &How, found: &mut Found) -> Result<()> {
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
    fn document(&mut self, document: &'n ExportDocument, found: &mut Found) -> Result<()> {
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
                if is_session(node) && is_policy(name, node) {
                    self.policy(document, node, (i, Some(name)), found)?;
                } else if is_session(node) {
                    self.item(document, node, Some(name), i, found)?;
                } else {
                    node.pass();
                    let place = Object::at(&document.file, node, format_args!("entry {}", i + 1));
                    found.leave(&place, "is not a session of a key");
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
            self.policy(document, node, (i, None), found)?;
        }
        Ok(())
    }

    /// A policy, by its ids; as Tyk's own file holds it, its name is one.
    fn policy(
        &mut self,
        document: &'n ExportDocument,
        node: &'n Node,
        (i, name): (usize, Option<&'n str>),
        found: &mut Found,
    ) -> Result<()> {
        found.meet(&document.file);
        let place = format!("{}: policies[{i}]", document.file);
        let policy = Object::open(node.see(), &POLICY, place, found)?;
        let own = [policy.text("id")?, policy.text("_id")?, name];
        let ids: BTreeSet<&str> = own.into_iter().flatten().collect();
        for id in ids {
            let again = Object::open(node, &POLICY, policy.place.as_str(), found)?;
            self.policies.entry(id).or_default().push(again);
        }
        Ok(())
    }

    fn items(
        &mut self,
        document: &'n ExportDocument,
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
        document: &'n ExportDocument,
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
        let of_name = name.map(bare);
        let (mut text, mut hash) = (of_name, of_name.filter(|n| is_hash(n)));
        let mut out = None;
        let session = if is_item {
            let item = Object::open(node, &ITEM, place.as_str(), found)?;
            for field in ["key_id", "key", "token"] {
                text = text.or(item.text(field)?);
            }
            for field in ["key_hash", "hash"] {
                hash = hash.or(item.text(field)?);
            }
            hash = hash.or(item.text("key_id")?.filter(|id| is_hash(id)));
            let status = item.text("status")?.filter(|s| !is_good(s));
            let action = item.text("action")?.filter(|a| a.starts_with("delete"));
            out = item
                .closed()
                .or_else(|| Some(format!("its status is `{}`", printable(status?, 40))))
                .or_else(|| action.map(|_| "it was deleted".to_owned()));
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
        hash = hash.or(session.text("key_id")?.filter(|id| is_hash(id)));
        found.meet(&document.file);
        self.keys.push(Key {
            session,
            out,
            text,
            hash,
        });
        Ok(())
    }

    /// What a session and its policies grant, and when it ends.
    fn granted(&self, key: &Key<'n>, found: &mut Found) -> Result<(TykGrant, String)> {
        let mut grant = grant(&key.session, PartsInForce::ALL, found)?;
        grant.off |= says(&key.session, "is_inactive", true)?;
        grant.off |= used_up(&key.session, found)?;
        let ends = ends_unsaid(&key.session, found)?;
        let closed = [&ends, &key.out, &self.closed]
            .into_iter()
            .find_map(Clone::clone);
        grant.out = grant.out.or(closed);
        self.apply_all(&key.session, &mut grant, found)?;
        grant.limits.report(&key.session.place, found);
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
        if grant.expires && expires.is_empty() {
            let problem = "its policy lets keys end (`key_expires_in`), and it has no `expires`";
            grant.out.get_or_insert_with(|| problem.to_owned());
        }
        Ok((grant, expires))
    }

    fn key(&self, key: &Key<'n>, how: &How, found: &mut Found) -> Result<()> {
        let place = key.session.place.as_str();
        let (grant, expires) = self.granted(key, found)?;
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
            (Some(text), None) if key.hash != Some(text) => {
                found.plain_key(place, &client, text, how)
            }
            _ => {
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
}

/// When a session ends; empty for never. Of several spellings, the earliest counts.
fn expires(session: &Object<'_>) -> std::result::Result<String, String> {
    let mut first = None;
    for node in session.all("expires") {
        match (node.text(), moment::of(node)) {
            (Some("0" | "-1"), _) => {}
            (_, Some(at)) => first = Some(first.map_or(at, |first: u64| first.min(at))),
            (_, None) => return Err("`expires` is not a time".to_owned()),
        }
    }
    Ok(first.map(moment::line).unwrap_or_default())
}

/// What the name of an entry, or `key_id`, is if it may be the hash of a key: one of Tyk's hash
/// functions gives as many hexadecimal digits.
fn is_hash(text: &str) -> bool {
    matches!(text.len(), 8 | 16 | 32 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Why a session ends at a moment that the export does not hold, or is not of an API key.
fn ends_unsaid(session: &Object<'_>, found: &mut Found) -> Result<Option<String>> {
    for (field, problem) in [
        (
            "session_lifetime",
            "it expires if it is not used for some time",
        ),
        ("id_extractor_deadline", "a plugin of its API made it"),
    ] {
        if positive(session, field)?.is_some() {
            return Ok(Some(format!("`{field}`: {problem}; issue a new key")));
        }
    }
    let Some(labels) = session.get("meta_data").filter(|m| !m.is_empty()) else {
        return Ok(None);
    };
    labels.pass();
    found.leave(
        &session.place,
        "`meta_data`: set labels with `keystilectl key update`",
    );
    let policies = labels.peek("policies").filter(|p| !p.is_empty());
    Ok(policies.map(|_| "`meta_data.policies` replaces its policies; issue a new key".to_owned()))
}

/// Whether a quota that never renews is used up.
fn used_up(session: &Object<'_>, found: &mut Found) -> Result<bool> {
    let none_left = session.text("quota_remaining")?.is_some()
        && positive(session, "quota_remaining")?.is_none();
    let renews = positive(session, "quota_renewal_rate")?.is_some();
    let out = positive(session, "quota_max")?.is_some() && none_left && !renews;
    if out {
        found.note(
            &session.place,
            "its quota is used up and does not renew, so it is disabled",
        );
    }
    Ok(out)
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

/// Whether an entry of a mapping is a policy: it has nothing that only sessions have.
fn is_policy(name: &str, node: &Node) -> bool {
    const OF_SESSIONS: [&str; 12] = [
        "alias",
        "allowance",
        "apply_policies",
        "apply_policy_id",
        "data",
        "expires",
        "last_check",
        "oauth_client_id",
        "quota_remaining",
        "quota_renews",
        "session",
        "session_lifetime",
    ];
    !name.starts_with("apikey-") && OF_SESSIONS.iter().all(|field| node.peek(field).is_none())
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
