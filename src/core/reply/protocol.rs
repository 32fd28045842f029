//! Which kind of client a request comes from.

use crate::request::headers::Headers;

/// How the method and the content type of a request fit together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// Not gRPC.
    #[default]
    Plain,
    /// A call of gRPC's, which is a POST.
    Grpc,
    /// Another method with gRPC's content type. Envoy looks only at the content type, and would
    /// turn our answer into a gRPC answer, which is HTTP 200.
    Disguised,
}

impl Protocol {
    /// Of a request with these headers.
    pub fn from_headers(headers: Headers<'_>) -> Self {
        match headers.get("content-type") {
            Some(content_type) if is_grpc(content_type) => match headers.get(":method") {
                Some(b"POST") => Self::Grpc,
                _ => Self::Disguised,
            },
            _ => Self::Plain,
        }
    }
}

/// Whether a content type is gRPC's, as Envoy tells (`Grpc::Common::hasGrpcContentType`):
/// `application/grpc`, `application/grpc+proto` and so on, and not `application/grpc;x`.
pub fn is_grpc(content_type: &[u8]) -> bool {
    content_type
        .strip_prefix(b"application/grpc")
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'+')))
}
