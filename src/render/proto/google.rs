//! Google's messages inside Envoy's.

use prost::Name;

/// Any message, with its type. `google/protobuf/any.proto`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Any {
    /// `type.googleapis.com/` and the message's full name.
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// The message, encoded.
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

impl Any {
    /// Encodes a message. A `Vec<u8>` is a `BytesValue`.
    pub fn pack<M: Name>(message: &M) -> Self {
        Self {
            type_url: M::type_url(),
            value: message.encode_to_vec(),
        }
    }
}

/// A span of time. `google/protobuf/duration.proto`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Duration {
    /// Whole seconds.
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    /// The rest.
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

/// An error: why an Envoy refuses what it was sent. `google/rpc/status.proto`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Status {
    /// A number of gRPC's.
    #[prost(int32, tag = "1")]
    pub code: i32,
    /// For a person.
    #[prost(string, tag = "2")]
    pub message: String,
}
