//! Everything that can be done to a store: one function per operation, each with one transaction
//! that includes its checks and its audit record. Also everything around a store: its folder
//! ([`home`]), the keysets made from it ([`publish`]), imports, rotations, leaked and lost keys,
//! usage.
//!
//! Never uses SQL (that is the store's) or HTTP, never prints, and never reads a clock: time and
//! caller come with the [`World`](keystile_model::world::World) of each call.

use keystile_model::caller::Caller;
use keystile_model::error::{Act, Code, Error, Kind, Result, refuse};
use keystile_model::nearest::nearest;
use keystile_model::record::Client;
use keystile_policy::file::{self as policy_file, PolicyFile};
use keystile_store::Tx;

pub mod audit;
#[doc(hidden)]
pub mod bench;
pub mod client;
pub mod envoy;
pub mod explain;
mod exposed;
pub mod handover;
pub mod home;
pub mod import;
pub mod inspect;
pub mod key;
pub mod leak;
pub mod lost;
pub mod node;
pub mod policy;
pub mod publish;
pub mod replay;
pub mod rotation;
pub mod signing;
pub mod token;
pub mod usage;
pub mod webhook;

/// The policy in force.
pub fn policy(tx: &Tx<'_>) -> Result<PolicyFile> {
    let revision = tx.policy()?;
    let name = format!("policy of the store, revision {}", revision.revision);
    policy_file::parse(&name, revision.text)
}

/// The existing client of that name, if the caller may see it; otherwise refused as if it did not
/// exist.
pub fn client(tx: &Tx<'_>, caller: &Caller, name: &str) -> Result<Client> {
    match tx.client(name)? {
        Some(client) if caller.sees(name) => Ok(client),
        _ => Err(no_client(tx, caller, name)?),
    }
}

fn no_client(tx: &Tx<'_>, caller: &Caller, name: &str) -> Result<Error> {
    let fact = format!("there is no client `{name}`");
    if caller.bound().is_some() {
        return Ok(refuse(
            Code::ClientNotFound,
            fact,
            "name the client that this token is bound to",
        )
        .about("client"));
    }
    let all = tx.names_of_clients()?;
    let near = nearest(name, all.iter().map(String::as_str));
    let refusal = match near {
        Some(near) => refuse(
            Code::ClientNotFound,
            fact,
            format_args!("did you mean `{near}`?"),
        )
        .about("client"),
        None => refuse(
            Code::ClientNotFound,
            fact,
            keystile_model::next![
                "make it with ",
                Act::ClientCreate.of(name),
                ", or see ",
                Act::ClientList
            ],
        )
        .about("client"),
    };
    Ok(refusal.with_kind(Kind::NotFound))
}

#[cfg(test)]
mod tests;
