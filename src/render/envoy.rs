//! Envoy's own configuration for a user's ports and paths: the files of `envoy/` with a few values
//! replaced in place, so that every comment stays and the two cannot diverge.

mod native;
pub mod parts;

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::Path;

use keystile_model::error::{Result, defect};
use keystile_policy::yaml::{self, Node};

const ECDS: &str = include_str!("../../envoy/ecds-file.yaml");
const DISCOVERY: &str = include_str!("../../envoy/discovery.yaml");
const STATIC: &str = include_str!("../../envoy/static.yaml");

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

/// Where the keyset comes from.
pub enum Source<'a> {
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
    pub source: Source<'a>,
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
            Source::File(_) => ECDS,
            Source::Discovery { .. } => DISCOVERY,
            Source::Inline { .. } => STATIC,
        };
        let mut edit = Edit::new(template)?;
        edit.address(&format!("{LISTENER}.address.socket_address"), &self.listen)?;
        edit.address("admin.address.socket_address", &self.admin)?;
        edit.endpoint(CLUSTER, &self.upstream)?;
        match &self.source {
            Source::File(file) => {
                let path =
                    format!("{FILTERS}[0].config_discovery.config_source.path_config_source.path");
                edit.set(&path, quoted(file.display()))?;
                Ok(self.head(&edit.finish()))
            }
            Source::Discovery {
                discovery,
                control,
                node,
            } => {
                edit.set("node.id", quoted(node))?;
                edit.endpoint(DISCOVERY_CLUSTER, discovery)?;
                edit.endpoint(CONTROL_CLUSTER, control)?;
                Ok(self.head(&edit.finish()))
            }
            Source::Inline { keyset, wasm } => {
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
            (Some(_), Source::Discovery { node, .. }) => {
                format!("#   export KEYSTILE_NODE={}\n", quoted(node))
            }
            _ => String::new(),
        };
        format!(
            "# Printed by `keystilectl render envoy`. To start:\n\
             #\n\
             #   export \"$(keystilectl signing-key export)\"\n\
             {folder}{node}\
             #   envoy -c envoy.yaml\n\n{body}"
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

fn drifted(what: &str) -> keystile_model::error::Error {
    defect(format_args!("the template is not as expected: {what}"))
}

/// Replaces scalars of a YAML text in place.
struct Edit<'t> {
    text: &'t str,
    root: Node,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ecds;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    fn bootstrap(source: Source<'_>, upstream: &str) -> Node {
        let bootstrap = Bootstrap {
            listen: HostPort::parse("[::]:8443").unwrap(),
            upstream: HostPort::parse(upstream).unwrap(),
            admin: HostPort::parse("127.0.0.1:9999").unwrap(),
            source,
            module: None,
        };
        let text = bootstrap.render().unwrap();
        assert!(text.contains("The guard. If a worker"), "comments stay");
        yaml::parse(&text).ok().unwrap()
    }

    fn at(node: &Node, path: &str) -> serde_json::Value {
        node.at(path).unwrap().json()
    }

    #[test]
    fn ports_and_paths_are_put_in_their_places() {
        let node = bootstrap(
            Source::File(Path::new("/var/lib/key stile/ecds.pb")),
            "127.0.0.1:8000",
        );
        assert_eq!(
            at(&node, &format!("{LISTENER}.address.socket_address.address")),
            "::"
        );
        assert_eq!(
            at(
                &node,
                &format!("{LISTENER}.address.socket_address.port_value")
            ),
            8443
        );
        assert_eq!(at(&node, "admin.address.socket_address.port_value"), 9999);
        assert_eq!(at(&node, &format!("{CLUSTER}.type")), "STATIC");
        assert_eq!(
            at(
                &node,
                &format!("{FILTERS}[0].config_discovery.config_source.path_config_source.path")
            ),
            "/var/lib/key stile/ecds.pb"
        );
        assert_eq!(at(&node, &format!("{FILTERS}[1].name")), "keystile-guard");
    }

    #[test]
    fn a_host_name_is_resolved_and_a_keyset_is_written_in() {
        let keyset = r#"{"format":1,"pages":""}"#;
        let source = Source::Inline {
            keyset,
            wasm: Path::new("/lib/keystile.wasm"),
        };
        let node = bootstrap(source, "users.internal:80");
        assert_eq!(at(&node, &format!("{CLUSTER}.type")), "STRICT_DNS");
        assert_eq!(
            at(
                &node,
                &format!("{FILTERS}[0].typed_config.config.configuration.value")
            ),
            keyset
        );
        assert_eq!(
            at(
                &node,
                &format!("{FILTERS}[0].typed_config.config.vm_config.code.local.filename")
            ),
            "/lib/keystile.wasm"
        );
    }

    #[test]
    fn two_filters_discover_their_configuration_from_a_server() {
        let source = Source::Discovery {
            discovery: &HostPort::parse("keystile.internal:18000").unwrap(),
            control: &HostPort::parse("10.0.0.7:8443").unwrap(),
            node: "edge 7",
        };
        let node = bootstrap(source, "127.0.0.1:8000");
        let names = [
            "keystile-base",
            "keystile",
            "keystile-guard",
            "envoy.filters.http.router",
        ];
        for (n, name) in names.iter().enumerate() {
            assert_eq!(at(&node, &format!("{FILTERS}[{n}].name")), *name);
        }
        assert_eq!(at(&node, &format!("{FILTERS}[0].disabled")), true);
        assert!(node.at(&format!("{FILTERS}[1].disabled")).is_none());
        assert_eq!(at(&node, "node.id"), "edge 7");
        let place = "load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address";
        for (cluster, name, kind, port) in [
            (CLUSTER, "upstream", "STATIC", 8000),
            (DISCOVERY_CLUSTER, "keystile-discovery", "STRICT_DNS", 18000),
            (CONTROL_CLUSTER, "keystile-control", "STATIC", 8443),
        ] {
            assert_eq!(at(&node, &format!("{cluster}.name")), name);
            assert_eq!(at(&node, &format!("{cluster}.type")), kind);
            assert_eq!(at(&node, &format!("{cluster}.{place}.port_value")), port);
        }
    }

    #[test]
    fn for_a_module_nothing_is_left_of_wasm_and_all_else_stays() {
        let host = HostPort::parse("127.0.0.1:1").unwrap();
        let file = Path::new("/ecds.pb");
        let sources: [fn(&'static HostPort, &'static Path) -> Source<'static>; 3] = [
            |_, file| Source::File(file),
            |host, _| Source::Discovery {
                discovery: host,
                control: host,
                node: "edge-1",
            },
            |_, wasm| Source::Inline { keyset: "{}", wasm },
        ];
        let host: &'static HostPort = Box::leak(Box::new(host));
        for (i, source) in sources.into_iter().enumerate() {
            let text = |module| {
                let bootstrap = Bootstrap {
                    listen: host.clone(),
                    upstream: host.clone(),
                    admin: host.clone(),
                    source: source(host, file),
                    module,
                };
                bootstrap.render().unwrap()
            };
            let native = text(Some("keystile-2"));
            for word in [
                "keystile-guard",
                "v8",
                ecds::WASM,
                "wasmcustom",
                "vm_config",
            ] {
                assert!(!native.contains(word), "{i}: {word} in\n{native}");
                assert!(text(None).contains(word) || i != 2, "{i}: {word}");
            }
            let node = yaml::parse(&native).ok().unwrap();
            let filters = node.at(FILTERS).unwrap().json();
            let before = yaml::parse(&text(None)).ok().unwrap();
            let before = before.at(FILTERS).unwrap().json();
            let count = |filters: &serde_json::Value| filters.as_array().unwrap().len();
            assert_eq!(count(&filters) + 1, count(&before));
            let layer = at(&node, "layered_runtime.layers[0].static_layer");
            assert_eq!(layer.as_object().unwrap().len(), 2);
            assert!(native.contains(ecds::MODULE));
            if i == 2 {
                let config = format!("{FILTERS}[0].typed_config");
                assert_eq!(at(&node, &format!("{config}.filter_config.value")), "{}");
                let name = format!("{config}.dynamic_module_config.name");
                assert_eq!(at(&node, &name), "keystile-2");
            }
        }
    }

    #[test]
    fn every_configuration_has_the_same_keeper_for_the_vm_id_of_the_filter() {
        let keeper = |text: &str| {
            let node = yaml::parse(text).ok().unwrap();
            node.at("bootstrap_extensions[0]").unwrap().json()
        };
        let first = keeper(ECDS);
        let vm = "/typed_config/config/vm_config/vm_id";
        assert_eq!(first.pointer(vm), Some(&serde_json::json!(ecds::NAME)));
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../envoy");
        let files = [shipped.join("examples"), shipped];
        let files = files.iter().flat_map(|dir| std::fs::read_dir(dir).unwrap());
        let yaml = files
            .map(|file| file.unwrap().path())
            .filter(|file| file.extension().is_some_and(|end| end == "yaml"));
        for file in yaml {
            let text = std::fs::read_to_string(&file).unwrap();
            assert_eq!(keeper(&text), first, "{}", file.display());
        }
    }

    /// It ends up in many bootstraps, so nobody should have to take it on trust.
    #[test]
    fn the_keeper_is_a_module_that_can_do_nothing() {
        let node = yaml::parse(ECDS).ok().unwrap();
        let code = "bootstrap_extensions[0].typed_config.config.vm_config.code.local.inline_bytes";
        let code = at(&node, code);
        let code = STANDARD.decode(code.as_str().unwrap()).unwrap();
        let module = wasmi::Module::new(&wasmi::Engine::default(), &code).unwrap();
        assert_eq!(module.imports().count(), 0);
        let exports: Vec<_> = module.exports().map(|e| e.name()).collect();
        assert_eq!(exports, ["malloc", "memory", "proxy_abi_version_0_2_1"]);
        assert_eq!(code.len(), 87);
    }

    #[test]
    fn what_is_no_host_and_port_is_refused() {
        for bad in ["", "8000", ":8000", "a:b", "a:0", "a b:1", "a:70000"] {
            assert!(HostPort::parse(bad).is_err(), "{bad}");
        }
    }
}
