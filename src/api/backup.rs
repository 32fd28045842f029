//! A backup over the API: made on the server, downloaded in pieces, and removed from the server.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Endpoint, Method, OWNERS, Operation};
use keystile_model::error::{Act, Code, Error, Result, refuse};
use keystile_model::world::World;
use keystile_store::Store;

/// Makes a consistent copy of the store on the server, verified and encrypted with the store's
/// master key. It is kept there while it is being downloaded.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = BackupMake)]
pub struct Make {
    /// Its name in the audit log, such as that of the file that it is written to.
    #[serde(default)]
    pub name: String,
}

/// A copy that can be downloaded.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = BackupMade)]
pub struct Made {
    /// Its id while it is kept.
    pub id: String,
    /// The store.
    pub store: BackupFile,
    /// The usage counts, if there are any.
    pub usage: Option<BackupFile>,
    /// The version of the keyset in it.
    pub version: u64,
    /// The last audit record in it, `SEQ:HASH`.
    pub head: String,
    /// Fingerprint of the master key that it needs.
    pub master_key: String,
    /// Why the usage counts are missing, if they are damaged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage_damaged: Option<String>,
}

/// A file of a backup.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = BackupFile)]
pub struct BackupFile {
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256 in hexadecimal digits.
    pub sha256: String,
}

/// Which file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = BackupPart)]
pub enum BackupPart {
    /// The store.
    #[default]
    Store,
    /// The usage counts.
    Usage,
}

/// Downloads a piece of a backup.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = BackupRead)]
pub struct Read {
    /// Which backup.
    pub id: String,
    /// Which of its files; the store by default.
    #[serde(default)]
    pub part: BackupPart,
    /// The first byte to read: `next` of the previous piece.
    #[serde(default)]
    pub offset: u64,
}

/// A piece of a file.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = BackupPiece)]
pub struct BackupPiece {
    /// Its bytes, in base64.
    pub data: String,
    /// The `offset` of the next one; null at the end.
    pub next: Option<u64>,
}

/// Removes a backup from the server.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = BackupEnd)]
pub struct End {
    /// Which backup.
    pub id: String,
}

/// The backup that was removed.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = BackupEnded)]
pub struct Ended {
    /// Which backup.
    pub id: String,
}

impl Operation for Make {
    type Output = Made;
    const ENDPOINT: Endpoint = Endpoint::create(
        "backup.make",
        "/v1/backups",
        OWNERS,
        "Make a backup of the store on the server, for download",
    )
    .live();

    fn run(self, _: &mut Store, _: &World) -> Result<Made> {
        Err(elsewhere())
    }
}

impl Operation for Read {
    type Output = BackupPiece;
    const ENDPOINT: Endpoint = Endpoint::get(
        "backup.read",
        "/v1/backups/{id}",
        OWNERS,
        "Download a piece of a backup",
    )
    .live();

    fn run(self, _: &mut Store, _: &World) -> Result<BackupPiece> {
        Err(elsewhere())
    }
}

impl Operation for End {
    type Output = Ended;
    const ENDPOINT: Endpoint = Endpoint::change(
        Method::Delete,
        "backup.end",
        "/v1/backups/{id}",
        OWNERS,
        "Remove a backup from the server",
    )
    .live();

    fn run(self, _: &mut Store, _: &World) -> Result<Ended> {
        Err(elsewhere())
    }
}

fn elsewhere() -> Error {
    refuse(
        Code::ServerOnly,
        "only a server makes backups for download",
        keystile_model::next!["a file is written directly by ", Act::BackupMake.of("FILE")],
    )
}
