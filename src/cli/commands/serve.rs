//! `keystilectl serve`

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use ipnet::IpNet;

use super::Context;
use super::push::{Filter, Shell};
use crate::output;
use keystile_book::GuideFile;
use keystile_console as console;
use keystile_model::error::{Code, Result, refuse};
use keystile_model::reach::Reach;
use keystile_model::when;
use keystile_registry::leak;
use keystile_server::delivery::node_identity::NameRule;
use keystile_server::delivery::{self, Delivery, ResourceTemplate};
use keystile_server::duties::{self, Duties};
use keystile_server::exporter::{self, Destination, Exporter};
use keystile_server::guide::{self, ServedFile};
use keystile_server::limits::RateLimits;
use keystile_server::log::{self, LogForm};
use keystile_server::outbox;
use keystile_server::pool::StorePool;
use keystile_server::proxy::Proxies;
use keystile_server::scanner::{KeySource, Scanner};
use keystile_server::tls::TlsFiles;
use keystile_server::{BoundAddresses, Listening, ServerSettings};
use keystile_system as system;

/// How long threads have to end what they do in a database, before a server ends without them. What
/// it has not committed by then, the database takes back.
const THREADS_END: Duration = Duration::from_secs(5);

mod banner;
mod oidc;
mod portal;

pub(super) use banner::address;

/// Serve the API and the console to people and programs, and keysets to Envoys
#[derive(Args)]
#[command(after_help = "\
Examples:
  keystilectl serve
  keystilectl serve --listen 0.0.0.0:8443 --tls-cert server.pem --tls-key server.key
  keystilectl token create ops --role owner > token.txt
  KEYSTILE_TOKEN=… keystilectl --server https://keystile.example.com:8443 client list

The console is at /console; /docs and /openapi.json describe the API. On SIGTERM the server finishes
what it has begun and exits. Certificates are read again when their files change. On a terminal it
prints its addresses, then warnings; otherwise, or with `--log json`, everything as JSON lines.")]
pub struct Serve {
    /// The address for the API and the console
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// The address for discovery, where Envoys get their keysets
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:18000")]
    discovery: SocketAddr,
    /// The API's certificate with its chain, PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The private key for it, PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// The certificate for discovery, PEM
    #[arg(long, value_name = "FILE", requires = "discovery_tls_key")]
    discovery_tls_cert: Option<PathBuf>,
    /// The private key for it, PEM
    #[arg(long, value_name = "FILE", requires = "discovery_tls_cert")]
    discovery_tls_key: Option<PathBuf>,
    /// The authority for Envoys' certificates, PEM: Envoys then need a certificate of it to connect
    #[arg(long, value_name = "FILE", requires = "discovery_tls_cert")]
    discovery_client_ca: Option<PathBuf>,
    /// The authority's list of revoked certificates (CRL), PEM: Envoys with one of them are
    /// refused, and their open streams are closed. Read again when it changes
    #[arg(long, value_name = "FILE", requires = "discovery_client_ca")]
    discovery_client_crl: Option<PathBuf>,
    /// A certificate with this name is also valid for this node, in addition to the nodes that it names
    /// itself (common name, DNS names, URIs); a `*` at the end of either matches anything; can be repeated
    #[arg(long, value_name = "NAME=NODE", requires = "discovery_client_ca")]
    discovery_name: Vec<NameRule>,
    /// Accept reports and usage from enrolled Envoys only (see `keystilectl node enroll`)
    #[arg(long)]
    enrolled_only: bool,
    /// Serve other machines without TLS, because a proxy in front of this server encrypts
    #[arg(long)]
    allow_plaintext: bool,
    /// Write the bound addresses to this file: useful with port 0
    #[arg(long, value_name = "FILE")]
    address_file: Option<PathBuf>,
    /// The address or range of a proxy in front whose `X-Forwarded-For` is trusted; can be
    /// repeated
    #[arg(long, value_name = "CIDR", value_parser = network)]
    trusted_proxy: Vec<IpNet>,
    /// Connections of trusted proxies begin with the PROXY protocol (version 1 or 2)
    #[arg(long, requires = "trusted_proxy")]
    proxy_protocol: bool,
    /// The maximum number of connections at once, for the API and for discovery each; beyond that, the oldest
    /// connection of the address that has the most is closed
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(16..=100_000))]
    max_connections: u32,
    /// Requests a second that one token may send; the burst is four times as many
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate_limit: u32,
    #[command(flatten)]
    filter: Filter,
    /// The maximum number of discovery streams at once; an Envoy opens one or two
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    max_streams: u32,
    /// Serve keysets to Envoys of this node id only; can be repeated
    #[arg(long, value_name = "ID")]
    node: Vec<String>,
    /// Dead man's switch: an Envoy drops a keyset that this server has not confirmed for this long,
    /// and refuses everything until the server is back
    #[arg(long, value_name = "DURATION", value_parser = when::span)]
    ttl: Option<u64>,
    /// How long a person may be idle in the console before they have to sign in again
    #[arg(long, value_name = "DURATION", default_value = "30m", value_parser = when::span)]
    console_idle: u64,
    /// How often to check keys for rotation and warnings
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = when::span)]
    rotation_every: u64,
    /// Authorities to trust for webhook receivers, PEM, in place of the public ones
    #[arg(long, value_name = "FILE")]
    webhook_ca: Option<PathBuf>,
    /// A private network to which webhooks may be sent, such as 10.0.0.0/8; can be
    /// repeated
    #[arg(long, value_name = "CIDR", value_parser = network, env = "KEYSTILE_WEBHOOK_ALLOW", value_delimiter = ',')]
    webhook_allow: Vec<IpNet>,
    /// Send the audit log here while the server runs, as JSON lines: appended to a file, or posted
    /// to an address over TLS with the token in KEYSTILE_AUDIT_EXPORT_TOKEN. Each record arrives at
    /// least once
    #[arg(long, value_name = "FILE|URL", value_parser = audit_place)]
    audit_export: Option<Destination>,
    /// Authorities to trust for the address of --audit-export, PEM, in place of the public ones
    #[arg(long, value_name = "FILE", requires = "audit_export")]
    audit_export_ca: Option<PathBuf>,
    /// How long audit records are kept here; with --audit-export, none is removed before it has been sent
    /// [default: indefinitely]
    #[arg(long, value_name = "DURATION", value_parser = when::span)]
    audit_keep: Option<u64>,
    /// Accept reports of leaked keys at /v1/leaks, signed with the public keys in this file or at this
    /// address, such as https://api.github.com/meta/public_keys/secret_scanning
    #[arg(long, value_name = "FILE|URL", value_parser = scanner_keys)]
    scanner_keys: Option<KeySource>,
    /// What to do with a key that a scanner has found
    #[arg(long, value_name = "WHAT", default_value = "revoke")]
    leaked_keys: leak::LeakPolicy,
    /// How the log on stderr looks [default: text on a terminal, otherwise json]
    #[arg(long, value_name = "FORM")]
    log: Option<LogOption>,
    #[command(flatten)]
    oidc: Box<oidc::OidcArgs>,
    #[command(flatten)]
    portal: portal::PortalArgs,
}

/// How the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogOption {
    /// Addresses, warnings and errors, for a person
    Text,
    /// Everything, one JSON object a line
    Json,
}

/// A single address is a range of one.
pub(super) fn network(text: &str) -> std::result::Result<IpNet, String> {
    text.parse::<IpNet>()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| {
            format!("`{text}` is neither an address nor a range; write it as `10.0.0.0/8`")
        })
}

fn audit_place(text: &str) -> std::result::Result<Destination, String> {
    text.parse::<Destination>().map_err(|e| e.to_string())
}

fn scanner_keys(text: &str) -> std::result::Result<KeySource, String> {
    text.parse::<KeySource>().map_err(|e| e.to_string())
}

impl Serve {
    /// Runs it.
    pub fn run(self, cx: &Context) -> Result<()> {
        cx.local()?;
        let form = match self.log {
            Some(form) => form,
            None if output::is_watched() => LogOption::Text,
            None => LogOption::Json,
        };
        let home = cx.home.clone();
        match form {
            LogOption::Json => {
                log::begin(LogForm::Json);
                self.work(cx, Box::new(move |bound| banner::record(&home, bound)))
            }
            LogOption::Text => {
                log::begin(LogForm::Text);
                let out = cx.out;
                let shown = move |bound: &BoundAddresses| {
                    banner::record(&home, bound);
                    banner::print(out, &home, bound);
                };
                self.work(cx, Box::new(shown))
            }
        }
    }

    /// Serves until a signal; `listening` is called once it listens.
    pub(super) fn work(self, cx: &Context, listening: Listening) -> Result<()> {
        // Before anything is read: a restore may be putting another store in place.
        let alone = cx.home.hold()?;
        let pool = StorePool::open(cx.home.held(&alone))?;
        let limits = RateLimits::new(self.rate_limit);
        let pages = console::ConsoleSettings {
            idle: Duration::from_secs(self.console_idle.max(1)),
            oidc: self.oidc.way_in()?,
            brand: self.portal.brand()?,
            ..console::ConsoleSettings::default()
        };
        let duties = Duties {
            delivery: Delivery::new(Arc::clone(&pool), self.delivery(cx)?),
            scanner: self
                .scanner_keys
                .clone()
                .map(|source| Arc::new(Scanner::new(source, self.leaked_keys))),
            sender: outbox::WebhookSender::new(
                self.webhook_ca.as_deref(),
                Reach::with(self.webhook_allow.clone()),
            )?,
            exporter: Exporter::new(exporter::ExportSettings {
                place: self.audit_export.clone(),
                ca: self.audit_export_ca.clone(),
                token: system::secret_variable(exporter::TOKEN),
                keep: self.audit_keep.map(|keep| keep.max(1)),
            })?,
            rotation: Duration::from_secs(self.rotation_every.max(1)),
            pages: Box::new(move |app, delivery| {
                let console = console::mount(app, delivery, pages);
                console.merge(guide::routes(guide_file))
            }),
        };
        let settings = self.settings(listening);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|e| {
                refuse(
                    Code::SystemFailed,
                    format_args!("no threads can be started ({e})"),
                    "check the limits of the process",
                )
            })?;
        let is_elsewhere = pool.replicas().is_some();
        let served = runtime.block_on(duties::run(pool, settings, limits, duties));
        banner::forget(&cx.home);
        if is_elsewhere {
            // Threads that wait for a database which stands still would keep the process for as long.
            runtime.shutdown_timeout(THREADS_END);
        }
        served
    }

    /// Where Envoys find the filter. It has to be on their machines; a server on another machine,
    /// or one that serves only the API, does not need it.
    fn filter(&self, cx: &Context) -> Result<PathBuf> {
        if self.filter.shell == Shell::Module {
            return self.filter.module();
        }
        let beside = || Some(system::executable_folder()?.join("keystile.wasm"));
        match (&self.filter.wasm, beside()) {
            (None, Some(path)) if !path.exists() => {
                tracing::warn!(
                    path = %path.display(),
                    "the filter does not exist; Envoys will still be told to load it from there, unless `--wasm` names another path"
                );
                Ok(path)
            }
            (given, _) => super::push::wasm(cx, given.clone()),
        }
    }

    fn delivery(&self, cx: &Context) -> Result<delivery::DeliverySettings> {
        Ok(delivery::DeliverySettings {
            template: ResourceTemplate {
                wasm: self.filter(cx)?,
                overlay: "keystile".to_owned(),
                base: "keystile-base".to_owned(),
            },
            ttl: self.ttl.filter(|s| *s > 0).map(Duration::from_secs),
            limits: delivery::PeerLimits {
                streams: self.max_streams as usize,
                streams_per_address: (self.max_streams as usize).div_ceil(2),
                nodes: self.node.clone(),
                papers: self.discovery_name.clone(),
                enrolled_only: self.enrolled_only,
                ..delivery::PeerLimits::default()
            },
            world: system::of_server,
        })
    }

    fn settings(self, listening: Listening) -> ServerSettings {
        let files = |certificate: Option<PathBuf>, key: Option<PathBuf>, client_ca, client_crl| {
            Some(TlsFiles {
                certificate: certificate?,
                key: key?,
                client_ca,
                client_crl,
            })
        };
        ServerSettings {
            listen: self.listen,
            tls: files(self.tls_cert, self.tls_key, None, None),
            discovery: self.discovery,
            discovery_tls: files(
                self.discovery_tls_cert,
                self.discovery_tls_key,
                self.discovery_client_ca,
                self.discovery_client_crl,
            ),
            allow_plaintext: self.allow_plaintext,
            address_file: self.address_file,
            proxies: Proxies {
                trusted: self.trusted_proxy,
                protocol: self.proxy_protocol,
            },
            connections: self.max_connections as usize,
            listening: Some(listening),
        }
    }
}

/// A file of the guide, as the server shows it.
fn guide_file(name: &str) -> Option<ServedFile> {
    let file = GuideFile::find(name)?;
    Some(ServedFile {
        kind: file.kind(),
        tag: file.tag,
        lasts: file.is_named_by_content(),
        bytes: file.bytes,
    })
}
