//! A store, delivery from it on a free port, and Envoys made of a tonic client and the
//! filter's own state machine.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;

use keystile_core::key::KeyId;
use keystile_core::keyset::{self, Holding, SigningKeys};
use keystile_core::report::message;
use keystile_core::report::{self, Report, StoreState};
use prost::Message as _;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use super::*;
use crate::pool;
use keystile_policy::file as policy_file;
use keystile_registry::home::Home;
use keystile_registry::key;
use keystile_registry::policy;
use keystile_registry::signing;
use keystile_render::ecds::{TYPED_CONFIG, configuration_in};
use keystile_render::proto::core::Node;
use keystile_render::proto::discovery::{DiscoveryRequest, DiscoveryResponse, ECDS_SOTW};
use keystile_render::proto::google;
use keystile_system as system;

mod crowd;
mod kept;
mod pushes;

/// Discovery as an Envoy speaks it.
#[path = "../../../tests/harness/discovery_client.rs"]
pub mod client;

pub const POLICY: &str = "version: 1
report: {cluster: keystile-control, every: 10s}
plans:
  gold: {limits: [{requests: 100, per: 1s}]}
routes:
- {path: /healthz, auth: none}
";
pub const BOTH: [&str; 2] = ["keystile-base", "keystile"];
/// Nothing here takes so long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Bed {
    folder: Arc<tempfile::TempDir>,
    pub delivery: Arc<Delivery>,
    pub address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    tasks: Vec<JoinHandle<()>>,
}

pub fn settings() -> DeliverySettings {
    DeliverySettings {
        template: ResourceTemplate {
            wasm: PathBuf::from("/lib/keystile.wasm"),
            overlay: "keystile".to_owned(),
            base: "keystile-base".to_owned(),
        },
        ttl: None,
        limits: PeerLimits {
            retry_first: Duration::from_millis(100),
            ..PeerLimits::default()
        },
        world: system::local,
    }
}

impl Bed {
    pub async fn new(text: &str) -> Self {
        Self::with(text, settings()).await
    }

    pub async fn with(text: &str, settings: DeliverySettings) -> Self {
        let (folder, pool) = pool::bench::pool(text, &["acme"]);
        Self::open(Arc::new(folder), pool, settings, 0).await
    }

    async fn open(
        folder: Arc<tempfile::TempDir>,
        pool: Arc<StorePool>,
        settings: DeliverySettings,
        port: u16,
    ) -> Self {
        let delivery = Delivery::new(pool, settings);
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", port))
            .await
            .unwrap();
        let address = listener.local_addr().unwrap();
        let service = delivery
            .router()
            .into_make_service_with_connect_info::<SocketAddr>();
        let (stop, stopped) = oneshot::channel::<()>();
        let running = Arc::clone(&delivery).run(async move {
            let _ = stopped.await;
        });
        let tasks = vec![
            tokio::spawn(running),
            tokio::spawn(async move {
                let _ = axum::serve(listener, service).await;
            }),
        ];
        Self {
            folder,
            delivery,
            address,
            stop: Some(stop),
            tasks,
        }
    }

    /// The server ends, and another one begins on the same store.
    pub async fn restarted(self) -> Self {
        self.restarted_after(|| {}).await
    }

    /// The same with something done in between.
    pub async fn restarted_after(mut self, between: impl FnOnce()) -> Self {
        drop(self.stop.take());
        let tasks = std::mem::take(&mut self.tasks);
        tasks.iter().skip(1).for_each(JoinHandle::abort);
        for task in tasks {
            let _ = timeout(PATIENCE, task).await.unwrap();
        }
        let (folder, settings) = (Arc::clone(&self.folder), self.delivery.settings.clone());
        let port = self.address.port();
        // The store is closed when the last stream has ended.
        let former = Arc::downgrade(&self.delivery);
        drop(self);
        let closed = async {
            while former.strong_count() > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, closed).await.unwrap();
        between();
        let pool = StorePool::open(Home::new(folder.path().to_owned(), None)).unwrap();
        Self::open(folder, pool, settings, port).await
    }

    pub async fn issue(&self, count: u32) -> Vec<KeyId> {
        let issued = self.delivery.pool.write(move |store| {
            let draft = key::KeyDraft::default();
            key::issue(store, &system::local(), "acme", draft, count, |_| {})
        });
        let (issued, _) = issued.await.unwrap();
        issued.into_iter().map(|i| i.key.id).collect()
    }

    pub async fn revoke(&self, id: KeyId) -> u64 {
        let revoked = self.delivery.pool.write(move |store| {
            key::revoke_all(store, &system::local(), &[id], "lost")?;
            store.read(|tx| Ok(tx.meta().version))
        });
        revoked.await.unwrap()
    }

    pub async fn apply(&self, text: &str) {
        let file = policy_file::parse("policy", text.to_owned()).unwrap();
        let applied = self
            .delivery
            .pool
            .write(move |store| policy::apply(store, &system::local(), &file).map(drop));
        applied.await.unwrap();
    }

    pub async fn signers(&self) -> SigningKeys {
        self.delivery.pool.read(signing::accepted).await.unwrap()
    }

    /// What is published, once it is of this version at least.
    pub async fn published(&self, version: u64) -> Arc<Published> {
        let mut watch = self.delivery.published.subscribe();
        let there = watch.wait_for(|p| p.as_ref().is_some_and(|p| p.version() >= version));
        let found = timeout(PATIENCE, there).await.unwrap().unwrap();
        // From here on reports are judged.
        let mut nodes = self.delivery.nodes.changes();
        let read = timeout(PATIENCE, nodes.wait_for(Option::is_some));
        assert!(read.await.unwrap().is_ok());
        Arc::clone(found.as_ref().unwrap())
    }

    pub async fn until(&self, what: &str, holds: impl Fn(&Delivery) -> bool) {
        let poll = async {
            while !holds(&self.delivery) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        assert!(timeout(PATIENCE, poll).await.is_ok(), "{what}");
    }

    pub fn node(&self, id: &str) -> FleetNode {
        let fleet = self.delivery.fleet();
        fleet.into_iter().find(|n| n.id == id).unwrap()
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

pub async fn connect(address: SocketAddr) -> Channel {
    let server = Channel::from_shared(format!("http://{address}")).unwrap();
    server.connect().await.unwrap()
}

pub fn node(id: &str) -> Node {
    Node {
        id: id.to_owned(),
        cluster: "edge".to_owned(),
        user_agent_version_type: None,
    }
}

/// A state-of-the-world stream.
pub struct Stream {
    pub out: mpsc::Sender<DiscoveryRequest>,
    pub responses: Streaming<DiscoveryResponse>,
    pub names: Vec<String>,
    /// What was accepted last.
    pub version: String,
}

impl Stream {
    pub async fn open(bed: &Bed, id: &str, names: &[&str]) -> Self {
        Self::again(bed, id, names, "").await
    }

    /// Connects with what it had before.
    pub async fn again(bed: &Bed, id: &str, names: &[&str], version: &str) -> Self {
        Self::on(&connect(bed.address).await, id, names, version).await
    }

    pub async fn on(channel: &Channel, id: &str, names: &[&str], version: &str) -> Self {
        let (out, requests) = mpsc::channel(1024);
        let first = DiscoveryRequest {
            node: Some(node(id)),
            version_info: version.to_owned(),
            resource_names: names.iter().map(|n| (*n).to_owned()).collect(),
            type_url: TYPED_CONFIG.to_owned(),
            ..DiscoveryRequest::default()
        };
        out.send(first).await.unwrap();
        let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
        let responses = client::open(channel, ECDS_SOTW, requests).await;
        Self {
            out,
            responses: responses.unwrap(),
            names: names.iter().map(|n| (*n).to_owned()).collect(),
            version: version.to_owned(),
        }
    }

    pub async fn next(&mut self) -> DiscoveryResponse {
        self.step().await.unwrap().unwrap()
    }

    pub async fn step(&mut self) -> Result<Option<DiscoveryResponse>, Status> {
        let next = timeout(PATIENCE, self.responses.message()).await;
        next.expect("a response in time")
    }

    pub async fn is_quiet(&mut self, for_ms: u64) -> bool {
        let next = timeout(Duration::from_millis(for_ms), self.responses.message());
        next.await.is_err()
    }

    pub async fn answer(&mut self, to: &DiscoveryResponse, error: Option<&str>) {
        if error.is_none() {
            self.version.clone_from(&to.version_info);
        }
        let answer = DiscoveryRequest {
            version_info: self.version.clone(),
            response_nonce: to.nonce.clone(),
            resource_names: self.names.clone(),
            type_url: TYPED_CONFIG.to_owned(),
            error_detail: error.map(|message| google::Status {
                message: message.to_owned(),
                ..google::Status::default()
            }),
            ..DiscoveryRequest::default()
        };
        self.out.send(answer).await.unwrap();
    }

    pub async fn take(&mut self) -> DiscoveryResponse {
        let response = self.next().await;
        self.answer(&response, None).await;
        response
    }
}

/// What a response holds, as the filter loads it.
pub fn loaded(response: &DiscoveryResponse, signers: &SigningKeys) -> keyset::Artefact {
    let bytes = configuration_in(response.encode_to_vec()).unwrap();
    let loaded = keyset::Artefact::load(&mut &bytes[..], signers, |_| {});
    loaded.unwrap_or_else(|e| panic!("{e}"))
}

/// Feeds a filter's state machine, as one worker does.
pub fn feed(holding: &mut Holding, response: &DiscoveryResponse, signers: &SigningKeys) {
    let floor = holding.version();
    let bytes = configuration_in(response.encode_to_vec()).unwrap();
    let artefact = keyset::Artefact::load(&mut &bytes[..], signers, |signed| {
        holding.make_room(signed, floor);
    });
    holding.take(artefact.unwrap_or_else(|e| panic!("{e}")), floor);
}

/// A report of a node's VM, signed.
pub async fn report(bed: &Bed, node: &str, vm: (u32, u32), version: u64, base: u64) {
    let sealed = sealed(bed, node, vm, version, base, 0).await;
    bed.delivery
        .reported(&sealed.body, &sealed.kid, &sealed.tag)
        .unwrap();
}

pub async fn sealed(
    bed: &Bed,
    node: &str,
    (vm, vms): (u32, u32),
    version: u64,
    base: u64,
    age: u64,
) -> message::Sealed {
    let report = told(bed, node, (vm, vms), version, base, age).await;
    report::seal(&report, &bed.signers().await).unwrap()
}

/// The same signed with other keys.
pub async fn sealed_with(
    bed: &Bed,
    node: &str,
    version: u64,
    keys: &SigningKeys,
) -> message::Sealed {
    let report = told(bed, node, (0, 1), version, version, 0).await;
    report::seal(&report, keys).unwrap()
}

async fn told(
    bed: &Bed,
    node: &str,
    (vm, vms): (u32, u32),
    version: u64,
    base: u64,
    age: u64,
) -> Report {
    let store = bed.delivery.pool.read(|tx| Ok(tx.meta().store));
    let store = store.await.unwrap().to_string();
    Report {
        node: node.to_owned(),
        process: Some(1),
        vm,
        vms,
        sent: system::local().now.seconds() - age,
        claimed: 1,
        stores: vec![StoreState {
            store,
            version,
            base,
            missing_base: base == 0,
        }],
    }
}

#[tokio::test]
async fn a_keyset_is_renewed_when_half_of_its_time_has_passed() {
    let mut settings = settings();
    settings.world = || {
        let mut world = system::local();
        world.now = keystile_model::world::Moment::from_ms(world.now.ms() + 600_000);
        world
    };
    let text = format!("{POLICY}not_after: 10m\n");
    let bed = Bed::with(&text, settings).await;
    // Versions are milliseconds, and this server's clock is ten minutes ahead of the one
    // that the store was made by.
    bed.published(system::local().now.ms() + 300_000).await;
}
