//! The service behind Envoy's ext_authz: a set of keys, over HTTP, in a process of its own.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;

use axum::http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

/// Serves until it is killed. The file has one key a line.
pub async fn serve(address: SocketAddr, file: &str) {
    let text = std::fs::read_to_string(file).expect("the keys");
    let keys: HashMap<String, String> = text
        .lines()
        .enumerate()
        .map(|(n, key)| (key.to_owned(), format!("c{n}")))
        .collect();
    let keys: &'static _ = Box::leak(Box::new(keys));
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .expect("the port");
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let _ = stream.set_nodelay(true);
        let answer = service_fn(move |request| async move { check(keys, &request) });
        tokio::spawn(
            hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), answer),
        );
    }
}

fn check(
    keys: &HashMap<String, String>,
    request: &Request<Incoming>,
) -> Result<Response<String>, Infallible> {
    let key = request.headers().get("x-api-key");
    let client = key.and_then(|k| keys.get(k.to_str().ok()?));
    let mut response = Response::new(String::new());
    match client {
        Some(client) => {
            if let Ok(value) = client.parse() {
                response.headers_mut().insert("x-client", value);
            }
        }
        None => *response.status_mut() = StatusCode::UNAUTHORIZED,
    }
    Ok(response)
}
