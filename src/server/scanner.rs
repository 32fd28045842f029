//! The public keys of a secret scanner, kept fresh: from a file, or from the address
//! where the scanner publishes them.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use keystile_model::error::{Code, Error, Result, refuse};
use keystile_model::scanning::{Alert, ScannerKeys, UntrustedReport};
use keystile_registry::leak::LeakPolicy;
use keystile_system as system;
use keystile_system::file;

/// How old published keys grow before they are fetched again.
const FRESH: Duration = Duration::from_secs(3600);
/// The least time between fetches because of an unknown key.
const AGAIN: Duration = Duration::from_secs(60);
/// How soon to retry after a failed fetch.
const RETRY: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the keys come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// A file, for scanners of your own and for machines without Internet access.
    File(PathBuf),
    /// `https://api.github.com/meta/public_keys/secret_scanning`, for instance.
    Url(String),
}

impl std::str::FromStr for KeySource {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text.contains("://") {
            return keystile_model::webhook::checked_url(text).map(Self::Url);
        }
        Ok(Self::File(text.into()))
    }
}

/// Verifies a scanner's messages.
pub struct Scanner {
    source: KeySource,
    policy: LeakPolicy,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    keys: Arc<ScannerKeys>,
    tried: Option<tokio::time::Instant>,
    /// The last fetch succeeded: a key that is not among them is not the scanner's.
    known: bool,
}

impl Scanner {
    /// With keys from `source`. They are read with the first message.
    pub fn new(source: KeySource, policy: LeakPolicy) -> Self {
        Self {
            source,
            policy,
            held: Mutex::default(),
        }
    }

    /// What to do with a leaked key.
    pub fn policy(&self) -> LeakPolicy {
        self.policy
    }

    /// Checks a message and reads its alerts.
    ///
    /// # Errors
    /// [`UntrustedReport`].
    pub async fn open(
        self: &Arc<Self>,
        body: &[u8],
        key: Option<&str>,
        signature: Option<&str>,
    ) -> Result<Vec<Alert>, UntrustedReport> {
        let (keys, _) = self.keys(FRESH).await;
        match keys.open(body, key, signature) {
            // It may be newer than the keys that are held.
            Err(UntrustedReport::UnknownKey) => {
                let (keys, known) = self.keys(AGAIN).await;
                match keys.open(body, key, signature) {
                    // If it were told that the key is unknown, the scanner would drop its alerts.
                    Err(UntrustedReport::UnknownKey) if !known => Err(UntrustedReport::NoKeys),
                    opened => opened,
                }
            }
            opened => opened,
        }
    }

    /// The keys, and whether they are all that the scanner publishes.
    async fn keys(self: &Arc<Self>, fresh: Duration) -> (Arc<ScannerKeys>, bool) {
        let now = system::instant();
        {
            let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            let fresh = if held.known { fresh } else { RETRY };
            if held.tried.is_some_and(|at| now.duration_since(at) < fresh) {
                return (Arc::clone(&held.keys), held.known);
            }
            // One task fetches; the others go on with what is there.
            held.tried = Some(now);
            held.known = false;
        }
        let source = self.source.clone();
        let read = tokio::task::spawn_blocking(move || read(&source)).await;
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        match read {
            Ok(Ok(keys)) => {
                held.keys = Arc::new(keys);
                held.known = true;
            }
            Ok(Err(e)) => tracing::error!(error = %e, "the scanner's keys cannot be read"),
            Err(_) => {}
        }
        (Arc::clone(&held.keys), held.known)
    }
}

fn read(source: &KeySource) -> Result<ScannerKeys> {
    let (place, bytes) = match source {
        KeySource::File(path) => (path.display().to_string(), file::read(path)?),
        KeySource::Url(url) => (url.clone(), fetch(url)?),
    };
    ScannerKeys::parse(&bytes).map_err(|e| {
        refuse(
            Code::SettingInvalid,
            format_args!("{e}"),
            "give the list of public keys that the scanner publishes",
        )
        .field(place)
    })
}

fn fetch(url: &str) -> Result<Vec<u8>> {
    let agent = ureq::Agent::config_builder()
        .timeout_global(Some(PATIENCE))
        .user_agent("keystile")
        .build()
        .new_agent();
    let cannot = |e: ureq::Error| {
        refuse(
            Code::Unreachable,
            format_args!("`{url}` cannot be fetched ({e})"),
            "check the network, or give a file",
        )
    };
    let mut answer = agent.get(url).call().map_err(cannot)?;
    answer
        .body_mut()
        .with_config()
        .limit(1 << 20)
        .read_to_vec()
        .map_err(cannot)
}
