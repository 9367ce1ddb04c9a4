//! What a server says of itself and its models, asked one after the other before the load.

use super::body::{Body, get, path_segment};
use super::failure::Failure;
use super::http2::framed;
use super::inputs::InputSpec;
use super::link::Link;
use super::target::{Protocol, Target};
use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use prost::Message;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;
use sublet_server::pb::{ModelMetadataRequest, ModelMetadataResponse};

/// Of a description, all is kept, up to this.
const DESCRIPTION_MAX: usize = 16 << 20;
const METADATA: &str = "/inference.GRPCInferenceService/ModelMetadata";
/// The flag and the length before a message.
const FRAMING: usize = 5;

/// A client that waits for each answer.
pub struct Client<'a> {
    target: &'a Target,
    patience: Duration,
    link: Option<Link>,
}

impl<'a> Client<'a> {
    pub fn new(target: &'a Target, patience: Duration) -> Self {
        Client { target, patience, link: None }
    }

    pub fn infer(&mut self, body: &Body) -> Result<()> {
        self.exchange(|link| link.infer(0, body)).map(drop)
    }

    /// Whether the server takes binary tensors over HTTP.
    pub fn takes_binary(&mut self) -> Result<bool> {
        let server: ServerDescription = self.describe("/v2")?;
        Ok(server.extensions.iter().any(|extension| extension == "binary_tensor_data"))
    }

    /// What a model takes.
    pub fn inputs(
        &mut self,
        model: &str,
        shapes: &BTreeMap<String, Vec<usize>>,
    ) -> Result<Vec<InputSpec>> {
        if self.target.protocol == Protocol::Http {
            let model: ModelDescription =
                self.describe(&format!("/v2/models/{}", path_segment(model)))?;
            let inputs = model.inputs.unwrap_or_default();
            let spec = |it: &TensorDescription| {
                InputSpec::described(&it.name, &it.datatype, &it.shape, shapes)
            };
            return Ok(inputs.iter().map(spec).collect());
        }
        let request = ModelMetadataRequest { name: model.to_owned(), version: String::new() };
        let request = Bytes::from(framed(&request.encode_to_vec()));
        let answer = self
            .exchange(|link| link.ask(0, METADATA, request.clone(), DESCRIPTION_MAX))
            .context("ModelMetadata")?;
        let (framing, message) = answer.split_at_checked(FRAMING).context("an empty answer")?;
        if framing[0] != 0 {
            bail!("ModelMetadata is answered compressed, which was not asked for");
        }
        let answer = ModelMetadataResponse::decode(message)?;
        let spec = |it: &sublet_server::pb::model_metadata_response::TensorMetadata| {
            InputSpec::described(&it.name, &it.datatype, &it.shape, shapes)
        };
        Ok(answer.inputs.iter().map(spec).collect())
    }

    fn describe<T: for<'de> Deserialize<'de>>(&mut self, path: &str) -> Result<T> {
        let request = Bytes::from(get(&self.target.authority, path));
        let answer = self.exchange(|link| link.ask(0, "", request.clone(), DESCRIPTION_MAX));
        Ok(serde_json::from_slice(&answer.with_context(|| path.to_owned())?)?)
    }

    /// Asks and waits, once more where the connection had ended meanwhile.
    fn exchange(&mut self, ask: impl Fn(&mut Link)) -> Result<Vec<u8>> {
        loop {
            let mut link = match self.link.take().filter(Link::is_free) {
                Some(link) => link,
                None => Link::open(self.target, self.patience)?,
            };
            ask(&mut link);
            match link.wait() {
                Ok(answer) => {
                    self.link = Some(link);
                    return Ok(answer);
                }
                // A fresh connection is never stale.
                Err(Failure { stale: true, .. }) => {}
                Err(failure) => bail!(anyhow!("{failure}")),
            }
        }
    }
}

#[derive(Deserialize)]
struct ServerDescription {
    #[serde(default)]
    extensions: Vec<String>,
}

#[derive(Deserialize)]
struct ModelDescription {
    inputs: Option<Vec<TensorDescription>>,
}

#[derive(Deserialize)]
struct TensorDescription {
    name: String,
    datatype: String,
    shape: Vec<i64>,
}
