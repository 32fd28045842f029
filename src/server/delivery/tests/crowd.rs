//! A thousand streams.

use super::*;

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
