//! Serves one connection until either side closes it.

use std::convert::Infallible;
use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;

use crate::activity::{Activity, Exchange, TrackedBody};
use crate::body::UnreadBody;
use crate::service::{Peer, Service};

/// Size of the connection's buffer, in bytes, which limits the request head.
const MAX_HEAD: usize = 32 * 1024;

/// Serves one connection. After a message on `shutdown` it closes once the current request is answered.
pub(crate) async fn serve_connection<S: Service>(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    peer: Peer,
    activity: Arc<Activity>,
    service: Arc<S>,
    shutdown: oneshot::Receiver<()>,
) {
    let answer = service_fn(move |request| {
        let (service, activity) = (Arc::clone(&service), Arc::clone(&activity));
        async move { Ok::<_, Infallible>(answer(service, peer, &activity, request).await) }
    });
    let connection = http1::Builder::new()
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), answer);
    let mut connection = std::pin::pin!(connection);
    // An error means that the peer broke the connection; the service has already recorded its requests.
    tokio::select! {
        biased;
        _ = connection.as_mut() => return,
        _ = shutdown => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

async fn answer<S: Service>(
    service: Arc<S>,
    peer: Peer,
    activity: &Arc<Activity>,
    request: Request<Incoming>,
) -> Response<TrackedBody<S::Body>> {
    let (head, body) = request.into_parts();
    let exchange = Exchange::new(activity);
    let body = UnreadBody::new(&head, body, activity);
    let response = service.call(peer, head, body).await;
    response.map(|body| TrackedBody::new(body, exchange))
}

#[cfg(test)]
mod tests;
