//! What the host remembers of a VM.

use std::cell::RefMut;
use std::collections::BTreeMap;
use wasmi::StoreLimits;

use super::calls::Stop;
use super::process::{Metric, MetricKind, Shared, Status};
use super::request::{FilterState, Headers, Property, Reply, Request};

/// What the host functions of one VM see.
pub(super) struct State {
    pub(super) process: Shared,
    /// `NAME=value\0` each.
    pub(super) environment: Vec<String>,
    pub(super) contexts: BTreeMap<u32, Context>,
    pub(super) current: u32,
    /// Set by the guest for the rest of a call; zero is none.
    pub(super) effective: u32,
    pub(super) configuration: Option<Vec<u8>>,
    /// Headers and body of the answer to a call, while it is delivered.
    pub(super) answer: Option<(Headers, Vec<u8>)>,
    /// Metrics by this VM's ids: index × 4 + kind. Defining one twice gives two ids for one metric.
    pub(super) metrics: Vec<(MetricKind, String)>,
    pub(super) limits: StoreLimits,
}

#[derive(Default)]
pub(super) struct Context {
    /// A root's own id, for a root.
    pub(super) root: u32,
    pub(super) transaction: Option<Transaction>,
    pub(super) tick_period: u32,
    pub(super) declared: Vec<Property>,
    pub(super) done: bool,
}

pub(super) struct Transaction {
    pub(super) phase: Phase,
    pub(super) request: Headers,
    pub(super) trailers: Headers,
    pub(super) response: Headers,
    pub(super) properties: BTreeMap<Vec<String>, Vec<u8>>,
    pub(super) filter_state: FilterState,
    pub(super) reply: Option<Reply>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Request,
    Trailers,
    Response,
    Log,
}

impl State {
    pub(super) fn context(&mut self, id: u32) -> &mut Context {
        self.contexts
            .get_mut(&id)
            .expect("the context exists, and in this VM")
    }

    fn active(&mut self) -> u32 {
        if self.contexts.contains_key(&self.effective) {
            self.effective
        } else {
            self.current
        }
    }

    pub(super) fn root(&mut self) -> Result<&mut Context, Stop> {
        let active = self.active();
        let root = self.contexts.get(&active).ok_or(Status::BadArgument)?.root;
        self.contexts
            .get_mut(&root)
            .ok_or(Stop::Code(Status::BadArgument as u32))
    }

    pub(super) fn transaction(&mut self) -> Option<&mut Transaction> {
        let active = self.active();
        self.contexts.get_mut(&active)?.transaction.as_mut()
    }

    pub(super) fn metric(&mut self, id: u64) -> Result<(MetricKind, RefMut<'_, Metric>), Stop> {
        let index = usize::try_from(id / 4).map_err(|_| Status::NotFound)?;
        let found = self
            .metrics
            .get(index)
            .filter(|(kind, _)| *kind as u64 == id % 4);
        let key = found.ok_or(Status::NotFound)?;
        let metric = RefMut::map(self.process.borrow_mut(), |process| {
            process.metrics.entry(key.clone()).or_default()
        });
        Ok((key.0, metric))
    }
}

impl Transaction {
    /// The map of a type, where its phase is on; in the log phase both, to be read.
    pub(super) fn map(&mut self, kind: u64, write: bool) -> Option<&mut Headers> {
        match (kind, self.phase) {
            (0, Phase::Request) => Some(&mut self.request),
            (1, Phase::Trailers) => Some(&mut self.trailers),
            (2, Phase::Response) => Some(&mut self.response),
            (0, Phase::Log) if !write => Some(&mut self.request),
            (2, Phase::Log) if !write => Some(&mut self.response),
            _ => None,
        }
    }

    pub(super) fn property(&self, path: &[String]) -> Option<Vec<u8>> {
        if let Some(value) = self.properties.get(path) {
            return Some(value.clone());
        }
        let joined = |name: &str| {
            let values: Vec<&[u8]> = self.request.all(name).collect();
            (!values.is_empty()).then(|| values.join(&b','))
        };
        let state = |name: &str| Some(self.filter_state.get(name)?.value.clone());
        match path.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["request", "headers", name] => joined(name),
            ["request", "path"] => joined(":path"),
            ["request", "method"] => joined(":method"),
            ["request", "host"] => joined(":authority"),
            ["request", "scheme"] => joined(":scheme"),
            ["filter_state", name] => state(name),
            [name] => state(&format!("wasm.{name}")),
            _ => None,
        }
    }
}
