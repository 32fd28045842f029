//! Several Envoys: in pages, and of one name.

use super::*;

#[tokio::test]
async fn two_envoys_of_one_name_prove_nothing() {
    let bed = Bed::new(POLICY).await;
    let _one = settled(&bed, "e1").await;
    let version = bed.published(1).await.version();
    report(&bed, "e1", (0, 1), version, version).await;
    let mut twin = Stream::open(&bed, "e1", &BOTH).await;
    twin.take().await;
    let waited = bed.delivery.in_force(version, BRIEF).await;
    let words = why(&waited, "e1");
    assert!(words.contains("more discovery streams"), "{words}");
    // Over connections of their own they are two Envoys, however long they are there.
    let every = Duration::from_secs(10);
    bed.delivery.fleet.bury(every, system::instant() + LONG * 4);
    report(&bed, "e1", (0, 1), version, version).await;
    let waited = bed.delivery.in_force(version, BRIEF).await;
    assert!(why(&waited, "e1").contains("more discovery streams"));
}

#[tokio::test]
async fn one_envoy_with_two_streams_proves_a_version_when_a_second_one_had_time_to_report() {
    let bed = Bed::new(POLICY).await;
    let channel = connect(bed.address).await;
    let mut streams = Vec::new();
    for _ in 0..2 {
        let mut stream = Stream::on(&channel, "e1", &BOTH, "").await;
        stream.take().await;
        streams.push(stream);
    }
    let version = bed.published(1).await.version();
    report(&bed, "e1", (0, 1), version, version).await;
    let waited = bed.delivery.in_force(version, BRIEF).await;
    let words = why(&waited, "e1");
    assert!(words.contains("more discovery streams"), "{words}");
    let every = Duration::from_secs(10);
    bed.delivery.fleet.bury(every, system::instant() + LONG * 4);
    report(&bed, "e1", (0, 1), version, version).await;
    let waited = bed.delivery.in_force(version, BRIEF).await;
    assert_eq!(waited.in_force, ["e1"]);
}

#[tokio::test]
async fn an_envoy_that_starts_anew_has_proved_nothing() {
    let bed = Bed::new(POLICY).await;
    let envoy = settled(&bed, "e1").await;
    let version = bed.published(1).await.version();
    report(&bed, "e1", (0, 1), version, version).await;
    assert_eq!(bed.node("e1").in_force, Some(version));
    drop(envoy);
    bed.until("gone", |d| d.numbers().nodes == 0).await;
    let mut envoy = Stream::open(&bed, "e1", &BOTH).await;
    envoy.next().await;
    assert_eq!(bed.node("e1").in_force, None);
    assert_eq!(bed.node("e1").resources[1].acknowledged, None);
}

#[tokio::test]
async fn the_known_envoys_are_listed_page_by_page_and_each_once() {
    let bed = Bed::new(POLICY).await;
    let known = (0..5).map(|n| KnownEnvoy {
        node: format!("edge-{n}"),
        gone: Some(n),
        ..KnownEnvoy::default()
    });
    let fleet = &bed.delivery.fleet;
    fleet.load(known.collect(), system::now(), system::instant());
    let list = |cursor: Option<String>| {
        let asked = keystile_api::fleet::List {
            limit: Some(2),
            cursor,
        };
        crate::envoys::list(&asked, &bed.delivery).unwrap()
    };
    let (mut found, mut pages, mut cursor) = (Vec::new(), 0, None);
    loop {
        let page = list(cursor);
        found.extend(page.nodes.into_iter().map(|n| n.id));
        pages += 1;
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(found, ["edge-0", "edge-1", "edge-2", "edge-3", "edge-4"]);
    assert_eq!(pages, 3);
}
