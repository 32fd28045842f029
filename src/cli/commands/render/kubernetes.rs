//! `keystilectl render kubernetes`

use clap::Args;

use super::super::Context;
use crate::output;
use keystile_model::error::Result;
use keystile_render::kubernetes::Cluster;

/// Print the control plane for a cluster: server, network policy, disruption budget, backups
#[derive(Args)]
#[command(after_help = "\
Example:
  keystilectl render kubernetes --image registry.example/keystilectl@sha256:… \\
    --from-namespace istio-ingress | kubectl apply -f -")]
pub struct KubernetesArgs {
    /// The image with keystilectl
    #[arg(long, value_name = "IMAGE")]
    image: String,
    /// The namespace for everything
    #[arg(long, default_value = "keystile")]
    namespace: String,
    /// The path of the filter in the containers of the proxies
    #[arg(
        long,
        value_name = "FILE",
        default_value = "/etc/keystile/filter/plugin.wasm"
    )]
    wasm: String,
    /// Size of the volume for the store, and of that for backups
    #[arg(long, value_name = "SIZE", default_value = "10Gi")]
    storage: String,
    /// A namespace whose pods may connect; can be repeated [default: any]
    #[arg(long, value_name = "NAME")]
    from_namespace: Vec<String>,
    /// When backups are made, as a cron schedule
    #[arg(long, value_name = "CRON", default_value = "17 3 * * *")]
    backup: String,
}

impl KubernetesArgs {
    /// Runs it.
    pub fn run(self, _: &Context) -> Result<()> {
        let cluster = Cluster {
            namespace: self.namespace,
            image: self.image,
            wasm: self.wasm,
            storage: self.storage,
            from: self.from_namespace,
            backup: self.backup,
        };
        output::raw(cluster.render()?.as_bytes())
    }
}
