//! Envoy's own configuration for a user's ports and paths: the files of `envoy/` with a few values
//! replaced in place, so that every comment stays and the two cannot diverge.

mod native;
pub mod parts;
mod template;
#[cfg(test)]
mod tests;

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::Path;

use keystile_model::error::Result;
use keystile_policy::yaml::{self, YamlNode};
use template::{DISCOVERY, ECDS, STATIC, drifted};

const LISTENER: &str = "static_resources.listeners[0]";
const CLUSTERS: &str = "static_resources.clusters";
const CLUSTER: &str = "static_resources.clusters[0]";
const DISCOVERY_CLUSTER: &str = "static_resources.clusters[1]";
const CONTROL_CLUSTER: &str = "static_resources.clusters[2]";
const FILTERS: &str =
    "static_resources.listeners[0].filter_chains[0].filters[0].typed_config.http_filters";
/// The placeholder for the keyset in `static.yaml`.
const KEYSET: &str = "@KEYSET@";

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    host: String,
    port: u16,
}

impl HostPort {
    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Reads `127.0.0.1:8000`, `[::1]:8000`, `users.internal:80`.
    pub fn parse(text: &str) -> std::result::Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is not a host and a port; write `127.0.0.1:8000` or `users.internal:80`"
            )
        };
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Self {
                host: address.ip().to_string(),
                port: address.port(),
            });
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let fine = !host.is_empty()
            && host
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
        match port.parse() {
            Ok(port) if fine && port > 0 => Ok(Self {
                host: host.to_owned(),
                port,
            }),
            _ => Err(wrong()),
        }
    }

    /// Whether it is this machine.
    pub fn is_loopback(&self) -> bool {
        let address = self.host.parse::<std::net::IpAddr>();
        self.host == "localhost" || address.is_ok_and(|a| a.is_loopback())
    }

    fn is_address(&self) -> bool {
        self.host.parse::<std::net::IpAddr>().is_ok()
    }
}

impl Display for HostPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// Where the keyset comes from.
pub enum KeysetSource<'a> {
    /// A file that Envoy watches.
    File(&'a Path),
    /// The discovery service of a server.
    Discovery {
        /// Its path.
        discovery: &'a HostPort,
        /// Where that server accepts reports of what is in force.
        control: &'a HostPort,
        /// The Envoy's node id.
        node: &'a str,
    },
    /// Written into the configuration.
    Inline {
        /// The sealed keyset.
        keyset: &'a str,
        /// Where Envoy finds the filter.
        wasm: &'a Path,
    },
}

/// What differs between users.
pub struct Bootstrap<'a> {
    /// Where Envoy listens.
    pub listen: HostPort,
    /// Where requests go.
    pub upstream: HostPort,
    /// The address of Envoy's admin interface.
    pub admin: HostPort,
    /// Where the keyset comes from.
    pub source: KeysetSource<'a>,
    /// The name of the native module, in place of the filter in WebAssembly.
    pub module: Option<&'a str>,
}

impl Bootstrap<'_> {
    /// The whole file.
    pub fn render(&self) -> Result<String> {
        let text = self.of_wasm()?;
        match self.module {
            Some(name) => native::native(&text, name),
            None => Ok(text),
        }
    }

    fn of_wasm(&self) -> Result<String> {
        let template = match self.source {
            KeysetSource::File(_) => ECDS,
            KeysetSource::Discovery { .. } => DISCOVERY,
            KeysetSource::Inline { .. } => STATIC,
        };
        let mut edit = Edit::new(template)?;
        edit.address(&format!("{LISTENER}.address.socket_address"), &self.listen)?;
        edit.address("admin.address.socket_address", &self.admin)?;
        edit.endpoint(CLUSTER, &self.upstream)?;
        match &self.source {
            KeysetSource::File(file) => {
                let path =
                    format!("{FILTERS}[0].config_discovery.config_source.path_config_source.path");
                edit.set(&path, quoted(file.display()))?;
                Ok(self.head(&edit.finish()))
            }
            KeysetSource::Discovery {
                discovery,
                control,
                node,
            } => {
                edit.set("node.id", quoted(node))?;
                edit.endpoint(DISCOVERY_CLUSTER, discovery)?;
                edit.endpoint(CONTROL_CLUSTER, control)?;
                Ok(self.head(&edit.finish()))
            }
            KeysetSource::Inline { keyset, wasm } => {
                let path =
                    format!("{FILTERS}[0].typed_config.config.vm_config.code.local.filename");
                edit.set(&path, quoted(wasm.display()))?;
                let body = self.head(&edit.finish());
                match body.matches(KEYSET).count() {
                    1 => Ok(body.replacen(KEYSET, keyset, 1)),
                    n => Err(drifted(&format!("`{KEYSET}` stands there {n} times"))),
                }
            }
        }
    }

    /// Replaces the template's heading with one for the result.
    fn head(&self, text: &str) -> String {
        let body = text.split_once("\n\n").map_or(text, |(_, body)| body);
        // Envoy looks for modules in these folders, and tells them nothing of itself.
        let folder = match self.module {
            Some(_) => "#   export ENVOY_DYNAMIC_MODULES_SEARCH_PATH=/usr/lib/keystile\n",
            None => "",
        };
        let node = match (self.module, &self.source) {
            (Some(_), KeysetSource::Discovery { node, .. }) => {
                format!("#   export KEYSTILE_NODE={}\n", quoted(node))
            }
            _ => String::new(),
        };
        format!(
            "# Printed by `keystilectl render envoy`. To start:\n\
             #\n\
             #   export \"$(keystilectl signing-key export)\"\n\
             {folder}{node}\
             #   envoy -c envoy.yaml --use-dynamic-base-id    # several may run on one machine\n\n{body}"
        )
    }
}

/// A scalar of YAML that means just this text.
fn quoted(text: impl Display) -> String {
    let text = text.to_string();
    let plain = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/')
        && text.contains(['/', '.'])
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"/._-".contains(&b));
    // A JSON string is a double-quoted scalar of YAML.
    if plain {
        text
    } else {
        serde_json::Value::String(text).to_string()
    }
}

/// Replaces scalars of a YAML text in place.
struct Edit<'t> {
    text: &'t str,
    root: YamlNode,
    /// Bytes, and what to put there.
    changes: Vec<(std::ops::Range<usize>, String)>,
}

impl<'t> Edit<'t> {
    fn new(text: &'t str) -> Result<Self> {
        let root = yaml::parse(text).map_err(|e| drifted(&e.problem))?;
        Ok(Self {
            text,
            root,
            changes: Vec::new(),
        })
    }

    fn set(&mut self, path: &str, value: impl Display) -> Result<()> {
        let bytes = self
            .root
            .at(path)
            .and_then(|n| n.bytes.clone())
            .ok_or_else(|| drifted(&format!("nothing stands at `{path}`")))?;
        self.changes.push((bytes, value.to_string()));
        Ok(())
    }

    fn address(&mut self, path: &str, to: &HostPort) -> Result<()> {
        self.set(&format!("{path}.address"), quoted(&to.host))?;
        self.set(&format!("{path}.port_value"), to.port)
    }

    /// Where a cluster is; a name is resolved.
    fn endpoint(&mut self, cluster: &str, to: &HostPort) -> Result<()> {
        let endpoint = format!("{cluster}.load_assignment.endpoints[0].lb_endpoints[0].endpoint");
        self.address(&format!("{endpoint}.address.socket_address"), to)?;
        if to.is_address() {
            return Ok(());
        }
        self.set(&format!("{cluster}.type"), "STRICT_DNS")
    }

    fn finish(mut self) -> String {
        self.changes.sort_by_key(|(bytes, _)| bytes.start);
        let mut out = String::with_capacity(self.text.len() + 256);
        let mut at = 0;
        for (bytes, value) in &self.changes {
            out.push_str(self.text.get(at..bytes.start).unwrap_or_default());
            out.push_str(value);
            at = bytes.end;
        }
        out.push_str(self.text.get(at..).unwrap_or_default());
        out
    }
}
