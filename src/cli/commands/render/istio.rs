//! `keystilectl render istio`

use clap::Args;

use super::super::Context;
use super::plane::Plane;
use crate::output;
use keystile_model::error::{Code, Result, refuse};
use keystile_model::rules;
use keystile_registry::publish;
use keystile_render::istio::{FailStrategy, Mesh, MeshDelivery, ProxyKind};

/// Kubernetes stores objects of up to 1.5 MiB; the rest of the resource needs some of that.
pub const OBJECT_MOST: usize = 1_400_000;

/// Print the resources for a gateway or a workload of Istio
#[derive(Args)]
#[command(after_help = "\
Examples:
  keystilectl render istio --image oci://registry.example/keystile@sha256:… \\
    | kubectl apply --server-side -f -
  keystilectl render istio --namespace shop --selector app=users --place sidecar \\
    --image oci://registry.example/keystile@sha256:…
  keystilectl render istio --discovery keystile.infra.svc:18000 --control keystile.infra.svc:8443 \\
    --tls-ca /etc/keystile/tls/ca.crt

With --image, a WasmPlugin carries the keyset: some 30,000 keys at most, because of the size of a
Kubernetes object. With --discovery, the proxies get it from `keystilectl serve`: any number of keys, and
a change is in force within milliseconds.")]
pub struct IstioArgs {
    /// Namespace of the gateway or workload
    #[arg(long, default_value = "istio-system")]
    namespace: String,
    /// A label of its pods; can be repeated
    #[arg(long, value_name = "NAME=VALUE", default_value = "istio=ingressgateway", value_parser = rules::label)]
    selector: Vec<(String, String)>,
    /// Where the filter runs
    #[arg(long, default_value = "gateway")]
    place: ProxyKind,
    /// Where the filter's code is: oci:// or https://, pinned by @sha256: or --sha256
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
    /// What happens when the filter traps
    #[arg(long, default_value = "reload")]
    fail_strategy: FailStrategy,
    #[command(flatten)]
    plane: Plane,
}

/// Reads a SHA-256 digest in hexadecimal.
pub fn sha256(text: &str) -> std::result::Result<String, String> {
    if text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(text.to_ascii_lowercase());
    }
    Err("a digest is 64 hexadecimal digits, as `sha256sum` prints them".to_owned())
}

/// Warns of an image that is not pinned by digest.
pub fn warn_if_unpinned(cx: &Context, image: &str, sha256: Option<&str>) {
    if sha256.is_none() && !image.contains("@sha256:") {
        cx.out.warn(format_args!(
            "`{image}` names no digest: whoever can write to the registry chooses what runs in front of your services; add `@sha256:…` or --sha256"
        ));
    }
}

/// The keyset for a Kubernetes object, refused if it does not fit.
pub fn keyset_for_object(cx: &Context) -> Result<String> {
    let keyset =
        publish::ready(&mut cx.store_as_it_is()?, &cx.world)?.seal(publish::nonce(&cx.world)?);
    if keyset.len() > OBJECT_MOST {
        return Err(refuse(
            Code::TooLong,
            format_args!(
                "the keyset takes {} bytes, more than Kubernetes keeps in one object",
                keyset.len()
            ),
            "run `keystilectl serve` and print this again with `--discovery`",
        ));
    }
    Ok(keyset)
}

impl IstioArgs {
    /// Runs it.
    pub fn run(self, cx: &Context) -> Result<()> {
        let delivery = match (self.plane.control_plane(cx), self.image) {
            (Some(plane), _) => MeshDelivery::Discovery(plane),
            (None, Some(url)) => {
                warn_if_unpinned(cx, &url, self.sha256.as_deref());
                if url.starts_with("file://") {
                    cx.out.warn(
                        "with file:// Istio makes new VMs for every push; use oci:// or https://",
                    );
                }
                MeshDelivery::Plugin {
                    url,
                    sha256: self.sha256,
                    fail_strategy: self.fail_strategy,
                    keyset: keyset_for_object(cx)?,
                }
            }
            (None, None) => {
                return Err(refuse(
                    Code::FieldMissing,
                    "neither code nor a discovery service is named",
                    "add `--image` or `--discovery`",
                ));
            }
        };
        let mesh = Mesh {
            namespace: self.namespace,
            selector: self.selector.into_iter().collect(),
            place: self.place,
            delivery,
        };
        output::raw(mesh.render()?.as_bytes())
    }
}
