//! The control plane, as the proxies of a cluster reach it.

use clap::Args;

use super::super::Context;
use keystile_render::envoy::HostPort;
use keystile_render::envoy::parts::{ControlPlane, Tls};

/// Where the proxies reach `keystilectl serve`.
#[derive(Args)]
pub struct Plane {
    /// The discovery service of `keystilectl serve`, instead of a keyset in a resource
    #[arg(long, value_name = "HOST:PORT", value_parser = HostPort::parse, requires = "control")]
    discovery: Option<HostPort>,
    /// With --discovery: where `keystilectl serve` accepts reports of what is in force
    #[arg(long, value_name = "HOST:PORT", value_parser = HostPort::parse, requires = "discovery")]
    control: Option<HostPort>,
    /// With --discovery: the server's certificate authority, as a file in the proxies' container
    #[arg(long, value_name = "FILE", requires = "discovery")]
    tls_ca: Option<String>,
    /// With --tls-ca: the proxies' own certificate, as a file in their container
    #[arg(long, value_name = "FILE", requires_all = ["tls_ca", "tls_key"])]
    tls_cert: Option<String>,
    /// With --tls-cert: its private key
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<String>,
}

impl Plane {
    /// The control plane that the options describe, if any.
    pub fn control_plane(&self, cx: &Context) -> Option<ControlPlane> {
        let discovery = self.discovery.clone()?;
        let control = self.control.clone()?;
        let tls = self.tls_ca.clone().map(|ca| Tls {
            ca,
            certificate: self.tls_cert.clone().zip(self.tls_key.clone()),
        });
        if tls.is_none() && !(discovery.is_loopback() && control.is_loopback()) {
            cx.out.warn("without --tls-ca the proxies connect in the clear, and anyone in between can withhold revocations from them");
        }
        Some(ControlPlane {
            discovery,
            control,
            tls,
        })
    }
}
