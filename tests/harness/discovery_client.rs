//! Opens a stream.

use http::uri::PathAndQuery;
use prost::Message;
use tokio_stream::Stream;
use tonic::client::Grpc;
use tonic::transport::Channel;
use tonic::{IntoStreamingRequest as _, Status, Streaming};
use tonic_prost::ProstCodec;

/// Sends requests to a method that answers with a stream, however large its messages are.
///
/// # Errors
/// The server's own, and UNAVAILABLE if there is none.
pub async fn open<A, B>(
    channel: &Channel,
    method: &'static str,
    requests: impl Stream<Item = A> + Send + 'static,
) -> Result<Streaming<B>, Status>
where
    A: Message + Send + Sync + 'static,
    B: Message + Default + Send + Sync + 'static,
{
    let mut client = Grpc::new(channel.clone()).max_decoding_message_size(usize::MAX);
    let ready = client.ready().await;
    ready.map_err(|e| Status::unavailable(e.to_string()))?;
    let path = PathAndQuery::from_static(method);
    let requests = requests.into_streaming_request();
    let answer = client.streaming(requests, path, ProstCodec::<A, B>::default());
    Ok(answer.await?.into_inner())
}
