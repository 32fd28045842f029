//! Proxies in front: whom they speak for, and who is not believed.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::server::{Server, token};
use crate::support::Home;

fn ask(server: &Server, before: &[u8], path: &str, headers: &str) -> String {
    let mut stream = TcpStream::connect(&server.address).unwrap();
    stream.write_all(before).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{headers}\r\n");
    let _ = stream.write_all(request.as_bytes());
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer.lines().next().unwrap_or_default().to_owned()
}

/// Where the latest refusal came from, as the audit log has it.
fn recorded(home: &Home) -> String {
    let log = home.json(&["audit", "list", "--outcome", "refused"]);
    log.as_array().unwrap()[0]["address"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn a_token_of_a_network_is_good_for_whom_the_trusted_proxy_names() {
    let home = Home::new();
    let made = home.json(&[
        "token",
        "create",
        "ops",
        "--role",
        "owner",
        "--cidr",
        "192.0.2.0/24",
    ]);
    let bearer = format!(
        "authorization: Bearer {}\r\n",
        made["token"].as_str().unwrap()
    );
    let from = |address: &str| format!("{bearer}x-forwarded-for: {address}\r\n");
    let server = Server::start(&home, &["--trusted-proxy", "127.0.0.1"]);
    let status = |headers: &str| ask(&server, b"", "/v1/clients", headers);
    assert_eq!(status(&from("192.0.2.7")), "HTTP/1.1 200 OK");
    assert_eq!(
        status(&from("192.0.2.7, 198.51.100.1")),
        "HTTP/1.1 401 Unauthorized"
    );
    assert_eq!(recorded(&home), "198.51.100.1");
    assert_eq!(status(&bearer), "HTTP/1.1 401 Unauthorized");
    assert_eq!(
        status(&from("192.0.2.7, nobody")),
        "HTTP/1.1 400 Bad Request"
    );
    // The loopback rule means who asks, and not the proxy.
    let metrics = |headers: &str| ask(&server, b"", "/metrics", headers);
    for headers in [
        "",
        "x-forwarded-for: 127.0.0.1\r\n",
        "x-forwarded-for: 192.0.2.1\r\n",
    ] {
        assert_eq!(metrics(headers), "HTTP/1.1 401 Unauthorized", "{headers}");
    }
}

#[test]
fn nobody_else_is_believed() {
    let home = Home::new();
    let server = Server::start(&home, &["--trusted-proxy", "192.0.2.0/24"]);
    let forged = "x-forwarded-for: 198.51.100.1\r\nauthorization: Bearer kst_owner_x\r\n";
    assert_eq!(
        ask(&server, b"", "/v1/clients", forged),
        "HTTP/1.1 401 Unauthorized"
    );
    assert_eq!(recorded(&home), "127.0.0.1");
    let line = b"PROXY TCP4 198.51.100.1 198.51.100.2 1 2\r\n";
    assert!(!ask(&server, line, "/healthz", "").contains(" 200 "));
}

#[test]
fn the_proxy_protocol_names_the_peer_of_a_connection() {
    let home = Home::new();
    let owner = token(&home, "owner");
    let args = ["--trusted-proxy", "127.0.0.0/8", "--proxy-protocol"];
    let server = Server::start(&home, &args);
    let line = b"PROXY TCP4 198.51.100.9 198.51.100.2 1 2\r\n";
    let good = format!("authorization: Bearer {owner}\r\n");
    assert_eq!(ask(&server, line, "/v1/clients", &good), "HTTP/1.1 200 OK");
    let bad = "authorization: Bearer kst_owner_x\r\n";
    assert_eq!(
        ask(&server, line, "/v1/clients", bad),
        "HTTP/1.1 401 Unauthorized"
    );
    assert_eq!(recorded(&home), "198.51.100.9");
    assert_eq!(
        ask(&server, b"", "/healthz", ""),
        "",
        "without it, nothing is served"
    );
}
