//! The state of every page.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::book::Book;
use super::brand::Brand;
use super::oidc::Oidc;
use super::proven::Proofs;
use super::setup::{ConsoleSettings, Envoys};
use keystile_core::hex;
use keystile_server::http::App;

/// Cheap to clone.
#[derive(Clone)]
pub struct Console(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) app: App,
    pub(super) sessions: Arc<Book>,
    pub(super) oidc: Option<Oidc>,
    pub(super) brand: Brand,
    pub(super) envoys: Envoys,
    pub(super) proofs: Proofs,
    /// The version of style and script, so that browsers cache them until they change.
    pub(super) version: String,
}

impl Console {
    /// Over the operations of a server.
    pub fn new(app: App, settings: ConsoleSettings, envoys: Envoys) -> Self {
        let digest = Sha256::new()
            .chain_update(STYLE)
            .chain_update(SCRIPT)
            .finalize();
        let version = hex::start(digest, 6);
        Self(Arc::new(Inner {
            sessions: Arc::new(Book::new(&settings, app.pool().replicas())),
            app,
            oidc: settings.oidc,
            brand: settings.brand,
            envoys,
            proofs: Proofs::default(),
            version,
        }))
    }

    pub(super) fn app(&self) -> &App {
        &self.0.app
    }

    pub(super) fn sessions(&self) -> &Book {
        &self.0.sessions
    }

    pub(super) fn brand(&self) -> &Brand {
        &self.0.brand
    }

    pub(super) fn oidc(&self) -> Option<&Oidc> {
        self.0.oidc.as_ref()
    }
}

pub(super) const STYLE: &str = include_str!("style.css");

pub(super) const SCRIPT: &str = include_str!("console.js");
