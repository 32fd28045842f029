//! Gateway or sidecar.

/// Where the filter runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ProxyKind {
    /// On a gateway
    Gateway,
    /// In front of a workload, for inbound requests
    Sidecar,
}
