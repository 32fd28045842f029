//! This Envoy's secrets: from its environment, or from a generic secret that Envoy has or fetches
//! (SDS), which can be replaced while Envoy runs.

use std::sync::{Mutex, PoisonError};

use keystile_core::keyset::{KeysetRefusal, Secrets};
use zeroize::Zeroizing;

use crate::abi::{Configuration, GenericSecret, NoSecret};

/// The environment variable that names the generic secret.
pub const NAME: &str = "KEYSTILE_SECRET";
/// The one with its `ConfigSource` in JSON; not set for one of `static_resources.secrets`.
const SOURCE: &str = "KEYSTILE_SECRET_SOURCE";

/// Why there are no secrets to work with.
#[derive(Debug, PartialEq, Eq)]
pub enum Unusable {
    /// What every filter refuses.
    Refusal(KeysetRefusal),
    /// What this one cannot do.
    Unsupported(&'static str),
}

impl From<KeysetRefusal> for Unusable {
    fn from(refusal: KeysetRefusal) -> Self {
        Self::Refusal(refusal)
    }
}

/// Where secrets come from.
pub enum SecretSource {
    /// The environment, which never changes.
    Environment,
    /// A generic secret of Envoy's.
    Envoy {
        /// Which.
        secret: GenericSecret,
        /// What it held when it was last read.
        last: Mutex<Zeroizing<Vec<u8>>>,
    },
}

impl SecretSource {
    /// What the environment asks for; only while a configuration is made.
    pub fn new(host: &Configuration<'_>) -> Result<Self, Unusable> {
        let (name, source) = (variable(NAME), variable(SOURCE));
        if name.is_empty() {
            return match source.is_empty() {
                true => Ok(Self::Environment),
                false => Err(Unusable::Unsupported(
                    "`KEYSTILE_SECRET_SOURCE` is set, but `KEYSTILE_SECRET` is not: set it to the secret's name",
                )),
            };
        }
        // Which of them should win, nobody could tell.
        if Secrets::VARIABLES.iter().any(|v| !variable(v).is_empty()) {
            return Err(Unusable::Unsupported(
                "`KEYSTILE_SECRET` is set, and so is a variable with the secret itself. Keep one of them",
            ));
        }
        // Whoever can send Envoy its configuration must not be able to sign keysets as well.
        let is_ads = |rest: &str| rest.trim_start().starts_with(':');
        if source.split("\"ads\"").skip(1).any(is_ads) {
            return Err(Unusable::Unsupported(
                "`KEYSTILE_SECRET_SOURCE` is `ads`, so that whoever configures Envoy could also sign keysets. Take the secret from a file (`path_config_source`) or from a secret discovery service of its own (`api_config_source`)",
            ));
        }
        let subscribed = host.subscribe(&name, &source);
        let secret = subscribed.map_err(|why| {
            Unusable::Unsupported(match why {
                NoSecret::Unsupported => "`KEYSTILE_SECRET` is set, and only Envoy 1.40 and later hand secrets to modules. Update Envoy, or set `KEYSTILE_SIGNING_KEYS` or `KEYSTILE_VERIFY_KEYS` instead",
                NoSecret::Refused => "Envoy has no such secret as `KEYSTILE_SECRET` names: the line before this one says why. List it in `static_resources.secrets`, or set `KEYSTILE_SECRET_SOURCE` to a ConfigSource in JSON",
            })
        })?;
        Ok(Self::Envoy {
            secret,
            last: Mutex::default(),
        })
    }

    /// The secrets. `None` if they have not arrived, or are the same as when this was last called.
    pub fn read(&self, host: &Configuration<'_>) -> Option<Result<Secrets, Unusable>> {
        let (secret, last) = match self {
            Self::Environment => {
                let [shared, public, node_key] = Secrets::VARIABLES.map(variable);
                let secrets = Secrets::parse(&shared, &public, &node_key);
                return Some(secrets.map_err(Unusable::from));
            }
            Self::Envoy { secret, last } => (*secret, last),
        };
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = host.with_secret(secret, |held| {
            let is_new = !held.is_empty() && held != last.as_slice();
            if is_new {
                *last = Zeroizing::new(held.to_vec());
            }
            is_new
        });
        is_new.then(|| parse(&last))
    }

    /// Whether it can change.
    pub fn can_change(&self) -> bool {
        matches!(self, Self::Envoy { .. })
    }
}

/// Reads what `keystilectl signing-key export` and `keystilectl node enroll` print, one below the
/// other.
fn parse(secret: &[u8]) -> Result<Secrets, Unusable> {
    const SHAPE: Unusable = Unusable::Unsupported(
        "the secret that `KEYSTILE_SECRET` names has a line that is none of `KEYSTILE_SIGNING_KEYS=…`, `KEYSTILE_VERIFY_KEYS=…` and `KEYSTILE_NODE_KEY=…`, or one of them twice. Make it of the output of `keystilectl signing-key export` and `keystilectl node enroll`",
    );
    let text = core::str::from_utf8(secret).map_err(|_| SHAPE)?;
    let mut values = [""; Secrets::VARIABLES.len()];
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = line.split_once('=').ok_or(SHAPE)?;
        let at = Secrets::VARIABLES.iter().position(|v| *v == name);
        let place = at.and_then(|at| values.get_mut(at)).ok_or(SHAPE)?;
        if !place.is_empty() || value.is_empty() {
            return Err(SHAPE);
        }
        *place = value;
    }
    let [shared, public, node_key] = values;
    Ok(Secrets::parse(shared, public, node_key)?)
}

/// An environment variable; empty if it is not set.
#[expect(
    clippy::disallowed_methods,
    reason = "Envoy hands secrets and their names over by environment; they are read once for each push"
)]
pub fn variable(name: &str) -> Zeroizing<String> {
    Zeroizing::new(std::env::var(name).unwrap_or_default())
}
