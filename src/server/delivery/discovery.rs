//! Discovery over gRPC: extension configurations alone and inside ADS, each in both
//! dialects. Requests are read by tonic; responses are written by `wire`,
//! which shares a keyset's bytes between streams instead of copying them for each.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request as HttpRequest};
use axum::http::{HeaderValue, Response, header};
use axum::routing::post;
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tonic::codec::{DecodeBuf, Decoder, Streaming};
use tonic::{Code, Status};

use super::Delivery;
use super::denied::{code_of, denied};
use super::node_identity::Papers;
use super::request::StreamRequest;
use super::session::{self, ROOM};
use super::wire::{self, Dialect};
use keystile_model::error::{self, refuse};
use keystile_render::proto::discovery::{
    ADS_DELTA, ADS_SOTW, DeltaDiscoveryRequest, DiscoveryRequest, ECDS_DELTA, ECDS_SOTW,
};
use keystile_system as system;

/// A first request lists every extension of an Envoy and, under Istio, the pod's labels
/// and annotations: some hundred KiB.
const REQUEST_MOST: usize = 1 << 20;

/// The routes of the discovery services.
pub fn router(delivery: &Arc<Delivery>) -> Router {
    let sotw = |delivery: Arc<Delivery>| {
        post(move |request| open::<DiscoveryRequest>(delivery, Dialect::Sotw, request))
    };
    let delta = |delivery: Arc<Delivery>| {
        post(move |request| open::<DeltaDiscoveryRequest>(delivery, Dialect::Delta, request))
    };
    let one = || Arc::clone(delivery);
    Router::new()
        .route(ECDS_SOTW, sotw(one()))
        .route(ECDS_DELTA, delta(one()))
        .route(ADS_SOTW, sotw(one()))
        .route(ADS_DELTA, delta(one()))
        .fallback(async || {
            let refusal = refuse(
                error::Code::PathNotFound,
                "there is no such method",
                "subscribe to extension configurations, by ECDS or ADS",
            );
            denied(tonic::Code::Unimplemented, &refusal).into_http::<Body>()
        })
}

async fn open<M>(delivery: Arc<Delivery>, dialect: Dialect, request: HttpRequest) -> Response<Body>
where
    M: Message + Default + Into<StreamRequest> + 'static,
{
    let (parts, body) = request.into_parts();
    let grpc = parts
        .headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
    if !grpc {
        let refusal = refuse(
            error::Code::MediaTypeUnsupported,
            "this is a gRPC service",
            "connect an Envoy to it",
        );
        return denied(tonic::Code::InvalidArgument, &refusal).into_http();
    }
    let address = parts.extensions.get::<ConnectInfo<SocketAddr>>();
    let limits = &delivery.settings.limits;
    let member = match delivery.fleet.admit(address.map(|a| a.0), limits) {
        Ok(member) => member,
        Err(status) => {
            delivery.count.turned_away.add();
            return status.into_http();
        }
    };
    let papers = parts.extensions.get::<Papers>().cloned();
    let requests = Streaming::new_request(Protobuf::<M>::default(), body, None, Some(REQUEST_MOST));
    let requests = requests.map(|r| r.map(Into::into));
    let (out, messages) = mpsc::channel(ROOM);
    tokio::spawn(async move {
        let status = session::serve(
            Arc::clone(&delivery),
            dialect,
            member,
            papers,
            requests,
            out.clone(),
        )
        .await;
        if !matches!(status.code(), Code::Ok | Code::Unavailable) {
            delivery.count.dropped.add();
            tracing::warn!(
                address = address_of(&parts.extensions),
                code = ?status.code(),
                refusal = code_of(&status),
                reason = status.message().escape_debug().to_string(),
                at = system::now().ms(),
                "a discovery stream was dropped"
            );
        }
        // A peer that does not read does not need a status either.
        let _ = out.try_send(Err(status));
    });
    let mut response = Response::new(Body::new(wire::Body::new(messages)));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    response
}

fn address_of(extensions: &axum::http::Extensions) -> String {
    let address = extensions.get::<ConnectInfo<SocketAddr>>();
    address.map(|a| a.0.to_string()).unwrap_or_default()
}

/// Reads a message.
struct Protobuf<M>(std::marker::PhantomData<fn() -> M>);

impl<M> Default for Protobuf<M> {
    fn default() -> Self {
        Self(std::marker::PhantomData)
    }
}

impl<M: Message + Default> Decoder for Protobuf<M> {
    type Item = M;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<M>, Status> {
        let message = M::decode(buffer).map_err(|_| {
            let refusal = refuse(
                error::Code::MalformedBody,
                "this is not a discovery message",
                "connect an Envoy that speaks version 3 of the protocol",
            );
            denied(tonic::Code::InvalidArgument, &refusal)
        })?;
        Ok(Some(message))
    }
}
