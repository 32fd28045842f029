//! Streams, well-behaved and not.

use std::time::Duration;

use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::*;
use crate::delivery::denied::code_of;
use crate::delivery::tests::client;
use crate::delivery::tests::{Stream, *};
use crate::delivery::{Delivery, FleetNode};
use keystile_render::ecds::TYPED_CONFIG;
use keystile_render::proto::discovery::{
    ADS_DELTA, ADS_SOTW, DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest,
    DiscoveryResponse, ECDS_DELTA, ECDS_SOTW, Resource,
};

mod bounds;

/// A delta stream.
struct Delta {
    out: mpsc::Sender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
}

impl Delta {
    async fn open(bed: &Bed, id: &str, first: DeltaDiscoveryRequest) -> Self {
        let (out, requests) = mpsc::channel(16);
        let first = DeltaDiscoveryRequest {
            node: Some(node(id)),
            type_url: TYPED_CONFIG.to_owned(),
            ..first
        };
        out.send(first).await.unwrap();
        let channel = connect(bed.address).await;
        let responses = client::open(&channel, ECDS_DELTA, ReceiverStream::new(requests));
        Self {
            out,
            responses: responses.await.unwrap(),
        }
    }

    async fn next(&mut self) -> Resource {
        let next = tokio::time::timeout(Duration::from_secs(20), self.responses.message());
        let mut response = next.await.unwrap().unwrap().unwrap();
        let answer = DeltaDiscoveryRequest {
            type_url: TYPED_CONFIG.to_owned(),
            response_nonce: response.nonce,
            ..DeltaDiscoveryRequest::default()
        };
        self.out.send(answer).await.unwrap();
        assert_eq!(response.resources.len(), 1);
        response.resources.remove(0)
    }

    async fn is_quiet(&mut self) -> bool {
        let next = tokio::time::timeout(Duration::from_millis(200), self.responses.message());
        next.await.is_err()
    }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|n| (*n).to_owned()).collect()
}

fn subscribe(to: &[&str]) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        resource_names_subscribe: names(to),
        ..DeltaDiscoveryRequest::default()
    }
}

#[tokio::test]
async fn delta_sends_each_resource_once_and_again_when_it_changes() {
    let bed = Bed::new(POLICY).await;
    let ask = subscribe(&["keystile", "keystile-base", "somebody-elses"]);
    let mut envoy = Delta::open(&bed, "e1", ask).await;
    let base = envoy.next().await;
    let overlay = envoy.next().await;
    assert_eq!((&*base.name, &*overlay.name), ("keystile-base", "keystile"));
    assert!(base.version.ends_with(|c: char| c.is_ascii_hexdigit()));
    assert!(base.resource.is_some() && base.ttl.is_none());
    assert!(envoy.is_quiet().await);
    bed.issue(1).await;
    assert_eq!(envoy.next().await.name, "keystile");
    assert!(envoy.is_quiet().await);

    envoy.out.send(subscribe(&["keystile-base"])).await.unwrap();
    assert_eq!(envoy.next().await.name, "keystile-base", "asked for again");
    let leave = DeltaDiscoveryRequest {
        type_url: TYPED_CONFIG.to_owned(),
        resource_names_unsubscribe: names(&["keystile"]),
        ..DeltaDiscoveryRequest::default()
    };
    envoy.out.send(leave).await.unwrap();
    bed.issue(1).await;
    assert!(envoy.is_quiet().await, "not subscribed to");
}

#[tokio::test]
async fn delta_leaves_an_envoy_that_has_everything_alone() {
    let bed = Bed::new(POLICY).await;
    let mut envoy = Delta::open(&bed, "e1", subscribe(&BOTH)).await;
    let base = envoy.next().await;
    let overlay = envoy.next().await;
    drop(envoy);
    let mut again = subscribe(&BOTH);
    for resource in [base, overlay] {
        let versions = &mut again.initial_resource_versions;
        versions.insert(resource.name, resource.version);
    }
    let mut envoy = Delta::open(&bed, "e1", again).await;
    assert!(envoy.is_quiet().await);
    bed.issue(1).await;
    assert_eq!(envoy.next().await.name, "keystile");
}

#[tokio::test]
async fn inside_ads_other_types_are_left_alone() {
    let bed = Bed::new(POLICY).await;
    let channel = connect(bed.address).await;
    let (out, requests) = mpsc::channel(16);
    for type_url in [
        "type.googleapis.com/envoy.config.cluster.v3.Cluster",
        TYPED_CONFIG,
    ] {
        let request = DiscoveryRequest {
            node: Some(node("e1")),
            type_url: type_url.to_owned(),
            resource_names: names(&BOTH),
            ..DiscoveryRequest::default()
        };
        out.send(request).await.unwrap();
    }
    let responses = client::open(&channel, ADS_SOTW, ReceiverStream::new(requests));
    let mut envoy = Stream {
        out,
        responses: responses.await.unwrap(),
        names: names(&BOTH),
        version: String::new(),
    };
    let base = envoy.take().await;
    assert_eq!(base.type_url, TYPED_CONFIG);
    let both = envoy.take().await;
    assert!(
        both.version_info
            .starts_with(&format!("{}+", base.version_info)),
        "one text for all that the stream holds"
    );
    assert!(envoy.is_quiet(200).await);
    let version = envoy.version.clone();
    drop(envoy);
    let mut envoy = Stream::again(&bed, "e1", &BOTH, &version).await;
    assert!(envoy.is_quiet(200).await, "it has everything");

    let (out, requests) = mpsc::channel(16);
    let first = DeltaDiscoveryRequest {
        node: Some(node("e2")),
        type_url: TYPED_CONFIG.to_owned(),
        ..subscribe(&BOTH)
    };
    out.send(first).await.unwrap();
    let responses = client::open(&channel, ADS_DELTA, ReceiverStream::new(requests));
    let responses = responses.await.unwrap();
    let mut envoy = Delta { out, responses };
    assert_eq!(envoy.next().await.name, "keystile-base");
    assert_eq!(envoy.next().await.name, "keystile");
}

#[tokio::test]
async fn a_refused_push_is_known_and_tried_again_under_a_fresh_seal() {
    let bed = Bed::new(POLICY).await;
    let mut envoy = Stream::open(&bed, "e1", &BOTH).await;
    envoy.take().await;
    let first = envoy.next().await;
    envoy.answer(&first, Some("no such wasm file")).await;
    let second = envoy.next().await;
    assert_ne!(first.resources, second.resources, "other bytes");
    let node = bed.node("e1");
    let refused = node.resources[1].refused.as_ref().unwrap();
    assert_eq!((&*refused.message, refused.times), ("no such wasm file", 1));
    envoy.answer(&second, Some("still none")).await;
    let third = envoy.next().await;
    assert_ne!(second.resources, third.resources);
    // Known to the server though the stream is another one.
    drop(envoy);
    let mut envoy = Stream::open(&bed, "e1", &["keystile"]).await;
    let fourth = envoy.take().await;
    assert!(
        ![first, second]
            .iter()
            .any(|r| r.resources == fourth.resources)
    );
    bed.until("taken", |d| d.fleet()[0].resources[1].refused.is_none())
        .await;
    assert_eq!(bed.delivery.numbers().refused_total, 2);
}

#[tokio::test]
async fn a_refused_push_does_not_hold_up_the_next_change() {
    let mut settings = settings();
    settings.limits.retry_first = Duration::from_secs(600);
    settings.limits.retry_most = Duration::from_secs(600);
    let bed = Bed::with(POLICY, settings).await;
    let mut envoy = Stream::open(&bed, "e1", &BOTH).await;
    envoy.take().await;
    let first = envoy.next().await;
    envoy.answer(&first, Some("no")).await;
    assert!(envoy.is_quiet(150).await);
    bed.issue(1).await;
    envoy.take().await;
}

#[tokio::test]
async fn who_was_slow_gets_the_latest_and_nothing_between() {
    let bed = Bed::new(POLICY).await;
    let signers = bed.signers().await;
    let mut envoy = Stream::open(&bed, "e1", &BOTH).await;
    envoy.take().await;
    let old = envoy.next().await;
    let mut version = 0;
    for _ in 0..5 {
        version = bed.revoke(bed.issue(1).await[0]).await;
    }
    bed.published(version).await;
    envoy.answer(&old, None).await;
    let next = envoy.next().await;
    let keystile_core::keyset::Artefact::Overlay(overlay) = loaded(&next, &signers) else {
        panic!("an overlay");
    };
    assert_eq!(overlay.version, version);
}

#[tokio::test]
async fn a_time_to_live_is_kept_up_by_heartbeats() {
    let mut settings = settings();
    settings.ttl = Some(Duration::from_millis(600));
    let bed = Bed::with(POLICY, settings).await;
    let mut envoy = Delta::open(&bed, "e1", subscribe(&BOTH)).await;
    let base = envoy.next().await;
    assert!(base.ttl.is_none(), "the overlay's end is the filter's");
    let first = envoy.next().await;
    assert!(first.resource.is_some() && first.ttl.is_some());
    for _ in 0..5 {
        let beat = envoy.next().await;
        assert!(beat.resource.is_none(), "nothing but a sign of life");
        assert!(beat.ttl.is_some());
        assert_eq!(
            (beat.name, beat.version),
            (first.name.clone(), first.version.clone())
        );
    }
}

#[tokio::test]
async fn a_time_to_live_is_not_promised_where_envoy_does_not_keep_it() {
    let mut settings = settings();
    settings.ttl = Some(Duration::from_secs(60));
    let bed = Bed::with(POLICY, settings).await;
    let mut envoy = Stream::open(&bed, "e1", &BOTH).await;
    let refused = envoy.step().await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("DELTA_GRPC"));
    assert_eq!(code_of(&refused), "setting_invalid");
}

#[tokio::test]
async fn a_server_that_stops_says_so() {
    let bed = Bed::new(POLICY).await;
    let mut envoy = Stream::open(&bed, "e1", &BOTH).await;
    envoy.take().await;
    let (bed, end) = tokio::join!(bed.restarted(), async {
        loop {
            if let Err(status) = envoy.step().await {
                return status;
            }
        }
    });
    assert_eq!(end.code(), Code::Unavailable);
    drop(bed);
}

#[tokio::test]
async fn what_is_not_grpc_and_what_is_no_method_is_answered() {
    let bed = Bed::new(POLICY).await;
    let channel = connect(bed.address).await;
    let method =
        "/envoy.service.extension.v3.ExtensionConfigDiscoveryService/FetchExtensionConfigs";
    let requests = tokio_stream::iter([DiscoveryRequest::default()]);
    let fetch = client::open::<_, DiscoveryResponse>(&channel, method, requests).await;
    assert_eq!(fetch.unwrap_err().code(), Code::Unimplemented);
}
