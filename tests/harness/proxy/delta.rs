//! A control plane of the tests' own: aggregated discovery in its incremental dialect, which
//! gives and takes away whatever it is told to. `keystilectl serve` never takes anything away.

use super::proto::core::TypedExtensionConfig;
use super::proto::discovery::{ADS_DELTA, DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource};
use super::proto::google::Any;
use super::proto::listener::{
    Address, Field, FieldKind, Filter, FilterChain, FilterConfig, ListValue, Listener, Place, Port,
    SocketAddress, Struct, TypedStruct,
};
use super::proto::server;
use prost::Name as _;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::{Server, server::TcpIncoming};
use tonic::{Status, Streaming};

const WILDCARD: &str = "*";

/// Every resource by type and name, with the number of the change that it came with.
type Resources = BTreeMap<(String, String), (u64, Any)>;
type Answers = mpsc::UnboundedSender<Result<DeltaDiscoveryResponse, Status>>;

/// The server. Dropped, it ends.
pub struct Delta {
    _runtime: Runtime,
    address: SocketAddr,
    resources: Arc<watch::Sender<Resources>>,
    changes: AtomicU64,
}

impl Delta {
    /// With nothing to give.
    pub fn start() -> Self {
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let resources = Arc::new(watch::Sender::new(Resources::new()));
        let all = Arc::clone(&resources);
        let service = server::streaming(ADS_DELTA, move |requests| {
            let (answers, stream) = mpsc::unbounded_channel();
            tokio::spawn(serve(requests, all.subscribe(), answers));
            UnboundedReceiverStream::new(stream)
        });
        let server = Server::builder().add_routes(service);
        runtime.spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
        Self {
            _runtime: runtime,
            address,
            resources,
            changes: AtomicU64::new(0),
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Gives a filter its configuration, or another one.
    pub fn give_filter(&self, config: &TypedExtensionConfig) {
        self.give(&config.name, Any::pack(config));
    }

    /// Takes the configuration of a filter away.
    pub fn take_filter(&self, name: &str) {
        self.take(TypedExtensionConfig::type_url(), name);
    }

    /// Gives a listener with one filter, as the shipped files have it.
    pub fn give_listener(&self, listener: &Value) {
        let listener = listener_of(listener);
        self.give(&listener.name, Any::pack(&listener));
    }

    /// Takes a listener away.
    pub fn take_listener(&self, name: &str) {
        self.take(Listener::type_url(), name);
    }

    fn give(&self, name: &str, resource: Any) {
        let change = self.changes.fetch_add(1, Ordering::Relaxed);
        let key = (resource.type_url.clone(), name.to_owned());
        self.resources.send_modify(|all| {
            all.insert(key, (change, resource));
        });
    }

    fn take(&self, kind: String, name: &str) {
        let key = (kind, name.to_owned());
        self.resources.send_modify(|all| {
            assert!(all.remove(&key).is_some(), "{key:?} was never given");
        });
    }
}

/// What one Envoy asked for, and what it has.
#[derive(Default)]
struct Peer {
    wanted: BTreeSet<(String, String)>,
    has: BTreeMap<(String, String), u64>,
    answered: u64,
}

async fn serve(
    mut requests: Streaming<DeltaDiscoveryRequest>,
    mut resources: watch::Receiver<Resources>,
    answers: Answers,
) {
    let mut peer = Peer::default();
    loop {
        tokio::select! {
            request = requests.message() => match request {
                Ok(Some(request)) => peer.asks(request),
                _ => return,
            },
            changed = resources.changed() => if changed.is_err() { return },
        }
        for response in peer.lacks(&resources.borrow_and_update()) {
            let _ = answers.send(Ok(response));
        }
    }
}

impl Peer {
    fn asks(&mut self, request: DeltaDiscoveryRequest) {
        if let Some(refusal) = &request.error_detail {
            eprintln!("Envoy refused a {}: {}", request.type_url, refusal.message);
        }
        let key = |name: String| (request.type_url.clone(), name);
        for gone in request.resource_names_unsubscribe {
            self.wanted.remove(&key(gone.clone()));
            self.has.remove(&key(gone));
        }
        // Listeners are asked for without a name: all that there are.
        if request.type_url == Listener::type_url() {
            self.wanted.insert(key(WILDCARD.to_owned()));
        }
        self.wanted
            .extend(request.resource_names_subscribe.into_iter().map(key));
    }

    fn wants(&self, (kind, name): &(String, String)) -> bool {
        let wanted = |name: &str| self.wanted.contains(&(kind.clone(), name.to_owned()));
        wanted(name) || wanted(WILDCARD)
    }

    /// One response for each type of which something is new or gone.
    fn lacks(&mut self, all: &Resources) -> Vec<DeltaDiscoveryResponse> {
        let mut responses: BTreeMap<String, DeltaDiscoveryResponse> = BTreeMap::new();
        let wanted: Vec<_> = all.iter().filter(|(key, _)| self.wants(key)).collect();
        for (key, (change, resource)) in wanted {
            if self.has.insert(key.clone(), *change) != Some(*change) {
                let response = responses.entry(key.0.clone()).or_default();
                response.resources.push(Resource {
                    name: key.1.clone(),
                    version: change.to_string(),
                    resource: Some(resource.clone()),
                    ttl: None,
                });
            }
        }
        let gone = self.has.keys().filter(|key| !all.contains_key(*key));
        for key in gone.cloned().collect::<Vec<_>>() {
            self.has.remove(&key);
            let response = responses.entry(key.0).or_default();
            response.removed_resources.push(key.1);
        }
        let named = responses.into_iter().map(|(type_url, response)| {
            self.answered += 1;
            DeltaDiscoveryResponse {
                type_url,
                nonce: self.answered.to_string(),
                ..response
            }
        });
        named.collect()
    }
}

fn listener_of(json: &Value) -> Listener {
    let socket = &json["address"]["socket_address"];
    let address = SocketAddress {
        address: socket["address"].as_str().unwrap().to_owned(),
        port_specifier: Some(Port::Number(0)),
    };
    let filter = &json["filter_chains"][0]["filters"][0];
    let mut config = filter["typed_config"].clone();
    let kind = config.as_object_mut().unwrap().remove("@type").unwrap();
    let config = TypedStruct {
        type_url: kind.as_str().unwrap().to_owned(),
        value: Some(fields(&config)),
    };
    Listener {
        name: json["name"].as_str().unwrap().to_owned(),
        address: Some(Address {
            address: Some(Place::Socket(address)),
        }),
        filter_chains: vec![FilterChain {
            filters: vec![Filter {
                name: filter["name"].as_str().unwrap().to_owned(),
                config_type: Some(FilterConfig::Typed(Any::pack(&config))),
            }],
        }],
    }
}

fn fields(object: &Value) -> Struct {
    let fields = object.as_object().unwrap().iter();
    Struct {
        fields: fields.map(|(name, v)| (name.clone(), field(v))).collect(),
    }
}

fn field(json: &Value) -> Field {
    let kind = match json {
        Value::Null => FieldKind::Null(0),
        Value::Bool(b) => FieldKind::Bool(*b),
        Value::Number(n) => FieldKind::Number(n.as_f64().unwrap()),
        Value::String(s) => FieldKind::String(s.clone()),
        Value::Array(all) => FieldKind::List(ListValue {
            values: all.iter().map(field).collect(),
        }),
        Value::Object(_) => FieldKind::Struct(fields(json)),
    };
    Field { kind: Some(kind) }
}
