//! Where a server is: told to a person, and kept beside its store for commands on this machine.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use crate::commands::Context;
use crate::output::Output;
use keystile_registry::home::Home;
use keystile_server::BoundAddresses;
use keystile_system::file;

/// What this machine calls an address that is bound on all of its own.
fn reached(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => (Ipv4Addr::LOCALHOST, address.port()).into(),
        IpAddr::V6(ip) if ip.is_unspecified() => (Ipv4Addr::LOCALHOST, address.port()).into(),
        _ => address,
    }
}

/// `http://127.0.0.1:8080`.
fn url(bound: &BoundAddresses) -> String {
    let scheme = if bound.has_tls { "https" } else { "http" };
    format!("{scheme}://{}", reached(bound.api))
}

fn place(home: &Home) -> PathBuf {
    home.folder().join("serving")
}

/// Keeps the address. If that fails, links have the usual one.
pub(super) fn record(home: &Home, bound: &BoundAddresses) {
    if let Err(e) = file::replace(&place(home), 0o600, url(bound).as_bytes()) {
        tracing::warn!(error = %e, "the address is not kept beside the store");
    }
}

/// After the server has ended.
pub(super) fn forget(home: &Home) {
    // Nothing is lost if it stays: a server that begins writes it anew.
    let _ = fs::remove_file(place(home));
}

/// Where the server is that works on the store of this machine. One that was killed has left its
/// address, which may be somebody else's since.
pub(crate) fn address(cx: &Context) -> Option<String> {
    if cx.home.hold().is_ok() {
        return None;
    }
    let kept = fs::read_to_string(place(&cx.home)).ok()?;
    Some(kept.trim().to_owned()).filter(|url| !url.is_empty())
}

/// For a person.
pub(super) fn print(out: Output, home: &Home, bound: &BoundAddresses) {
    let url = url(bound);
    let store = match home.database() {
        Some(_) => "a database".to_owned(),
        None => home.folder().display().to_string(),
    };
    out.note(format_args!(
        "Keystile {} serves the store in {store}",
        env!("CARGO_PKG_VERSION")
    ));
    out.note(format_args!("  console    {url}/console"));
    out.note(format_args!("  API        {url}/docs"));
    if let Some(discovery) = bound.discovery {
        out.note(format_args!(
            "  discovery  {} (for Envoys)",
            reached(discovery)
        ));
    }
    out.note(
        "To sign in, run `keystilectl token create NAME --role owner --invite` and open its link. Ctrl-C stops the server.",
    );
}
