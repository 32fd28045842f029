//! `keystilectl render …`

mod cluster;
mod envoy_gateway;
mod helm;
mod image;
mod istio;
mod kubernetes;
mod module;
mod plane;

use std::path::{self, PathBuf};

use clap::{Args, Subcommand};

use super::Context;
use super::push::{Filter, Shell};
use crate::output;
use keystile_model::error::{Code, Result, refuse};
use keystile_registry::publish;
use keystile_render::ecds::module_name;
use keystile_render::envoy::{Bootstrap, HostPort, KeysetSource};

/// Ready configurations for Envoy, Istio, Envoy Gateway, Kubernetes and Helm
#[derive(Subcommand)]
pub enum RenderCommand {
    Envoy(EnvoyArgs),
    Istio(istio::IstioArgs),
    EnvoyGateway(envoy_gateway::EnvoyGatewayArgs),
    Kubernetes(kubernetes::KubernetesArgs),
    Helm(helm::HelmArgs),
}

/// Print a complete configuration for Envoy
#[derive(Args)]
#[command(after_help = "\
Examples:
  keystilectl render envoy --upstream 127.0.0.1:8000 > envoy.yaml
  keystilectl render envoy --listen 0.0.0.0:443 --ecds-file /var/lib/keystile/ecds.pb > envoy.yaml
  keystilectl render envoy --discovery keystile.internal:18000 --control keystile.internal:8080 \\
    --node edge-1 > envoy.yaml
  keystilectl render envoy --static > envoy.yaml     # keyset inside: no push, no other file")]
pub struct EnvoyArgs {
    /// The address on which Envoy listens
    #[arg(long, value_name = "ADDR:PORT", default_value = "0.0.0.0:10000", value_parser = HostPort::parse)]
    listen: HostPort,
    /// The address to which requests go
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8000", value_parser = HostPort::parse)]
    upstream: HostPort,
    /// The address of Envoy's admin interface: never open it to others
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:9901", value_parser = HostPort::parse)]
    admin: HostPort,
    /// The file that `push` writes
    #[arg(
        long,
        value_name = "FILE",
        default_value = "keystile.json",
        conflicts_with = "inline"
    )]
    ecds_file: PathBuf,
    /// The discovery service of `keystilectl serve`, instead of a file
    #[arg(long, value_name = "HOST:PORT", value_parser = HostPort::parse, conflicts_with_all = ["inline", "ecds_file"])]
    discovery: Option<HostPort>,
    /// With --discovery: where `keystilectl serve` accepts reports of what is in force
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8080", value_parser = HostPort::parse, requires = "discovery")]
    control: HostPort,
    /// With --discovery: the Envoy's node id, which no other Envoy may have
    #[arg(long, value_name = "ID", default_value = "envoy-1", value_parser = node_id, requires = "discovery")]
    node: String,
    /// Include the keyset as it is now: it then changes only when Envoy restarts
    #[arg(long = "static")]
    inline: bool,
    #[command(flatten)]
    filter: Filter,
}

fn node_id(text: &str) -> std::result::Result<String, String> {
    let fine = !text.is_empty() && text.len() <= 256 && !text.chars().any(char::is_control);
    if fine {
        return Ok(text.to_owned());
    }
    Err("a node id has 1 to 256 printable characters".to_owned())
}

impl RenderCommand {
    /// Runs it.
    pub fn run(self, cx: &Context) -> Result<()> {
        match self {
            Self::Envoy(c) => c.run(cx),
            Self::Istio(c) => c.run(cx),
            Self::EnvoyGateway(c) => c.run(cx),
            Self::Kubernetes(c) => c.run(cx),
            Self::Helm(c) => c.run(cx),
        }
    }
}

impl EnvoyArgs {
    fn run(self, cx: &Context) -> Result<()> {
        if self.filter.shell == Shell::Wasm && self.filter.wasm.is_some() && !self.inline {
            return Err(refuse(
                Code::FieldsConflict,
                "`--wasm` has no effect here",
                "leave it out, because what `push` and `serve` hand to Envoy says where the filter is; or include the keyset with `--static`",
            ));
        }
        let file = match self.filter.shell {
            Shell::Module => Some(self.filter.module()?),
            Shell::Wasm => None,
        };
        let print = |source| {
            let bootstrap = Bootstrap {
                listen: self.listen,
                upstream: self.upstream,
                admin: self.admin,
                source,
                module: file.as_deref().and_then(module_name),
            };
            output::raw(bootstrap.render()?.as_bytes())
        };
        if let Some(discovery) = &self.discovery {
            return print(KeysetSource::Discovery {
                discovery,
                control: &self.control,
                node: &self.node,
            });
        }
        if self.inline {
            let wasm = self.filter.file(cx)?;
            let keyset = publish::ready(&mut cx.store_to_publish()?, &cx.world)?
                .seal(publish::nonce(&cx.world)?);
            return print(KeysetSource::Inline {
                keyset: &keyset,
                wasm: &wasm,
            });
        }
        let file = path::absolute(&self.ecds_file).map_err(|e| {
            refuse(
                Code::FileUnreadable,
                format_args!("`{}` is not a path ({e})", self.ecds_file.display()),
                "name the file that `push` writes",
            )
        })?;
        if !file.exists() {
            cx.out.warn(format_args!(
                "`{}` does not exist, and Envoy does not start without it; write it with `keystilectl push --ecds-file {}`",
                file.display(),
                self.ecds_file.display()
            ));
        }
        print(KeysetSource::File(&file))
    }
}
