//! The state that every handler uses.

use std::sync::Arc;

use axum::body::Bytes;
use keystile_core::hex;
use prometheus_client::collector::Collector;
use tokio::time::Instant;

use super::limits::RateLimits;
use super::metrics::Metrics;
use super::{docs, openapi};
use crate::pool::StorePool;
use keystile_model::reach::Reach;
use keystile_model::world::World;
use keystile_system as system;

/// Cheap to clone.
#[derive(Clone)]
pub struct App(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) pool: Arc<StorePool>,
    pub(super) metrics: Metrics,
    pub(super) limits: RateLimits,
    pub(super) world: World,
    pub(super) document: Bytes,
    pub(super) page: Bytes,
    pub(super) ready: tokio::sync::Mutex<Option<(Instant, bool)>>,
}

impl App {
    /// Over a store; `collectors` count what others do in this process.
    pub fn new(
        pool: Arc<StorePool>,
        limits: RateLimits,
        collectors: Vec<Box<dyn Collector>>,
    ) -> Self {
        let document = openapi::document();
        Self(Arc::new(Inner {
            pool,
            metrics: Metrics::new(collectors),
            limits,
            world: system::local(),
            page: docs::page(&document).into(),
            document: document.to_string().into(),
            ready: tokio::sync::Mutex::default(),
        }))
    }

    /// The same, with messages sent only to these addresses.
    #[must_use]
    pub fn reaching(mut self, reach: Reach) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.world.reach = reach;
        }
        self
    }

    /// Where messages may be sent.
    pub fn reach(&self) -> &Reach {
        &self.0.world.reach
    }

    /// The store.
    pub fn pool(&self) -> &Arc<StorePool> {
        &self.0.pool
    }

    /// What is counted.
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// The rate limits.
    pub fn limits(&self) -> &RateLimits {
        &self.0.limits
    }

    /// A new id for a request.
    pub fn fresh_id(&self) -> String {
        let mut bytes = [0; 10];
        // An id that is not random is only a nuisance in the log.
        let _ = (self.0.world.entropy)(&mut bytes);
        hex::text(bytes)
    }
}
