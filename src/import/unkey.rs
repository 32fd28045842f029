//! Unkey: keys from `apis.listKeys`, version 1 and 2, an array of such keys, or rows of its
//! database. A key is given by `hash` (SHA-256, in base64 as in the database, or an object with
//! `value` and `variant` as in migrations) or by `plaintext`.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keystile_core::key::Digest;
use keystile_core::policy::By;

use super::closing::closes;
use super::fields::{Object, ObjectKind};
use super::found::Found;
use super::limits::ReadLimits;
use super::node::{Data, ExportDocument, Node};
use super::{How, duplicates, moment, printable};
use keystile_model::error::Result;
use keystile_model::rules;

mod limits;
mod tables;

use limits::{rate_limit, rate_limits, used_up};

/// Every kind of object that this importer knows.
pub const KINDS: [&ObjectKind; 6] = [
    &tables::FILE,
    &tables::KEY,
    &tables::IDENTITY,
    &tables::HASH,
    &tables::RATE_LIMIT,
    &tables::CREDITS,
];

pub fn read(documents: &[ExportDocument], how: &How, found: &mut Found) -> Result<()> {
    let mut keys = Vec::new();
    for document in documents {
        let mut shut = None;
        let nodes: Vec<&Node> = match &document.root.see().data {
            Data::List(items) => items.iter().collect(),
            // A key alone.
            _ if document
                .root
                .peek("data")
                .or(document.root.peek("keys"))
                .is_none()
                && document
                    .root
                    .peek("hash")
                    .or(document.root.peek("plaintext"))
                    .is_some() =>
            {
                vec![&document.root]
            }
            _ => {
                let file = Object::root(document, &tables::FILE, found)?;
                shut = file.closed();
                let (data, keys) = (file.get("data"), file.list("keys")?);
                let data = match data {
                    Some(node) if matches!(node.data, Data::Map(_)) => std::slice::from_ref(node),
                    _ => file.list("data")?,
                };
                data.iter().chain(keys).collect()
            }
        };
        for (i, node) in nodes.into_iter().enumerate() {
            found.meet(&document.file);
            let id = ["keyId", "id"].iter().find_map(|n| node.peek(n)?.text());
            let what = match id {
                Some(id) => format!("key `{}`", printable(id, 80)),
                None => format!("key {}", i + 1),
            };
            let place = Object::at(&document.file, node, what);
            let key = Object::open(node.see(), &tables::KEY, place, found)?;
            keys.push((key, shut.clone()));
        }
    }
    let mut spaces: BTreeSet<&str> = BTreeSet::new();
    for (key, _) in &keys {
        spaces.extend(space(key)?);
    }
    for (key, shut) in &keys {
        of_key(key, shut.clone(), spaces.len() > 1, how, found)?;
    }
    Ok(())
}

/// The API, or the key space, for which a key is valid.
fn space<'n>(key: &Object<'n>) -> Result<Option<&'n str>> {
    let mut space = None;
    for field in ["apiId", "keySpaceId", "keyAuthId"] {
        let text = key.text(field)?;
        space = space.or(text);
    }
    Ok(space)
}

fn of_key(
    key: &Object<'_>,
    mut shut: Option<String>,
    several: bool,
    how: &How,
    found: &mut Found,
) -> Result<()> {
    let place = key.place.as_str();
    let identity = match key.get("identity") {
        Some(node) => Some(Object::open(node, &tables::IDENTITY, place, found)?),
        None => None,
    };
    let mut limits = ReadLimits::default();
    let mut owner = key.text("externalId")?.or(key.text("ownerId")?);
    if let Some(identity) = &identity {
        owner = identity.text("externalId")?.or(owner);
        for node in identity.list("ratelimits")? {
            rate_limit(node.see(), By::Client, place, &mut limits, found)?;
        }
    }
    rate_limits(key, place, &mut limits, found)?;
    limits.report(place, found);
    let used_up = used_up(key, identity.as_ref(), &mut shut, place, found)?;
    let mut scopes = permissions(key, place, found)?;
    if several && let Some(space) = space(key)? {
        scopes.extend(found.scope(space, place));
        found.note(
            place,
            format!(
                "works for API `{space}` alone: ask for scope `{space}` on its routes (`any_scope`)"
            ),
        );
    }
    key.flag("enabled")?;
    let enabled = key.all("enabled").all(|node| node.flag() == Some(true));
    let words = Words {
        name: key.text("name")?.unwrap_or_default().to_owned(),
        scopes,
        limits,
        disabled: used_up || !enabled,
        cidrs: Vec::new(),
    };
    let Some(owner) = owner.or(how.client.as_deref()).filter(|o| !o.is_empty()) else {
        found.leave(
            place,
            "belongs to no identity; name its client with `--client`",
        );
        if words.disabled {
            dead(key, place, found)?;
        }
        key.node.pass();
        return Ok(());
    };
    let Some(cidrs) = networks(key)? else {
        found.leave(
            place,
            "`ipWhitelist` holds something that is not an address or range",
        );
        return dead(key, place, found);
    };
    let closed = key.closed();
    let closed = closed.or_else(|| identity.as_ref().and_then(Object::closed));
    let why = stays_out(key, &words)?.map(str::to_owned);
    if let Some(why) = why.or(closed).or(shut) {
        found.leave(place, why);
        return dead(key, place, found);
    }
    line(key, owner, Words { cidrs, ..words }, how, found)
}

/// A key that is left out keeps the same key out elsewhere, too.
fn dead(key: &Object<'_>, place: &str, found: &mut Found) -> Result<()> {
    let plain = key.text("plaintext")?.or(key.text("key")?);
    let digest = match (key.get("hash"), plain) {
        (Some(hash), _) => digest(hash, place, found)?,
        (None, plain) => plain.map(|plain| Digest::of_foreign(plain.as_bytes())),
    };
    key.node.pass();
    if let Some(digest) = digest {
        found.dead(place, digest);
    }
    Ok(())
}

/// Permissions as scopes, but for those that are switched off.
fn permissions(key: &Object<'_>, place: &str, found: &mut Found) -> Result<Vec<String>> {
    if let Some(roles) = key.get("roles") {
        roles.pass();
        if !roles.is_empty() {
            found.leave(place, "roles: only permissions become scopes");
        }
    }
    let mut scopes = Vec::new();
    for node in key.list("permissions")? {
        let name = ["slug", "name"].iter().find_map(|n| node.peek(n)?.text());
        let name = name.or_else(|| node.text());
        node.pass();
        let closed = node
            .pairs()
            .and_then(|mut pairs| pairs.find(|(name, value)| closes(name, value)));
        if let Some((field, _)) = closed {
            let name = printable(name.unwrap_or_default(), 80);
            let field = printable(field, 60);
            found.leave(
                place,
                format!(
                    "permission `{name}`: field `{field}` may switch it off, so it becomes no scope"
                ),
            );
            continue;
        }
        scopes.extend(name.and_then(|p| found.scope(p, place)));
    }
    Ok(scopes)
}

struct Words {
    name: String,
    scopes: Vec<String>,
    limits: ReadLimits,
    disabled: bool,
    cidrs: Vec<String>,
}

/// The ranges from which a key may be used; empty for any. A list, or one text with commas. `None`
/// if they cannot be read.
fn networks(key: &Object<'_>) -> Result<Option<Vec<String>>> {
    key.get("ipWhitelist");
    let mut out: Option<Vec<String>> = None;
    for node in key.all("ipWhitelist").filter(|node| !node.is_empty()) {
        let words: Option<Vec<&str>> = match node.text() {
            Some(text) => Some(text.split(',').map(str::trim).collect()),
            None => node.words(),
        };
        let words = words.unwrap_or_default().into_iter();
        let ranges: Option<Vec<String>> = words
            .filter(|word| !word.is_empty())
            .map(|word| Some(rules::cidr(word).ok()?.to_string()))
            .collect();
        // Two spellings that differ cannot be read either.
        match ranges.filter(|ranges| !ranges.is_empty()) {
            Some(ranges) if out.as_ref().is_none_or(|before| *before == ranges) => {
                out = Some(ranges);
            }
            _ => return Ok(None),
        }
    }
    Ok(Some(out.unwrap_or_default()))
}

/// Why a key is not imported at all.
fn stays_out(key: &Object<'_>, words: &Words) -> Result<Option<&'static str>> {
    let mut deleted = false;
    for field in ["deletedAt", "deletedAtM"] {
        for node in key.all(field) {
            node.pass();
            deleted |= node.number() != Some(0);
        }
    }
    let root = key.text("forWorkspaceId")?.is_some_and(|w| !w.is_empty());
    Ok(match (deleted, root, words.limits.shut) {
        (true, ..) => Some("is deleted"),
        (_, true, _) => Some("is a root key of Unkey itself"),
        (.., true) => Some("has a limit of 0"),
        _ => None,
    })
}

fn line(key: &Object<'_>, owner: &str, words: Words, how: &How, found: &mut Found) -> Result<()> {
    let place = key.place.as_str();
    let mut expires = String::new();
    for node in key.all("expires") {
        match moment::of(node) {
            Some(0) => {}
            // The earliest of several spellings counts.
            Some(at) => {
                let at = moment::line(at);
                expires = duplicates::stricter(&expires, &at, true).unwrap_or(at);
            }
            None => {
                found.leave(place, "`expires` is not a time; issue a new key");
                return dead(key, place, found);
            }
        }
    }
    let client = found.client(owner);
    let plain = key.text("plaintext")?.or(key.text("key")?);
    let line = match (key.get("hash"), plain) {
        (Some(hash), _) => match digest(hash, place, found)? {
            Some(digest) => found.key(place, &client, digest, how),
            None => {
                found.leave(place, "its hash is not a SHA-256; issue a new key");
                None
            }
        },
        (None, Some(plain)) => found.plain_key(place, &client, plain, how),
        (None, None) => {
            found.leave(
                place,
                "has neither `hash` nor `plaintext`; export it with one, or issue a new key",
            );
            None
        }
    };
    if let Some(line) = line {
        line.name = words.name;
        line.scopes = words.scopes;
        line.disabled = words.disabled;
        line.cidrs = words.cidrs;
        line.expires = expires;
        line.limits = words.limits.words();
    }
    Ok(())
}

fn digest(node: &Node, place: &str, found: &mut Found) -> Result<Option<Digest>> {
    let (value, hex) = match node.text() {
        Some(value) => (value, value.len() == 64),
        None => {
            let hash = Object::open(node, &tables::HASH, place, found)?;
            let (value, variant) = (hash.text("value")?, hash.text("variant")?);
            match (value, variant) {
                (Some(value), Some("sha256_base64")) => (value, false),
                (Some(value), Some("sha256_hex")) => (value, true),
                _ => return Ok(None),
            }
        }
    };
    if hex {
        return Ok(rules::hex_digest(value));
    }
    let bytes = STANDARD.decode(value).ok();
    Ok(bytes.and_then(|b| b.try_into().ok()).map(Digest))
}
