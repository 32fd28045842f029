//! Where a request comes from.

use std::net::SocketAddr;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::request_connection::Presence;
use keystile_core::hex;

/// Where a request comes from; in its extensions.
#[derive(Clone)]
pub struct HttpPeer {
    /// The peer of the connection, or the client behind a trusted proxy.
    pub address: SocketAddr,
    /// Whether it is over TLS.
    pub tls: bool,
    /// Its validated client certificate, DER.
    pub certificate: Option<Arc<[u8]>>,
    /// A trusted proxy sent it.
    pub proxied: bool,
    /// Its connection.
    pub presence: Presence,
}

impl HttpPeer {
    /// For a direct connection.
    pub fn direct(address: SocketAddr, tls: bool) -> Self {
        Self {
            address,
            tls,
            certificate: None,
            proxied: false,
            presence: Presence::default(),
        }
    }

    /// SHA-256 of the certificate, in hexadecimal.
    pub fn fingerprint(&self) -> Option<String> {
        Some(hex::text(Sha256::digest(self.certificate.as_ref()?)))
    }
}
