//! The inference service's methods.

use super::guard::Held;
use super::pb::grpc_inference_service_server::GrpcInferenceService;
use super::stream::{self, Answers};
use super::{decode_request, describe, infer_response, pb};
use crate::Failure;
use crate::app::App;
use crate::error_table::Shown;
use crate::infer::begin;
use crate::listen::Peer;
use crate::logging::LogValue;
use crate::names::{check_model_name, parse_version};
use crate::repository::{LoadParameter, load_override};
use crate::trace::TraceUpdate;
use pb::model_repository_parameter::ParameterChoice;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tonic::{Request, Response, Status, Streaming};

pub(crate) struct InferenceService {
    pub app: Arc<App>,
}

impl InferenceService {
    fn check_admin<T>(&self, request: &Request<T>) -> Result<(), Failure> {
        let token = request.metadata().get("authorization").map(|value| value.as_bytes());
        self.app.admin.check(token, request.extensions().get::<Peer>().copied())
    }

    /// A model's name and version.
    fn address(&self, name: &str, version: &str) -> Result<Option<u64>, Failure> {
        check_model_name(name, &self.app.limits)?;
        parse_version(version)
    }
}

/// The deadline that the client's library attached, as `100m` or `5S`.
fn call_timeout<T>(request: &Request<T>) -> Option<Duration> {
    let text = request.metadata().get("grpc-timeout")?.to_str().ok()?;
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = number.parse().ok().filter(|&number| number < 100_000_000)?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

#[tonic::async_trait]
impl GrpcInferenceService for InferenceService {
    async fn server_live(
        &self,
        _: Request<pb::ServerLiveRequest>,
    ) -> Result<Response<pb::ServerLiveResponse>, Status> {
        Ok(Response::new(pb::ServerLiveResponse { live: true }))
    }

    async fn server_ready(
        &self,
        _: Request<pb::ServerReadyRequest>,
    ) -> Result<Response<pb::ServerReadyResponse>, Status> {
        Ok(Response::new(pb::ServerReadyResponse { ready: self.app.is_ready() }))
    }

    async fn model_ready(
        &self,
        request: Request<pb::ModelReadyRequest>,
    ) -> Result<Response<pb::ModelReadyResponse>, Status> {
        let request = request.get_ref();
        let version = self.address(&request.name, &request.version)?;
        let ready = self.app.engine.is_model_ready(&request.name, version);
        Ok(Response::new(pb::ModelReadyResponse { ready }))
    }

    async fn server_metadata(
        &self,
        _: Request<pb::ServerMetadataRequest>,
    ) -> Result<Response<pb::ServerMetadataResponse>, Status> {
        Ok(Response::new(describe::server(&self.app)))
    }

    async fn model_metadata(
        &self,
        request: Request<pb::ModelMetadataRequest>,
    ) -> Result<Response<pb::ModelMetadataResponse>, Status> {
        let request = request.get_ref();
        let version = self.address(&request.name, &request.version)?;
        let model = self.app.engine.metadata(&request.name, version).map_err(Failure::from)?;
        Ok(Response::new(describe::metadata(&model)))
    }

    async fn model_config(
        &self,
        request: Request<pb::ModelConfigRequest>,
    ) -> Result<Response<pb::ModelConfigResponse>, Status> {
        let request = request.get_ref();
        let version = self.address(&request.name, &request.version)?;
        let config = self.app.engine.config(&request.name, version).map_err(Failure::from)?;
        Ok(Response::new(pb::ModelConfigResponse { config: Some(describe::config(&config)) }))
    }

    async fn model_statistics(
        &self,
        request: Request<pb::ModelStatisticsRequest>,
    ) -> Result<Response<pb::ModelStatisticsResponse>, Status> {
        let request = request.get_ref();
        let engine = &self.app.engine;
        if request.name.is_empty() {
            return Ok(Response::new(describe::statistics(engine, None, None)?));
        }
        let version = self.address(&request.name, &request.version)?;
        Ok(Response::new(describe::statistics(engine, Some(&request.name), version)?))
    }

    async fn model_infer(
        &self,
        request: Request<pb::ModelInferRequest>,
    ) -> Result<Response<pb::ModelInferResponse>, Status> {
        let timeout = call_timeout(&request);
        // The message's bytes count until it is answered.
        let _held = request.extensions().get::<Held>().cloned();
        let mut call = decode_request(request.into_inner(), &self.app.limits, &self.app.regions)?;
        call.request.timeout = call.request.timeout.into_iter().chain(timeout).min();
        let answer = begin(&self.app, call).await?.finish(&self.app).await?;
        Ok(Response::new(infer_response::encode(answer)))
    }

    type ModelStreamInferStream = Answers;

    async fn model_stream_infer(
        &self,
        request: Request<Streaming<pb::ModelInferRequest>>,
    ) -> Result<Response<Answers>, Status> {
        Ok(Response::new(stream::answers(self.app.clone(), request.into_inner())))
    }

    async fn repository_index(
        &self,
        request: Request<pb::RepositoryIndexRequest>,
    ) -> Result<Response<pb::RepositoryIndexResponse>, Status> {
        let models = describe::index(&self.app.engine, request.get_ref().ready);
        Ok(Response::new(pb::RepositoryIndexResponse { models }))
    }

    async fn repository_model_load(
        &self,
        request: Request<pb::RepositoryModelLoadRequest>,
    ) -> Result<Response<pb::RepositoryModelLoadResponse>, Status> {
        self.check_admin(&request)?;
        let _held = request.extensions().get::<Held>().cloned();
        let request = request.into_inner();
        self.address(&request.model_name, "")?;
        let over = load_override(
            request
                .parameters
                .into_iter()
                .map(|(name, value)| load_parameter(&name, value).map(|value| (name, value)))
                .collect::<Result<Vec<_>, _>>()?,
        )?;
        let model = request.model_name;
        self.app.change_repository(move |engine| Ok(engine.load(&model, over)?)).await?;
        Ok(Response::new(pb::RepositoryModelLoadResponse {}))
    }

    async fn repository_model_unload(
        &self,
        request: Request<pb::RepositoryModelUnloadRequest>,
    ) -> Result<Response<pb::RepositoryModelUnloadResponse>, Status> {
        self.check_admin(&request)?;
        let model = request.into_inner().model_name;
        self.address(&model, "")?;
        self.app.change_repository(move |engine| Ok(engine.unload(&model)?)).await?;
        Ok(Response::new(pb::RepositoryModelUnloadResponse {}))
    }

    async fn system_shared_memory_status(
        &self,
        request: Request<pb::SystemSharedMemoryStatusRequest>,
    ) -> Result<Response<pb::SystemSharedMemoryStatusResponse>, Status> {
        let regions = describe::regions(&self.app.regions, optional(&request.get_ref().name))?;
        let regions = regions.into_iter().map(|region| (region.name.clone(), region)).collect();
        Ok(Response::new(pb::SystemSharedMemoryStatusResponse { regions }))
    }

    async fn system_shared_memory_register(
        &self,
        request: Request<pb::SystemSharedMemoryRegisterRequest>,
    ) -> Result<Response<pb::SystemSharedMemoryRegisterResponse>, Status> {
        self.check_admin(&request)?;
        let pb::SystemSharedMemoryRegisterRequest { name, key, offset, byte_size } =
            request.into_inner();
        self.app.regions.register(&name, &key, offset, byte_size, &self.app.limits)?;
        Ok(Response::new(pb::SystemSharedMemoryRegisterResponse {}))
    }

    async fn system_shared_memory_unregister(
        &self,
        request: Request<pb::SystemSharedMemoryUnregisterRequest>,
    ) -> Result<Response<pb::SystemSharedMemoryUnregisterResponse>, Status> {
        self.check_admin(&request)?;
        self.app.regions.unregister(optional(&request.get_ref().name))?;
        Ok(Response::new(pb::SystemSharedMemoryUnregisterResponse {}))
    }

    async fn cuda_shared_memory_status(
        &self,
        request: Request<pb::CudaSharedMemoryStatusRequest>,
    ) -> Result<Response<pb::CudaSharedMemoryStatusResponse>, Status> {
        if let Some(name) = optional(&request.get_ref().name) {
            let message = format!("no CUDA shared memory region {} is registered", Shown(name));
            return Err(Failure::not_found(message).into());
        }
        Ok(Response::new(pb::CudaSharedMemoryStatusResponse::default()))
    }

    async fn cuda_shared_memory_register(
        &self,
        _: Request<pb::CudaSharedMemoryRegisterRequest>,
    ) -> Result<Response<pb::CudaSharedMemoryRegisterResponse>, Status> {
        Err(Failure::unsupported("CUDA shared memory is not supported").into())
    }

    async fn cuda_shared_memory_unregister(
        &self,
        _: Request<pb::CudaSharedMemoryUnregisterRequest>,
    ) -> Result<Response<pb::CudaSharedMemoryUnregisterResponse>, Status> {
        Ok(Response::new(pb::CudaSharedMemoryUnregisterResponse {}))
    }

    async fn trace_setting(
        &self,
        request: Request<pb::TraceSettingRequest>,
    ) -> Result<Response<pb::TraceSettingResponse>, Status> {
        if !request.get_ref().settings.is_empty() {
            self.check_admin(&request)?;
        }
        let pb::TraceSettingRequest { settings, model_name } = request.into_inner();
        let model = optional(&model_name);
        if let Some(model) = model {
            self.address(model, "")?;
            self.app.engine.metadata(model, None).map_err(Failure::from)?;
        }
        if !settings.is_empty() {
            self.app.tracer.update(model, &trace_update(settings))?;
        }
        let value = |value| pb::trace_setting_response::SettingValue { value };
        let settings = self.app.tracer.get(model).into_iter();
        let settings = settings.map(|(name, values)| (name.to_owned(), value(values))).collect();
        Ok(Response::new(pb::TraceSettingResponse { settings }))
    }

    async fn log_settings(
        &self,
        request: Request<pb::LogSettingsRequest>,
    ) -> Result<Response<pb::LogSettingsResponse>, Status> {
        let mut update = Vec::new();
        if !request.get_ref().settings.is_empty() {
            self.check_admin(&request)?;
            for (name, value) in request.into_inner().settings {
                let value = log_value(&name, value)?;
                update.push((name, value));
            }
        }
        let settings = self.app.logging.update(update)?;
        Ok(Response::new(log_response(settings)))
    }
}

/// The wire writes «all» and «none» as an empty name.
fn optional(name: &str) -> Option<&str> {
    (!name.is_empty()).then_some(name)
}

fn load_parameter(
    name: &str,
    value: pb::ModelRepositoryParameter,
) -> Result<LoadParameter, Failure> {
    match value.parameter_choice {
        Some(ParameterChoice::StringParam(text)) => Ok(LoadParameter::Text(text)),
        Some(ParameterChoice::BytesParam(bytes)) => Ok(LoadParameter::File(bytes)),
        Some(ParameterChoice::BoolParam(_) | ParameterChoice::Int64Param(_)) | None => {
            Err(Failure::invalid(format!("the parameter {} has the wrong type", Shown(name))))
        }
    }
}

fn trace_update(settings: HashMap<String, pb::trace_setting_request::SettingValue>) -> TraceUpdate {
    let values = |values: Vec<String>| (!values.is_empty()).then_some(values);
    settings.into_iter().map(|(name, setting)| (name, values(setting.value))).collect()
}

fn log_value(
    name: &str,
    value: pb::log_settings_request::SettingValue,
) -> Result<LogValue, Failure> {
    use pb::log_settings_request::setting_value::ParameterChoice;
    match value.parameter_choice {
        Some(ParameterChoice::BoolParam(value)) => Ok(LogValue::Bool(value)),
        Some(ParameterChoice::Uint32Param(value)) => Ok(LogValue::Number(value)),
        Some(ParameterChoice::StringParam(value)) => Ok(LogValue::Text(value)),
        None => Err(Failure::invalid(format!("the setting {} has no value", Shown(name)))),
    }
}

fn log_response(settings: crate::LogSettings) -> pb::LogSettingsResponse {
    use pb::log_settings_response::SettingValue;
    use pb::log_settings_response::setting_value::ParameterChoice as Choice;
    let settings = [
        ("log_file", Choice::StringParam(settings.log_file)),
        ("log_info", Choice::BoolParam(settings.log_info)),
        ("log_warning", Choice::BoolParam(settings.log_warning)),
        ("log_error", Choice::BoolParam(settings.log_error)),
        ("log_verbose_level", Choice::Uint32Param(settings.log_verbose_level)),
        ("log_format", Choice::StringParam(settings.log_format)),
    ];
    let value = |choice| SettingValue { parameter_choice: Some(choice) };
    let settings = settings.map(|(name, choice)| (name.to_owned(), value(choice)));
    pb::LogSettingsResponse { settings: settings.into() }
}
