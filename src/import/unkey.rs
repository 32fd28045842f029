//! Unkey: keys from `apis.listKeys`, version 1 and 2, an array of such keys, or rows of its
//! database. A key is given by `hash` (SHA-256, in base64 as in the database, or an object with
//! `value` and `variant` as in migrations) or by `plaintext`.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keystile_core::key::Digest;
use keystile_core::policy::By;

use super::fields::{Kind, Object};
use super::found::Found;
use super::limits::Read;
use super::node::{Data, Document, Node};
use super::{How, moment, printable};
use keystile_model::error::Result;
use keystile_model::rules;

mod tables;

/// Every kind of object that this importer knows.
pub const KINDS: [&Kind; 6] = [
    &tables::FILE,
    &tables::KEY,
    &tables::IDENTITY,
    &tables::HASH,
    &tables::RATE_LIMIT,
    &tables::CREDITS,
];

pub fn read(documents: &[Document], how: &How, found: &mut Found) -> Result<()> {
    let mut keys = Vec::new();
    for document in documents {
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
            keys.push(Object::open(node.see(), &tables::KEY, place, found)?);
        }
    }
    let mut spaces: BTreeSet<&str> = BTreeSet::new();
    for key in &keys {
        spaces.extend(space(key)?);
    }
    for key in &keys {
        of_key(key, spaces.len() > 1, how, found)?;
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

fn of_key(key: &Object<'_>, several: bool, how: &How, found: &mut Found) -> Result<()> {
    let place = key.place.as_str();
    let identity = match key.get("identity") {
        Some(node) => Some(Object::open(node, &tables::IDENTITY, place, found)?),
        None => None,
    };
    let mut limits = Read::default();
    let mut owner = key.text("externalId")?.or(key.text("ownerId")?);
    if let Some(identity) = &identity {
        owner = identity.text("externalId")?.or(owner);
        for node in identity.list("ratelimits")? {
            rate_limit(node.see(), By::Client, place, &mut limits, found)?;
        }
    }
    rate_limits(key, place, &mut limits, found)?;
    limits.report(place, found);
    if let Some(roles) = key.get("roles") {
        roles.pass();
        if !roles.is_empty() {
            found.leave(place, "roles: only permissions become scopes");
        }
    }
    let used_up = used_up(key, place, found)?;
    let mut scopes = Vec::new();
    for node in key.list("permissions")? {
        let name = ["slug", "name"].iter().find_map(|n| node.peek(n)?.text());
        let name = name.or_else(|| node.text());
        node.pass();
        scopes.extend(name.and_then(|p| found.scope(p, place)));
    }
    if several && let Some(space) = space(key)? {
        scopes.extend(found.scope(space, place));
        found.note(
            place,
            format!(
                "works for API `{space}` alone: ask for scope `{space}` on its routes (`any_scope`)"
            ),
        );
    }
    let enabled = key.flag("enabled")?;
    let words = Words {
        name: key.text("name")?.unwrap_or_default().to_owned(),
        scopes,
        limits,
        disabled: used_up || enabled == Some(false),
        cidrs: Vec::new(),
    };
    let Some(owner) = owner.or(how.client.as_deref()).filter(|o| !o.is_empty()) else {
        key.node.pass();
        found.leave(
            place,
            "belongs to no identity; name its client with `--client`",
        );
        return Ok(());
    };
    let Some(cidrs) = networks(key)? else {
        key.node.pass();
        found.leave(place, "`ipWhitelist` holds what is no address or range");
        return Ok(());
    };
    let closed = key.closed();
    let closed = closed.or_else(|| identity.as_ref().and_then(Object::closed));
    let why = stays_out(key, &words)?.map(str::to_owned);
    if let Some(why) = why.or(closed) {
        key.node.pass();
        found.leave(place, why);
        return Ok(());
    }
    line(key, owner, Words { cidrs, ..words }, how, found)
}

struct Words {
    name: String,
    scopes: Vec<String>,
    limits: Read,
    disabled: bool,
    cidrs: Vec<String>,
}

/// The ranges from which a key may be used; empty for any. A list, or one text with commas. `None`
/// if they cannot be read.
fn networks(key: &Object<'_>) -> Result<Option<Vec<String>>> {
    let Some(node) = key.get("ipWhitelist") else {
        return Ok(Some(Vec::new()));
    };
    let words: Vec<&str> = match node.text() {
        Some(text) => text.split(',').map(str::trim).collect(),
        None => key.words("ipWhitelist")?,
    };
    let words = words.into_iter().filter(|word| !word.is_empty());
    Ok(words
        .map(|word| Some(rules::cidr(word).ok()?.to_string()))
        .collect())
}

/// Why a key is not imported at all.
fn stays_out(key: &Object<'_>, words: &Words) -> Result<Option<&'static str>> {
    let mut deleted = false;
    for field in ["deletedAt", "deletedAtM"] {
        if let Some(node) = key.get(field) {
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
    let expires = match key.get("expires").map(|node| (node, moment::of(node))) {
        None | Some((_, Some(0))) => String::new(),
        Some((_, Some(at))) => moment::line(at),
        Some((node, None)) => {
            node.pass();
            found.leave(place, "`expires` is no time; issue a new key");
            return Ok(());
        }
    };
    let client = found.client(owner);
    let plain = key.text("plaintext")?.or(key.text("key")?);
    let line = match (key.get("hash"), plain) {
        (Some(hash), _) => match digest(hash, place, found)? {
            Some(digest) => found.key(place, &client, digest, how),
            None => {
                found.leave(place, "its hash is no SHA-256; issue a new key");
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

/// Whether a key has no requests left. Usage counts are listed.
fn used_up(key: &Object<'_>, place: &str, found: &mut Found) -> Result<bool> {
    let mut remaining = key
        .number("remaining")?
        .or(key.number("remainingRequests")?);
    if let Some(credits) = key.get("credits") {
        if matches!(credits.data, Data::Map(_)) {
            let credits = Object::open(credits, &tables::CREDITS, place, found)?;
            remaining = credits.number("remaining")?.or(remaining);
        } else {
            remaining = credits.number().or(remaining);
        }
    }
    match remaining {
        None => {}
        Some(0) => found.note(place, "has no credits left, so it is disabled"),
        Some(_) => found.leave(
            place,
            "credits: usage counts are not carried over; write a quota into a plan",
        ),
    }
    Ok(remaining == Some(0))
}

fn rate_limits(key: &Object<'_>, place: &str, limits: &mut Read, found: &mut Found) -> Result<()> {
    if let Some(node) = key.get("ratelimit") {
        rate_limit(node, By::Key, place, limits, found)?;
    }
    for node in key.list("ratelimits")? {
        rate_limit(node.see(), By::Key, place, limits, found)?;
    }
    let (n, ms) = (
        key.number("ratelimitLimit")?,
        key.number("ratelimitDuration")?,
    );
    match (n, ms) {
        (Some(n), Some(ms)) => add(n, ms, None, By::Key, limits),
        (None, None) => {}
        _ => limits.lose(NOT_WHOLE),
    }
    Ok(())
}

const NOT_WHOLE: &str = "a rate limit that is no whole number of requests and seconds";

fn add(n: u64, ms: u64, burst: Option<u64>, by: By, limits: &mut Read) {
    if n > 0 && (ms < 1000 || !ms.is_multiple_of(1000)) {
        limits.lose(NOT_WHOLE);
    } else {
        limits.add(n, ms / 1000, burst, by);
    }
}

fn rate_limit(
    node: &Node,
    by: By,
    place: &str,
    limits: &mut Read,
    found: &mut Found,
) -> Result<()> {
    let object = Object::open(node, &tables::RATE_LIMIT, place, found)?;
    let (limit, duration) = (object.number("limit")?, object.number("duration")?);
    let (rate, interval) = (
        object.number("refillRate")?,
        object.number("refillInterval")?,
    );
    if object.flag("autoApply")? == Some(false) {
        found.leave(
            place,
            "a rate limit that is not applied to every request; write it as `cost` or `limit` of routes",
        );
        return Ok(());
    }
    match (limit, duration, rate, interval) {
        (Some(n), Some(ms), ..) => add(n, ms, None, by, limits),
        (burst, None, Some(n), Some(ms)) => add(n, ms, burst.filter(|b| *b > n), by, limits),
        _ => limits.lose(NOT_WHOLE),
    }
    Ok(())
}
