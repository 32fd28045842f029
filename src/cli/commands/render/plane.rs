//! The control plane, as the proxies of a cluster reach it.

use clap::Args;

use super::super::Context;
use keystile_render::envoy::HostPort;
use keystile_render::envoy::parts::{ControlPlane, Tls};

/// Where `keystilectl serve` is, seen from the proxies.
#[derive(Args)]
pub struct Plane {
    /// The discovery service of `keystilectl serve`, in place of a keyset in a resource
    #[arg(long, value_name = "HOST:PORT", value_parser = HostPort::parse, requires = "control")]
    discovery: Option<HostPort>,
    /// With --discovery: where `keystilectl serve` takes reports of what is in force
    #[arg(long, value_name = "HOST:PORT", value_parser = HostPort::parse, requires = "discovery")]
    control: Option<HostPort>,
    /// With --discovery: the authority of the server's certificate, a file of the proxies' container
    #[arg(long, value_name = "FILE", requires = "discovery")]
    tls_ca: Option<String>,
    /// With --tls-ca: the proxies' own certificate, a file of their container
    #[arg(long, value_name = "FILE", requires_all = ["tls_ca", "tls_key"])]
    tls_cert: Option<String>,
    /// With --tls-cert: its private key
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<String>,
}

impl Plane {
    /// What was said of it; `None` if nothing was.
    pub fn control_plane(&self, cx: &Context) -> Option<ControlPlane> {
        let discovery = self.discovery.clone()?;
        let control = self.control.clone()?;
        let tls = self.tls_ca.clone().map(|ca| Tls {
            ca,
            certificate: self.tls_cert.clone().zip(self.tls_key.clone()),
        });
        if tls.is_none() && !(discovery.is_loopback() && control.is_loopback()) {
            cx.out.warn("without --tls-ca the proxies ask in clear, and whoever stands between can keep revocations from them");
        }
        Some(ControlPlane {
            discovery,
            control,
            tls,
        })
    }
}
