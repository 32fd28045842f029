//! What was found in an export: clients, keys and plans, and what is not carried over.

use std::collections::{BTreeMap, BTreeSet};

use keystile_core::hex;
use keystile_core::key::{Digest, MAX_KEY_BYTES};
use keystile_core::policy::{RawPlan, is_client_name, is_scope};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::{How, printable, sendable};
use keystile_model::import_lines::{ClientLine, KeyLine};
use keystile_model::when::When;

/// The shortest key that is imported, in bytes: a digest protects only what cannot be guessed.
const SHORT: usize = 16;

/// Where keys stand that are left out, by their digests in hexadecimal digits.
pub type Dead = BTreeMap<String, String>;

/// What an export holds.
#[derive(Default)]
pub struct Found {
    /// Sorted by name.
    pub clients: BTreeMap<String, ClientLine>,
    /// In the order of the export.
    pub keys: Vec<KeyLine>,
    /// Plans that clients are on.
    pub plans: BTreeMap<String, RawPlan>,
    /// Where each of them stands.
    plan_places: BTreeMap<String, String>,
    /// What is not carried over, and where it is.
    pub left: BTreeMap<String, BTreeSet<String>>,
    /// What is carried over in another form, and where it is.
    pub noted: BTreeMap<String, BTreeSet<String>>,
    /// Clients whose keys are left out, where that is, and why.
    shut: BTreeMap<String, (String, String)>,
    /// What clients are called in the other system, by their names here.
    originals: BTreeMap<String, String>,
    /// Files that hold something of their kind.
    met: BTreeSet<String>,
    /// Keys that are left out, and would close the same key elsewhere.
    dead: Dead,
    system: &'static str,
}

/// Something that is not carried over, or carried over in another form.
#[derive(Serialize)]
pub struct Left {
    /// What, and why.
    pub problem: String,
    /// Its line.
    pub places: Vec<String>,
}

impl Found {
    pub(crate) fn new(system: &'static str) -> Self {
        Self {
            system,
            ..Self::default()
        }
    }

    /// What is not carried over, as a list.
    pub fn left(&self) -> Vec<Left> {
        listed(&self.left)
    }

    /// What is carried over in another form, as a list.
    pub fn noted(&self) -> Vec<Left> {
        listed(&self.noted)
    }

    /// A file holds something of its kind.
    pub(crate) fn meet(&mut self, file: &str) {
        self.met.insert(file.to_owned());
    }

    pub(crate) fn has_met(&self, file: &str) -> bool {
        self.met.contains(file)
    }

    /// Leaves out a client and its keys, because something that has no equivalent here shuts it out
    /// there.
    pub(crate) fn shut(&mut self, client: &str, place: &str, problem: impl Into<String>) {
        self.shut
            .entry(client.to_owned())
            .or_insert_with(|| (place.to_owned(), problem.into()));
    }

    /// What can be done only when everything has been read.
    pub(crate) fn settle(&mut self) {
        let shut: BTreeMap<String, (String, String)> = std::mem::take(&mut self.shut)
            .into_iter()
            .map(|(client, (place, problem))| {
                let problem = format!("client `{client}` and its keys are left out: {problem}");
                (client, (place, problem))
            })
            .collect();
        for (client, (place, problem)) in &shut {
            self.clients.remove(client);
            self.leave(place, problem);
        }
        let mut per_client: BTreeMap<String, u64> = BTreeMap::new();
        for key in std::mem::take(&mut self.keys) {
            match shut.get(&key.client) {
                Some((_, problem)) => {
                    self.leave(&key.place, problem);
                    self.dead.entry(key.sha256).or_insert(key.place);
                }
                None => self.keys.push(key),
            }
        }
        let dead = std::mem::take(&mut self.dead);
        self.join_twice(&dead);
        for key in &self.keys {
            *per_client.entry(key.client.clone()).or_default() += 1;
        }
        for client in self.clients.values() {
            let plan = client.plan.as_ref().and_then(|p| self.plans.get(p));
            let quota = plan.and_then(|p| p.quota.as_ref());
            let keys = per_client.get(&client.name).copied().unwrap_or(0);
            if let (Some(quota), true) = (quota, keys > 1) {
                let problem = format!(
                    "a quota is counted for each key on its own: {} for each of the {keys} keys of a client",
                    quota.requests
                );
                let place = format!("client `{}`", client.name);
                self.noted.entry(problem).or_default().insert(place);
            }
        }
    }

    /// Leaves out expired keys: a store accepts none that could never work.
    pub fn leave_ended(&mut self, now: u64) {
        let (ended, keys) = std::mem::take(&mut self.keys).into_iter().partition(|k| {
            let end = k.expires.parse::<When>().ok();
            end.is_some_and(|end| end.at(now) <= now)
        });
        self.keys = keys;
        let ended: Vec<KeyLine> = ended;
        for key in ended {
            self.leave(&key.place, "has expired");
        }
    }

    pub(crate) fn note(&mut self, place: &str, problem: impl Into<String>) {
        self.noted
            .entry(problem.into())
            .or_default()
            .insert(place.to_owned());
    }

    pub(crate) fn leave(&mut self, place: &str, problem: impl Into<String>) {
        self.left
            .entry(problem.into())
            .or_default()
            .insert(place.to_owned());
    }

    /// A client by its name in the other system; gives its name here.
    pub(crate) fn client(&mut self, original: &str) -> String {
        let name = client_name(original);
        let system = self.system;
        let there = self.originals.entry(name.clone());
        let there = there.or_insert_with(|| original.to_owned());
        if there != original {
            let (one, other) = (printable(there, 60), printable(original, 60));
            let place = format!("`{one}` and `{other}`");
            self.shut(
                &name,
                &place,
                "they would get the same name here; rename one of them",
            );
        }
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

    /// Puts a client on a plan, unless it is on another; whether it is on this one now.
    pub(crate) fn put_on(&mut self, client: &str, plan: &str, place: &str) -> bool {
        let Some(line) = self.clients.get_mut(client) else {
            return false;
        };
        match &line.plan {
            None => line.plan = Some(plan.to_owned()),
            Some(before) if before == plan => {}
            Some(before) => {
                let problem =
                    format!("plan `{plan}`: a client has one plan, and it has `{before}`");
                self.leave(place, problem);
                return false;
            }
        }
        true
    }

    /// A full key, hashed here. None if it is not carried over.
    pub(crate) fn plain_key(
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
            "refers to a secret that is kept elsewhere; import it with its value, or issue a new key"
        } else if key.len() < SHORT && !how.allow_short {
            "is shorter than 16 characters, so its digest could be guessed; issue a new key, or give `--allow-short`"
        } else if key.is_empty() || key.len() > MAX_KEY_BYTES {
            "is empty or longer than 256 bytes; issue a new key"
        } else if key.bytes().any(|b| !(0x21..=0x7e).contains(&b)) {
            "holds spaces or characters that no header carries unchanged; issue a new key"
        } else {
            let places = sendable::not_in(key);
            if !places.is_empty() {
                self.note(
                    place,
                    format!(
                        "holds a character that cannot be sent {}; send it as a header of its own, or issue a new key",
                        listed_words(&places)
                    ),
                );
            }
            return self.key(place, client, Digest::of_foreign(key.as_bytes()), how);
        };
        self.leave(place, problem);
        None
    }

    /// A key that is left out: the same key elsewhere in the export is, too.
    pub(crate) fn dead(&mut self, place: &str, digest: Digest) {
        let digest = hex::text(digest.0);
        self.dead.entry(digest).or_insert_with(|| place.to_owned());
    }

    /// A key by its digest.
    pub(crate) fn key(
        &mut self,
        place: &str,
        client: &str,
        digest: Digest,
        how: &How,
    ) -> Option<&mut KeyLine> {
        self.keys.push(KeyLine {
            place: place.to_owned(),
            client: client.to_owned(),
            sha256: hex::text(digest.0),
            environment: how.environment.clone().unwrap_or_default(),
            labels: vec![format!("imported-from={}", self.system)],
            ..KeyLine::default()
        });
        self.keys.last_mut()
    }

    /// A scope as a policy can write it, by its name in the other system.
    pub(crate) fn scope(&mut self, original: &str, place: &str) -> Option<String> {
        if is_scope(original) {
            return Some(original.to_owned());
        }
        let problem = format!(
            "`{}` is not a scope (up to 64 printable characters without spaces, commas, quotes); give it by hand",
            printable(original, 80)
        );
        self.leave(place, problem);
        None
    }

    /// A plan, by the name that the other system has for it. One that stands in several places
    /// has the limits of all of them.
    pub(crate) fn plan(&mut self, original: &str, plan: RawPlan, place: &str) -> String {
        let name = plan_name(original);
        let Some(there) = self.plans.get_mut(&name) else {
            self.plan_places.insert(name.clone(), place.to_owned());
            self.plans.insert(name.clone(), plan);
            return name;
        };
        if *there != plan {
            let new = plan.limits.into_iter();
            let new: Vec<_> = new.filter(|l| !there.limits.contains(l)).collect();
            there.limits.extend(new);
            there.quota = match (there.quota.take(), plan.quota) {
                (Some(a), Some(b)) if b.requests < a.requests => Some(b),
                (a, b) => a.or(b),
            };
            self.note(
                place,
                format!("plan `{name}` has other limits elsewhere in the export: here it has both"),
            );
        }
        name
    }

    /// The policy has a plan of this name with other limits, and keeps them.
    pub fn plan_stays(&mut self, name: &str) {
        let place = self.plan_places.get(name).cloned().unwrap_or_default();
        self.leave(
            &place,
            format!(
                "limits of plan `{name}`: the policy has a plan of this name, whose own limits stay; \
                 change them there, or rename one of the two"
            ),
        );
    }
}

fn listed(of: &BTreeMap<String, BTreeSet<String>>) -> Vec<Left> {
    of.iter()
        .map(|(problem, places)| Left {
            problem: problem.clone(),
            places: places.iter().cloned().collect(),
        })
        .collect()
}

fn listed_words(words: &[&str]) -> String {
    match words.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, before)) => format!("{} or {last}", before.join(", ")),
        None => String::new(),
    }
}

/// A valid name for a client: the same for the same original, and different for different ones.
pub(crate) fn client_name(original: &str) -> String {
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

pub(crate) fn plan_name(original: &str) -> String {
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

/// A suffix that distinguishes names that become equal when they are made valid.
fn mark(original: &str) -> String {
    hex::start(Sha256::digest(original.as_bytes()), 3)
}
