//! Opens the ports, and closes them in order.

use crate::app::App;
use crate::config::ServerConfig;
use crate::listen::{Protocols, accept};
use crate::network::Network;
use crate::{grpc, http, metrics};
use axum::Router;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use sublet_engine::Engine;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error("cannot listen on {address}: {source}")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("cannot start the network's threads: {0}")]
    Threads(#[from] std::io::Error),
    #[error("the gRPC schema cannot be served: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// A running server. Dropping it ends it at once.
pub struct Running {
    app: Arc<App>,
    http: Option<SocketAddr>,
    grpc: Option<SocketAddr>,
    metrics: Option<SocketAddr>,
    stop: watch::Sender<Option<Duration>>,
    ports: JoinSet<()>,
    network: Arc<Network>,
}

/// Opens every port before it answers on any.
pub async fn serve(engine: Engine, config: ServerConfig) -> Result<Running, ServerError> {
    let http = listen(config.http).await?;
    let grpc = listen(config.grpc).await?;
    let metrics = listen(config.metrics).await?;
    let network = Network::start(config.network_threads, config.polling)?;
    let app = App::new(engine, &config);
    let (stop, _) = watch::channel(None);
    let mut running = Running {
        app: app.clone(),
        http: None,
        grpc: None,
        metrics: None,
        stop,
        ports: JoinSet::new(),
        network,
    };
    running.http = running.open(http, http::router(app.clone()), Protocols::Http1And2);
    running.grpc = running.open(grpc, grpc::router(app.clone())?, Protocols::Http2);
    running.metrics = running.open(metrics, metrics::router(app), Protocols::Http1And2);
    Ok(running)
}

async fn listen(
    address: Option<SocketAddr>,
) -> Result<Option<(TcpListener, SocketAddr)>, ServerError> {
    let Some(address) = address else { return Ok(None) };
    let listener = TcpListener::bind(address).await;
    let opened = listener.and_then(|listener| {
        let bound = listener.local_addr()?;
        Ok((listener, bound))
    });
    opened.map(Some).map_err(|source| ServerError::Listen { address, source })
}

impl Running {
    /// Where each port is; `None` for one that is not open.
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http
    }

    pub fn grpc_address(&self) -> Option<SocketAddr> {
        self.grpc
    }

    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics
    }

    /// From now on the server says that it is not ready, and goes on answering: load balancers turn away first.
    pub fn drain(&self) {
        self.app.drain();
    }

    /// Takes no more connections, lets requests in flight finish for at most `grace`, then cuts off the rest. The
    /// engine is shut down by the caller, before or afterwards.
    pub async fn shutdown(mut self, grace: Duration) {
        self.drain();
        self.stop.send_replace(Some(grace));
        while self.ports.join_next().await.is_some() {}
    }

    fn open(
        &mut self,
        bound: Option<(TcpListener, SocketAddr)>,
        router: Router,
        protocols: Protocols,
    ) -> Option<SocketAddr> {
        let (listener, address) = bound?;
        let (limits, network) = (self.app.limits.clone(), self.network.clone());
        let stop = self.stop.subscribe();
        self.ports.spawn(accept(listener, router, protocols, limits, network, stop));
        Some(address)
    }
}
