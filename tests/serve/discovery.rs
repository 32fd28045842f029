//! Discovery over mutual TLS, to a client made of tonic and rustls: what `tests/envoy`
//! shows with Envoy, and what Envoy cannot be made to do.

use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};

use crate::client;
use crate::pki::Authority;
use crate::server::{Server, token};
use crate::support::{Home, word};
use keystile_render::proto::core::Node;
use keystile_render::proto::discovery::{DiscoveryRequest, DiscoveryResponse, ECDS_SOTW};

const PATIENCE: Duration = Duration::from_secs(20);
const TYPE: &str = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig";
const NAME: &str = "keystile.internal";

/// What a client shows, believes, and how old its TLS is.
struct Papers<'p> {
    certificate: Option<(&'p Authority, &'p str)>,
    trusts: &'p Authority,
    version: &'static rustls::SupportedProtocolVersion,
}

impl Papers<'_> {
    fn config(&self) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_file(self.trusts.path("ca.pem")).unwrap();
        roots.add(ca).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[self.version])
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match self.certificate {
            None => builder.with_no_client_auth(),
            Some((authority, name)) => {
                let file = |end: &str| authority.path(&format!("{name}.{end}"));
                let chain = CertificateDer::from_pem_file(file("pem")).unwrap();
                let key = PrivateKeyDer::from_pem_file(file("key")).unwrap();
                builder.with_client_auth_cert(vec![chain], key).unwrap()
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        config
    }

    async fn connect(&self, server: &Server) -> Result<Channel, tonic::transport::Error> {
        let tls = TlsConnector::from(Arc::new(self.config()));
        let address = server.discovery.clone();
        let connector = tower::service_fn(move |_| {
            let (tls, address) = (tls.clone(), address.clone());
            async move {
                let stream = TcpStream::connect(address).await?;
                let name = ServerName::try_from(NAME).unwrap();
                let stream = tls.connect(name, stream).await?;
                Ok::<_, std::io::Error>(TokioIo::new(stream))
            }
        });
        let endpoint = Endpoint::from_static("http://keystile.internal");
        let connecting = endpoint.connect_with_connector(connector);
        timeout(PATIENCE, connecting).await.expect("an answer")
    }
}

/// A stream as an Envoy opens it.
struct Stream {
    out: mpsc::Sender<DiscoveryRequest>,
    responses: Streaming<DiscoveryResponse>,
}

impl Stream {
    async fn open(channel: Channel, node: &str) -> Result<Self, Status> {
        let (out, requests) = mpsc::channel(16);
        let first = DiscoveryRequest {
            node: Some(Node {
                id: node.to_owned(),
                cluster: "edge".to_owned(),
                user_agent_version_type: None,
            }),
            resource_names: vec!["keystile-base".to_owned(), "keystile".to_owned()],
            type_url: TYPE.to_owned(),
            ..DiscoveryRequest::default()
        };
        out.send(first).await.unwrap();
        let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
        let opened = timeout(PATIENCE, client::open(&channel, ECDS_SOTW, requests));
        let responses = opened.await.expect("an answer")?;
        Ok(Self { out, responses })
    }

    async fn next(&mut self) -> Result<DiscoveryResponse, Status> {
        let next = timeout(PATIENCE, self.responses.message());
        let next = next.await.expect("an answer")?;
        next.ok_or_else(|| Status::unavailable("the stream ended"))
    }

    async fn take(&mut self) -> DiscoveryResponse {
        let response = self.next().await.unwrap();
        let answer = DiscoveryRequest {
            version_info: response.version_info.clone(),
            response_nonce: response.nonce.clone(),
            resource_names: vec!["keystile-base".to_owned(), "keystile".to_owned()],
            type_url: TYPE.to_owned(),
            ..DiscoveryRequest::default()
        };
        self.out.send(answer).await.unwrap();
        response
    }
}

#[tokio::test]
async fn only_a_client_of_the_authority_gets_a_stream_and_its_stream_goes_on() {
    let home = Home::new();
    let (ours, theirs) = (
        Authority::new(home.path("ours")),
        Authority::new(home.path("theirs")),
    );
    ours.issue("server", NAME);
    ours.issue("edge", "edge-1");
    ours.issue_expired("expired", "edge-1");
    theirs.issue("edge", "edge-1");
    let tls = [
        ("--discovery-tls-cert", ours.path("server.pem")),
        ("--discovery-tls-key", ours.path("server.key")),
        ("--discovery-client-ca", ours.path("ca.pem")),
    ];
    let args: Vec<&str> = tls.iter().flat_map(|(o, f)| [*o, f.as_str()]).collect();
    let server = Server::start(&home, &args);
    let good = Papers {
        certificate: Some((&ours, "edge")),
        trusts: &ours,
        version: &rustls::version::TLS13,
    };
    let channel = good.connect(&server).await.unwrap();
    let mut stream = Stream::open(channel, "edge-1").await.unwrap();
    let first = stream.take().await;
    assert!(!first.resources.is_empty());

    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        for (who, certificate, trusts) in [
            ("of another authority", Some((&theirs, "edge")), &ours),
            ("without a certificate", None, &ours),
            ("with an expired one", Some((&ours, "expired")), &ours),
            ("that trusts another", Some((&ours, "edge")), &theirs),
        ] {
            let papers = Papers {
                certificate,
                trusts,
                version,
            };
            // In TLS 1.3 the client hears of it only after it has begun.
            let got = match papers.connect(&server).await {
                Err(_) => continue,
                Ok(channel) => match Stream::open(channel, "edge-2").await {
                    Err(_) => continue,
                    Ok(mut stream) => stream.next().await,
                },
            };
            assert!(got.is_err(), "one {who} was sent a keyset");
        }
        let old = Papers { version, ..good };
        let channel = old.connect(&server).await.unwrap();
        let mut other = Stream::open(channel, "edge").await.unwrap();
        assert!(!other.take().await.resources.is_empty());
    }

    let owner = token(&home, "owner");
    let issued = home
        .command(&["key", "issue", "acme", "--output", "json"])
        .env("KEYSTILE_SERVER", server.url())
        .env("KEYSTILE_TOKEN", owner)
        .output()
        .unwrap();
    let issued: serde_json::Value = serde_json::from_slice(&issued.stdout).unwrap();
    assert!(!word(&issued, "key").is_empty());
    // Base and overlay may have come in two: whatever comes next is newer.
    let mut next = stream.take().await;
    while next.version_info <= first.version_info {
        next = stream.take().await;
    }
}

#[tokio::test]
async fn a_certificate_is_good_for_its_own_nodes_and_no_longer_than_its_authority_says() {
    let home = Home::new();
    let [ours, theirs] = ["ours", "theirs"].map(|name| Authority::new(home.path(name)));
    ours.issue("server", NAME);
    ours.issue("edge", "edge-1");
    ours.issue("pool", "pool.internal");
    ours.list_revoked();
    let tls = [
        ("--discovery-tls-cert", ours.path("server.pem")),
        ("--discovery-tls-key", ours.path("server.key")),
        ("--discovery-client-ca", ours.path("ca.pem")),
        ("--discovery-client-crl", ours.path("crl.pem")),
        ("--discovery-name", "pool.internal=pool-*".to_owned()),
    ];
    let args: Vec<&str> = tls.iter().flat_map(|(o, f)| [*o, f.as_str()]).collect();
    let server = Server::start(&home, &args);
    let papers = |name| Papers {
        certificate: Some((&ours, name)),
        trusts: &ours,
        version: &rustls::version::TLS13,
    };
    let open = async |name, node: &str| {
        let channel = papers(name).connect(&server).await.unwrap();
        Stream::open(channel, node).await
    };
    let mut edge = open("edge", "edge-1").await.unwrap();
    edge.take().await;
    let mut pool = open("pool", "pool-7").await.unwrap();
    pool.take().await;
    for (name, node) in [("edge", "pool-7"), ("edge", "edge-2"), ("pool", "edge-1")] {
        let refused = match open(name, node).await {
            Ok(mut stream) => stream.next().await.unwrap_err(),
            Err(status) => status,
        };
        assert_eq!(refused.code(), tonic::Code::PermissionDenied, "{refused}");
        assert!(refused.message().contains("--discovery-name"), "{refused}");
        assert_eq!(
            refused.metadata().get("keystile-code").unwrap(),
            "node_not_certified"
        );
    }

    // Taken back: what is open ends, and nothing new begins; of another's nothing does.
    ours.revoke("edge");
    ours.list_revoked();
    ended(&mut edge).await;
    let again = papers("edge").connect(&server).await;
    if let Ok(channel) = again
        && let Ok(mut stream) = Stream::open(channel, "edge-1").await
    {
        assert!(stream.next().await.is_err());
    }
    home.ok(&["key", "issue", "acme"]);
    pool.take().await;

    // Another authority in its place.
    std::fs::copy(theirs.path("ca.pem"), ours.path("ca.new")).unwrap();
    std::fs::rename(ours.path("ca.new"), ours.path("ca.pem")).unwrap();
    ended(&mut pool).await;
}

/// Reads until the server ends the stream.
async fn ended(stream: &mut Stream) {
    while stream.next().await.is_ok() {}
}
