use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;

use super::*;
use crate::pool::bench;
use std::io::Write;

/// A receiver that takes bodies of so many bytes at most, and gives the sizes of those.
fn receiver(most: usize) -> (String, std::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let (taken, all) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let mut length = 0;
            let mut line = String::new();
            while stream.read_line(&mut line).is_ok_and(|_| line != "\r\n") {
                if let Some(n) = line.to_lowercase().strip_prefix("content-length: ") {
                    length = n.trim().parse().unwrap();
                }
                line.clear();
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            let status = if length > most { 413 } else { 204 };
            if status == 204 && taken.send(String::from_utf8(body).unwrap()).is_err() {
                return;
            }
            let answer =
                format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            let _ = stream.get_mut().write_all(answer.as_bytes());
        }
    });
    (url, all)
}

fn to(url: &str) -> Arc<Exporter> {
    Exporter::new(ExportSettings {
        place: Some(Destination::Url(url.to_owned())),
        ..ExportSettings::default()
    })
    .unwrap()
}

async fn note(pool: &Arc<StorePool>, bytes: usize) {
    let text = serde_json::json!({ "policy": "x".repeat(bytes) });
    let add = move |store: &mut Store| {
        let world = system::of_server();
        store.write(&world, |tx| {
            tx.audit(&world, "policy.apply", "2", None, Some(&text))
        })
    };
    pool.write(add).await.unwrap();
}

#[tokio::test]
async fn a_batch_that_is_too_large_for_the_receiver_is_sent_in_parts() {
    let (_folder, pool) = bench::pool("version: 1\n", &["acme"]);
    for _ in 0..20 {
        note(&pool, 60_000).await;
    }
    let (url, bodies) = receiver(200_000);
    let exporter = to(&url);
    let mut steps = 0;
    while Arc::clone(&exporter).step(&pool).await.unwrap() {
        steps += 1;
        assert!(steps < 40, "it does not get further");
    }
    let bodies: Vec<String> = bodies.try_iter().collect();
    let sizes: Vec<usize> = bodies.iter().map(String::len).collect();
    assert!(
        sizes.iter().any(|n| *n > 60_000 * 2),
        "no more than needed: {sizes:?}"
    );
    let seqs: Vec<u64> = bodies
        .iter()
        .flat_map(|body| body.lines())
        .map(|line| serde_json::from_str::<RecordView>(line).unwrap().seq)
        .collect();
    let head = pool.read(|tx| Ok(tx.meta().head.seq)).await.unwrap();
    assert_eq!(seqs, (1..=head).collect::<Vec<_>>());
    assert_eq!(exporter.waiting(), Some(0));
}

#[tokio::test]
async fn a_record_that_is_too_large_for_the_receiver_is_named_and_not_passed_over() {
    let (_folder, pool) = bench::pool("version: 1\n", &["acme"]);
    note(&pool, 60_000).await;
    let large = pool.read(|tx| Ok(tx.meta().head.seq)).await.unwrap();
    note(&pool, 10).await;
    let (url, bodies) = receiver(50_000);
    let exporter = to(&url);
    let refused = loop {
        match Arc::clone(&exporter).step(&pool).await {
            Ok(more) => assert!(more, "it was passed over"),
            Err(e) => break e.to_string(),
        }
    };
    assert!(refused.contains(&format!("record {large} ")), "{refused}");
    assert!(exporter.stuck().unwrap() > 60_000);
    assert_eq!(exporter.waiting(), Some(2));
    assert!(
        bodies
            .try_iter()
            .all(|b| b.lines().count() < large as usize)
    );
    // The receiver takes more now.
    let (url, _bodies) = receiver(100_000);
    let exporter = to(&url);
    while Arc::clone(&exporter).step(&pool).await.unwrap() {}
    assert_eq!((exporter.waiting(), exporter.stuck()), (Some(0), Some(0)));
}

#[test]
fn what_was_sent_to_one_place_was_not_sent_to_another() {
    let folder = tempfile::tempdir().unwrap();
    let noted = folder.path().join(audit::SENT);
    let sent = |n: u64| {
        let hash = "ab".repeat(32);
        format!("{n}:{hash}\n")
    };
    let seq = || audit::sent(&noted).unwrap().map(|head| head.seq);
    bind(&noted, "one").unwrap();
    assert_eq!(seq(), Some(0));
    // Written by a release that did not record the destination.
    std::fs::write(&noted, sent(7)).unwrap();
    for (place, want) in [("one", 7), ("one", 7), ("two", 0), ("two", 0)] {
        bind(&noted, place).unwrap();
        assert_eq!(seq(), Some(want), "{place}");
    }
    std::fs::write(&noted, format!("{}two\n", sent(9))).unwrap();
    for (place, want) in [("two", 9), ("one", 0)] {
        bind(&noted, place).unwrap();
        assert_eq!(seq(), Some(want), "{place}");
    }
}

#[test]
fn half_a_line_at_the_end_is_removed_before_more_is_appended() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.jsonl");
    let long = "x".repeat(200_000);
    for (there, want) in [
        (String::new(), "new\n".to_owned()),
        ("one\n".to_owned(), "one\nnew\n".to_owned()),
        ("one\ntw".to_owned(), "one\nnew\n".to_owned()),
        (format!("one\n{long}"), "one\nnew\n".to_owned()),
        (format!("{long}\n{long}"), format!("{long}\nnew\n")),
        (long, "new\n".to_owned()),
    ] {
        std::fs::write(&file, there).unwrap();
        append(&file, b"new\n").unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), want);
    }
}
