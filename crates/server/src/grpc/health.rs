//! The standard health service. The empty name and the inference service's stand for the server; any other name is a
//! model's.

use super::pb::grpc_inference_service_server::SERVICE_NAME;
use crate::app::App;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use sublet_engine::ErrorKind;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

pub(crate) struct HealthService {
    pub app: Arc<App>,
}

/// Not every change of health is an event, so watchers look again after so long.
const WATCH_PERIOD: Duration = Duration::from_secs(1);

#[tonic::async_trait]
impl Health for HealthService {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        match status(&self.app, &request.get_ref().service) {
            ServingStatus::ServiceUnknown => Err(Status::not_found("no such service or model")),
            status => Ok(Response::new(HealthCheckResponse { status: status.into() })),
        }
    }

    type WatchStream =
        Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send + 'static>>;

    /// The status now, and again whenever it changes.
    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let service = request.into_inner().service;
        let app = self.app.clone();
        let mut changes = app.watch_changes();
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            let mut told = None;
            loop {
                let now = status(&app, &service);
                if told != Some(now) {
                    told = Some(now);
                    let response = HealthCheckResponse { status: now.into() };
                    if sender.send(Ok(response)).await.is_err() {
                        return;
                    }
                }
                tokio::select! {
                    _ = changes.changed() => {}
                    () = tokio::time::sleep(WATCH_PERIOD) => {}
                    () = sender.closed() => return,
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

fn status(app: &App, service: &str) -> ServingStatus {
    let serving = if service.is_empty() || service == SERVICE_NAME {
        app.is_ready()
    } else if app.engine.is_model_ready(service, None) {
        true
    } else {
        match app.engine.metadata(service, None) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return ServingStatus::ServiceUnknown;
            }
            Ok(_) | Err(_) => false,
        }
    };
    if serving { ServingStatus::Serving } else { ServingStatus::NotServing }
}
