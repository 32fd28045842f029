//! Long lists over the command line: printed page by page, whatever their length.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Home, word};

const PATIENCE: Duration = Duration::from_secs(20);

/// A server that gives these answers, one a connection, each when it is told to.
pub struct Answering {
    /// Where it is.
    pub url: String,
    /// Each request as it comes.
    asked: mpsc::Receiver<()>,
    /// Lets it answer one.
    pub go_on: mpsc::Sender<()>,
}

impl Answering {
    /// With this status, and these bodies.
    pub fn start(status: u16, bodies: Vec<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (go_on, may_go_on) = mpsc::channel();
        let (ask, asked) = mpsc::channel();
        std::thread::spawn(move || {
            for body in bodies {
                let (mut connection, _) = listener.accept().unwrap();
                read_head(&mut connection);
                let _ = ask.send(());
                if may_go_on.recv().is_err() {
                    return;
                }
                let length = body.len();
                let head = format!(
                    "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
                );
                connection.write_all(head.as_bytes()).unwrap();
                connection.write_all(body.as_bytes()).unwrap();
            }
        });
        Self { url, asked, go_on }
    }

    fn pages(pages: &[Value]) -> Self {
        Self::start(200, pages.iter().map(Value::to_string).collect())
    }
}

fn read_head(connection: &mut TcpStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        connection.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
}

/// Lists page by page: the first is printed before the second is there.
fn streams(home: &Home, args: &[&str], pages: &[Value]) {
    let items = |page: &Value| {
        let fields = page.as_object().unwrap().values();
        fields.filter_map(Value::as_array).flatten().count()
    };
    let first = items(&pages[0]);
    let server = Answering::pages(pages);
    let mut child = home
        .command(&[&["--output", "json", "--server", &server.url], args].concat())
        .env("KEYSTILE_TOKEN", "kst_x")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = child.stdout.take().unwrap();
    let (send, printed) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(n @ 1..) = out.read(&mut bytes) {
            let _ = send.send(bytes[..n].to_vec());
        }
    });
    let mut text = Vec::new();
    let opened = |text: &[u8]| text.windows(4).filter(|w| w == b"\n  {").count();
    server.go_on.send(()).unwrap();
    while opened(&text) < first {
        let more = printed.recv_timeout(PATIENCE);
        let more = more.unwrap_or_else(|_| panic!("{args:?}: the first page before the second"));
        text.extend(more);
    }
    server.go_on.send(()).unwrap();
    text.extend(printed.iter().flatten());
    assert!(child.wait().unwrap().success());
    let list: Value = serde_json::from_slice(&text).unwrap();
    let all = pages.iter().map(items).sum::<usize>();
    assert_eq!(list.as_array().unwrap().len(), all);
}

/// Two pages of two items each.
fn two_pages(field: &str, item: &Value, cursor: &Value) -> [Value; 2] {
    let items = json!([item, item]);
    [cursor, &Value::Null].map(|next| json!({field: items, "next": next, "version": 7}))
}

#[test]
fn a_long_list_is_printed_page_by_page() {
    let home = Home::new();
    home.ok(&["key", "issue", "acme"]);
    home.ok(&["token", "create", "ci", "--role", "owner"]);
    home.ok(&["node", "enroll", "edge-1"]);
    let first = |args: &[&str]| home.json(args)[0].clone();
    let key = first(&["key", "list"]);
    let token = first(&["token", "list"]);
    let quota = json!({
        "key": key["id"], "client": "acme", "plan": "gold", "requests": 9, "per": "day", "used": 1,
        "remaining": 8, "until": null,
    });
    let envoy = json!({
        "id": "edge-1", "cluster": "", "envoy": "", "address": null, "state": "connected",
        "connected_since": null, "disconnected_since": null, "streams": 1, "in_force": null,
        "resources": [], "vms": [],
    });
    for (args, field, item, cursor) in [
        (
            &["client", "list"][..],
            "clients",
            first(&["client", "list"]),
            &json!("acme"),
        ),
        (&["key", "list"], "keys", key.clone(), &key["id"]),
        (&["token", "list"], "tokens", token.clone(), &token["id"]),
        (&["quota", "show", "acme"], "quotas", quota, &key["id"]),
        (
            &["node", "list"],
            "nodes",
            first(&["node", "list"]),
            &json!("edge-1"),
        ),
        (&["fleet"], "nodes", envoy, &json!("edge-1")),
    ] {
        streams(&home, args, &two_pages(field, &item, cursor));
    }
}

#[test]
fn the_memory_for_a_long_list_does_not_grow_with_its_length() {
    /// Of 10,000 keys each, as many as a page may hold.
    const PAGES: usize = 6;
    let home = Home::new();
    home.ok(&["key", "issue", "acme"]);
    let key = &home.json(&["key", "list"])[0];
    let keys = vec![key.to_string(); 10_000].join(",");
    let page = |next: &str| format!("{{\"keys\":[{keys}],\"next\":{next}}}");
    let mut pages = vec![page(&format!("\"{}\"", word(key, "id"))); PAGES];
    pages[PAGES - 1] = page("null");
    let server = Answering::start(200, pages);
    let mut child = home
        .command(&["key", "list", "--output", "json", "--server", &server.url])
        .env("KEYSTILE_TOKEN", "kst_x")
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut after = Vec::new();
    for page in 0..PAGES {
        let asked = server.asked.recv_timeout(3 * PATIENCE);
        asked.unwrap_or_else(|_| panic!("page {page} is not asked for"));
        after.push(memory(child.id()));
        server.go_on.send(()).unwrap();
    }
    assert!(child.wait().unwrap().success());
    // Four more pages take hardly more than one.
    let (one, five) = (after[1], after[5]);
    assert!(five < one + one / 2, "KiB after each page: {after:?}");
}

/// The most memory that a process ever had, in KiB.
pub fn memory(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
