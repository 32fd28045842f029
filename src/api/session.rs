//! Sessions of the console: only the running server knows them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{AUDITORS, Endpoint, Method, OWNERS, Operation};
use keystile_model::error::{Act, Code, Error, Result, named, refuse};
use keystile_model::wire::{Id, Time};
use keystile_model::world::World;
use keystile_store::Store;

/// A session of a person who is signed in to the console.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Session)]
pub struct SessionView {
    /// Its public id, which cannot be used to sign in.
    pub id: String,
    /// The person, as the audit log names them: `token NAME (ID)`, `oidc:SUBJECT (EMAIL)`.
    pub user: String,
    /// The token that was used to sign in; null for sign-in through an identity provider.
    pub token: Option<Id>,
    /// The address that they signed in from.
    pub address: String,
    /// When it began.
    pub began: Time,
    /// When its last request was made.
    pub last_seen: Time,
    /// When it ends if no request is made before.
    pub expires: Time,
}

/// Sessions.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = Sessions)]
pub struct SessionViews {
    /// Latest first.
    pub sessions: Vec<SessionView>,
}

/// Lists who is signed in to the console of this server.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SessionList)]
pub struct List {}

/// Ends a session: its browser has to sign in again.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SessionEnd)]
pub struct End {
    /// Its id.
    pub id: String,
}

impl Operation for List {
    type Output = SessionViews;
    const ENDPOINT: Endpoint = Endpoint::get(
        "session.list",
        "/v1/sessions",
        AUDITORS,
        "List who is signed in to the console",
    )
    .live();

    fn run(self, _: &mut Store, _: &World) -> Result<SessionViews> {
        Err(unknown())
    }
}

impl Operation for End {
    type Output = SessionView;
    const ENDPOINT: Endpoint = Endpoint::change(
        Method::Delete,
        "session.end",
        "/v1/sessions/{id}",
        OWNERS,
        "End a session of the console",
    )
    .live();

    fn run(self, _: &mut Store, _: &World) -> Result<SessionView> {
        Err(unknown())
    }
}

/// The error that there is no session with that id.
pub fn none(id: &str) -> Error {
    refuse(
        Code::SessionNotFound,
        format_args!("there is no session `{id}`"),
        keystile_model::next!["it may have ended; see ", Act::SessionList],
    )
    .about("id")
}

fn unknown() -> Error {
    refuse(
        Code::ServerOnly,
        "only a server knows who is signed in to its console",
        keystile_model::next![
            "name the server with ",
            named("server"),
            " or KEYSTILE_SERVER"
        ],
    )
}
