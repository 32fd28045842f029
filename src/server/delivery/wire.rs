//! Responses as bytes: gRPC's frame, the response's own fields, and the resource, which
//! is shared and never copied.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Bytes, HttpBody};
use axum::http::HeaderMap;
use hyper::body::Frame;
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint};
use tokio::sync::mpsc;
use tonic::Status;

use keystile_render::ecds::TYPED_CONFIG;
use keystile_render::proto::discovery::{DeltaDiscoveryResponse, DiscoveryResponse, Resource};
use keystile_render::proto::google;

const RESOURCE: &str = "type.googleapis.com/envoy.service.discovery.v3.Resource";
/// Field 2 of both responses is `resources`, of `Resource` it is `resource`, of `Any`
/// it is `value`.
const FIELD: u32 = 2;
const TYPE_URL: u32 = 1;

/// The dialect of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// State of the world.
    Sotw,
    /// Incremental.
    Delta,
}

/// One response with one resource.
pub struct Push<'a> {
    /// Name of the resource.
    pub name: &'a str,
    /// What the peer sends back when it reconnects: for delta, of the resource; for state of the
    /// world, of everything that the stream holds.
    pub version_info: &'a str,
    /// What the peer's answer will name.
    pub nonce: &'a str,
    /// The resource; `None` confirms the one of this version.
    pub any: Option<Bytes>,
    /// How long it is valid for the peer without confirmation.
    pub ttl: Option<Duration>,
}

/// A message in its gRPC frame.
pub struct GrpcFrame {
    head: Option<Bytes>,
    shared: Option<Bytes>,
}

impl Push<'_> {
    /// The message.
    pub fn message(self, dialect: Dialect) -> GrpcFrame {
        let shared = self.any.clone().unwrap_or_default();
        let has_resource = self.any.is_some();
        let head = match (dialect, self.ttl.is_some() || !has_resource) {
            (Dialect::Sotw, false) => {
                let mut head = self.sotw();
                open(&mut head, FIELD, shared.len());
                head
            }
            (Dialect::Sotw, true) => {
                let resource = self.resource(shared.len());
                let mut any = Vec::with_capacity(RESOURCE.len() + 16);
                open(&mut any, TYPE_URL, RESOURCE.len());
                any.extend_from_slice(RESOURCE.as_bytes());
                open(&mut any, FIELD, resource.len() + shared.len());
                let mut head = self.sotw();
                open(&mut head, FIELD, any.len() + resource.len() + shared.len());
                head.extend_from_slice(&any);
                head.extend_from_slice(&resource);
                head
            }
            (Dialect::Delta, _) => {
                let resource = self.resource(shared.len());
                let response = DeltaDiscoveryResponse {
                    system_version_info: self.version_info.to_owned(),
                    type_url: TYPED_CONFIG.to_owned(),
                    nonce: self.nonce.to_owned(),
                    ..DeltaDiscoveryResponse::default()
                };
                let mut head = response.encode_to_vec();
                open(&mut head, FIELD, resource.len() + shared.len());
                head.extend_from_slice(&resource);
                head
            }
        };
        GrpcFrame::frame(&head, shared)
    }

    fn sotw(&self) -> Vec<u8> {
        let response = DiscoveryResponse {
            version_info: self.version_info.to_owned(),
            type_url: TYPED_CONFIG.to_owned(),
            nonce: self.nonce.to_owned(),
            ..DiscoveryResponse::default()
        };
        response.encode_to_vec()
    }

    /// The wrapper up to where the resource itself begins.
    fn resource(&self, shared: usize) -> Vec<u8> {
        let ttl = self.ttl.map(|ttl| google::Duration {
            seconds: i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX),
            nanos: i32::try_from(ttl.subsec_nanos()).unwrap_or(0),
        });
        let resource = Resource {
            name: self.name.to_owned(),
            version: self.version_info.to_owned(),
            ttl,
            resource: None,
        };
        let mut out = resource.encode_to_vec();
        if self.any.is_some() {
            open(&mut out, FIELD, shared);
        }
        out
    }
}

fn open(out: &mut Vec<u8>, field: u32, len: usize) {
    encode_key(field, WireType::LengthDelimited, out);
    encode_varint(len as u64, out);
}

impl GrpcFrame {
    fn frame(head: &[u8], shared: Bytes) -> Self {
        let len = u32::try_from(head.len() + shared.len()).unwrap_or(u32::MAX);
        let mut first = Vec::with_capacity(head.len() + 5);
        // Not compressed: digests do not compress.
        first.push(0);
        first.extend_from_slice(&len.to_be_bytes());
        first.extend_from_slice(head);
        Self {
            head: Some(first.into()),
            shared: (!shared.is_empty()).then_some(shared),
        }
    }

    fn next(&mut self) -> Option<Bytes> {
        self.head.take().or_else(|| self.shared.take())
    }
}

/// The body of a response: messages, and a status at the end.
pub struct Body {
    messages: mpsc::Receiver<Result<GrpcFrame, Status>>,
    at: Option<GrpcFrame>,
    ended: bool,
}

impl Body {
    /// Sends messages until one is a status, or the sender is dropped.
    pub fn new(messages: mpsc::Receiver<Result<GrpcFrame, Status>>) -> Self {
        Self {
            messages,
            at: None,
            ended: false,
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Some(bytes) = self.at.as_mut().and_then(GrpcFrame::next) {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        let status = match self.messages.poll_recv(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Some(Ok(mut message))) => {
                let first = message.next().unwrap_or_default();
                self.at = Some(message);
                return Poll::Ready(Some(Ok(Frame::data(first))));
            }
            Poll::Ready(Some(Err(status))) => status,
            Poll::Ready(None) => Status::ok(""),
        };
        self.ended = true;
        let mut trailers = HeaderMap::new();
        // Fails only for a message that no header can hold; ours are plain text.
        let _ = status.add_header(&mut trailers);
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keystile_render::proto::core::TypedExtensionConfig;
    use keystile_render::proto::google::Any;

    fn any() -> Any {
        Any::pack(&TypedExtensionConfig {
            name: "keystile".to_owned(),
            typed_config: None,
        })
    }

    fn bytes(mut message: GrpcFrame) -> Vec<u8> {
        let mut out = Vec::new();
        while let Some(part) = message.next() {
            out.extend_from_slice(&part);
        }
        let (frame, body) = out.split_at(5);
        assert_eq!(frame[0], 0, "not compressed");
        let len = u32::from_be_bytes(frame[1..].try_into().unwrap());
        assert_eq!(len as usize, body.len());
        body.to_vec()
    }

    fn push(any: Option<Any>, ttl: Option<Duration>) -> Push<'static> {
        Push {
            name: "keystile",
            version_info: "7-aa-1",
            nonce: "3",
            any: any.map(|any| any.encode_to_vec().into()),
            ttl,
        }
    }

    #[test]
    fn state_of_the_world_carries_the_resource_bare() {
        let message = push(Some(any()), None).message(Dialect::Sotw);
        let response = DiscoveryResponse::decode(bytes(message).as_slice()).unwrap();
        assert_eq!(response.resources, [any()]);
        assert_eq!(response.version_info, "7-aa-1");
        assert_eq!(response.nonce, "3");
        assert_eq!(response.type_url, TYPED_CONFIG);
    }

    #[test]
    fn a_time_to_live_wraps_the_resource() {
        let ttl = Some(Duration::from_millis(2500));
        let message = push(Some(any()), ttl).message(Dialect::Sotw);
        let response = DiscoveryResponse::decode(bytes(message).as_slice()).unwrap();
        assert_eq!(response.resources[0].type_url, RESOURCE);
        let resource = Resource::decode(response.resources[0].value.as_slice()).unwrap();
        assert_eq!(resource.resource, Some(any()));
        assert_eq!(resource.version, "7-aa-1");
        let ttl = resource.ttl.unwrap();
        assert_eq!((ttl.seconds, ttl.nanos), (2, 500_000_000));
    }

    #[test]
    fn delta_names_resource_and_version_and_a_heartbeat_nothing_else() {
        for ttl in [None, Some(Duration::from_secs(9))] {
            for any in [Some(any()), None] {
                let message = push(any.clone(), ttl).message(Dialect::Delta);
                let response = DeltaDiscoveryResponse::decode(bytes(message).as_slice()).unwrap();
                assert_eq!(response.resources.len(), 1);
                let resource = &response.resources[0];
                assert_eq!(resource.name, "keystile");
                assert_eq!(resource.version, "7-aa-1");
                assert_eq!(resource.resource, any);
                assert_eq!(resource.ttl.is_some(), ttl.is_some());
                assert_eq!(response.nonce, "3");
            }
        }
    }
}
