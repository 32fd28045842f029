//! Changes: each made once, and of what was seen.

use axum::response::Response;
use keystile_api as operation;
use keystile_api::{Ahead, Begun, Operation, Pace};
use keystile_model::error::{Error, Kind, defect};
use keystile_model::world::World;
use keystile_registry::replay;
use keystile_registry::replay::Once;
use keystile_server::auth;
use keystile_server::log::TokenId;
use keystile_server::problem::Problem;
use keystile_store::Store;
use sha2::Digest as _;
use sha2::Sha256;

use super::super::form::{Form, SEEN};
use super::super::snapshot;
use super::PageContext;

impl PageContext {
    /// Performs an operation in parts, if its subject passes a check before the first part.
    ///
    /// # Errors
    /// Those of [`PageContext::run`], and of `check`.
    pub async fn in_parts<O: Operation, C>(
        &self,
        subject: &str,
        asked: &O,
        check: C,
    ) -> Result<O::Output, Problem>
    where
        C: Fn(&mut Store, &World) -> keystile_model::error::Result<()> + Clone + Send + 'static,
    {
        let (kept, begun) = (operation::written(asked), Begun::default());
        let begin = move || {
            let asked: O = operation::read_again(&kept)?;
            let (check, begun) = (check.clone(), begun.clone());
            Ok(move |store: &mut Store, world: &World| {
                begun.unless(|| check(store, world))?;
                asked.run(store, world)
            })
        };
        self.with_pace::<O, _, _>(subject, asked.pace(), true, begin)
            .await
    }

    /// With the priority of the operation; if it may be started again, it is read again.
    pub(super) async fn paced<O: Operation>(
        &self,
        asked: O,
        seen: Option<String>,
    ) -> Result<O::Output, Problem> {
        let pace = asked.pace();
        let again = pace != Pace::Usual;
        let kept = again.then(|| operation::written(&asked));
        let begun = Begun::default();
        let mut first = Some(asked);
        let begin = move || {
            let asked = match (first.take(), &kept) {
                (Some(asked), _) => asked,
                (None, Some(kept)) => operation::read_again(kept)?,
                (None, None) => return Err(begun_twice()),
            };
            let (seen, begun) = (seen.clone(), begun.clone());
            Ok(move |store: &mut Store, world: &World| {
                let Some(seen) = seen else {
                    asked.check_size()?;
                    return asked.run(store, world);
                };
                if pace == Pace::Parts {
                    begun.unless(|| is_as_seen(&asked, &seen, store, world))?;
                    return asked.run(store, world);
                }
                store.together(|store| {
                    is_as_seen(&asked, &seen, store, world)?;
                    asked.check_size()?;
                    asked.run(store, world)
                })
            })
        };
        self.with_pace::<O, _, _>("", pace, true, begin).await
    }

    /// Performs an operation that creates something, once per form: reloading a page creates
    /// nothing a second time. `None` if it was created before.
    ///
    /// # Errors
    /// Those of [`PageContext::run`].
    pub async fn once<O: Operation>(
        &self,
        asked: O,
        form: &Form,
    ) -> Result<Option<O::Output>, Problem> {
        let nonce = format!("console-{}", form.text("nonce"));
        let request: [u8; 32] = Sha256::new()
            .chain_update(O::ENDPOINT.name)
            .chain_update(form.digest())
            .finalize()
            .into();
        let seen = form.given(SEEN).map(str::to_owned);
        self.with::<O, _>("", move |store, world| {
            asked.check_size()?;
            let run = |store: &mut Store| {
                if O::ENDPOINT.etag {
                    is_as_seen(&asked, seen.as_deref().unwrap_or_default(), store, world)?;
                }
                asked.run(store, world)
            };
            // Only the fact is stored, so that no secret can slip in.
            let remember = |_: &O::Output| (201, serde_json::json!({}));
            Ok(
                match replay::once(store, world, &nonce, request, run, remember)? {
                    Once::Done(done) => Some(done),
                    Once::Before(_) => None,
                },
            )
        })
        .await
    }

    /// Calls a function that requires the rights of an operation.
    ///
    /// # Errors
    /// Those of `f`, and 403 for a role that may not.
    pub async fn with<O: Operation, T: Send + 'static>(
        &self,
        subject: &str,
        f: impl FnOnce(&mut Store, &World) -> keystile_model::error::Result<T> + Send + 'static,
    ) -> Result<T, Problem> {
        self.with_at::<O, _>(subject, Pace::Usual, f).await
    }

    /// The same with another priority, if it is not one that is started again.
    ///
    /// # Errors
    /// Those of [`PageContext::with`].
    pub async fn with_at<O: Operation, T: Send + 'static>(
        &self,
        subject: &str,
        pace: Pace,
        f: impl FnOnce(&mut Store, &World) -> keystile_model::error::Result<T> + Send + 'static,
    ) -> Result<T, Problem> {
        let mut f = Some(f);
        let begin = move || f.take().ok_or_else(begun_twice);
        self.with_pace::<O, _, _>(subject, pace, false, begin).await
    }

    /// Lets an operation read ahead, before its turn to write.
    ///
    /// # Errors
    /// Its refusals that are certain already, and 403 for a role that may not.
    pub async fn read_ahead<O: Operation>(&self, asked: O) -> Result<(O, Ahead), Problem> {
        let app = self.console.app();
        auth::admit(app, &self.asker, &O::ENDPOINT).await?;
        let world = self.asker.world();
        let asking = world.clone();
        let read = move |store: &mut Store| {
            let ahead = asked.read_ahead(store, &asking)?;
            Ok((asked, ahead))
        };
        match app.pool().ask(&world, read).await {
            Ok(read) => Ok(read),
            Err(e) => Err(self.noted::<O>("", e).await),
        }
    }

    /// What acts `on_the_store_alone` may be tried by a reader first, and started again.
    async fn with_pace<O: Operation, T: Send + 'static, F>(
        &self,
        subject: &str,
        pace: Pace,
        on_the_store_alone: bool,
        mut begin: impl FnMut() -> keystile_model::error::Result<F>,
    ) -> Result<T, Problem>
    where
        F: FnOnce(&mut Store, &World) -> keystile_model::error::Result<T> + Send + 'static,
    {
        let route = O::ENDPOINT;
        let app = self.console.app();
        auth::admit(app, &self.asker, &route).await?;
        let world = self.asker.world();
        let mut run = || {
            let (f, world) = (begin()?, world.clone());
            Ok(move |store: &mut Store| f(store, &world))
        };
        let done = match route.writes {
            true if on_the_store_alone => app.pool().write_unless_done(&world, pace, run).await,
            true => app.pool().write_for(&world, pace, run).await,
            false => app.pool().ask(&world, run()?).await,
        };
        match done {
            Ok(done) => Ok(done),
            Err(e) => Err(self.noted::<O>(subject, e).await),
        }
    }

    /// A refusal. Those of changes have a record in the audit log.
    async fn noted<O: Operation>(&self, subject: &str, e: Error) -> Problem {
        let (app, route) = (self.console.app(), O::ENDPOINT);
        let failed = matches!(e.kind(), Kind::Store(_));
        if (route.writes && !failed) || e.kind() == Kind::Forbidden {
            auth::write_down(app, self.asker.world(), route.name, subject, &e.to_string()).await;
        }
        e.into()
    }

    /// An answer, with what the log records about it.
    pub fn tagged(&self, mut response: Response) -> Response {
        response.extensions_mut().insert(TokenId(self.token()));
        response
    }
}

fn begun_twice() -> keystile_model::error::Error {
    defect("the operation was begun twice")
}

/// Checks that the subject of an operation is as the page, which carries its tag, showed it.
fn is_as_seen<O: Operation>(
    asked: &O,
    seen: &str,
    store: &mut Store,
    world: &World,
) -> keystile_model::error::Result<()> {
    let now = asked.current(store, world)?;
    match now.is_some_and(|now| operation::tag(&now) == seen) {
        true => Ok(()),
        false => Err(snapshot::changed()),
    }
}
