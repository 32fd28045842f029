//! The peer of the connection: its address and its certificate.

use std::net::IpAddr;

use super::host;
use keystile_core::keyset::InForce;
use keystile_core::policy::ClientCertificates;
use keystile_core::request::certificate::Peer;

/// What Envoy reports about a presented certificate.
pub struct PresentedCertificate {
    proven: bool,
    uri: Option<Vec<u8>>,
    dns: Option<Vec<u8>>,
}

impl PresentedCertificate {
    /// Asks Envoy, if some key is bound to certificates.
    pub fn read(keyset: Option<&InForce>) -> Option<Self> {
        let keyset = keyset.filter(|k| k.certificates())?;
        // Without a certificate this costs only one property.
        if !is_true("connection\0mtls") {
            return None;
        }
        // `mtls` is also true for certificates that were not validated. An Envoy that does not know
        // the other attribute returns nothing, which proves nothing.
        let mut policies = keyset.policies();
        let proven = match policies.any(|p| p.client_certificates == ClientCertificates::Validated)
        {
            true => is_true("connection\0peer_certificate_valid"),
            false => true,
        };
        let name = |path| proven.then(|| host::property(path)).flatten();
        Some(Self {
            proven,
            uri: name("connection\0uri_san_peer_certificate"),
            dns: name("connection\0dns_san_peer_certificate"),
        })
    }

    /// As the decision sees it.
    pub fn peer(&self) -> Peer<'_> {
        match self.proven {
            true => Peer::Proven {
                uri: self.uri.as_deref(),
                dns: self.dns.as_deref(),
            },
            false => Peer::Unproven,
        }
    }
}

/// A property of type bool: one byte.
fn is_true(path: &str) -> bool {
    host::property(path).as_deref() == Some(&[1])
}

/// Where the request that is being decided comes from.
pub fn source_address() -> Option<IpAddr> {
    let text = host::property("source\0address")?;
    let text = core::str::from_utf8(&text).ok()?;
    match text.parse::<std::net::SocketAddr>() {
        Ok(address) => Some(address.ip()),
        Err(_) => text.parse().ok(),
    }
}
