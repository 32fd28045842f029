//! Callers and what they may do: the token, its role, how often it may be used.

mod guesses;
mod refused;

pub use guesses::{failed, prefix};

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, header};
use keystile_core::key::{KeyId, Parsed};
use zeroize::Zeroizing;

use super::app::App;
use super::problem::Problem;
use keystile_api::Endpoint;
use keystile_model::caller::{Grant, Role};
use keystile_model::error::{Act, Code, Kind, Result, refuse};
use keystile_model::reach::Reach;
use keystile_model::world::World;
use keystile_registry::token::{self, TokenError};
use keystile_system as system;
pub use refused::{tell_refused, write_down};

/// How long a request waits for the use of its token to be recorded.
const NOTED: Duration = Duration::from_millis(100);

/// The caller of an operation that needs a token.
pub struct Asker {
    /// What the token allows.
    pub grant: Grant,
    /// The address of the caller.
    pub address: IpAddr,
    /// The id of the request.
    pub request: String,
    /// The name in the audit log of a caller without a token.
    name: Option<String>,
    /// Where messages may be sent.
    reach: Reach,
}

/// A person who signed in through an identity provider, and has no token.
pub struct Person {
    /// Their name in the audit log: `oidc:SUBJECT (EMAIL)`.
    pub name: String,
    /// What they may do.
    pub grant: Grant,
}

impl Asker {
    /// The clock, and the caller for the store and the audit log.
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

    /// The caller's name in the request log: the public id of the token, if there is one.
    pub fn mark(&self) -> String {
        match &self.name {
            Some(name) => name.clone(),
            None => self.grant.id.to_string(),
        }
    }
}

/// Accepts a request's token, if it is valid. A valid token is never refused because of bad ones
/// from the same address, however many there are. Tokens cannot be guessed; this slows down those
/// who try, and limits their cost.
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

/// The same for a token that was sent in another way.
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
            // A missing token is not a guess.
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
        .pool()
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

/// Whether a request presents a token or a session that was valid a short while ago.
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

/// Accepts a caller whose token was presented before, if it is still valid.
///
/// # Errors
/// 401 if it is not, 429 if it is used too often.
pub async fn resume(
    app: &App,
    token: KeyId,
    address: IpAddr,
    request: &str,
) -> Result<Asker, Problem> {
    let found = app
        .pool()
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

/// Accepts a person who signed in through an identity provider.
///
/// # Errors
/// 429 if they make too many requests.
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

/// One request with a valid token.
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

/// Records that a token was used. A request does not wait longer for that than it usually takes,
/// because another request may be writing, and the request may be urgent.
async fn note_use(app: &App, world: World, id: KeyId) {
    let Some(noting) = app.limits().noting.begin(id.as_u64()) else {
        return;
    };
    let pool = Arc::clone(app.pool());
    let noted = tokio::spawn(async move {
        let used = pool
            .write(move |store| token::used(store, &world, id))
            .await;
        // A use that is not recorded costs a line in a table, but no request.
        if let Err(e) = used {
            tracing::warn!(error = %e, "the use of a token was not recorded");
        }
        drop(noting);
    });
    let _ = tokio::time::timeout(NOTED, noted).await;
}

/// Checks that the role may do this.
///
/// # Errors
/// 403; the attempt is recorded in the audit log.
pub async fn admit(app: &App, asker: &Asker, route: &Endpoint) -> Result<(), Problem> {
    if route.roles.contains(&asker.grant.role) {
        return Ok(());
    }
    let problem = forbidden(asker.grant.role, route.roles);
    write_down(app, asker.world(), route.name, "", &problem.detail).await;
    Err(problem)
}

fn unreadable() -> Problem {
    refuse(
        Code::StoreFailing,
        "the store cannot be read",
        "try again, or ask the operator of this server",
    )
    .with_kind(Kind::Unavailable)
    .into()
}

fn bearer(headers: &HeaderMap) -> Result<Zeroizing<String>, Problem> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (all.next(), all.next()) else {
        return Err(unauthenticated(
            Code::TokenMissing,
            "the request has no token",
        ));
    };
    let text = value.to_str().unwrap_or_default();
    match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
            Ok(Zeroizing::new(token.trim().to_owned()))
        }
        _ => Err(unauthenticated(
            Code::TokenMissing,
            "the request has no bearer token",
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
    use keystile_model::words::redacted;

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
