//! What a server sets the console up with.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::brand::Brand;
use super::oidc::Oidc;
use keystile_api::fleet::FleetView;
use keystile_model::error::Result;
use keystile_model::world::World;

/// How long a session lives, and other ways to sign in than a token.
pub struct ConsoleSettings {
    /// Without a request.
    pub idle: Duration,
    /// At all.
    pub most: Duration,
    /// Through an identity provider.
    pub oidc: Option<Oidc>,
    /// What clients see of the operator.
    pub brand: Brand,
}

impl Default for ConsoleSettings {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(30 * 60),
            most: Duration::from_secs(12 * 3600),
            oidc: None,
            brand: Brand::default(),
        }
    }
}

/// The Envoys, as the pages see them.
#[derive(Clone)]
pub struct Envoys {
    /// Lists them.
    pub list: Arc<dyn Fn() -> FleetView + Send + Sync>,
    /// Forgets one that is gone for good.
    pub forget: Arc<dyn Fn(World, String) -> Forgetting + Send + Sync>,
    /// Waits for a while until all of them have a version: how many have it, and how many not.
    pub wait: Arc<dyn Fn(u64) -> Waiting + Send + Sync>,
}

/// Envoys that are waited for.
pub type Waiting = Pin<Box<dyn Future<Output = (usize, usize)> + Send>>;

/// An Envoy that is being forgotten.
pub type Forgetting = Pin<Box<dyn Future<Output = Result<()>> + Send>>;
