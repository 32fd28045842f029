//! Requests, replies and filter state, as a test writes and reads them.

use std::collections::BTreeMap;
use std::fmt;

/// Ordered fields with arbitrary bytes for values. Names are lower-case, as Envoy's codecs leave them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(pub Vec<(Vec<u8>, Vec<u8>)>);

impl Headers {
    pub fn new(pairs: &[(&str, &str)]) -> Self {
        let mut headers = Self::default();
        for (name, value) in pairs {
            headers.add(name.as_bytes(), value.as_bytes());
        }
        headers
    }

    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let wanted =
            move |(field, _): &&(Vec<u8>, Vec<u8>)| field.eq_ignore_ascii_case(name.as_bytes());
        self.0.iter().filter(wanted).map(|(_, value)| &value[..])
    }

    /// The first value, lossily: for assertions.
    pub fn get(&self, name: &str) -> Option<String> {
        self.all(name)
            .next()
            .map(|value| String::from_utf8_lossy(value).into_owned())
    }

    pub fn add(&mut self, name: &[u8], value: &[u8]) {
        self.0.push((name.to_ascii_lowercase(), value.to_vec()));
    }

    /// All fields of the name go and one is added at the end, as Envoy's `setCopy` does it.
    pub fn replace(&mut self, name: &[u8], value: &[u8]) {
        self.remove(name);
        self.add(name, value);
    }

    pub fn remove(&mut self, name: &[u8]) {
        self.0
            .retain(|(field, _)| !field.eq_ignore_ascii_case(name));
    }

    /// Count, the lengths of all names and values, then name NUL value NUL for each.
    pub(super) fn encode(&self) -> Vec<u8> {
        let length = |bytes: &[u8]| {
            u32::try_from(bytes.len())
                .expect("a field fits in 4 GiB")
                .to_le_bytes()
        };
        let mut encoded = u32::try_from(self.0.len())
            .expect("a test has few fields")
            .to_le_bytes()
            .to_vec();
        for (name, value) in &self.0 {
            encoded.extend(length(name));
            encoded.extend(length(value));
        }
        for text in self.0.iter().flat_map(|(name, value)| [name, value]) {
            encoded.extend(text);
            encoded.push(0);
        }
        encoded
    }

    /// `None` when the lengths run out of the bytes. (Envoy reads on, so the filter had better not do this.)
    pub(super) fn decode(encoded: &[u8]) -> Option<Self> {
        if encoded.is_empty() {
            return Some(Self::default());
        }
        let word = |at: usize| {
            let bytes = encoded.get(at..at.checked_add(4)?)?;
            Some(u32::from_le_bytes(bytes.try_into().ok()?) as usize)
        };
        let count = word(0)?;
        let mut at = count.checked_mul(8)?.checked_add(4)?;
        let mut text = |length: usize| {
            let text = encoded.get(at..at.checked_add(length)?)?;
            at += length + 1; // the NUL behind it
            Some(text.to_vec())
        };
        let mut headers = Self::default();
        for field in 0..count {
            let (name, value) = (text(word(4 + field * 8)?)?, text(word(8 + field * 8)?)?);
            headers.add(&name, &value);
        }
        Some(headers)
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        f.debug_list()
            .entries(
                self.0
                    .iter()
                    .map(|(name, value)| (lossy(name), lossy(value))),
            )
            .finish()
    }
}

/// Envoy's filter state, by full name (`wasm.` and the property's path).
pub type FilterState = BTreeMap<String, StateEntry>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateEntry {
    pub value: Vec<u8>,
    pub declared: Property,
}

/// How a property was declared. The default is what Envoy takes for one that was not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Property {
    pub name: String,
    pub read_only: bool,
    /// Bytes 0, String 1, FlatBuffers 2, Protobuf 3.
    pub kind: u64,
    pub schema: Vec<u8>,
    /// FilterChain 0, DownstreamRequest 1, DownstreamConnection 2.
    pub span: u64,
}

impl Property {
    /// Reads a `DeclarePropertyArguments`. Fields that Envoy does not know it skips; so do we.
    pub(super) fn decode(mut message: &[u8]) -> Option<Self> {
        let mut property = Self::default();
        while !message.is_empty() {
            let tag = varint(&mut message)?;
            let (number, mut bytes) = (varint_or_length(tag, &mut message)?, &[][..]);
            if tag & 7 == 2 {
                (bytes, message) = message.split_at_checked(usize::try_from(number).ok()?)?;
            }
            match tag {
                0x0a => property.name = String::from_utf8(bytes.to_vec()).ok()?,
                0x10 => property.read_only = number != 0,
                0x18 => property.kind = number,
                0x22 => property.schema = bytes.to_vec(),
                0x28 => property.span = number,
                _ => {}
            }
        }
        Some(property)
    }
}

fn varint_or_length(tag: u64, message: &mut &[u8]) -> Option<u64> {
    matches!(tag & 7, 0 | 2).then(|| varint(message))?
}

fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte;
        (byte, *message) = message.split_first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// One request as it reaches the filter.
#[derive(Clone, Debug, Default)]
pub struct Request {
    pub headers: Headers,
    /// Attributes by path. Those that follow from the fields (`request.path` and so on) need not be given.
    pub properties: BTreeMap<Vec<String>, Vec<u8>>,
    /// What an earlier pass left behind: see [`Request::redirected`].
    pub filter_state: FilterState,
    pub has_body: bool,
}

impl Request {
    pub fn new(method: &str, path: &str) -> Self {
        let headers = Headers::new(&[
            (":authority", "api.example.com"),
            (":path", path),
            (":method", method),
            (":scheme", "https"),
        ]);
        let mut request = Self {
            headers,
            ..Self::default()
        };
        request
            .properties
            .insert(path_of(&["source", "address"]), b"192.0.2.1:40000".to_vec());
        request
    }

    pub fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.add(name.as_bytes(), value.as_ref());
        self
    }

    /// In place of the field that is there, for instance a pseudo-header.
    pub fn with(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.replace(name.as_bytes(), value.as_ref());
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.headers.remove(name.as_bytes());
        self
    }

    pub fn property(mut self, path: &[&str], value: impl AsRef<[u8]>) -> Self {
        self.properties
            .insert(path_of(path), value.as_ref().to_vec());
        self
    }

    pub fn without_property(mut self, path: &[&str]) -> Self {
        self.properties.remove(&path_of(path));
        self
    }

    /// The second pass of an internal redirect: the headers as the first pass left them, another path, and of the
    /// filter state what outlives a filter chain.
    pub fn redirected(&self, first: &Outcome, path: &str) -> Self {
        let Outcome::Continue {
            headers,
            filter_state,
        } = first
        else {
            panic!("only a request that went through can be redirected, this one: {first:?}")
        };
        let outlives = filter_state
            .iter()
            .filter(|(_, entry)| entry.declared.span > 0);
        let filter_state = outlives
            .map(|(name, entry)| (name.clone(), entry.clone()))
            .collect();
        Self {
            headers: headers.clone(),
            filter_state,
            ..self.clone()
        }
        .with(":path", path)
    }
}

fn path_of(path: &[&str]) -> Vec<String> {
    path.iter().map(|part| (*part).to_owned()).collect()
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Continue {
        headers: Headers,
        filter_state: FilterState,
    },
    Reply(Reply),
    /// The filter asked Envoy to wait, and answered nothing.
    Paused,
    /// Envoy answers 503, and the VM is gone.
    Trapped(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub status: u32,
    pub headers: Headers,
    pub body: Vec<u8>,
    pub details: String,
    /// `None` where the filter said -1: Envoy then derives one when the request is gRPC.
    pub grpc_status: Option<u32>,
}

impl Outcome {
    /// The headers that the upstream sees.
    #[track_caller]
    pub fn forwarded(&self) -> &Headers {
        match self {
            Self::Continue { headers, .. } => headers,
            other => panic!("the request should have gone through, but: {other:?}"),
        }
    }

    #[track_caller]
    pub fn reply(&self) -> &Reply {
        match self {
            Self::Reply(reply) => reply,
            other => panic!("the filter should have answered, but: {other:?}"),
        }
    }

    pub fn state(&self, name: &str) -> Option<String> {
        let Self::Continue { filter_state, .. } = self else {
            return None;
        };
        filter_state
            .get(name)
            .map(|entry| String::from_utf8_lossy(&entry.value).into_owned())
    }
}
