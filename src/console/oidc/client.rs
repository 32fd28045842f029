//! Our side of the provider.

use std::sync::Arc;

use tokio::sync::{OnceCell, Semaphore};

use super::flow::Flows;
use super::provider::Provider;
use super::settings::SignInSettings;
use keystile_model::error::{Code, Result, refuse};
use keystile_server::pool::StorePool;
use keystile_system as system;

/// The most requests to the provider at once: each holds a thread.
const AT_ONCE: usize = 16;

/// Sign-in through a provider.
pub struct Oidc {
    provider: Arc<Provider>,
    /// Those of this process.
    own: Flows,
    /// Those of all servers of the store, if there may be several.
    shared: OnceCell<Flows>,
    turns: Arc<Semaphore>,
}

impl Oidc {
    /// As it is set up.
    ///
    /// # Errors
    /// If the file of authorities holds none, or the system gives no randomness.
    pub fn new(settings: SignInSettings) -> Result<Self> {
        Ok(Self {
            provider: Arc::new(Provider::new(settings)?),
            own: Flows::new(system::of_server().entropy)?,
            shared: OnceCell::new(),
            turns: Arc::new(Semaphore::new(AT_ONCE)),
        })
    }

    /// Where flows are begun and ended: a sign-in that begins at one server of a store may end at
    /// another.
    ///
    /// # Errors
    /// Those of the store.
    pub(super) async fn flows(&self, pool: &Arc<StorePool>) -> Result<&Flows> {
        if pool.replicas().is_none() {
            return Ok(&self.own);
        }
        let shared = self.shared.get_or_try_init(|| async {
            // One that was begun at another provider is not gone on with at this one.
            let settings = self.settings();
            let purpose = format!("oidc flow\n{}\n{}", settings.issuer, settings.client);
            let secret = pool.read(move |tx| tx.derived(&purpose)).await?;
            let none = || {
                refuse(
                    Code::NotReady,
                    "the store has no secret of its own yet",
                    "change anything in it, and try again",
                )
            };
            secret.map(Flows::with).ok_or_else(none)
        });
        shared.await
    }

    /// How it is set up.
    pub fn settings(&self) -> &SignInSettings {
        self.provider.settings()
    }

    /// Calls the provider on a thread that may block.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        f: impl FnOnce(&Provider) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let busy = || {
            refuse(
                Code::ServerBusy,
                "too many people are signing in at once",
                "try again in a moment",
            )
        };
        let turn = Arc::clone(&self.turns);
        let turn = turn.try_acquire_owned().map_err(|_| busy())?;
        let provider = Arc::clone(&self.provider);
        let asked = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            f(&provider)
        });
        asked.await.map_err(|_| busy())?
    }
}
