//! Unkey: keys as `apis.listKeys` answers them, an array of such keys, or rows of its
//! database. A key is known by `hash` (SHA-256, base64 as the database has it, or an object
//! with `value` and `variant` as migrations do) or by `plaintext`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keystile_core::key::Digest;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{Found, How, Plain, limit, parse};
use keystile_core::policy::By;
use keystile_model::error::Result;
use keystile_model::rules;
use keystile_model::when;

#[derive(Deserialize)]
#[serde(untagged)]
enum File {
    Answer {
        #[serde(alias = "keys")]
        data: Vec<Key>,
    },
    List(Vec<Key>),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Key {
    #[serde(default, alias = "id")]
    key_id: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default, alias = "ownerId")]
    external_id: Option<String>,
    #[serde(default)]
    identity: Option<Identity>,
    #[serde(default)]
    hash: Option<Hash>,
    #[serde(default, alias = "key")]
    plaintext: Option<Plain>,
    /// Milliseconds.
    #[serde(default)]
    expires: Option<u64>,
    #[serde(default)]
    enabled: Option<bool>,
    #[serde(default)]
    permissions: Option<Vec<String>>,
    #[serde(default)]
    roles: Option<Vec<String>>,
    #[serde(default)]
    ratelimits: Option<Vec<RateLimit>>,
    meta: Option<IgnoredAny>,
    credits: Option<IgnoredAny>,
    remaining: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Identity {
    #[serde(default)]
    external_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Hash {
    Text(String),
    Fields { value: String, variant: String },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RateLimit {
    limit: u64,
    /// Milliseconds.
    duration: u64,
    #[serde(default)]
    auto_apply: Option<bool>,
}

impl Hash {
    fn digest(&self) -> Option<Digest> {
        let (value, hex) = match self {
            Self::Text(value) => (value, value.len() == 64),
            Self::Fields { value, variant } => match variant.as_str() {
                "sha256_base64" => (value, false),
                "sha256_hex" => (value, true),
                _ => return None,
            },
        };
        if hex {
            return rules::hex_digest(value);
        }
        STANDARD.decode(value).ok()?.try_into().map(Digest).ok()
    }
}

pub fn read(name: &str, text: &str, how: &How, found: &mut Found) -> Result<()> {
    let file: File = parse(
        name,
        text,
        "what `apis.listKeys` answers, or an array of its keys",
    )?;
    let (File::Answer { data: keys } | File::List(keys)) = file;
    for (i, key) in keys.iter().enumerate() {
        let place = match &key.key_id {
            Some(id) => format!("{name}: key `{id}`"),
            None => format!("{name}: key {}", i + 1),
        };
        of_key(key, &place, how, found);
    }
    Ok(())
}

fn of_key(key: &Key, place: &str, how: &How, found: &mut Found) {
    let owner = key
        .identity
        .as_ref()
        .and_then(|i| i.external_id.as_ref())
        .or(key.external_id.as_ref())
        .or(how.client.as_ref());
    let Some(owner) = owner else {
        found.leave(
            place,
            "belongs to no identity; name its client with `--client`",
        );
        return;
    };
    for (there, what) in [
        (
            key.meta.is_some(),
            "`meta`: labels can be given with `keystilectl key update`",
        ),
        (
            key.credits.is_some() || key.remaining.is_some(),
            "credits: counts of use are not carried over",
        ),
        (
            key.roles.as_ref().is_some_and(|r| !r.is_empty()),
            "roles: only permissions become scopes",
        ),
    ] {
        if there {
            found.leave(place, what);
        }
    }
    let mut limits: Vec<keystile_core::policy::RawLimit> = Vec::new();
    for r in key.ratelimits.iter().flatten() {
        if r.auto_apply == Some(false) {
            found.leave(place, "a rate limit that is not applied to every request; write it as `cost` or `limit` of routes");
        } else if r.limit == 0 || r.duration < 1000 || r.duration % 1000 != 0 {
            found.leave(
                place,
                "a rate limit that is no whole number of requests and seconds",
            );
        } else {
            let new = limit(r.limit, r.duration / 1000, None, By::Key);
            match limits.iter_mut().find(|l| l.per == new.per) {
                Some(same) if same.requests > new.requests => *same = new,
                Some(_) => {}
                None => limits.push(new),
            }
        }
    }
    let scopes: Vec<String> = key
        .permissions
        .iter()
        .flatten()
        .filter_map(|p| found.scope(p, place))
        .collect();
    let client = found.client(owner);
    let line = match (&key.hash, &key.plaintext) {
        (Some(hash), _) => match hash.digest() {
            Some(digest) => found.key(place, &client, digest, how),
            None => {
                found.leave(place, "its hash is no SHA-256; issue a new key");
                None
            }
        },
        (None, Some(plain)) => found.plain_key(place, &client, plain.expose_secret(), how),
        (None, None) => {
            found.leave(
                place,
                "has neither `hash` nor `plaintext`; export it with one, or issue a new key",
            );
            None
        }
    };
    if let Some(line) = line {
        line.name = key.name.clone().unwrap_or_default();
        line.scopes = scopes;
        line.disabled = key.enabled == Some(false);
        line.expires = key
            .expires
            .map(|ms| when::rfc3339(ms / 1000))
            .unwrap_or_default();
        line.limits = limits.iter().map(rules::limit_word).collect();
    }
}
