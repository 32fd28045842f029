//! `keystilectl render kubernetes`

use clap::Args;

use super::super::Context;
use super::cluster::ClusterArgs;
use crate::output;
use keystile_model::error::Result;
use keystile_render::kubernetes;

/// Print the control plane for a cluster: server, network policy, disruption budget, backups
#[derive(Args)]
#[command(after_help = "\
Examples:
  keystilectl render kubernetes --image registry.example/keystilectl@sha256:… \\
    --from-namespace istio-ingress | kubectl apply -f -
  keystilectl render kubernetes --values values.yaml > keystile.yaml")]
pub struct KubernetesArgs {
    /// The namespace for everything
    #[arg(long, default_value = "keystile")]
    namespace: String,
    #[command(flatten)]
    cluster: ClusterArgs,
}

impl KubernetesArgs {
    /// Runs it.
    pub fn run(self, _: &Context) -> Result<()> {
        let settings = self.cluster.settings(&self.namespace)?;
        output::raw(kubernetes::manifest(&settings)?.as_bytes())
    }
}
