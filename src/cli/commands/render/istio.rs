//! `keystilectl render istio`

use clap::Args;

use super::super::Context;
use super::super::push::Filter;
use super::image::{sha256, warn_if_unpinned};
use super::module::{Module, is_native};
use super::plane::Plane;
use crate::output;
use keystile_model::error::{Code, Error, Result, refuse};
use keystile_model::rules;
use keystile_registry::publish;
use keystile_render::istio::{FailStrategy, IstioVersion, Mesh, MeshDelivery, ProxyKind};

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
  keystilectl render istio --istio 1.29 --image oci://registry.example/keystile@sha256:…
  keystilectl render istio --discovery keystile.infra.svc:18000 --control keystile.infra.svc:8443 \\
    --tls-ca /etc/keystile/tls/ca.crt
  keystilectl render istio --shell module --image registry.example/keystile-module@sha256:… \\
    | kubectl apply --server-side -f -                       # Istio 1.30 and later

With --image, a TrafficExtension (before Istio 1.30, a WasmPlugin) carries the keyset: some 30,000 keys
at most, because of the size of a Kubernetes object. With --discovery, the proxies get it from `keystilectl serve`: any number of keys, and
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
    /// The version of Istio that reads it: before 1.30, a WasmPlugin is printed instead of a TrafficExtension
    #[arg(
        long,
        value_name = "VERSION",
        default_value = "1.30",
        value_parser = version,
        conflicts_with = "discovery"
    )]
    istio: IstioVersion,
    /// What happens when the filter traps [default: reload; before Istio 1.27: close]
    #[arg(long)]
    fail_strategy: Option<FailStrategy>,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    plane: Plane,
}

fn version(text: &str) -> std::result::Result<IstioVersion, String> {
    text.parse().map_err(|e: Error| e.to_string())
}

/// The keyset for a Kubernetes object, refused if it does not fit.
pub fn keyset_for_object(cx: &Context) -> Result<String> {
    let keyset =
        publish::ready(&mut cx.store_to_publish()?, &cx.world)?.seal(publish::nonce(&cx.world)?);
    if keyset.len() > OBJECT_MOST {
        return Err(refuse(
            Code::TooLong,
            format_args!(
                "the keyset has {} bytes, more than fit into a Kubernetes object",
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
        let is_native = is_native(&self.filter)?;
        if is_native && self.fail_strategy.is_some() {
            return Err(refuse(
                Code::FieldsConflict,
                "`--fail-strategy` is for WebAssembly",
                "leave it out: a fault in the module affects only the request in which it occurs",
            ));
        }
        if is_native && self.istio < IstioVersion::TRAFFIC_EXTENSIONS {
            return Err(refuse(
                Code::FieldsConflict,
                "the native module needs Istio 1.30 or later",
                "leave out `--istio`, or `--shell module`",
            ));
        }
        let fail_strategy = self.strategy()?;
        let delivery = match (self.plane.control_plane(cx), self.image) {
            (Some(plane), _) => MeshDelivery::Discovery { plane, is_native },
            (None, Some(url)) if is_native => {
                let Module { name, image, .. } =
                    Module::new(cx, &self.filter, &url, self.sha256.as_deref())?;
                let keyset = keyset_for_object(cx)?;
                MeshDelivery::Module {
                    name,
                    image,
                    keyset,
                }
            }
            (None, Some(url)) => {
                warn_if_unpinned(cx, &url, self.sha256.as_deref());
                if url.starts_with("file://") {
                    cx.out.warn(
                        "with file:// Istio makes new VMs for every push; use oci:// or https://",
                    );
                }
                MeshDelivery::Plugin {
                    istio: self.istio,
                    url,
                    sha256: self.sha256,
                    fail_strategy,
                    keyset: keyset_for_object(cx)?,
                }
            }
            (None, None) => {
                return Err(refuse(
                    Code::FieldMissing,
                    "neither an image nor a discovery service is given",
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
    /// What to do after a trap, of what this version of Istio can do.
    fn strategy(&self) -> Result<FailStrategy> {
        let reloads = self.istio >= IstioVersion::RELOADS;
        match self.fail_strategy {
            Some(FailStrategy::Reload) if !reloads => Err(refuse(
                Code::FieldsConflict,
                "`--fail-strategy reload` needs Istio 1.27 or later",
                "leave it out, or give `close`",
            )),
            Some(strategy) => Ok(strategy),
            None if reloads => Ok(FailStrategy::Reload),
            None => Ok(FailStrategy::Close),
        }
    }
}
