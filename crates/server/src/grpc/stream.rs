//! Streamed inference: many requests on one call, answered in order while several are in the engine.

use super::infer_response::{encode, mark_final};
use super::{decode_request, pb};
use crate::Failure;
use crate::app::App;
use crate::infer::{Started, begin};
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Status, Streaming};

pub(crate) type Answers =
    Pin<Box<dyn Stream<Item = Result<pb::ModelStreamInferResponse, Status>> + Send>>;

/// A request that the engine has, or that failed before: its id and why.
type Begun = Result<Started, (String, Failure)>;

/// Reads requests until the client ends them or leaves. When it leaves, everything not yet answered is cancelled,
/// because dropping the answers drops the receiver with all that it holds.
pub(crate) fn answers(app: Arc<App>, mut requests: Streaming<pb::ModelInferRequest>) -> Answers {
    let (sender, receiver) = mpsc::channel::<Result<Begun, Status>>(app.limits.stream_requests_max);
    let reader = app.clone();
    tokio::spawn(async move {
        loop {
            // Waiting for room first: a client that reads no answers gets no more requests in.
            let Ok(room) = sender.reserve().await else { return };
            let message = tokio::select! {
                message = requests.message() => message,
                () = sender.closed() => return,
            };
            match message {
                Ok(Some(request)) => room.send(Ok(begun(&reader, request).await)),
                Ok(None) => return,
                Err(status) => return room.send(Err(status)),
            }
        }
    });
    Box::pin(ReceiverStream::new(receiver).then(move |begun| answer(app.clone(), begun)))
}

async fn begun(app: &Arc<App>, request: pb::ModelInferRequest) -> Begun {
    let id = request.id.clone();
    match decode_request(request, &app.limits, &app.regions) {
        Ok(call) => begin(app, call).await.map_err(|failure| (id, failure)),
        Err(failure) => Err((id, failure)),
    }
}

/// A failed request is an answer with a message; the stream goes on.
async fn answer(
    app: Arc<App>,
    begun: Result<Begun, Status>,
) -> Result<pb::ModelStreamInferResponse, Status> {
    let (id, failure) = match begun? {
        Ok(started) => {
            let id = started.id().to_owned();
            let final_mark = started.final_mark;
            match started.finish(&app).await {
                Ok(answer) => {
                    let mut response = encode(answer);
                    if final_mark {
                        mark_final(&mut response);
                    }
                    return Ok(pb::ModelStreamInferResponse {
                        error_message: String::new(),
                        infer_response: Some(response),
                    });
                }
                Err(failure) => (id, failure),
            }
        }
        Err(failed) => failed,
    };
    Ok(pb::ModelStreamInferResponse {
        error_message: failure.to_string(),
        infer_response: Some(pb::ModelInferResponse { id, ..pb::ModelInferResponse::default() }),
    })
}
