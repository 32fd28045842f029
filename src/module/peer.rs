//! The peer of the connection: its certificate, its address, and the virtual host that it has
//! reached.

use std::net::{IpAddr, SocketAddr};

use keystile_core::keyset::InForce;
use keystile_core::policy::ClientCertificates;
use keystile_core::request::certificate::Peer;

use crate::abi::{Attribute, Stream};

/// What Envoy reports about a presented certificate.
pub struct PresentedCertificate {
    proven: bool,
    uri: Option<Vec<u8>>,
    dns: Option<Vec<u8>>,
}

impl PresentedCertificate {
    /// Asks Envoy, if some key is bound to certificates.
    pub fn read(keyset: Option<&InForce>, stream: &Stream<'_>) -> Option<Self> {
        let keyset = keyset.filter(|k| k.certificates())?;
        if !stream.holds(Attribute::Mtls) {
            return None;
        }
        // Modules are not told whether Envoy has checked it, so that only where the policy asks
        // for no more than that it was presented is anything proven.
        let mut policies = keyset.policies();
        let proven = policies.all(|p| p.client_certificates == ClientCertificates::Presented);
        let name = |attribute| proven.then(|| stream.attribute(attribute)).flatten();
        Some(Self {
            proven,
            uri: name(Attribute::Uri),
            dns: name(Attribute::DnsName),
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

/// As the decision sees it, or that there is none.
pub fn peer(certificate: Option<&PresentedCertificate>) -> Peer<'_> {
    certificate
        .map(PresentedCertificate::peer)
        .unwrap_or_default()
}

/// Where the request comes from.
pub fn source_address(stream: &Stream<'_>) -> Option<IpAddr> {
    let text = stream.attribute(Attribute::SourceAddress)?;
    let text = core::str::from_utf8(&text).ok()?;
    match text.parse::<SocketAddr>() {
        Ok(address) => Some(address.ip()),
        Err(_) => text.parse().ok(),
    }
}

/// The name of the virtual host that Envoy has chosen, if some rule names one.
pub fn virtual_host(keyset: Option<&InForce>, stream: &Stream<'_>) -> Option<String> {
    let is_named = |k: &&InForce| k.policies().any(|p| p.router.names_virtual_hosts());
    keyset.filter(is_named)?;
    String::from_utf8(stream.attribute(Attribute::VirtualHost)?).ok()
}

/// Whether the connection itself is encrypted. The scheme would be the caller's claim.
pub fn is_tls(stream: &Stream<'_>) -> bool {
    let version = stream.attribute(Attribute::TlsVersion);
    version.is_some_and(|version| !version.is_empty())
}
