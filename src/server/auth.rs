//! Who asks, and whether he may: the token, its role, how often.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, header};
use keystile_core::key::{KeyId, Parsed};
use zeroize::Zeroizing;

use super::http::App;
use super::limits::subscriber;
use super::problem::Problem;
use keystile_api::Route;
use keystile_model::caller::{Grant, Role};
use keystile_model::error::{Act, Code, Kind, Result, refuse};
use keystile_model::reach::Reach;
use keystile_model::words;
use keystile_model::world::World;
use keystile_registry::audit;
use keystile_registry::token::{self, TokenError};
use keystile_system as system;

/// How long a request waits until the use of its token is remembered.
const NOTED: Duration = Duration::from_millis(100);

/// Who asks for something that needs a token.
pub struct Asker {
    /// What the token is good for.
    pub grant: Grant,
    /// Where he asks from.
    pub address: IpAddr,
    /// Under which id.
    pub request: String,
    /// How the audit log names who holds no token.
    name: Option<String>,
    /// Where messages may be sent.
    reach: Reach,
}

/// Who signed in over an identity provider, and holds no token.
pub struct Person {
    /// How the audit log names him: `oidc:SUBJECT (EMAIL)`.
    pub name: String,
    /// What he may.
    pub grant: Grant,
}

impl Asker {
    /// The clock, and who he is for the store and the audit log.
    pub fn world(&self) -> World {
        let grant = self.grant.clone();
        let world = match &self.name {
            Some(name) => system::of_person(name, grant, self.address, &self.request),
            None => system::of_request(grant, self.address, &self.request),
        };
        World {
            reach: self.reach.clone(),
            ..world
        }
    }

    /// How the log of requests names him: by the public id of his token, if there is one.
    pub fn mark(&self) -> String {
        match &self.name {
            Some(name) => name.clone(),
            None => self.grant.id.to_string(),
        }
    }
}

/// Takes a request's token, if it is good. However many bad ones came from the same place: a
/// good one is never refused for them. Tokens cannot be guessed; what is slowed are those
/// that try, and what they cost.
///
/// # Errors
/// 401, or 429 for too many bad ones.
pub async fn authenticate(
    app: &App,
    headers: &HeaderMap,
    address: IpAddr,
    request: &str,
    action: &'static str,
) -> Result<Asker, Problem> {
    identify(app, bearer(headers), address, request, action).await
}

/// The same of a token that came by another way.
///
/// # Errors
/// Those of [`authenticate`].
pub async fn identify(
    app: &App,
    presented: Result<Zeroizing<String>, Problem>,
    address: IpAddr,
    request: &str,
    action: &'static str,
) -> Result<Asker, Problem> {
    let (found, prefix) = match presented {
        Err(problem) => (Err((problem, "missing")), None),
        Ok(presented) => {
            let prefix = prefix(&presented);
            let found = match looked_up(app, presented, address).await? {
                Ok(grant) => Ok(grant),
                Err(TokenError::Store) => return Err(unreadable()),
                Err(e) => Err((not_good(e), reason(e))),
            };
            (found, Some(prefix))
        }
    };
    let grant = match found {
        Ok(grant) => grant,
        Err((problem, reason)) => {
            app.metrics().refused(reason);
            // A token that is missing was not guessed.
            if let Some(prefix) = prefix {
                failed(app, address, prefix).await?;
            }
            let world = system::of_stranger(address, request);
            write_down(app, world, action, "", &problem.detail).await;
            return Err(problem);
        }
    };
    take_turn(app, grant, address, request).await
}

async fn looked_up(
    app: &App,
    presented: Zeroizing<String>,
    address: IpAddr,
) -> Result<std::result::Result<Grant, TokenError>, Problem> {
    if Parsed::parse(presented.as_bytes()).is_err() {
        return Ok(Err(TokenError::Malformed));
    }
    let limits = app.limits();
    let was_good = limits.good.remembers(&presented, system::nanoseconds());
    let _turn = match was_good {
        true => None,
        false => limits.lookups.acquire().await.ok(),
    };
    let asked = presented.clone();
    let found = app
        .desk()
        .read(move |tx| {
            let now = system::now().seconds();
            Ok(token::authenticate(tx, &asked, address, now))
        })
        .await?;
    if found.is_ok() {
        limits.good.remember(&presented, system::nanoseconds());
    }
    Ok(found)
}

/// Whether a request shows a token or a session that was good a short while ago.
pub fn was_good(app: &App, headers: &HeaderMap, now: u64) -> bool {
    let good = &app.limits().good;
    if bearer(headers).is_ok_and(|token| good.remembers(&token, now)) {
        return true;
    }
    let cookies = headers.get_all(header::COOKIE).iter();
    cookies
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(name, _)| name.ends_with("keystile"))
        .any(|(_, session)| good.remembers(session, now))
}

/// What guesses are counted by beside the place: the public id that they are for.
pub fn prefix(presented: &str) -> u64 {
    Parsed::parse(presented.as_bytes()).map_or(u64::MAX, |text| text.id().as_u64())
}

/// Counts a guess. When there were too many, the answer is held up and says no more than
/// that, and no record is written.
///
/// # Errors
/// 429.
pub async fn failed(app: &App, address: IpAddr, prefix: u64) -> Result<(), Problem> {
    let (limits, now) = (app.limits(), system::nanoseconds());
    let place = subscriber(address);
    let taken = limits.failures.take((place, prefix), now);
    let Err(e) = taken.and(limits.guesses.take(place, now)) else {
        return Ok(());
    };
    app.metrics().limited();
    limits.hold_up().await;
    Err(e.into())
}

/// Takes who has shown his token before, if it is good still.
///
/// # Errors
/// 401 if it is not, 429 if it asks too often.
pub async fn resume(
    app: &App,
    token: KeyId,
    address: IpAddr,
    request: &str,
) -> Result<Asker, Problem> {
    let found = app
        .desk()
        .read(move |tx| {
            Ok(token::still_good(
                tx,
                token,
                address,
                system::now().seconds(),
            ))
        })
        .await?;
    match found {
        Ok(grant) => take_turn(app, grant, address, request).await,
        Err(TokenError::Store) => Err(unreadable()),
        Err(e) => Err(not_good(e)),
    }
}

/// Takes who signed in over an identity provider.
///
/// # Errors
/// 429 if he asks too often.
pub fn resume_person(
    app: &App,
    person: &Person,
    address: IpAddr,
    request: &str,
) -> Result<Asker, Problem> {
    let asker = Asker {
        grant: person.grant.clone(),
        address,
        request: request.to_owned(),
        name: Some(person.name.clone()),
        reach: app.reach().clone(),
    };
    count(app, &asker)?;
    Ok(asker)
}

fn count(app: &App, asker: &Asker) -> Result<(), Problem> {
    let who = asker.grant.id.as_u64();
    if let Err(e) = app.limits().tokens.take(who, system::nanoseconds()) {
        app.metrics().limited();
        return Err(e.into());
    }
    Ok(())
}

/// One request with a good token.
async fn take_turn(
    app: &App,
    grant: Grant,
    address: IpAddr,
    request: &str,
) -> Result<Asker, Problem> {
    let asker = Asker {
        grant,
        address,
        request: request.to_owned(),
        name: None,
        reach: app.reach().clone(),
    };
    count(app, &asker)?;
    if token::is_use_due(&asker.grant, asker.world().now.seconds()) {
        note_use(app, asker.world(), asker.grant.id).await;
    }
    Ok(asker)
}

/// Remembers that a token was used. A request does not wait for it any longer than it takes
/// as a rule: somebody else may be writing, and what it asks for may be urgent.
async fn note_use(app: &App, world: World, id: KeyId) {
    let Some(noting) = app.limits().noting.begin(id.as_u64()) else {
        return;
    };
    let desk = Arc::clone(app.desk());
    let noted = tokio::spawn(async move {
        let used = desk
            .write(move |store| token::used(store, &world, id))
            .await;
        // That a use is not remembered costs a line in a table, and no request.
        if let Err(e) = used {
            tracing::warn!(error = %e, "the use of a token was not remembered");
        }
        drop(noting);
    });
    let _ = tokio::time::timeout(NOTED, noted).await;
}

/// That the role may ask for this.
///
/// # Errors
/// 403; the attempt stands in the audit log.
pub async fn admit(app: &App, asker: &Asker, route: &Route) -> Result<(), Problem> {
    if route.roles.contains(&asker.grant.role) {
        return Ok(());
    }
    let problem = forbidden(asker.grant.role, route.roles);
    write_down(app, asker.world(), route.name, "", &problem.detail).await;
    Err(problem)
}

/// Writes a refused attempt into the audit log: so many of one place in a minute, so that
/// nobody fills the disk by being refused. The others are counted, and told of together.
pub async fn write_down(
    app: &App,
    world: World,
    action: &'static str,
    subject: &str,
    reason: &str,
) {
    let place = world
        .actor
        .address
        .parse()
        .map_or(IpAddr::from([0, 0, 0, 0]), subscriber);
    if app
        .limits()
        .records
        .take(place, system::nanoseconds())
        .is_err()
    {
        count_refused(app, place);
        return;
    }
    let reason: String = redacted(reason).chars().take(500).collect();
    let subject: String = redacted(subject).chars().take(100).collect();
    let written = app
        .desk()
        .write(move |store| audit::refused(store, &world, action, &subject, "", &reason))
        .await;
    if let Err(e) = written {
        tracing::error!(error = %e, "a refused attempt is not in the audit log");
    }
}

fn count_refused(app: &App, place: IpAddr) {
    let unrecorded = &app.limits().unrecorded;
    if unrecorded.count(place) {
        let (app, every) = (app.clone(), unrecorded.every);
        tokio::spawn(async move {
            tokio::time::sleep(every).await;
            tell_refused(&app).await;
        });
    }
}

/// Writes one record of all refused attempts that were only counted, if there are any.
pub async fn tell_refused(app: &App) {
    let Some(words) = app.limits().unrecorded.take().words() else {
        return;
    };
    let world = system::of_server();
    let written = app
        .desk()
        .write(move |store| audit::refused(store, &world, "server.refused", "", "", &words))
        .await;
    if let Err(e) = written {
        tracing::error!(error = %e, "refused attempts are not in the audit log");
    }
}

/// What stands in the place of what looks like a key.
const LEFT_OUT: &str = "(left out: it looks like a key)";

/// Text with the ids of keys and tokens in the place of whole ones, and without what looks like
/// one: somebody may have pasted it where a name should stand.
fn redacted(text: &str) -> String {
    let inside = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut out = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c| !inside(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        match Parsed::parse(word.as_bytes()) {
            Ok(key) => out.push_str(&key.id().to_string()),
            // Damaged, or with something stuck to it.
            Err(_) if words::holds_secret(word) => out.push_str(LEFT_OUT),
            Err(_) => out.push_str(word),
        }
        let mut chars = after.chars();
        out.extend(chars.next());
        rest = chars.as_str();
    }
    match words::holds_secret(&out) {
        true => LEFT_OUT.to_owned(),
        false => out,
    }
}

fn unreadable() -> Problem {
    refuse(
        Code::StoreFailing,
        "the store cannot be read",
        "try again, or ask who runs this server",
    )
    .of(Kind::Unavailable)
    .into()
}

fn bearer(headers: &HeaderMap) -> Result<Zeroizing<String>, Problem> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (all.next(), all.next()) else {
        return Err(unauthenticated(
            Code::TokenMissing,
            "there is no token with the request",
        ));
    };
    let text = value.to_str().unwrap_or_default();
    match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
            Ok(Zeroizing::new(token.trim().to_owned()))
        }
        _ => Err(unauthenticated(
            Code::TokenMissing,
            "there is no bearer token with the request",
        )),
    }
}

fn unauthenticated(code: Code, fact: impl std::fmt::Display) -> Problem {
    refuse(
        code,
        fact,
        keystile_model::next![
            "send `authorization: Bearer kst_…`; ",
            Act::TokenCreate,
            " makes one"
        ],
    )
    .into()
}

fn not_good(e: TokenError) -> Problem {
    unauthenticated(Code::TokenInvalid, e)
}

fn reason(e: TokenError) -> &'static str {
    match e {
        TokenError::Malformed => "malformed",
        TokenError::Unknown => "unknown",
        TokenError::Expired => "expired",
        TokenError::Revoked => "revoked",
        TokenError::Network => "network",
        TokenError::Store => "store",
    }
}

fn forbidden(role: Role, roles: &[Role]) -> Problem {
    let may: Vec<&str> = roles.iter().map(|r| r.as_str()).collect();
    refuse(
        Code::RoleForbidden,
        format_args!("a token of the role `{role}` may not do this"),
        format_args!("it takes one of the role {}", may.join(" or ")),
    )
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_part_of_a_key_stands_in_a_reason() {
        let name = |n: &str| n.parse().unwrap();
        let entropy = system::at(1).entropy;
        let fresh = keystile_core::key::generate(&name("ks"), &name("live"), entropy).unwrap();
        let (key, id) = (fresh.text.expose_secret(), fresh.id.to_string());
        assert_eq!(
            redacted(&format!("no `{key}`; look")),
            format!("no `{id}`; look")
        );
        for damaged in [&key[..key.len() - 2], &format!("{key}x"), &key[8..]] {
            let shown = redacted(&format!("no `{damaged}`; look"));
            assert!(!shown.contains(&key[20..40]), "{shown}");
            assert!(shown.starts_with("no `(left out"), "{shown}");
        }
        let secret = "whsec_MfKQ9r8GKYqrT/jUPD8I+PZIo2LaLaSw";
        assert!(!redacted(secret).contains("PZIo2LaLaSw"));
        assert_eq!(redacted("there is no client `x`"), "there is no client `x`");
    }
}
