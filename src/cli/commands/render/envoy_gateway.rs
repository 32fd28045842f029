//! `keystilectl render envoy-gateway`

use clap::Args;

use super::super::Context;
use super::super::push::Filter;
use super::image::{sha256, warn_if_unpinned};
use super::istio::keyset_for_object;
use super::module::{Module, is_native};
use super::plane::Plane;
use crate::output;
use keystile_model::error::{Result, refuse};
use keystile_render::envoy_gateway::{Code, Gateway, GatewayDelivery, GatewayListener};

/// Print the resources for a Gateway of Envoy Gateway
#[derive(Args)]
#[command(after_help = "\
Examples:
  keystilectl render envoy-gateway --namespace edge --gateway public \\
    --image oci://registry.example/keystile@sha256:… | kubectl apply --server-side -f -
  keystilectl render envoy-gateway --namespace edge --gateway public --listener https:443 \\
    --discovery keystile.infra.svc:18000 --control keystile.infra.svc:8443 --tls-ca /etc/keystile/ca.crt
  keystilectl render envoy-gateway --namespace edge --gateway public --shell module \\
    --image registry.example/keystile-module@sha256:…        # Envoy Gateway 1.8 and later

With --image, every change to keys changes the listener, and open connections keep the old keys until
they drain. With --discovery, a change is in force at once.")]
pub struct EnvoyGatewayArgs {
    /// Namespace of the Gateway
    #[arg(long, default_value = "default")]
    namespace: String,
    /// Name of the Gateway
    #[arg(long, value_name = "NAME")]
    gateway: String,
    /// A listener of the Gateway; with its port from Envoy Gateway 1.10 on (or with XDSNameSchemeV2).
    /// Repeat this for every listener
    #[arg(long, value_name = "NAME[:PORT]", default_value = "http", value_parser = GatewayListener::parse)]
    listener: Vec<GatewayListener>,
    /// The listeners also speak HTTP/3, which adds a second listener for each in Envoy
    #[arg(long)]
    http3: bool,
    /// Where the filter's code is: oci:// or https://, pinned by @sha256: or --sha256. With --shell module
    /// an image that holds libkeystile.so
    #[arg(
        long,
        value_name = "URL",
        required_unless_present = "discovery",
        conflicts_with = "discovery"
    )]
    image: Option<String>,
    /// The digest of the image or file
    #[arg(long, value_name = "HEX", requires = "image", value_parser = sha256)]
    sha256: Option<String>,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    plane: Plane,
}

impl EnvoyGatewayArgs {
    /// Runs it.
    pub fn run(self, cx: &Context) -> Result<()> {
        let is_native = is_native(&self.filter)?;
        let delivery = match (self.plane.control_plane(cx), self.image) {
            (Some(plane), _) => GatewayDelivery::Discovery { plane, is_native },
            (None, Some(url)) if is_native => {
                let Module { file, image, .. } =
                    Module::new(cx, &self.filter, &url, self.sha256.as_deref())?;
                let keyset = keyset_for_object(cx)?;
                GatewayDelivery::Module {
                    file,
                    image,
                    keyset,
                }
            }
            (None, Some(url)) => {
                warn_if_unpinned(cx, &url, self.sha256.as_deref());
                GatewayDelivery::Extension {
                    code: Code::new(&url, self.sha256),
                    keyset: keyset_for_object(cx)?,
                }
            }
            (None, None) => {
                return Err(refuse(
                    keystile_model::error::Code::FieldMissing,
                    "neither an image nor a discovery service is given",
                    "add `--image` or `--discovery`",
                ));
            }
        };
        let gateway = Gateway {
            namespace: self.namespace,
            name: self.gateway,
            listeners: self.listener,
            http3: self.http3,
            delivery,
        };
        output::raw(gateway.render()?.as_bytes())
    }
}
