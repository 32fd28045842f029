//! One request and its response.

use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ptr::null;

use keystile_core::reply::Reply;
use keystile_core::request::headers::{Headers, Pair};

use super::{
    Attribute, Buffer, Envoys, Functions, Header, Map, Metric, Refused, Scheduler, done, functions,
};

/// A request and its response, while Envoy calls us about them.
pub struct Stream<'c> {
    at: Envoys,
    envoy: &'static Functions,
    call: PhantomData<&'c mut ()>,
}

/// Headers that fit here need no memory of their own.
const FEW: usize = 48;

impl Stream<'_> {
    /// # Safety
    /// `at` is the filter that Envoy is calling about, and the stream is gone before the call
    /// returns.
    pub(super) unsafe fn new(at: Envoys) -> Option<Self> {
        Some(Self {
            at,
            envoy: functions()?,
            call: PhantomData,
        })
    }

    /// Gives `f` the headers, which lie in Envoy's memory: they cannot be changed meanwhile.
    ///
    /// # Errors
    /// [`Refused`] if there are none.
    pub fn headers<R>(&self, map: Map, f: impl FnOnce(Headers<'_>) -> R) -> Result<R, Refused> {
        // SAFETY: no memory of ours involved.
        let count = unsafe { (self.envoy.headers_size)(self.at, map as u32) };
        if count > FEW {
            let mut read = vec![MaybeUninit::<Header>::uninit(); count];
            let mut pairs: Vec<Pair<'_>> = vec![(&[], &[]); count];
            return self.read(map, &mut read, &mut pairs).map(f);
        }
        let mut read = [MaybeUninit::<Header>::uninit(); FEW];
        let mut pairs: [Pair<'_>; FEW] = [(&[], &[]); FEW];
        let read = read.get_mut(..count).ok_or(Refused)?;
        let pairs = pairs.get_mut(..count).ok_or(Refused)?;
        self.read(map, read, pairs).map(f)
    }

    fn read<'p>(
        &self,
        map: Map,
        read: &mut [MaybeUninit<Header>],
        pairs: &'p mut [Pair<'p>],
    ) -> Result<Headers<'p>, Refused> {
        // SAFETY: Envoy has said that it writes so many, and there is room for them.
        done(unsafe { (self.envoy.headers)(self.at, map as u32, read.as_mut_ptr().cast()) })?;
        for (pair, header) in pairs.iter_mut().zip(read.iter()) {
            // SAFETY: Envoy has written all of them. They lie where they are until a header is
            // changed, which needs the stream for itself, or until the call returns.
            unsafe {
                let header = header.assume_init();
                *pair = (header.name.bytes(), header.value.bytes());
            }
        }
        Ok(Headers::from_pairs(pairs))
    }

    /// Adds a header beside those of the same name. Adds none if the value is empty: Envoy's
    /// interface has no empty values.
    ///
    /// # Errors
    /// [`Refused`] if it was not added.
    pub fn add_header(&mut self, map: Map, name: &str, value: &[u8]) -> Result<(), Refused> {
        if value.is_empty() {
            return Ok(());
        }
        let (name, value) = (
            Buffer::from_bytes(name.as_bytes()),
            Buffer::from_bytes(value),
        );
        // SAFETY: pointers and lengths of live slices.
        done(unsafe { (self.envoy.add_header)(self.at, map as u32, name, value) })
    }

    /// Replaces every header of this name by one; by none if the value is empty.
    ///
    /// # Errors
    /// [`Refused`] if it was not set.
    pub fn set_header(&mut self, map: Map, name: &str, value: &[u8]) -> Result<(), Refused> {
        if value.is_empty() {
            return self.remove_header(map, name);
        }
        let (name, value) = (
            Buffer::from_bytes(name.as_bytes()),
            Buffer::from_bytes(value),
        );
        // SAFETY: pointers and lengths of live slices.
        done(unsafe { (self.envoy.set_header)(self.at, map as u32, name, value) })
    }

    /// Removes every header of this name.
    ///
    /// # Errors
    /// [`Refused`] if they were not removed.
    pub fn remove_header(&mut self, map: Map, name: &str) -> Result<(), Refused> {
        let name = Buffer::from_bytes(name.as_bytes());
        // SAFETY: pointer and length of a live slice; no value means removal.
        done(unsafe { (self.envoy.set_header)(self.at, map as u32, name, Buffer::NONE) })
    }

    /// Answers the request without calling the upstream; if the response has begun, Envoy resets
    /// it.
    pub fn reply(&mut self, reply: &Reply) {
        let mut headers: Vec<Header> = Vec::with_capacity(reply.headers.len() + 1);
        let of = |(name, value): &(&'static str, String)| Header::new(name, value.as_bytes());
        headers.extend(reply.headers.iter().map(of));
        // Envoy words the answer to a gRPC request itself, with the status that is named here.
        let grpc = reply.grpc.map(|status| status.to_string());
        headers.extend(
            grpc.as_ref()
                .map(|s| Header::new("grpc-status", s.as_bytes())),
        );
        let body = Buffer::from_bytes(reply.body.as_bytes());
        let details = Buffer::from_bytes(reply.details.as_bytes());
        let status = u32::from(reply.status);
        let (first, count) = (headers.as_ptr(), headers.len());
        // SAFETY: pointers and lengths of live slices.
        unsafe { (self.envoy.send_response)(self.at, status, first, count, body, details) };
    }

    /// Answers in HTTP, whatever the request's content type: with [`Self::reply`], Envoy would turn
    /// the answer to one of gRPC's into a gRPC status, which is HTTP 200. Access logs have no
    /// details of it.
    pub fn reply_in_http(&mut self, reply: &Reply) {
        let status = reply.status.to_string();
        let mut headers = vec![Header::new(":status", status.as_bytes())];
        let of = |(name, value): &(&'static str, String)| Header::new(name, value.as_bytes());
        headers.extend(reply.headers.iter().map(of));
        let (first, count) = (headers.as_ptr(), headers.len());
        let body = Buffer::from_bytes(reply.body.as_bytes());
        // SAFETY: pointers and lengths of live slices.
        unsafe {
            (self.envoy.send_response_headers)(self.at, first, count, false);
            (self.envoy.send_response_data)(self.at, body, true);
        }
    }

    /// Filter state.
    pub fn state(&self, name: &str) -> Option<Vec<u8>> {
        self.with_state(name, <[u8]>::to_vec)
    }

    /// Whether there is filter state of this name.
    pub fn has_state(&self, name: &str) -> bool {
        self.with_state(name, |_| ()).is_some()
    }

    fn with_state<R>(&self, name: &str, f: impl FnOnce(&[u8]) -> R) -> Option<R> {
        let mut value = Buffer::NONE;
        let name = Buffer::from_bytes(name.as_bytes());
        // SAFETY: pointer and length of a live slice, a live location to write to.
        let found = unsafe { (self.envoy.filter_state)(self.at, name, &raw mut value) };
        // SAFETY: Envoy has said that it wrote; the value lies there until it is set again.
        found.then(|| f(unsafe { value.bytes() }))
    }

    /// Sets filter state that lives as long as the downstream request. An Envoy older than 1.40
    /// forgets it when the request is redirected internally.
    ///
    /// # Errors
    /// [`Refused`] if it was not set.
    pub fn set_state(&mut self, name: &str, value: &[u8], is_final: bool) -> Result<(), Refused> {
        /// `envoy_dynamic_module_type_filter_state_life_span_Request`.
        const REQUEST: u32 = 1;
        let (name, value) = (
            Buffer::from_bytes(name.as_bytes()),
            Buffer::from_bytes(value),
        );
        done(match self.envoy.set_filter_state_value {
            // SAFETY: pointers and lengths of live slices.
            Some(set) => unsafe { set(self.at, name, value, REQUEST, u32::from(!is_final)) },
            // SAFETY: likewise.
            None => unsafe { (self.envoy.set_filter_state)(self.at, name, value) },
        })
    }

    /// An attribute that is text.
    pub fn attribute(&self, attribute: Attribute) -> Option<Vec<u8>> {
        let mut value = Buffer::NONE;
        // SAFETY: a live location to write to.
        let found = unsafe { (self.envoy.attribute)(self.at, attribute as u32, &raw mut value) };
        // SAFETY: Envoy has said that it wrote, and nothing was changed since.
        found.then(|| unsafe { value.bytes() }.to_vec())
    }

    /// An attribute that is true or false; false if Envoy cannot say.
    pub fn holds(&self, attribute: Attribute) -> bool {
        let mut value = false;
        let asked = self.envoy.attribute_bool;
        // SAFETY: a live location to write to.
        asked.is_some_and(|ask| unsafe { ask(self.at, attribute as u32, &raw mut value) }) && value
    }

    /// Adds to a counter.
    pub fn count(&self, counter: Metric, by: u64) {
        // SAFETY: a number without labels.
        unsafe { (self.envoy.increment_counter)(self.at, counter.0, null(), 0, by) };
    }

    /// Sets a gauge.
    pub fn gauge(&self, gauge: Metric, value: u64) {
        // SAFETY: a number without labels.
        unsafe { (self.envoy.set_gauge)(self.at, gauge.0, null(), 0, value) };
    }

    /// What calls us back on this stream's thread.
    pub fn scheduler(&self) -> Option<Scheduler> {
        // SAFETY: Envoy makes it, and we give it back.
        let at = unsafe { (self.envoy.scheduler_new)(self.at) };
        (!at.is_null()).then_some(Scheduler {
            at,
            commit: self.envoy.scheduler_commit,
            delete: self.envoy.scheduler_delete,
        })
    }
}
