//! Certificates of a listener: read from files, and again when the files change.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime,
};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, crypto};

use keystile_model::error::{Code, Error, Result, refuse};
use keystile_system as system;

/// How often the files are checked, at most.
const LOOK: Duration = Duration::from_secs(1);

/// How often an open connection's certificate is checked even if no file changed, because it may
/// have expired.
const AGAIN: Duration = Duration::from_secs(60);

/// The files of a listener.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The certificate with its chain, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// The authority for clients: with it, clients need a certificate to connect.
    pub client_ca: Option<PathBuf>,
    /// The authority's list of revoked client certificates, PEM.
    pub client_crl: Option<PathBuf>,
}

/// The verifier of client certificates; none if they are not required.
type Verifier = Option<Arc<dyn ClientCertVerifier>>;

/// The contents of the files when they were last valid.
pub struct Certificates {
    files: TlsFiles,
    state: Mutex<State>,
    /// Signals that trust in clients may have changed.
    changed: watch::Sender<()>,
}

struct State {
    config: Arc<ServerConfig>,
    verifier: Verifier,
    stamp: Stamp,
    looked: Instant,
}

/// Identifies a file by inode, size and modification time.
type Stamp = Vec<Option<(u64, u64, i64, i64)>>;

impl Certificates {
    /// Reads the files.
    ///
    /// # Errors
    /// If one cannot be read, or they do not belong together.
    pub fn read(files: TlsFiles, now: Instant) -> Result<Self> {
        let stamp = files.stamp();
        let (config, verifier) = files.config()?;
        Ok(Self {
            files,
            changed: watch::Sender::new(()),
            state: Mutex::new(State {
                config,
                verifier,
                stamp,
                looked: now,
            }),
        })
    }

    /// The present contents. Invalid files leave in force what was read before.
    pub fn current(&self, now: Instant) -> Arc<ServerConfig> {
        let mut state = self.state();
        if now.saturating_duration_since(state.looked) < LOOK {
            return Arc::clone(&state.config);
        }
        state.looked = now;
        let stamp = self.files.stamp();
        if stamp != state.stamp {
            match self.files.config() {
                Ok((config, verifier)) => {
                    (state.config, state.verifier) = (config, verifier);
                    self.changed.send_replace(());
                    tracing::info!(file = %self.files.certificate.display(), "certificate reloaded");
                }
                Err(e) => {
                    tracing::error!(error = %e, "the new certificate is invalid; the old one stays in use")
                }
            }
            state.stamp = stamp;
        }
        Arc::clone(&state.config)
    }

    /// Checks the files from time to time, until it is dropped.
    pub async fn watch(&self) {
        loop {
            tokio::time::sleep(LOOK).await;
            self.current(system::instant());
        }
    }

    /// Completes when a client's certificates are no longer trusted: the authority was replaced or
    /// has revoked them, or they have expired.
    pub async fn distrusts(&self, chain: &[CertificateDer<'_>]) {
        let mut changed = self.changed.subscribe();
        loop {
            changed.borrow_and_update();
            if !self.trusts(chain) {
                return;
            }
            tokio::select! {
                changed = changed.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(AGAIN) => {}
            }
        }
    }

    fn trusts(&self, chain: &[CertificateDer<'_>]) -> bool {
        let verifier = self.state().verifier.clone();
        let now = Duration::from_millis(system::now().ms());
        match (verifier, chain.split_first()) {
            (Some(verifier), Some((own, others))) => verifier
                .verify_client_cert(own, others, UnixTime::since_unix_epoch(now))
                .is_ok(),
            (None, _) => true,
            (Some(_), None) => false,
        }
    }

    /// Every change under the lock is complete in itself.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TlsFiles {
    fn stamp(&self) -> Stamp {
        let stamp = |path: &Path| {
            let m = fs::metadata(path).ok()?;
            Some((m.ino(), m.size(), m.mtime(), m.mtime_nsec()))
        };
        [&self.certificate, &self.key]
            .into_iter()
            .chain(&self.client_ca)
            .chain(&self.client_crl)
            .map(|p| stamp(p))
            .collect()
    }

    fn config(&self) -> Result<(Arc<ServerConfig>, Verifier)> {
        let chain = certificates(&self.certificate)?;
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .map_err(|e| unreadable(&self.key, e, "name a PEM file with the private key"))?;
        let provider = Arc::new(crypto::ring::default_provider());
        let wrong = |e: &dyn std::fmt::Display| {
            refuse(
                Code::FileInvalid,
                format_args!(
                    "`{}` and `{}` are not a certificate and its key ({e})",
                    self.certificate.display(),
                    self.key.display()
                ),
                "name two files that belong together",
            )
        };
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|e| wrong(&e))?;
        let verifier = match &self.client_ca {
            None => None,
            Some(ca) => Some(self.verifier(ca, provider)?),
        };
        let builder = match &verifier {
            None => builder.with_no_client_auth(),
            Some(verifier) => builder.with_client_cert_verifier(Arc::clone(verifier)),
        };
        let mut config = builder
            .with_single_cert(chain, key)
            .map_err(|e| wrong(&e))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok((Arc::new(config), verifier))
    }

    fn verifier(
        &self,
        ca: &Path,
        provider: Arc<crypto::CryptoProvider>,
    ) -> Result<Arc<dyn ClientCertVerifier>> {
        let next = "name a PEM file with the authority that signs the clients' certificates";
        let mut roots = RootCertStore::empty();
        for certificate in certificates(ca)? {
            roots
                .add(certificate)
                .map_err(|e| unreadable(ca, e, next))?;
        }
        let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        if let Some(crl) = &self.client_crl {
            // Intermediate authorities may have no list; the authority of the certificate itself
            // must have one, or the certificate is refused.
            builder = builder
                .with_crls(revoked(crl)?)
                .only_check_end_entity_revocation();
        }
        builder.build().map_err(|e| unreadable(ca, e, next))
    }
}

fn revoked(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>> {
    let next =
        "name a PEM file with the revocation list of the clients' authority (`openssl ca -gencrl`)";
    let all: Vec<_> = CertificateRevocationListDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|e| unreadable(path, e, next))?;
    if all.is_empty() {
        return Err(refuse(
            Code::FileInvalid,
            format_args!("`{}` holds no list of revoked certificates", path.display()),
            next,
        ));
    }
    Ok(all)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let next = "name a PEM file with a certificate";
    let all: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|e| unreadable(path, e, next))?;
    if all.is_empty() {
        return Err(refuse(
            Code::FileInvalid,
            format_args!("`{}` holds no certificate", path.display()),
            next,
        ));
    }
    Ok(all)
}

fn unreadable(path: &Path, e: impl std::fmt::Display, next: &str) -> Error {
    refuse(
        Code::FileUnreadable,
        format_args!("`{}` cannot be read ({e})", path.display()),
        next,
    )
}
