//! Clients, keys and limits from other systems' exports: Kong, APISIX, Envoy Gateway, Unkey,
//! Higress, Tyk, and tables.
//!
//! Text goes in, lines to import come out. Every field of an export is carried over, listed as not
//! carried over, or known to have no effect: each importer has tables that say which, and `fields`
//! enforces them. Never opens a file or a store, and never keeps a key: keys are hashed as they are
//! read, on this machine, and only digests go further.

use keystile_model::error::{Code, Result, refuse};
use zeroize::Zeroizing;

mod apisix;
mod closing;
mod documentation;
mod duplicates;
mod envoy_gateway;
mod fields;
mod found;
mod higress;
mod kong;
mod limits;
mod moment;
mod node;
mod options;
mod sendable;
mod table;
mod tyk;
mod unkey;

pub use found::{Found, Left};
use node::printable;
pub use options::How;

/// Where an export comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum System {
    /// Kong: declarative configuration, as `deck gateway dump` writes it
    Kong,
    /// Apache APISIX: apisix.yaml, or what the Admin API lists
    Apisix,
    /// Envoy Gateway: SecurityPolicies with apiKeyAuth, and their Secrets
    EnvoyGateway,
    /// Unkey: keys as apis.listKeys answers them, with hashes or plaintext
    Unkey,
    /// Higress: the plugin key-auth, or consumers as its console lists them
    Higress,
    /// Tyk: sessions of keys, and policies
    Tyk,
    /// A table with a header, such as AWS API Gateway's and Gravitee's
    Csv,
}

impl System {
    /// As it is typed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kong => "kong",
            Self::Apisix => "apisix",
            Self::EnvoyGateway => "envoy-gateway",
            Self::Unkey => "unkey",
            Self::Higress => "higress",
            Self::Tyk => "tyk",
            Self::Csv => "csv",
        }
    }

    /// The files that it writes.
    fn writes(self) -> &'static str {
        match self {
            Self::Kong => "what `deck gateway dump` or `kong config db_export` writes",
            Self::Apisix => "apisix.yaml, a file of ADC, or what the Admin API lists",
            Self::EnvoyGateway => envoy_gateway::WRITTEN,
            Self::Unkey => "what `apis.listKeys` answers, or an array of its keys",
            Self::Higress => {
                "a WasmPlugin `key-auth`, its configuration, or the console's list of consumers"
            }
            Self::Tyk => {
                "what `GET /tyk/keys/{key}` answers, or a list of such sessions with their keys"
            }
            Self::Csv => "a table with a header",
        }
    }
}

/// A file of an export. It contains keys, so it is wiped after it has been read.
pub struct ExportFile {
    /// The name for messages.
    pub name: String,
    /// Its text.
    pub text: Zeroizing<String>,
}

/// Reads the files of an export together: one may refer to what is in another.
///
/// # Errors
/// If a file is not what the system writes, or contains nothing of its kind. No message contains a
/// value from a file.
pub fn read(system: System, files: &[ExportFile], how: &How) -> Result<Found> {
    let mut found = Found::new(system.as_str());
    if system == System::Csv {
        for file in files {
            table::read(&file.name, trimmed(file), how, &mut found)?;
        }
        found.settle();
        return Ok(found);
    }
    let mut documents = Vec::new();
    for file in files {
        let read = node::parse(&file.name, trimmed(file), system.writes())?;
        if read.is_empty() {
            return Err(nothing(system, &file.name));
        }
        documents.extend(read);
    }
    let importer = match system {
        System::Kong => kong::read,
        System::Apisix => apisix::read,
        System::EnvoyGateway => envoy_gateway::read,
        System::Higress => higress::read,
        System::Tyk => tyk::read,
        System::Unkey | System::Csv => unkey::read,
    };
    importer(&documents, how, &mut found)?;
    if let Some(file) = files.iter().find(|f| !found.has_met(&f.name)) {
        return Err(nothing(system, &file.name));
    }
    for document in &documents {
        fields::list_unread(document, &mut found);
    }
    found.settle();
    Ok(found)
}

fn trimmed(file: &ExportFile) -> &str {
    file.text.trim_start_matches('\u{feff}')
}

fn nothing(system: System, file: &str) -> keystile_model::error::Error {
    refuse(
        Code::FileInvalid,
        format_args!("{file}: holds nothing to import from {}", system.as_str()),
        format_args!("name {}", system.writes()),
    )
}

#[cfg(test)]
mod tests;
