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
use crate::desk;
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

pub fn settings() -> Settings {
    Settings {
        template: Template {
            wasm: PathBuf::from("/lib/keystile.wasm"),
            overlay: "keystile".to_owned(),
            base: "keystile-base".to_owned(),
        },
        ttl: None,
        limits: Limits {
            retry_first: Duration::from_millis(100),
            ..Limits::default()
        },
        world: system::local,
    }
}

impl Bed {
    pub async fn new(text: &str) -> Self {
        Self::with(text, settings()).await
    }

    pub async fn with(text: &str, settings: Settings) -> Self {
        let (folder, desk) = desk::bench::desk(text, &["acme"]);
        Self::open(Arc::new(folder), desk, settings, 0).await
    }

    async fn open(
        folder: Arc<tempfile::TempDir>,
        desk: Arc<Desk>,
        settings: Settings,
        port: u16,
    ) -> Self {
        let delivery = Delivery::new(desk, settings);
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
        let desk = Desk::open(Home::new(folder.path().to_owned(), None)).unwrap();
        Self::open(folder, desk, settings, port).await
    }

    pub async fn issue(&self, count: u32) -> Vec<KeyId> {
        let issued = self.delivery.desk.write(move |store| {
            let draft = key::Draft::default();
            key::issue(store, &system::local(), "acme", draft, count, |_| {})
        });
        let (issued, _) = issued.await.unwrap();
        issued.into_iter().map(|i| i.key.id).collect()
    }

    pub async fn revoke(&self, id: KeyId) -> u64 {
        let revoked = self.delivery.desk.write(move |store| {
            key::revoke_all(store, &system::local(), &[id], "lost")?;
            store.read(|tx| Ok(tx.meta().version))
        });
        revoked.await.unwrap()
    }

    pub async fn apply(&self, text: &str) {
        let file = policy_file::parse("policy", text.to_owned()).unwrap();
        let applied = self
            .delivery
            .desk
            .write(move |store| policy::apply(store, &system::local(), &file).map(drop));
        applied.await.unwrap();
    }

    pub async fn signers(&self) -> SigningKeys {
        self.delivery.desk.read(signing::accepted).await.unwrap()
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

    pub fn node(&self, id: &str) -> NodeView {
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
    let store = bed.delivery.desk.read(|tx| Ok(tx.meta().store));
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
async fn a_burst_of_a_thousand_revocations_makes_a_handful_of_pushes() {
    let bed = Bed::new(POLICY).await;
    let ids = bed.issue(1000).await;
    let mut envoy = Stream::open(&bed, "e1", &BOTH).await;
    envoy.take().await;
    let mut last = envoy.take().await;
    let overlays = bed.delivery.numbers().overlays_total;
    let signers = bed.signers().await;
    let started = system::instant();
    let newest = bed.delivery.desk.write(move |store| {
        // One store's writer: a thousand transactions, as a thousand calls would make.
        for id in ids {
            key::revoke_all(store, &system::local(), &[id], "lost")?;
        }
        store.read(|tx| Ok(tx.meta().version))
    });
    let newest = newest.await.unwrap();
    let took = started.elapsed();
    let mut pushes = 0;
    loop {
        let keyset::Artefact::Overlay(overlay) = loaded(&last, &signers) else {
            panic!("only overlays travel");
        };
        if overlay.version >= newest {
            break;
        }
        last = envoy.take().await;
        pushes += 1;
    }
    println!("1,000 revocations in {took:?}: {pushes} pushes");
    // The store tells of changes every 200 ms, and after each write.
    let most = 2 + u64::try_from(took.as_millis()).unwrap() / 20;
    assert!(pushes <= most && pushes >= 1, "{pushes} of {most}");
    assert!(bed.delivery.numbers().overlays_total - overlays <= most);
}

#[tokio::test]
async fn changes_one_after_the_other_share_pushes() {
    let bed = Bed::new(POLICY).await;
    let ids = bed.issue(60).await;
    bed.published(1).await;
    let before = bed.delivery.numbers().overlays_total;
    let started = system::instant();
    let mut newest = 0;
    for id in ids {
        newest = bed.revoke(id).await;
    }
    let took = started.elapsed();
    bed.published(newest).await;
    let made = bed.delivery.numbers().overlays_total - before;
    let most = 2 + u64::try_from(took.as_millis()).unwrap() / 20;
    println!("60 revocations in {took:?}: {made} overlays");
    assert!(made <= most, "{made} overlays in {took:?}");
}

#[tokio::test]
async fn the_base_goes_first_and_its_overlay_after_it_was_acknowledged() {
    let bed = Bed::new(POLICY).await;
    bed.issue(3).await;
    let signers = bed.signers().await;
    let mut base = Stream::open(&bed, "e1", &["keystile-base"]).await;
    let mut overlay = Stream::open(&bed, "e1", &["keystile"]).await;
    let first = base.next().await;
    assert!(overlay.is_quiet(150).await, "the base is not there yet");
    let mut filter = Holding::default();
    feed(&mut filter, &first, &signers);
    base.answer(&first, None).await;
    feed(&mut filter, &overlay.take().await, &signers);
    let version = bed.published(1).await.version();
    assert_eq!(filter.version(), version);

    let node = bed.node("e1");
    assert_eq!((node.streams, node.state.as_str()), (2, "connected"));
    bed.until("both acknowledged", |d| d.numbers().acknowledged_total == 2)
        .await;
}

#[tokio::test]
async fn the_overlay_does_not_wait_for_ever_for_its_base() {
    let mut settings = settings();
    settings.limits.order = Duration::from_millis(200);
    let bed = Bed::with(POLICY, settings).await;
    let mut base = Stream::open(&bed, "e1", &["keystile-base"]).await;
    base.next().await;
    let mut overlay = Stream::open(&bed, "e1", &["keystile"]).await;
    overlay.next().await;
}

#[tokio::test]
async fn a_new_base_follows_when_the_overlay_has_grown_and_nothing_is_lost_meanwhile() {
    let bed = Bed::new(POLICY).await;
    let signers = bed.signers().await;
    let mut envoy = Stream::open(&bed, "e1", &BOTH).await;
    let mut filter = Holding::default();
    feed(&mut filter, &envoy.take().await, &signers);
    feed(&mut filter, &envoy.take().await, &signers);
    let old = filter.base_version();
    let ids = bed.issue(1200).await;
    // Changes go on while the base is built.
    let mut newest = 0;
    for id in ids.into_iter().take(20) {
        newest = bed.revoke(id).await;
    }
    while filter.version() < newest || filter.base_version() == old {
        feed(&mut filter, &envoy.take().await, &signers);
    }
    bed.until("compacted", |d| d.numbers().base_keys == 1200)
        .await;
    assert!(bed.delivery.numbers().overlay_keys <= 20);
    let version = bed.revoke(bed.issue(1).await[0]).await;
    while filter.version() < version {
        feed(&mut filter, &envoy.take().await, &signers);
    }
    assert!(filter.waiting().is_none(), "no base is missing");
}

/// The other way round it would arrive older than the base that is in force by then, and the
/// filter would refuse it and ask for a renewal.
#[tokio::test]
async fn a_new_base_waits_for_the_overlay_of_the_former_one_that_is_on_its_way() {
    let mut settings = settings();
    settings.limits.order = PATIENCE;
    let bed = Bed::with(POLICY, settings).await;
    let signers = bed.signers().await;
    let mut filter = Holding::default();
    let mut base = Stream::open(&bed, "e1", &["keystile-base"]).await;
    feed(&mut filter, &base.take().await, &signers);
    let mut overlay = Stream::open(&bed, "e1", &["keystile"]).await;
    feed(&mut filter, &overlay.take().await, &signers);
    let old = filter.base_version();

    bed.issue(1).await;
    let flying = overlay.next().await;
    bed.issue(1200).await;
    bed.until("the new base", |d| d.numbers().base_version > old)
        .await;
    assert!(base.is_quiet(300).await, "an overlay is on its way");
    feed(&mut filter, &flying, &signers);
    overlay.answer(&flying, None).await;
    feed(&mut filter, &base.take().await, &signers);
    assert!(filter.base_version() > old);
    feed(&mut filter, &overlay.take().await, &signers);
    let version = bed.published(1).await.version();
    assert_eq!(filter.version(), version);
}

#[tokio::test]
async fn another_policy_makes_a_new_base() {
    let bed = Bed::new(POLICY).await;
    let signers = bed.signers().await;
    let mut envoy = Stream::open(&bed, "e1", &BOTH).await;
    envoy.take().await;
    envoy.take().await;
    bed.apply(&POLICY.replace("/healthz", "/status")).await;
    let mut bases = 0;
    while bases == 0 {
        let response = envoy.take().await;
        if let keyset::Artefact::Keyset(base) = loaded(&response, &signers) {
            assert_eq!(base.policy.routes.len(), 1);
            bases += 1;
        }
    }
    bed.until("two bases", |d| d.numbers().bases_total == 2)
        .await;
}

#[tokio::test]
async fn a_new_signing_key_seals_both_anew() {
    let bed = Bed::new(POLICY).await;
    let mut envoy = Stream::open(&bed, "e1", &BOTH).await;
    envoy.take().await;
    envoy.take().await;
    let rotate = |store: &mut keystile_store::Store| signing::rotate(store, &system::local());
    let (new, _) = bed.delivery.desk.write(rotate).await.unwrap();
    let all = bed.signers().await;
    let new = all.as_ref().iter().find(|k| k.kid() == new).unwrap();
    let only_new = SigningKeys::new(vec![new.clone()]);
    let mut kinds = BTreeSet::new();
    while kinds.len() < 2 {
        let response = envoy.take().await;
        let overlay = matches!(loaded(&response, &only_new), keyset::Artefact::Overlay(_));
        kinds.insert(overlay);
    }
    assert_eq!(bed.delivery.numbers().bases_total, 1, "the same, resigned");
}

#[tokio::test]
async fn a_restarted_server_takes_up_its_base_and_leaves_envoys_that_have_it_alone() {
    let bed = Bed::new(POLICY).await;
    bed.issue(5).await;
    let base;
    let overlay;
    {
        let mut first = Stream::open(&bed, "e1", &["keystile-base"]).await;
        let mut second = Stream::open(&bed, "e1", &["keystile"]).await;
        first.take().await;
        second.take().await;
        (base, overlay) = (first.version, second.version);
    }
    let bed = bed.restarted().await;
    let mut first = Stream::again(&bed, "e1", &["keystile-base"], &base).await;
    let mut second = Stream::again(&bed, "e1", &["keystile"], &overlay).await;
    assert!(first.is_quiet(300).await && second.is_quiet(50).await);
    assert_eq!(bed.delivery.numbers().bases_total, 0);
    let id = bed.issue(1).await[0];
    let version = bed.revoke(id).await;
    let signers = bed.signers().await;
    loop {
        let response = second.take().await;
        let keyset::Artefact::Overlay(overlay) = loaded(&response, &signers) else {
            panic!("an overlay");
        };
        assert_eq!(
            format!("{}", overlay.base.version),
            base.split('-').next().unwrap()
        );
        if overlay.version == version {
            break;
        }
    }
    assert!(first.is_quiet(50).await);
}

#[tokio::test]
async fn a_kept_base_that_was_spoilt_is_not_used_again() {
    let bed = Bed::new(POLICY).await;
    bed.issue(5).await;
    bed.published(1).await;
    let path = bed.folder.path().join("base.keyset");
    bed.until("the base to be kept", |_| path.exists()).await;
    // Another one, which has keys in it.
    std::fs::remove_file(&path).unwrap();
    let bed = bed.restarted().await;
    bed.published(1).await;
    assert_eq!(bed.delivery.numbers().base_keys, 5);
    let mut bytes = std::fs::read(&path).unwrap();
    let end = bytes.len() - 3;
    bytes[end] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let bed = bed.restarted().await;
    bed.published(1).await;
    assert_eq!(bed.delivery.numbers().bases_total, 1);
}

#[tokio::test]
async fn a_base_of_another_timeline_is_neither_served_nor_built_upon() {
    let bed = Bed::new(POLICY).await;
    let early = bed.issue(2).await;
    let folder = Arc::clone(&bed.folder);
    let path = |name: &str| folder.path().join(name);
    bed.published(1).await;
    // A copy of the store as it is, put in its place by hand.
    let home = Home::new(folder.path().to_owned(), None);
    home.backup(&system::local(), &path("copy.db")).unwrap();
    bed.issue(1200).await;
    bed.until("a base with all of them", |d| d.numbers().base_keys == 1202)
        .await;
    let bed = bed
        .restarted_after(|| {
            std::fs::copy(path("copy.db"), path("store.db")).unwrap();
            // Its version lies above that of the base: numbers alone do not tell.
            signing::renew(&mut home.open().unwrap(), &system::local()).unwrap();
        })
        .await;
    assert!(path("base.keyset").exists());
    let published = bed.published(1).await;
    assert_eq!(published.base.built().keys, early.len());
    assert_eq!(bed.delivery.numbers().bases_total, 1, "made anew");
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

/// Streams of the fleet below, ten of them on each connection.
const FLEET: usize = 1000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_of_a_thousand_streams_acknowledges_a_revocation_within_a_second() {
    let bed = Bed::new(POLICY).await;
    let ids = bed.issue(500).await;
    let version = bed.published(1).await.version();
    let before = resident_kib();
    let mut envoys = Vec::new();
    let mut channel = connect(bed.address).await;
    for n in 0..FLEET {
        if n % 10 == 0 {
            channel = connect(bed.address).await;
        }
        let mut envoy = Stream::on(&channel, &format!("e{n}"), &BOTH, "").await;
        envoys.push(tokio::spawn(async move {
            // Acknowledges whatever comes, until the server ends.
            while let Ok(Some(response)) = envoy.responses.message().await {
                envoy.answer(&response, None).await;
            }
        }));
    }
    let has = |version: u64| {
        move |d: &Delivery| {
            let fleet = d.fleet();
            let acknowledged = fleet
                .iter()
                .filter(|n| n.resources[1].acknowledged >= Some(version));
            acknowledged.count() == FLEET
        }
    };
    bed.until("a thousand Envoys to be served", has(version))
        .await;
    let each = (resident_kib() - before) / FLEET as u64;
    let started = system::instant();
    let version = bed.revoke(ids[0]).await;
    bed.until("a thousand acknowledgements", has(version)).await;
    let took = started.elapsed();
    println!("{FLEET} streams: a revocation acknowledged by all in {took:?}");
    println!("memory: {each} KiB a stream, the client's end of it included");
    assert!(took < Duration::from_secs(1), "{took:?}");
    envoys.iter().for_each(JoinHandle::abort);
}

/// Memory of this process.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
