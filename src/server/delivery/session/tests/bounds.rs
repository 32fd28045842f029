//! Peers that are slow, too quick, or too many.

use super::*;

#[tokio::test]
async fn a_stream_that_never_answers_lags_and_gets_nothing_more_and_is_dropped() {
    let mut settings = settings();
    settings.limits.lag = Duration::from_millis(100);
    settings.limits.drop = Duration::from_millis(1500);
    let bed = Bed::with(POLICY, settings).await;
    let mut mute = Stream::open(&bed, "mute", &BOTH).await;
    let mut fine = Stream::open(&bed, "fine", &BOTH).await;
    mute.next().await;
    fine.take().await;
    fine.take().await;
    let state = |d: &Delivery, id: &str| {
        let fleet: Vec<FleetNode> = d.fleet();
        fleet.into_iter().find(|n| n.id == id).map(|n| n.state)
    };
    bed.until("marked", |d| state(d, "mute").as_deref() == Some("lagging"))
        .await;
    for _ in 0..20 {
        bed.issue(1).await;
        fine.take().await;
    }
    assert_eq!(state(&bed.delivery, "fine").as_deref(), Some("connected"));
    let mut more = 0;
    let end = loop {
        match mute.step().await {
            Ok(Some(_)) => more += 1,
            Ok(None) => panic!("a reason is given"),
            Err(status) => break status,
        }
    };
    // The overlay, once it has waited for its base.
    assert!(more <= 1, "{more} pushes to a stream that never answers");
    assert_eq!(end.code(), Code::Aborted);
    assert_eq!(bed.delivery.numbers().dropped_total, 1);
}

#[tokio::test]
async fn a_flood_of_requests_is_slowed_and_dropped_and_others_are_served() {
    let mut settings = settings();
    // A hundred requests wait for a hundredth of a second each.
    settings.limits.requests = 1000;
    let bed = Bed::with(POLICY, settings).await;
    let mut fine = Stream::open(&bed, "fine", &BOTH).await;
    fine.take().await;
    fine.take().await;
    let mut flood = Stream::open(&bed, "flood", &[]).await;
    let out = flood.out.clone();
    let flooding = tokio::spawn(async move {
        let request = DiscoveryRequest {
            type_url: TYPED_CONFIG.to_owned(),
            ..DiscoveryRequest::default()
        };
        while out.send(request.clone()).await.is_ok() {}
    });
    bed.issue(1).await;
    fine.take().await;
    let end = flood.step().await.unwrap_err();
    assert_eq!(end.code(), Code::ResourceExhausted);
    flooding.abort();
    bed.issue(1).await;
    fine.take().await;
}

#[tokio::test]
async fn one_that_acknowledges_and_asks_again_is_sent_the_same_a_few_times_and_then_rarely() {
    let bed = Bed::new(POLICY).await;
    let both = ["keystile-base", "keystile"];
    let mut storm = Delta::open(&bed, "storm", subscribe(&both)).await;
    let mut pushes = 0;
    let counting = async {
        while let Ok(Some(response)) = storm.responses.message().await {
            pushes += 1;
            let answer = DeltaDiscoveryRequest {
                type_url: TYPED_CONFIG.to_owned(),
                response_nonce: response.nonce,
                ..subscribe(&both)
            };
            storm.out.send(answer).await.unwrap();
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(2), counting).await;
    assert!(ended.is_err(), "it is slowed, and not dropped at once");
    let most = 2 + settings().limits.repeats + 2 * 2;
    assert!((3..=most).contains(&pushes), "{pushes}");
    // What changed still goes out to others at once.
    let mut fine = Stream::open(&bed, "fine", &BOTH).await;
    fine.take().await;
    fine.take().await;
    bed.issue(1).await;
    fine.take().await;
}

#[tokio::test]
async fn a_stream_has_to_say_in_time_who_it_is() {
    let mut settings = settings();
    settings.limits.first_request = Duration::from_millis(100);
    settings.limits.nodes = names(&["e1"]);
    let bed = Bed::with(POLICY, settings).await;
    let (out, requests) = mpsc::channel::<DiscoveryRequest>(1);
    let channel = connect(bed.address).await;
    let silent = client::open(&channel, ECDS_SOTW, ReceiverStream::new(requests));
    let mut silent: Streaming<DiscoveryResponse> = silent.await.unwrap();
    assert_eq!(
        silent.message().await.unwrap_err().code(),
        Code::DeadlineExceeded
    );
    drop(out);
    let long = "x".repeat(257);
    for (id, code) in [
        ("", Code::InvalidArgument),
        ("a\nb", Code::InvalidArgument),
        (long.as_str(), Code::InvalidArgument),
        ("e2", Code::PermissionDenied),
    ] {
        let mut stream = Stream::open(&bed, id, &BOTH).await;
        assert_eq!(stream.step().await.unwrap_err().code(), code, "{id:?}");
    }
    Stream::open(&bed, "e1", &BOTH).await.take().await;
}

#[tokio::test]
async fn streams_are_bounded_in_all_and_by_address() {
    let mut settings = settings();
    settings.limits.streams_per_address = 3;
    let bed = Bed::with(POLICY, settings).await;
    let mut open = Vec::new();
    for n in 0..3 {
        open.push(Stream::open(&bed, &format!("e{n}"), &BOTH).await);
    }
    let channel = connect(bed.address).await;
    let requests = ReceiverStream::new(mpsc::channel::<DiscoveryRequest>(1).1);
    let refused = client::open::<_, DiscoveryResponse>(&channel, ECDS_SOTW, requests).await;
    assert_eq!(refused.unwrap_err().code(), Code::ResourceExhausted);
    assert_eq!(bed.delivery.numbers().turned_away_total, 1);
    open[0].take().await;
    open.remove(1);
    bed.until("given back", |d| d.numbers().streams == 2).await;
    Stream::open(&bed, "e9", &BOTH).await.take().await;
}

/// A server that is cut off from its database may have an old keyset: whoever waits for a version
/// does not wait for it any more.
#[tokio::test]
async fn a_server_that_sends_its_envoys_away_sends_them_nothing_before() {
    let bed = Bed::new(POLICY).await;
    let mut living = Delta::open(&bed, "e1", subscribe(&BOTH)).await;
    living.next().await;
    bed.delivery.closing.send_replace(true);
    for n in 0..24 {
        let (out, requests) = mpsc::channel(1);
        let first = DeltaDiscoveryRequest {
            node: Some(node(&format!("new-{n}"))),
            type_url: TYPED_CONFIG.to_owned(),
            ..subscribe(&BOTH)
        };
        out.send(first).await.unwrap();
        let channel = connect(bed.address).await;
        let opened = client::open(&channel, ECDS_DELTA, ReceiverStream::new(requests)).await;
        if let Ok(mut responses) = opened {
            let said: Result<Option<DeltaDiscoveryResponse>, Status> = responses.message().await;
            assert!(said.is_err(), "{said:?}");
        }
    }
    bed.delivery.closing.send_replace(false);
    Delta::open(&bed, "new", subscribe(&BOTH))
        .await
        .next()
        .await;
}
