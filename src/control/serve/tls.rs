//! Certificates of a listener: read from files, and again when the files change.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, crypto};

use crate::error::{Error, Result, refuse};

/// How often the files are looked at, at most.
const LOOK: Duration = Duration::from_secs(1);

/// The files of a listener.
#[derive(Clone, Debug)]
pub struct Files {
    /// The certificate and what leads to its authority, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// The authority of clients: with it, nobody connects without a certificate.
    pub client_ca: Option<PathBuf>,
}

/// What the files held when they were last good.
pub struct Certificates {
    files: Files,
    state: Mutex<State>,
}

struct State {
    config: Arc<ServerConfig>,
    stamp: Stamp,
    looked: Instant,
}

/// Tells a file from one that took its place, by inode, size and time of its change.
type Stamp = Vec<Option<(u64, u64, i64, i64)>>;

impl Certificates {
    /// Reads the files.
    ///
    /// # Errors
    /// If one cannot be read, or they do not belong together.
    pub fn read(files: Files, now: Instant) -> Result<Self> {
        let stamp = files.stamp();
        let config = files.config()?;
        Ok(Self {
            files,
            state: Mutex::new(State {
                config,
                stamp,
                looked: now,
            }),
        })
    }

    /// What they say now. Broken files leave in force what was read before.
    pub fn current(&self, now: Instant) -> Arc<ServerConfig> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(state.looked) < LOOK {
            return Arc::clone(&state.config);
        }
        state.looked = now;
        let stamp = self.files.stamp();
        if stamp != state.stamp {
            match self.files.config() {
                Ok(config) => {
                    state.config = config;
                    tracing::info!(file = %self.files.certificate.display(), "certificate read anew");
                }
                Err(e) => {
                    tracing::error!(error = %e, "the new certificate is not taken, the former one stays")
                }
            }
            state.stamp = stamp;
        }
        Arc::clone(&state.config)
    }
}

impl Files {
    fn stamp(&self) -> Stamp {
        let stamp = |path: &Path| {
            let m = fs::metadata(path).ok()?;
            Some((m.ino(), m.size(), m.mtime(), m.mtime_nsec()))
        };
        [&self.certificate, &self.key]
            .into_iter()
            .chain(&self.client_ca)
            .map(|p| stamp(p))
            .collect()
    }

    fn config(&self) -> Result<Arc<ServerConfig>> {
        let chain = certificates(&self.certificate)?;
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .map_err(|e| unreadable(&self.key, e, "name a PEM file with the private key"))?;
        let provider = Arc::new(crypto::ring::default_provider());
        let wrong = |e: &dyn std::fmt::Display| {
            refuse(
                format_args!(
                    "`{}` and `{}` are no certificate and its key ({e})",
                    self.certificate.display(),
                    self.key.display()
                ),
                "name two files that belong together",
            )
        };
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|e| wrong(&e))?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(ca) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(ca)? {
                    roots.add(certificate).map_err(|e| {
                        unreadable(ca, e, "name a PEM file with the authority of the clients")
                    })?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                        .build()
                        .map_err(|e| {
                            unreadable(ca, e, "name a PEM file with the authority of the clients")
                        })?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder
            .with_single_cert(chain, key)
            .map_err(|e| wrong(&e))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let next = "name a PEM file with a certificate";
    let all: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|e| unreadable(path, e, next))?;
    if all.is_empty() {
        return Err(refuse(
            format_args!("`{}` holds no certificate", path.display()),
            next,
        ));
    }
    Ok(all)
}

fn unreadable(path: &Path, e: impl std::fmt::Display, next: &str) -> Error {
    refuse(
        format_args!("`{}` cannot be read ({e})", path.display()),
        next,
    )
}
