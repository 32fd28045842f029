//! How an Envoy is to be started.

use serde_json::Value;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::super::{EcdsFile, Upstream, part, shell};
use super::{ListenerFile, fresh_dir};

pub(super) const LISTENER: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";

/// What to start: a configuration as it is shipped, with the fewest edits that let
/// many Envoys run side by side.
pub struct Setup {
    pub(super) config: String,
    pub(super) dir: PathBuf,
    pub(super) environment: Vec<(String, String)>,
    pub(super) arguments: Vec<String>,
    pub(super) version: Option<String>,
    pub(super) generation: Option<(u32, u32)>,
}

impl Setup {
    /// `envoy/static.yaml` with this keyset in its place.
    pub fn fixed(upstream: &Upstream, keyset: &str) -> Self {
        assert!(!keyset.contains('\n'), "the place is one line wide");
        Self::shipped("static.yaml", upstream).edit("@KEYSET@", keyset)
    }

    /// `envoy/ecds-file.yaml`; the file holds no resource yet.
    pub fn ecds(upstream: &Upstream) -> Self {
        Self::discovering("ecds-file.yaml", upstream)
    }

    /// `envoy/listeners.yaml`; the file holds no resource yet.
    pub fn listeners(upstream: &Upstream) -> Self {
        let setup = Self::discovering("listeners.yaml", upstream);
        setup.edit("port_value: 10001", "port_value: 0")
    }

    /// A file of `envoy/examples`; the file that it watches holds no resource yet.
    pub fn example(name: &str, upstream: &Upstream) -> Self {
        Self::discovering(&format!("examples/{name}"), upstream)
    }

    /// `envoy/ecds-file.yaml` with a second, disabled filter beside the first: it gets the
    /// base in a file of its own, and the other the overlay. Both are protobuf.
    pub fn overlay(upstream: &Upstream) -> Self {
        const ACTIVE: &str = "          - name: keystile\n            config_discovery:";
        let setup = Self::ecds(upstream).edit("ecds.json", "overlay.pb");
        let base = setup.dir.join("base.pb");
        let filter = format!(
            "          - name: keystile-base
            disabled: true
            config_discovery:
              config_source:
                path_config_source: {{path: {}}}
                initial_fetch_timeout: 0s
              type_urls: [type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm]
{ACTIVE}",
            base.display()
        );
        setup.edit(ACTIVE, &filter)
    }

    /// What `keystilectl render envoy` printed, for free ports and this folder.
    pub fn rendered(dir: PathBuf, config: String) -> Self {
        Self {
            config,
            dir,
            environment: Vec::new(),
            arguments: Vec::new(),
            version: None,
            generation: None,
        }
    }

    /// Replaces every occurrence; one must be there, so that an edit cannot fail
    /// silently when the shipped configuration changes.
    pub fn edit(mut self, from: &str, to: &str) -> Self {
        assert!(self.config.contains(from), "no `{from}` to replace");
        self.config = self.config.replace(from, to);
        self
    }

    /// For an Envoy of this version, whatever the others are.
    pub fn version(mut self, version: &str) -> Self {
        self.version = Some(version.to_owned());
        self
    }

    /// As this epoch of those that restart hot under this base id.
    pub fn generation(mut self, base: u32, epoch: u32) -> Self {
        self.generation = Some((base, epoch));
        self
    }

    /// Behind TLS with the certificate and key of these files, and with HTTP/2 for who asks for it.
    pub fn over_tls(self, certificate: &str, key: &str) -> Self {
        let socket = format!(
            r#"    filter_chains:
    - transport_socket:
        name: tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            alpn_protocols: [h2, http/1.1]
            tls_certificates:
            - certificate_chain: {{filename: {certificate}}}
              private_key: {{filename: {key}}}
      filters:"#
        );
        self.edit("    filter_chains:\n    - filters:", &socket)
    }

    /// With a cluster `control` at this address: whom the filter tells of versions and usage.
    pub fn control(self, address: SocketAddr) -> Self {
        let cluster = format!(
            "  clusters:
  - name: control
    type: STATIC
    connect_timeout: 1s
    load_assignment:
      cluster_name: control
      endpoints:
      - lb_endpoints:
        - endpoint:
            address:
              socket_address: {{address: {}, port_value: {}}}
",
            address.ip(),
            address.port()
        );
        self.edit("  clusters:\n", &cluster)
    }

    /// With its listeners in a file that Envoy watches, of which a removed one is gone after
    /// a second.
    pub fn listeners_from_file(mut self) -> Self {
        let mut config: Value = serde_saphyr::from_str(&self.config).unwrap();
        let listeners = config["static_resources"]
            .as_object_mut()
            .and_then(|all| all.remove("listeners"));
        let mut listeners = listeners.unwrap();
        for listener in listeners.as_array_mut().unwrap() {
            listener["@type"] = LISTENER.into();
        }
        let file = ListenerFile::new(&self.dir);
        config["dynamic_resources"] =
            serde_json::json!({"lds_config": {"path_config_source": {"path": file.path}}});
        fs::write(file.all(), listeners.to_string()).unwrap();
        file.restore();
        self.config = config.to_string();
        self.arguments = ["--drain-time-s", "1"].map(str::to_owned).to_vec();
        self
    }

    /// `envoy/discovery.yaml` with all of its discovery, listeners too, on one stream to this
    /// server; and the listener, which the server has to give.
    pub fn aggregated(upstream: &Upstream, server: SocketAddr) -> (Self, Value) {
        let mut setup = Self::shipped("discovery.yaml", upstream).edit(
            "port_value: 18000",
            &format!("port_value: {}", server.port()),
        );
        let text = shell::configuration(&setup.config);
        let mut config: Value = serde_saphyr::from_str(&text).unwrap();
        let mut listener = config["static_resources"]["listeners"][0].take();
        config["static_resources"]["listeners"] = serde_json::json!([]);
        let filters =
            &mut listener["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"];
        let mut stream = Value::Null;
        for filter in filters.as_array_mut().unwrap() {
            if let Some(source) = filter.pointer_mut("/config_discovery/config_source") {
                stream = source["api_config_source"].take();
                *source = serde_json::json!({
                    "ads": {},
                    "resource_api_version": "V3",
                    "initial_fetch_timeout": "0s",
                });
            }
        }
        config["dynamic_resources"] = serde_json::json!({
            "ads_config": stream,
            "lds_config": {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"},
        });
        setup.config = config.to_string();
        setup.arguments = ["--drain-time-s", "1"].map(str::to_owned).to_vec();
        (setup, listener)
    }

    /// With a second listener, `trial`, that is like the first but for its own file.
    pub fn with_trial(mut self) -> Self {
        let mut config: Value = serde_saphyr::from_str(&self.config).unwrap();
        let listeners = config["static_resources"]["listeners"]
            .as_array_mut()
            .unwrap();
        let (first, own) = (self.ecds_file(), self.trial_file());
        let path = |file: &EcdsFile| file.path().display().to_string();
        let second = listeners[0].to_string().replace(&path(&first), &path(&own));
        let mut second: Value = serde_json::from_str(&second).unwrap();
        second["name"] = "trial".into();
        listeners.push(second);
        self.config = config.to_string();
        self
    }

    /// The file that the listener `trial` watches.
    pub fn trial_file(&self) -> EcdsFile {
        EcdsFile::new(self.dir.join("trial.json"))
    }

    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    pub fn signing_keys(mut self, keys: &str) -> Self {
        const NAME: &str = "KEYSTILE_SIGNING_KEYS";
        // Keys that are there already belong to another filter, and a process has one module.
        let before = self.environment.iter().position(|(name, _)| name == NAME);
        let before = before.map(|at| self.environment.remove(at).1);
        let all: Vec<&str> = [Some(keys), before.as_deref()]
            .into_iter()
            .flatten()
            .collect();
        self.environment(NAME, &all.join(","))
    }

    /// With just what these lines say, as in an `EnvironmentFile` of systemd.
    pub fn only_environment(mut self, lines: &str) -> Self {
        let pairs = lines.lines().filter_map(|line| line.split_once('='));
        self.environment = pairs.map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
        self
    }

    /// Where this Envoy's files lie, and what the test itself likes to put there.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The file that the discovering configurations watch.
    pub fn ecds_file(&self) -> EcdsFile {
        EcdsFile::new(self.dir.join("ecds.json"))
    }

    fn discovering(name: &str, upstream: &Upstream) -> Self {
        let setup = Self::shipped(name, upstream);
        let file = setup.ecds_file();
        file.write(r#"{"version_info": "0", "resources": []}"#);
        setup.edit(
            "target/keystile/ecds.json",
            &file.path().display().to_string(),
        )
    }

    fn shipped(name: &str, upstream: &Upstream) -> Self {
        let config = fs::read_to_string(part("envoy", "git checkout").join(name)).unwrap();
        let setup = Self::rendered(fresh_dir(), config);
        // Port 0: Envoy takes a free one and tells which, so no two can collide.
        setup
            .edit("address: 0.0.0.0", "address: 127.0.0.1")
            .edit("port_value: 9901", "port_value: 0")
            .edit("port_value: 10000", "port_value: 0")
            .edit(
                "port_value: 8000",
                &format!("port_value: {}", upstream.address().port()),
            )
    }
}
