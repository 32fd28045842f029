//! A small proxy-wasm host (ABI 0.2.1) on an interpreter, so that the filter that goes into Envoy is tested as it is,
//! without Envoy: in milliseconds, with both clocks in the test's hand, and with faults that Envoy shows once a year.
//!
//! What Envoy and proxy-wasm-cpp-host do at the corners is done here as well, because the filter stands on it: the
//! first insertion of shared data ignores `cas`; a header map outside its phase reads as empty by pairs and as
//! `BadArgument` by name; the configuration can be read during `on_configure` alone; a property is declared per root;
//! a trap ends the VM. Where the host knows less than Envoy it is the stricter one, and what it does not know at all
//! is answered `Unimplemented` and listed in [`Process::unknown`].

#![allow(
    dead_code,
    unused_imports,
    reason = "the host offers more than today's tests ask for"
)]

mod calls;
mod filter;
mod process;
mod request;
mod state;

use std::collections::BTreeMap;
use std::rc::Rc;

use wasmi::{Error, Instance, Store, StoreLimitsBuilder, Val};

pub use self::process::{
    Fault, HttpCall, Level, Line, Metric, MetricKind, Process, Rival, Shared, Status,
};
pub use self::request::{FilterState, Headers, Outcome, Property, Reply, Request, StateEntry};
pub use filter::Filter;
use state::{Context, Phase, State, Transaction};

/// Linear memory in Envoy's V8 ends here; the filter must not need more in a test either.
const MEMORY_LIMIT: usize = 1 << 30;

/// One VM: a thread's, or the canary's. A trap or a refused configuration ends it, as in Envoy; FAIL_RELOAD is a new
/// `Vm` in the same process.
pub struct Vm {
    store: Store<State>,
    instance: Instance,
    next_context: u32,
    failed: Option<String>,
}

/// A root context: one plugin configuration in force in one VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Root(u32);

impl Root {
    /// Of no VM.
    pub const NONE: Self = Self(0);
}

/// A request in flight.
#[derive(Debug, PartialEq, Eq)]
pub struct Stream(u32);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotStarted {
    Refused,
    Trapped(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trap(pub String);

impl Vm {
    pub fn new(
        filter: &Filter,
        process: &Shared,
        environment: &[(&str, &str)],
    ) -> Result<Self, Trap> {
        let state = State {
            process: Rc::clone(process),
            environment: environment
                .iter()
                .map(|(name, value)| format!("{name}={value}\0"))
                .collect(),
            contexts: BTreeMap::new(),
            current: 0,
            effective: 0,
            configuration: None,
            answer: None,
            metrics: Vec::new(),
            limits: StoreLimitsBuilder::new().memory_size(MEMORY_LIMIT).build(),
        };
        let mut store = Store::new(&filter.engine, state);
        store.limiter(|state| &mut state.limits);
        let trap = |error: Error| Trap(format!("the module does not start: {error}"));
        let instance = calls::linker(filter)
            .and_then(|linker| linker.instantiate_and_start(&mut store, &filter.module))
            .map_err(trap)?;
        let mut vm = Self {
            store,
            instance,
            next_context: 1,
            failed: None,
        };
        let start = if vm.exports("_initialize") {
            "_initialize"
        } else {
            "_start"
        };
        vm.call(0, start, &[])?;
        Ok(vm)
    }

    pub fn exports(&self, name: &str) -> bool {
        self.instance.get_func(&self.store, name).is_some()
    }

    /// Bytes of linear memory: it only grows.
    pub fn memory(&self) -> usize {
        let memory = self.instance.get_memory(&self.store, "memory");
        memory.map_or(0, |memory| memory.data_size(&self.store))
    }

    /// A new root context with a configuration, beside those that are there.
    pub fn start_plugin(&mut self, configuration: Option<&[u8]>) -> Result<Root, NotStarted> {
        let root = self.create(0, None);
        let root = root.map_err(|Trap(why)| NotStarted::Trapped(why))?;
        self.configure(Root(root), configuration)
    }

    /// Starts and configures a root that is there, once more: what the host does for a second plugin of the same
    /// name and configuration, which gets the same root context.
    pub fn configure(
        &mut self,
        Root(root): Root,
        configuration: Option<&[u8]>,
    ) -> Result<Root, NotStarted> {
        let trapped = |Trap(why)| NotStarted::Trapped(why);
        let size = configuration.map_or(0, <[u8]>::len);
        // An export that is missing has no objection.
        let mut accepted = self
            .call(root, "proxy_on_vm_start", &[root, 0])
            .map_err(trapped)?
            != Some(0);
        if accepted {
            // Envoy hands over an empty configuration where there is none.
            self.store.data_mut().configuration = Some(configuration.unwrap_or_default().to_vec());
            let size = u32::try_from(size).expect("a configuration fits into a wasm32 memory");
            let verdict = self.call(root, "proxy_on_configure", &[root, size]);
            self.store.data_mut().configuration = None;
            accepted = verdict.map_err(trapped)? != Some(0);
        }
        if accepted {
            return Ok(Root(root));
        }
        self.failed = Some("it refused a configuration".to_owned());
        Err(NotStarted::Refused)
    }

    /// What Envoy does to the old root once a newer configuration has replaced it and its last stream has ended.
    /// False when the root wants to live on (`proxy_on_done` said so and `proxy_done` was not called).
    pub fn stop_plugin(&mut self, Root(root): Root) -> Result<bool, Trap> {
        if let Some(why) = &self.failed {
            return Err(Trap(why.clone())); // and with the VM all its streams
        }
        let contexts = &self.store.data().contexts;
        let streams = contexts
            .iter()
            .filter(|(id, context)| context.root == root && **id != root)
            .count();
        assert_eq!(streams, 0, "Envoy ends a root after its streams");
        let done = self.call(root, "proxy_on_done", &[root])? != Some(0);
        if !done && !self.store.data_mut().context(root).done {
            return Ok(false);
        }
        self.call(root, "proxy_on_delete", &[root])?;
        self.store.data_mut().contexts.remove(&root);
        Ok(true)
    }

    pub fn tick(&mut self, Root(root): Root) -> Result<(), Trap> {
        self.call(root, "proxy_on_tick", &[root]).map(drop)
    }

    /// The answer to an HTTP call of this root, the `token`-th of the process, or the news that there is none.
    pub fn answer_call(
        &mut self,
        Root(root): Root,
        token: u32,
        response: Option<(Headers, Vec<u8>)>,
    ) -> Result<(), Trap> {
        let size = |n: usize| u32::try_from(n).expect("an answer fits into a wasm32 memory");
        let (fields, body) = response
            .as_ref()
            .map_or((0, 0), |(h, b)| (h.0.len(), b.len()));
        self.store.data_mut().answer = Some(response.unwrap_or_default());
        let arguments = [root, token, size(fields), size(body), 0];
        let called = self.call(root, "proxy_on_http_call_response", &arguments);
        self.store.data_mut().answer = None;
        called.map(drop)
    }

    /// Milliseconds between ticks; zero is never.
    pub fn tick_period(&self, Root(root): Root) -> u32 {
        self.store.data().contexts[&root].tick_period
    }

    /// The properties that this root has declared.
    pub fn declared(&self, Root(root): Root) -> &[Property] {
        &self.store.data().contexts[&root].declared
    }

    /// A whole request, without its response headers' phase.
    pub fn request(&mut self, root: Root, request: &Request) -> Outcome {
        let (stream, outcome) = self.open(root, request);
        match self.finish(stream) {
            Err(Trap(why)) if !matches!(outcome, Outcome::Trapped(_)) => Outcome::Trapped(why),
            _ => outcome,
        }
    }

    /// A whole request with the response that the client sees: the upstream's, or the filter's own, which passes the
    /// filter's response phase as well.
    pub fn exchange(
        &mut self,
        root: Root,
        request: &Request,
        upstream: &Headers,
    ) -> (Outcome, Headers) {
        let (stream, outcome) = self.open(root, request);
        let response = match &outcome {
            Outcome::Continue { .. } => upstream.clone(),
            Outcome::Reply(reply) => {
                let mut headers = Headers::new(&[(":status", &reply.status.to_string())]);
                headers.0.extend(reply.headers.0.iter().cloned());
                headers
            }
            Outcome::Paused | Outcome::Trapped(_) => return (outcome, Headers::default()),
        };
        let ended = self.respond(&stream, response).and_then(|response| {
            self.finish(stream)?;
            Ok(response)
        });
        match ended {
            Ok(response) => (outcome, response),
            Err(Trap(why)) => (Outcome::Trapped(why), Headers::default()),
        }
    }

    /// A request's headers; the stream stays open, for tests of what happens meanwhile.
    pub fn open(&mut self, Root(root): Root, request: &Request) -> (Stream, Outcome) {
        let transaction = Transaction {
            phase: Phase::Request,
            request: request.headers.clone(),
            trailers: Headers::default(),
            response: Headers::default(),
            properties: request.properties.clone(),
            filter_state: request.filter_state.clone(),
            reply: None,
        };
        let stream = match self.create(root, Some(transaction)) {
            Ok(stream) => stream,
            Err(Trap(why)) => return (Stream(0), Outcome::Trapped(why)),
        };
        let fields = u32::try_from(request.headers.0.len()).expect("a test has few fields");
        let arguments = [stream, fields, u32::from(!request.has_body)];
        let action = match self.call(stream, "proxy_on_request_headers", &arguments) {
            Ok(action) => action,
            Err(Trap(why)) => return (Stream(stream), Outcome::Trapped(why)),
        };
        let transaction = self.transaction(stream);
        // A reply ends the filter chain whatever the action says.
        let outcome = match (transaction.reply.clone(), action) {
            (Some(reply), _) => Outcome::Reply(reply),
            (None, None | Some(0)) => Outcome::Continue {
                headers: transaction.request.clone(),
                filter_state: transaction.filter_state.clone(),
            },
            (None, Some(_)) => Outcome::Paused,
        };
        (Stream(stream), outcome)
    }

    /// What the filter left of an open stream, refused ones included: its request headers, as access logs print
    /// them, and its filter state, as the guard reads it.
    pub fn left(&mut self, stream: &Stream) -> (Headers, FilterState) {
        let transaction = self.transaction(stream.0);
        (
            transaction.request.clone(),
            transaction.filter_state.clone(),
        )
    }

    /// What the filter has answered on an open stream, if it has.
    pub fn reply(&mut self, stream: &Stream) -> Option<Reply> {
        self.transaction(stream.0).reply.clone()
    }

    /// Trailers on their way to the upstream, and whether the filter lets them go on.
    pub fn trailers(
        &mut self,
        stream: &Stream,
        trailers: Headers,
    ) -> Result<(bool, Headers), Trap> {
        let fields = u32::try_from(trailers.0.len()).expect("a test has few fields");
        let transaction = self.transaction(stream.0);
        transaction.phase = Phase::Trailers;
        transaction.trailers = trailers;
        let action = self.call(stream.0, "proxy_on_request_trailers", &[stream.0, fields])?;
        let goes_on = matches!(action, None | Some(0));
        Ok((goes_on, self.transaction(stream.0).trailers.clone()))
    }

    /// Response headers on their way to the client.
    pub fn respond(&mut self, stream: &Stream, response: Headers) -> Result<Headers, Trap> {
        let fields = u32::try_from(response.0.len()).expect("a test has few fields");
        let transaction = self.transaction(stream.0);
        transaction.phase = Phase::Response;
        transaction.response = response;
        self.call(
            stream.0,
            "proxy_on_response_headers",
            &[stream.0, fields, 1],
        )?;
        Ok(self.transaction(stream.0).response.clone())
    }

    /// The access log's moment and the end of the stream.
    pub fn finish(&mut self, Stream(stream): Stream) -> Result<(), Trap> {
        if let Some(why) = &self.failed {
            return Err(Trap(why.clone())); // Envoy calls nothing in a VM that is gone
        }
        self.transaction(stream).phase = Phase::Log;
        for callback in ["proxy_on_log", "proxy_on_done", "proxy_on_delete"] {
            self.call(stream, callback, &[stream])?;
        }
        self.store.data_mut().contexts.remove(&stream);
        Ok(())
    }

    fn create(&mut self, root: u32, transaction: Option<Transaction>) -> Result<u32, Trap> {
        let id = self.next_context;
        self.next_context += 1;
        let root_or_self = if root == 0 { id } else { root };
        let context = Context {
            root: root_or_self,
            transaction,
            ..Context::default()
        };
        self.store.data_mut().contexts.insert(id, context);
        self.call(id, "proxy_on_context_create", &[id, root])?;
        Ok(id)
    }

    fn transaction(&mut self, stream: u32) -> &mut Transaction {
        let context = self.store.data_mut().contexts.get_mut(&stream);
        let transaction = context.and_then(|context| context.transaction.as_mut());
        transaction.expect("the stream is open, and this VM's")
    }

    /// Calls an export on behalf of a context; `None` where the module has no such export.
    fn call(&mut self, context: u32, export: &str, arguments: &[u32]) -> Result<Option<u32>, Trap> {
        if let Some(why) = &self.failed {
            return Err(Trap(format!("the VM is gone: {why}")));
        }
        let Some(function) = self.instance.get_func(&self.store, export) else {
            return Ok(None);
        };
        (
            self.store.data_mut().current,
            self.store.data_mut().effective,
        ) = (context, 0);
        let arguments: Vec<Val> = arguments
            .iter()
            .map(|number| Val::I32(number.cast_signed()))
            .collect();
        let mut results = vec![Val::I32(0); function.ty(&self.store).results().len()];
        if let Err(error) = function.call(&mut self.store, &arguments, &mut results) {
            // A panic's message is the last thing on stderr.
            let process = self.store.data().process.borrow();
            let last = process
                .log
                .last()
                .map(|line| format!("; last log line: {}", line.text));
            let why = format!("{export}: {error}{}", last.unwrap_or_default());
            drop(process);
            self.failed = Some(why.clone());
            return Err(Trap(why));
        }
        Ok(results.first().and_then(Val::i32).map(i32::cast_unsigned))
    }
}
