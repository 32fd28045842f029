//! Clients, keys and limits out of other systems' exports: Kong, APISIX, Envoy Gateway, Unkey, and
//! tables. What an export says and a store cannot hold is listed.
//!
//! Text goes in, lines to import come out. Never opens a file or a store, and never keeps a key:
//! keys are hashed where they are read, on this machine; from here on there are digests only.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use keystile_core::key::{Digest, MAX_KEY_BYTES};
use keystile_core::policy::{By, RawLimit, RawPlan, is_client_name, is_scope};
use serde::Serialize;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, Visitor};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use keystile_model::error::{Result, refuse};
use keystile_model::import_lines::{ClientLine, KeyLine};
use keystile_model::when::When;

mod apisix;
mod envoy_gateway;
mod kong;
mod limits;
mod table;
mod unkey;

/// Where an export comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum System {
    /// Kong: declarative configuration, as `deck gateway dump` writes it
    Kong,
    /// Apache APISIX: apisix.yaml, or what the Admin API lists
    Apisix,
    /// Envoy Gateway: SecurityPolicies with apiKeyAuth, and their Secrets
    EnvoyGateway,
    /// Unkey: keys as apis.listKeys answers them, with hashes or plaintext
    Unkey,
    /// A table with a header
    Csv,
}

impl System {
    /// As it is typed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kong => "kong",
            Self::Apisix => "apisix",
            Self::EnvoyGateway => "envoy-gateway",
            Self::Unkey => "unkey",
            Self::Csv => "csv",
        }
    }
}

/// How to read.
#[derive(Clone, Debug, Default)]
pub struct How {
    /// The client of keys that name none.
    pub client: Option<String>,
    /// The environment of keys that name none.
    pub environment: Option<String>,
    /// Take keys that are so short that they could be guessed.
    pub allow_short: bool,
    /// Names of columns in a table, by field.
    pub columns: BTreeMap<String, String>,
}

/// The fewest bytes of a key that is taken: a digest hides only what cannot be guessed.
const SHORT: usize = 16;

/// What an export holds.
#[derive(Default)]
pub struct Found {
    /// By name.
    pub clients: BTreeMap<String, ClientLine>,
    /// In the order of the export.
    pub keys: Vec<KeyLine>,
    /// Plans that clients are on.
    pub plans: BTreeMap<String, RawPlan>,
    /// What is not carried over, and where it stands.
    pub left: BTreeMap<String, BTreeSet<String>>,
    digests: BTreeMap<[u8; 32], String>,
    system: &'static str,
}

/// Something that is not carried over.
#[derive(Serialize)]
pub struct Left {
    /// What, and why.
    pub problem: String,
    /// Where it stands.
    pub places: Vec<String>,
}

/// Text that is a key: no `Debug`, wiped when dropped.
pub struct Plain(Zeroizing<String>);

impl Plain {
    fn expose_secret(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Plain;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_str<E>(self, v: &str) -> std::result::Result<Plain, E> {
                Ok(Plain(Zeroizing::new(v.to_owned())))
            }

            fn visit_string<E>(self, v: String) -> std::result::Result<Plain, E> {
                Ok(Plain(Zeroizing::new(v)))
            }
        }
        d.deserialize_string(Text)
    }
}

/// Reads an export into what was found so far; `name` is what messages call it.
///
/// # Errors
/// If it is not what the system writes. No message holds a value of the file.
pub fn read(system: System, name: &str, text: &str, how: &How, found: &mut Found) -> Result<()> {
    found.system = system.as_str();
    let text = text.trim_start_matches('\u{feff}');
    match system {
        System::Kong => kong::read(name, text, how, found),
        System::Apisix => apisix::read(name, text, how, found),
        System::EnvoyGateway => envoy_gateway::read(name, text, how, found),
        System::Unkey => unkey::read(name, text, how, found),
        System::Csv => table::read(name, text, how, found),
    }
}

impl Found {
    /// What is not carried over, as a list.
    pub fn left(&self) -> Vec<Left> {
        self.left
            .iter()
            .map(|(problem, places)| Left {
                problem: problem.clone(),
                places: places.iter().cloned().collect(),
            })
            .collect()
    }

    /// Leaves out keys that have ended by now: a store takes none that could never work.
    pub fn leave_ended(&mut self, now: u64) {
        let (ended, keys) = std::mem::take(&mut self.keys).into_iter().partition(|k| {
            let end = k.expires.parse::<When>().ok();
            end.is_some_and(|end| end.at(now) <= now)
        });
        self.keys = keys;
        let ended: Vec<KeyLine> = ended;
        for key in ended {
            self.leave(&key.place, "has ended");
        }
    }

    fn leave(&mut self, place: &str, problem: impl Into<String>) {
        self.left
            .entry(problem.into())
            .or_default()
            .insert(place.to_owned());
    }

    /// A client by the name that the other system has for it; gives the name it gets here.
    fn client(&mut self, original: &str) -> String {
        let name = client_name(original);
        let system = self.system;
        self.clients
            .entry(name.clone())
            .or_insert_with(|| ClientLine {
                name: name.clone(),
                plan: None,
                description: match name == original {
                    true => format!("from {system}"),
                    false => format!("from {system}, there `{}`", printable(original, 100)),
                },
            });
        name
    }

    /// Puts a client on a plan, unless it is on one.
    fn put_on(&mut self, client: &str, plan: &str, place: &str) {
        let Some(line) = self.clients.get_mut(client) else {
            return;
        };
        match &line.plan {
            None => line.plan = Some(plan.to_owned()),
            Some(before) if before == plan => {}
            Some(before) => {
                let problem =
                    format!("plan `{plan}`: a client has one plan, and it has `{before}`");
                self.leave(place, problem);
            }
        }
    }

    /// A key in full; hashed here. None if it is not carried over.
    fn plain_key(
        &mut self,
        place: &str,
        client: &str,
        key: &str,
        how: &How,
    ) -> Option<&mut KeyLine> {
        let reference = ["{vault://", "$secret://", "$env://", "$ENV://", "${"]
            .iter()
            .any(|r| key.starts_with(r));
        let problem = if reference {
            "refers to a secret that stands elsewhere; import it with its value, or issue a new key"
        } else if key.len() < SHORT && !how.allow_short {
            "is shorter than 16 characters, so its digest could be guessed; issue a new key, or give `--allow-short`"
        } else if key.is_empty() || key.len() > MAX_KEY_BYTES {
            "is empty or longer than 256 bytes; issue a new key"
        } else if key.bytes().any(|b| !(0x21..=0x7e).contains(&b)) {
            "holds spaces or characters that no header carries unchanged; issue a new key"
        } else {
            return self.key(place, client, Digest::of_foreign(key.as_bytes()), how);
        };
        self.leave(place, problem);
        None
    }

    /// A key by its digest. None if it stands in the export already.
    fn key(
        &mut self,
        place: &str,
        client: &str,
        digest: Digest,
        how: &How,
    ) -> Option<&mut KeyLine> {
        if let Some(first) = self.digests.get(&digest.0) {
            let problem = format!("is the same key as {first}");
            self.leave(place, problem);
            return None;
        }
        self.digests.insert(digest.0, place.to_owned());
        self.keys.push(KeyLine {
            place: place.to_owned(),
            client: client.to_owned(),
            sha256: digest.0.iter().map(|b| format!("{b:02x}")).collect(),
            environment: how.environment.clone().unwrap_or_default(),
            labels: vec![format!("imported-from={}", self.system)],
            ..KeyLine::default()
        });
        self.keys.last_mut()
    }

    /// A scope as a policy can write it, by the name that the other system has for it.
    fn scope(&mut self, original: &str, place: &str) -> Option<String> {
        if is_scope(original) {
            return Some(original.to_owned());
        }
        let problem = format!(
            "`{}` is no scope (up to 64 printable characters without spaces, commas, quotes); give it by hand",
            printable(original, 80)
        );
        self.leave(place, problem);
        None
    }

    /// A plan with limits, by the name that the other system has for it.
    fn plan(&mut self, original: &str, limits: Vec<RawLimit>) -> String {
        let name = plan_name(original);
        self.plans.entry(name.clone()).or_insert(RawPlan {
            limits,
            ..RawPlan::default()
        });
        name
    }
}

/// A name that a client may have: the same for the same original, and another for another.
fn client_name(original: &str) -> String {
    if is_client_name(original) {
        return original.to_owned();
    }
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let plain: String = original
        .chars()
        .map(|c| if fits(c) { c } else { '-' })
        .take(50)
        .collect();
    let plain = plain.trim_matches(['-', '.', '_']);
    let plain = if plain.is_empty() { "client" } else { plain };
    format!("{plain}-{}", mark(original))
}

fn plan_name(original: &str) -> String {
    if keystile_core::policy::is_plan_name(original) {
        return original.to_owned();
    }
    let plain: String = original
        .to_lowercase()
        .chars()
        .map(|c| match c {
            'a'..='z' | '0'..='9' | '_' | '-' => c,
            _ => '-',
        })
        .take(23)
        .collect();
    format!("{plain}-{}", mark(original))
}

/// Tells apart what becomes alike when it is made to fit.
fn mark(original: &str) -> String {
    let digest = Sha256::digest(original.as_bytes());
    digest.iter().take(3).map(|b| format!("{b:02x}")).collect()
}

fn printable(text: &str, most: usize) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .take(most)
        .collect()
}

/// A limit of a client, whichever of its keys it uses.
fn limit(requests: u64, seconds: u64, burst: Option<u64>, by: By) -> RawLimit {
    RawLimit {
        requests,
        per: keystile_model::when::duration(seconds),
        burst,
        by,
    }
}

/// Reads YAML or JSON without telling what stands in it: it may be a key.
fn parse<T: DeserializeOwned>(name: &str, text: &str, what: &str) -> Result<T> {
    let wrong = |place: String| {
        refuse(
            format_args!("{name}:{place} does not have the form that was expected"),
            format_args!("name {what}"),
        )
    };
    if text.trim_start().starts_with(['{', '[']) {
        return serde_json::from_str(text).map_err(|e| wrong(format!("{}:", e.line())));
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: 50_000_000,
            max_nodes: 50_000_000,
            max_total_scalar_bytes: 1 << 30,
        },
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|e| {
        let line = e.without_snippet().location().map_or(1, |l| l.line());
        wrong(format!("{line}:"))
    })
}

#[cfg(test)]
mod tests;
