//! After a change: on how many Envoys it is in force, and since when.
//!
//! The server watches from the moment at which a change was asked for, so that the time is the
//! one that passed, not the one at which a page asked.

use super::context::PageContext;
use super::proven::Proven;
use super::state::Console;
use axum::Json;
use axum::response::{IntoResponse as _, Response};
use keystile_api::key::List;
use keystile_model::plural;
use keystile_system as system;
use maud::{Markup, html};
use serde_json::json;

/// The field of the query with the version that a change made.
pub const VERSION: &str = "version";
impl Console {
    /// Watches until every Envoy has a version, and remembers how long that took since `began`.
    fn watch(&self, version: u64, began: u64) {
        if !self.0.proofs.begin(version) {
            return;
        }
        let console = self.clone();
        tokio::spawn(async move {
            let waited = (console.0.envoys.wait)(version).await;
            if let (envoys @ 1.., 0) = waited {
                let milliseconds = system::nanoseconds().saturating_sub(began) / 1_000_000;
                let proof = Proven {
                    envoys,
                    milliseconds,
                };
                console.0.proofs.note(version, proof);
            }
        });
    }
}

impl PageContext {
    /// Goes to a page after keys were changed, which says where that is in force; `began` is when
    /// it was asked for, in nanoseconds.
    pub async fn go_proven(&self, target: &str, done: &str, began: u64) -> Response {
        let version = self.with::<List, _>("", |store, _| store.read(|tx| Ok(tx.meta().version)));
        // The change was made: that it cannot be watched is no reason to say otherwise.
        let Ok(version) = version.await else {
            return self.go(target, done);
        };
        self.console().watch(version, began);
        let mark = if target.contains('?') { '&' } else { '?' };
        self.go(&format!("{target}{mark}{VERSION}={version}"), done)
    }

    /// Where the version in the query is in force.
    pub fn proof(&self) -> Markup {
        let Ok(version) = self.query.text(VERSION).parse() else {
            return html! {};
        };
        let (words, is_done) = self.words_of_proof(version);
        let source = format!("/console/proof?{VERSION}={version}");
        html! {
            p.proof data-proof=[(!is_done).then_some(source)] { (words) }
        }
    }

    /// In words, and whether that is final.
    fn words_of_proof(&self, version: u64) -> (String, bool) {
        if let Some(proof) = self.console().0.proofs.find(version) {
            let (n, ms) = (proof.envoys, proof.milliseconds);
            let envoys = plural::count(n, "Envoy");
            return (format!("In force on {n} of {envoys} after {ms} ms."), true);
        }
        let nodes = self.fleet().nodes;
        let proven = nodes
            .iter()
            .filter(|n| n.in_force.is_some_and(|v| v >= version));
        let (n, all) = (proven.count(), plural::count(nodes.len(), "Envoy"));
        match nodes.len() {
            0 => (
                "No Envoy is known yet; each gets this change when it first connects.".to_owned(),
                false,
            ),
            most if n == most => (format!("In force on {n} of {all}."), true),
            _ => (format!("In force on {n} of {all} so far."), false),
        }
    }
}

/// The same for a page that is open.
pub async fn show(cx: PageContext) -> Response {
    let version = cx.query.text(VERSION).parse().unwrap_or_default();
    let (words, is_done) = cx.words_of_proof(version);
    Json(json!({ "words": words, "done": is_done })).into_response()
}
