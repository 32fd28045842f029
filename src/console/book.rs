//! Where sessions are kept: in memory, or in the database that several servers share.

use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keystile_core::key::KeyId;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::session::{EACH, MOST, SessionId, Sessions, Visitor, Who, public, too_many};
use super::setup::ConsoleSettings;
use keystile_api::session::SessionView;
use keystile_model::caller::{Grant, Role};
use keystile_model::error::{Error, Result, defect};
use keystile_model::wire::{Id, Time};
use keystile_server::auth::Person;
use keystile_server::replicas::Replicas;
use keystile_store::shared::SharedTables;
use keystile_store::shared::session::{KeptSession, SessionBounds};
use keystile_system as system;

/// A use of a session is stored at most this often, in seconds.
const USED: u64 = 15;

/// The sessions, wherever they are.
pub enum Book {
    /// Of this server alone.
    Memory(Sessions),
    /// Of all servers of a store.
    Shared {
        /// How to reach the database.
        replicas: Arc<Replicas>,
        /// After how many seconds without a request a session ends.
        idle: u64,
        /// After how many seconds it ends in any case.
        most: u64,
    },
}

#[derive(Serialize, Deserialize)]
struct Text {
    user: String,
    address: IpAddr,
    token: Option<u64>,
    person: Option<PersonText>,
}

#[derive(Serialize, Deserialize)]
struct PersonText {
    id: u64,
    name: String,
    called: String,
    role: Role,
}

impl Book {
    /// For a server that may have others beside it.
    pub fn new(settings: &ConsoleSettings, replicas: Option<&Arc<Replicas>>) -> Self {
        match replicas {
            None => Self::Memory(Sessions::new(settings)),
            Some(replicas) => Self::Shared {
                replicas: Arc::clone(replicas),
                idle: settings.idle.as_secs().max(1),
                most: settings.most.as_secs().max(1),
            },
        }
    }

    /// Signs in.
    ///
    /// # Errors
    /// If the system gives no randomness, or there are too many sessions of others; those of the
    /// database.
    pub async fn begin(
        &self,
        visitor: Visitor,
        entropy: fn(&mut [u8]) -> Result<()>,
    ) -> Result<SessionId> {
        let (replicas, idle, most) = match self {
            Self::Memory(sessions) => return sessions.begin(visitor, seconds(), entropy),
            Self::Shared {
                replicas,
                idle,
                most,
            } => (replicas, *idle, *most),
        };
        let mut bytes = Zeroizing::new([0; 32]);
        entropy(bytes.as_mut_slice())?;
        let id = SessionId::new(&URL_SAFE_NO_PAD.encode(bytes.as_slice()));
        let now = system::now().seconds();
        let session = KeptSession {
            digest: id.key(),
            owner: owner(&visitor.who),
            visitor: text(&visitor)?,
            began: now,
            seen: now,
        };
        let bounds = SessionBounds {
            all: MOST as u64,
            each: EACH as u64,
        };
        let begin = move |shared: &mut SharedTables| {
            let (idle, oldest) = (now.saturating_sub(idle), now.saturating_sub(most));
            shared.begin_session(&session, bounds, idle, oldest)
        };
        match replicas.aside(begin).await? {
            true => Ok(id),
            false => Err(too_many()),
        }
    }

    /// The owner of a live session, which is no longer idle.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn who(&self, id: &SessionId) -> Result<Option<Who>> {
        let replicas = match self {
            Self::Memory(sessions) => return Ok(sessions.who(id, seconds())),
            Self::Shared { replicas, .. } => replicas,
        };
        let (key, now) = (id.key(), system::now().seconds());
        let found = replicas.aside(move |shared| shared.session(&key)).await?;
        let Some(session) = found.filter(|s| self.lives(s, now)) else {
            return Ok(None);
        };
        if now.saturating_sub(session.seen) >= USED {
            replicas
                .aside(move |shared| shared.use_session(&key, now))
                .await?;
        }
        visitor(&session.visitor).map(|v| Some(v.who))
    }

    /// All live sessions, latest first.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn all(&self, clock: u64) -> Result<Vec<SessionView>> {
        let replicas = match self {
            Self::Memory(sessions) => return Ok(sessions.all(seconds(), clock)),
            Self::Shared { replicas, .. } => replicas,
        };
        let all = replicas.aside(SharedTables::sessions).await?;
        let living = all.iter().filter(|s| self.lives(s, clock));
        let mut views = living.map(|s| self.view(s)).collect::<Result<Vec<_>>>()?;
        views.sort_by(|a, b| (b.began.0, &a.id).cmp(&(a.began.0, &b.id)));
        Ok(views)
    }

    /// Ends one by its public id. Blocks.
    ///
    /// # Errors
    /// Those of the database.
    pub fn end_public(&self, id: &str, clock: u64) -> Result<Option<SessionView>> {
        let replicas = match self {
            Self::Memory(sessions) => return Ok(sessions.end_public(id, seconds(), clock)),
            Self::Shared { replicas, .. } => replicas,
        };
        replicas.with(|shared| {
            let all = shared.sessions()?;
            match all.iter().find(|s| public(&s.digest) == id) {
                Some(session) if shared.end_session(&session.digest)? => {
                    self.view(session).map(Some)
                }
                _ => Ok(None),
            }
        })
    }

    /// Signs out.
    ///
    /// # Errors
    /// Those of the database: the session goes on then.
    pub async fn end(&self, id: &SessionId) -> Result<()> {
        let replicas = match self {
            Self::Memory(sessions) => {
                sessions.end(id);
                return Ok(());
            }
            Self::Shared { replicas, .. } => replicas,
        };
        let key = id.key();
        replicas
            .aside(move |shared| shared.end_session(&key))
            .await?;
        Ok(())
    }

    fn bounds(&self) -> (u64, u64) {
        match self {
            Self::Memory(_) => (0, 0),
            Self::Shared { idle, most, .. } => (*idle, *most),
        }
    }

    fn lives(&self, session: &KeptSession, now: u64) -> bool {
        let (idle, most) = self.bounds();
        now.saturating_sub(session.seen) < idle && now.saturating_sub(session.began) < most
    }

    fn view(&self, session: &KeptSession) -> Result<SessionView> {
        let (idle, most) = self.bounds();
        let visitor = visitor(&session.visitor)?;
        let ends = session.seen.saturating_add(idle);
        Ok(SessionView {
            id: public(&session.digest),
            user: visitor.user,
            token: match visitor.who {
                Who::Token(id) => Some(Id(id)),
                Who::Person(_) => None,
            },
            address: visitor.address.to_canonical().to_string(),
            began: Time(session.began),
            last_seen: Time(session.seen),
            expires: Time(ends.min(session.began.saturating_add(most))),
        })
    }
}

/// Monotonic seconds.
fn seconds() -> u64 {
    system::nanoseconds() / 1_000_000_000
}

fn owner(who: &Who) -> String {
    match who {
        Who::Token(id) => id.to_string(),
        Who::Person(person) => format!("person {}", person.grant.id),
    }
}

fn text(visitor: &Visitor) -> Result<String> {
    let (token, person) = match &visitor.who {
        Who::Token(id) => (Some(id.as_u64()), None),
        Who::Person(person) => {
            let person = PersonText {
                id: person.grant.id.as_u64(),
                name: person.name.clone(),
                called: person.grant.name.clone(),
                role: person.grant.role,
            };
            (None, Some(person))
        }
    };
    let text = Text {
        user: visitor.user.clone(),
        address: visitor.address,
        token,
        person,
    };
    serde_json::to_string(&text).map_err(|e| odd(&e))
}

fn visitor(text: &str) -> Result<Visitor> {
    let text: Text = serde_json::from_str(text).map_err(|e| odd(&e))?;
    let who = match (text.token.and_then(KeyId::from_u64), text.person) {
        (Some(token), _) => Who::Token(token),
        (None, Some(person)) => Who::Person(Arc::new(Person {
            name: person.name,
            grant: Grant {
                id: KeyId::from_u64(person.id).ok_or_else(|| odd("an id"))?,
                name: person.called,
                role: person.role,
                ..Grant::nothing()
            },
        })),
        (None, None) => return Err(odd("nobody")),
    };
    Ok(Visitor {
        who,
        user: text.user,
        address: text.address,
    })
}

fn odd(e: impl std::fmt::Display) -> Error {
    defect(format_args!("a session cannot be read ({e})"))
}
