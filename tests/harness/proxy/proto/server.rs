//! One gRPC method, served.

use std::future::{Future, ready};

use axum::Router;
use axum::extract::Request as HttpRequest;
use axum::routing::post;
use prost::Message;
use tokio_stream::Stream;
use tonic::server::Grpc;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use tower::service_fn;

/// One response to each request.
pub fn unary<A, B, F>(
    method: &str,
    answer: impl Fn(A) -> F + Clone + Send + Sync + 'static,
) -> Routes
where
    A: Message + Default + 'static,
    B: Message + 'static,
    F: Future<Output = Result<B, Status>> + Send + 'static,
{
    let route = post(move |request: HttpRequest| {
        let answer = answer.clone();
        let service = service_fn(move |request: Request<A>| {
            let answer = answer(request.into_inner());
            async { answer.await.map(Response::new) }
        });
        async move {
            let mut grpc = Grpc::new(ProstCodec::<B, A>::default());
            grpc.unary(service, request).await
        }
    });
    Router::new().route(method, route).into()
}

/// A stream of responses to a stream of requests.
pub fn streaming<A, B, S>(
    method: &str,
    answer: impl Fn(Streaming<A>) -> S + Clone + Send + Sync + 'static,
) -> Routes
where
    A: Message + Default + 'static,
    B: Message + 'static,
    S: Stream<Item = Result<B, Status>> + Send + 'static,
{
    let route = post(move |request: HttpRequest| {
        let answer = answer.clone();
        let service = service_fn(move |requests: Request<Streaming<A>>| {
            ready(Ok(Response::new(answer(requests.into_inner()))))
        });
        async move {
            let mut grpc = Grpc::new(ProstCodec::<B, A>::default());
            grpc.streaming(service, request).await
        }
    });
    Router::new().route(method, route).into()
}
