//! Accepts connections on one port and answers them from a router: HTTP/1.1 and HTTP/2 without TLS.

use crate::ServerLimits;
use crate::network::Network;
use crate::stall::Guarded;
use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tower::ServiceExt;

/// Who sent a request; an extension of every request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub SocketAddr);

/// Which protocols a port speaks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocols {
    Http1And2,
    Http2,
}

/// Serves until `stop` holds a grace period: then takes no more connections, lets requests in flight finish for so
/// long, and cuts off the rest.
pub(crate) async fn accept(
    listener: TcpListener,
    router: Router,
    protocols: Protocols,
    limits: ServerLimits,
    network: Arc<Network>,
    mut stop: watch::Receiver<Option<Duration>>,
) {
    let slots = Arc::new(Semaphore::new(limits.connections_max));
    let graceful = GracefulShutdown::new();
    let (cut, _) = watch::channel(());
    while let Some((stream, peer, slot)) = next(&listener, &slots, &mut stop).await {
        // Taken from this thread's poller, for the thread that it will live on.
        let Ok(stream) = stream.into_std() else { continue };
        let (router, limits, watcher) = (router.clone(), limits.clone(), graceful.watcher());
        let mut cut_off = cut.subscribe();
        network.spawn(async move {
            tokio::select! {
                // The sender tells nothing: its end does.
                _ = cut_off.changed() => {}
                served = serve(stream, peer, router, protocols, limits, watcher) => {
                    if let Err(error) = served {
                        tracing::debug!(%peer, error, "connection ended");
                    }
                }
            }
            drop(slot);
        });
    }
    drop(listener);
    let grace = stop.borrow().unwrap_or_default();
    if tokio::time::timeout(grace, graceful.shutdown()).await.is_err() {
        tracing::warn!(?grace, "requests still in flight at shutdown are cut off");
    }
    drop(cut);
    // Every connection gives its slot back when it has ended.
    let all = u32::try_from(limits.connections_max).unwrap_or(u32::MAX);
    let _ = slots.acquire_many(all).await;
}

/// Answers what comes over one connection, until it ends or the watcher's owner ends it.
async fn serve(
    stream: std::net::TcpStream,
    peer: SocketAddr,
    router: Router,
    protocols: Protocols,
    limits: ServerLimits,
    watcher: Watcher,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::from_std(stream)?;
    let stream = Guarded::new(stream, limits.header_timeout, limits.write_timeout);
    let service = router.map_request(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        request
    });
    let service = TowerToHyperService::new(service);
    let builder = builder(protocols, &limits);
    let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
    watcher.watch(connection).await
}

/// The next connection, once there is a slot for it; `None` at the end.
async fn next(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
    stop: &mut watch::Receiver<Option<Duration>>,
) -> Option<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let accepted = async {
        let slot = slots.clone().acquire_owned().await.expect("the semaphore is never closed");
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    // Small answers must not wait for the peer's delayed acknowledgement.
                    let _ = stream.set_nodelay(true);
                    return (stream, peer, slot);
                }
                Err(error) => {
                    // Out of descriptors: the connection stays queued, so trying at once would spin.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    };
    tokio::select! {
        accepted = accepted => Some(accepted),
        _ = stop.wait_for(Option::is_some) => None,
    }
}

fn builder(protocols: Protocols, limits: &ServerLimits) -> Builder<TokioExecutor> {
    const STREAM_WINDOW: u32 = 4 << 20;
    const CONNECTION_WINDOW: u32 = 8 << 20;
    // Most requests fit in one frame, and need not be joined.
    const FRAME_BYTES_MAX: u32 = 4 << 20;
    const HEADER_BYTES_MAX: u32 = 32 << 10;
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(limits.header_timeout);
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_header_list_size(HEADER_BYTES_MAX)
        .max_concurrent_streams(limits.http2_streams_max)
        .keep_alive_interval(limits.header_timeout)
        .keep_alive_timeout(limits.header_timeout);
    match protocols {
        Protocols::Http1And2 => builder,
        Protocols::Http2 => builder.http2_only(),
    }
}
