//! Sessions: a random id in a cookie, of which only the digest is kept.
//!
//! One server keeps sessions in memory: a restart ends them, and no backup has them. Several servers
//! keep them in the database ([`super::book`]), where a session outlives a restart, and its last use
//! is written every 15 seconds at most. Either way a session ends with its token, which is checked
//! with every request. A person who signed in through an identity provider has no token: their
//! role is kept in the session.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::digest::CtOutput;
use keystile_core::hex;
use keystile_core::key::KeyId;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::setup::ConsoleSettings;
use keystile_api::session::SessionView;
use keystile_model::error::{Code, Error, Result, refuse};
use keystile_model::wire::{Id, Time};
use keystile_server::auth::Person;

/// Sessions at once.
pub(super) const MOST: usize = 10_000;
/// Sessions of one token or person; a new one replaces the one that has been idle longest, but
/// never somebody else's.
pub(super) const EACH: usize = 20;

/// The sessions. Times are monotonic seconds.
pub struct Sessions {
    idle: u64,
    most: u64,
    all: Mutex<HashMap<[u8; 32], Session>>,
}

/// Whose a session is.
#[derive(Clone)]
pub enum Who {
    /// Somebody who presented a token, by its id.
    Token(KeyId),
    /// Somebody who signed in through an identity provider.
    Person(Arc<Person>),
}

impl Who {
    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Token(a), Self::Token(b)) => a == b,
            (Self::Person(a), Self::Person(b)) => a.grant.id == b.grant.id,
            _ => false,
        }
    }
}

/// Who signed in, for the list of sessions.
#[derive(Clone)]
pub struct Visitor {
    /// Whose the session is.
    pub who: Who,
    /// As the audit log names them.
    pub user: String,
    /// Where they sign in from.
    pub address: IpAddr,
}

struct Session {
    visitor: Visitor,
    began: u64,
    seen: u64,
}

/// The session id in a browser's cookie. No `Debug`, no `Display`.
pub struct SessionId(Zeroizing<String>);

impl SessionId {
    /// What a cookie holds.
    pub fn new(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }

    /// For the cookie.
    pub fn expose_secret(&self) -> &str {
        &self.0
    }

    /// What forms of this session carry.
    pub fn form_token(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.digest(b"form"))
    }

    /// Whether a form comes from a page of this session, in constant time.
    pub fn made(&self, form_token: &str) -> bool {
        let digest = |text: &str| CtOutput::<Sha256>::new(Sha256::digest(text.as_bytes()));
        digest(&self.form_token()) == digest(form_token)
    }

    /// What a session is found by.
    pub(super) fn key(&self) -> [u8; 32] {
        self.digest(b"session")
    }

    fn digest(&self, purpose: &[u8]) -> [u8; 32] {
        Sha256::new()
            .chain_update(purpose)
            .chain_update([0])
            .chain_update(self.0.as_bytes())
            .finalize()
            .into()
    }
}

impl Sessions {
    /// Nobody is signed in yet.
    pub fn new(settings: &ConsoleSettings) -> Self {
        Self {
            idle: settings.idle.as_secs().max(1),
            most: settings.most.as_secs().max(1),
            all: Mutex::default(),
        }
    }

    /// Signs in.
    ///
    /// # Errors
    /// If the system gives no randomness, or there are too many sessions of others.
    pub fn begin(
        &self,
        visitor: Visitor,
        now: u64,
        entropy: fn(&mut [u8]) -> Result<()>,
    ) -> Result<SessionId> {
        let mut bytes = Zeroizing::new([0; 32]);
        entropy(bytes.as_mut_slice())?;
        let id = SessionId(Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes.as_slice())));
        let mut all = self.locked();
        if all.len() >= MOST {
            all.retain(|_, s| self.lives(s, now));
        }
        let own = || all.iter().filter(|(_, s)| s.visitor.who.is(&visitor.who));
        let oldest = own().min_by_key(|(_, s)| s.seen).map(|(k, _)| *k);
        let count = own().count();
        if count >= EACH || all.len() >= MOST {
            let Some(oldest) = oldest else {
                return Err(too_many());
            };
            all.remove(&oldest);
        }
        let session = Session {
            visitor,
            began: now,
            seen: now,
        };
        all.insert(id.digest(b"session"), session);
        Ok(id)
    }

    /// The owner of a live session, which is no longer idle.
    pub fn who(&self, id: &SessionId, now: u64) -> Option<Who> {
        let key = id.digest(b"session");
        let mut all = self.locked();
        let session = all.get_mut(&key)?;
        if !self.lives(session, now) {
            all.remove(&key);
            return None;
        }
        session.seen = session.seen.max(now);
        Some(session.visitor.who.clone())
    }

    /// All live sessions, latest first. `now` is monotonic, `clock` is the wall clock.
    pub fn all(&self, now: u64, clock: u64) -> Vec<SessionView> {
        let all = self.locked();
        let living = all.iter().filter(|(_, s)| self.lives(s, now));
        let mut views: Vec<SessionView> = living
            .map(|(key, session)| self.view(key, session, now, clock))
            .collect();
        views.sort_by(|a, b| (b.began.0, &a.id).cmp(&(a.began.0, &b.id)));
        views
    }

    /// Ends one by its public id.
    pub fn end_public(&self, id: &str, now: u64, clock: u64) -> Option<SessionView> {
        let mut all = self.locked();
        let key = *all.keys().find(|key| public(key) == id)?;
        let session = all.remove(&key)?;
        Some(self.view(&key, &session, now, clock))
    }

    fn view(&self, key: &[u8; 32], session: &Session, now: u64, clock: u64) -> SessionView {
        let ago = |at: u64| Time(clock.saturating_sub(now.saturating_sub(at)));
        let left = self.idle.saturating_sub(now.saturating_sub(session.seen));
        let most = self.most.saturating_sub(now.saturating_sub(session.began));
        SessionView {
            id: public(key),
            user: session.visitor.user.clone(),
            token: match &session.visitor.who {
                Who::Token(id) => Some(Id(*id)),
                Who::Person(_) => None,
            },
            address: session.visitor.address.to_canonical().to_string(),
            began: ago(session.began),
            last_seen: ago(session.seen),
            expires: Time(clock.saturating_add(left.min(most))),
        }
    }

    /// The session's public id.
    pub fn public_id(id: &SessionId) -> String {
        public(&id.digest(b"session"))
    }

    /// Signs out.
    pub fn end(&self, id: &SessionId) {
        self.locked().remove(&id.digest(b"session"));
    }

    fn lives(&self, session: &Session, now: u64) -> bool {
        now.saturating_sub(session.seen) < self.idle
            && now.saturating_sub(session.began) < self.most
    }

    /// A panic while it was held left the table consistent.
    fn locked(&self) -> MutexGuard<'_, HashMap<[u8; 32], Session>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn too_many() -> Error {
    refuse(
        Code::ServerBusy,
        "too many people are signed in",
        keystile_model::next!["try again later, or have a session ended"],
    )
}

/// Part of the digest of a session's id; the id cannot be derived from it.
pub(super) fn public(key: &[u8; 32]) -> String {
    hex::start(key, 8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use keystile_system as system;
    use std::time::Duration;

    fn sessions() -> Sessions {
        Sessions::new(&ConsoleSettings {
            idle: Duration::from_secs(100),
            most: Duration::from_secs(250),
            ..ConsoleSettings::default()
        })
    }

    impl Sessions {
        fn token(&self, id: &SessionId, now: u64) -> Option<KeyId> {
            match self.who(id, now)? {
                Who::Token(id) => Some(id),
                Who::Person(_) => None,
            }
        }
    }

    fn token() -> KeyId {
        "0Ab3dEfGh1".parse().unwrap()
    }

    fn visitor(token: KeyId) -> Visitor {
        Visitor {
            who: Who::Token(token),
            user: format!("token ci ({token})"),
            address: IpAddr::from([192, 0, 2, 7]),
        }
    }

    fn begin(sessions: &Sessions, now: u64) -> SessionId {
        let entropy = system::at(1).entropy;
        sessions.begin(visitor(token()), now, entropy).unwrap()
    }

    #[test]
    fn a_session_ends_when_it_was_idle_for_too_long() {
        let all = sessions();
        let id = begin(&all, 10);
        assert_eq!(all.token(&id, 109), Some(token()));
        assert_eq!(all.token(&id, 208), Some(token()));
        let other = begin(&all, 10);
        assert_eq!(all.token(&other, 110), None);
        // It does not come back with a clock that does.
        assert_eq!(all.token(&other, 11), None);
    }

    #[test]
    fn a_session_ends_after_its_time_however_busy_it_was() {
        let all = sessions();
        let id = begin(&all, 0);
        for now in (0..250).step_by(50) {
            assert_eq!(all.token(&id, now), Some(token()), "{now}");
        }
        assert_eq!(all.token(&id, 250), None);
    }

    #[test]
    fn who_signs_out_is_not_known_again() {
        let all = sessions();
        let (id, other) = (begin(&all, 0), begin(&all, 0));
        all.end(&id);
        assert_eq!(all.token(&id, 1), None);
        assert_eq!(all.token(&other, 1), Some(token()));
        assert_eq!(all.token(&SessionId::new("guessed"), 1), None);
    }

    #[test]
    fn a_form_belongs_to_one_session() {
        let all = sessions();
        let (id, other) = (begin(&all, 0), begin(&all, 0));
        assert!(id.made(&id.form_token()));
        assert!(!id.made(&other.form_token()));
        assert!(!id.made(""));
        // Who sees a form does not know the cookie.
        assert_ne!(id.form_token(), id.expose_secret());
    }

    fn begin_as(all: &Sessions, n: u64, now: u64) -> Result<SessionId> {
        let entropy = system::at(1).entropy;
        all.begin(visitor(KeyId::from_u64(n).unwrap()), now, entropy)
    }

    #[test]
    fn whoever_signs_in_often_only_ends_their_own_sessions() {
        let all = sessions();
        let owner = begin(&all, 0);
        let first = begin_as(&all, 7, 1).unwrap();
        let second = begin_as(&all, 7, 1).unwrap();
        assert!(all.who(&second, 2).is_some());
        for _ in 2..=EACH {
            begin_as(&all, 7, 3).unwrap();
        }
        assert_eq!(all.locked().len(), EACH + 1);
        assert!(all.who(&first, 4).is_none(), "the idlest");
        assert!(all.who(&second, 4).is_some());
        for _ in 0..MOST + 10 {
            begin_as(&all, 7, 5).unwrap();
        }
        assert_eq!(all.token(&owner, 6), Some(token()));
        assert_eq!(all.locked().len(), EACH + 1);
    }

    #[test]
    fn memory_is_bounded_and_nobody_gives_way_to_somebody_else() {
        let all = sessions();
        let first = begin_as(&all, 0, 0).unwrap();
        for n in 1..MOST as u64 {
            begin_as(&all, n, 0).unwrap();
        }
        assert!(begin_as(&all, MOST as u64, 1).is_err());
        begin_as(&all, 5, 1).unwrap();
        assert_eq!(all.locked().len(), MOST);
        assert!(all.who(&first, 2).is_some());
        // Those that ended make room.
        assert!(begin_as(&all, MOST as u64, 1000).is_ok());
    }
}
