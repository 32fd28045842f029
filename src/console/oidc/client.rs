//! Our side of the provider.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::flow::Flows;
use super::provider::Provider;
use super::settings::SignInSettings;
use keystile_model::error::{Code, Result, refuse};
use keystile_system as system;

/// The most requests to the provider at once: each holds a thread.
const AT_ONCE: usize = 16;

/// Sign-in through a provider.
pub struct Oidc {
    provider: Arc<Provider>,
    pub(super) flows: Flows,
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
            flows: Flows::new(system::of_server().entropy)?,
            turns: Arc::new(Semaphore::new(AT_ONCE)),
        })
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
