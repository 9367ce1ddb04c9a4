//! The engine's metadata, configuration and statistics as wire messages; HTTP writes the same ones as JSON.

use super::pb;
use crate::app::App;
use crate::{Failure, SystemRegions};
use pb::model_version_policy::PolicyChoice;
use sublet_engine::{
    ConfigTensor, DurationStat, DynamicBatching, Engine, ModelConfig, ModelMetadata, ModelState,
    ModelStatistics, TensorMetadata, VersionPolicy,
};
use sublet_graph::{DType, Dim};
use sublet_units::DeviceId;

pub(crate) fn server(app: &App) -> pb::ServerMetadataResponse {
    pb::ServerMetadataResponse {
        name: app.name.clone(),
        version: app.version.clone(),
        extensions: app.extensions(),
    }
}

pub(crate) fn metadata(model: &ModelMetadata) -> pb::ModelMetadataResponse {
    let tensor = |tensor: &TensorMetadata| pb::model_metadata_response::TensorMetadata {
        name: tensor.name.clone(),
        datatype: tensor.dtype.wire_name().to_owned(),
        shape: tensor.dims.iter().map(dim).collect(),
    };
    pb::ModelMetadataResponse {
        name: model.name.clone(),
        versions: model.versions.iter().map(u64::to_string).collect(),
        platform: model.platform.clone(),
        inputs: model.inputs.iter().map(tensor).collect(),
        outputs: model.outputs.iter().map(tensor).collect(),
    }
}

fn dim(dim: &Dim) -> i64 {
    match dim {
        Dim::Fixed(size) => i64::try_from(*size).unwrap_or(i64::MAX),
        Dim::Named(_) | Dim::Unknown => -1,
    }
}

pub(crate) fn config(config: &ModelConfig) -> pb::ModelConfig {
    let parameters = config
        .parameters
        .iter()
        .map(|(name, value)| (name.clone(), pb::ModelParameter { string_value: value.clone() }));
    pb::ModelConfig {
        name: config.name.clone(),
        platform: config.platform.clone(),
        backend: config.backend.clone(),
        version_policy: Some(version_policy(&config.version_policy)),
        max_batch_size: i32::try_from(config.max_batch_size).unwrap_or(i32::MAX),
        input: config.inputs.iter().map(input).collect(),
        output: config.outputs.iter().map(output).collect(),
        instance_group: config
            .instance_count
            .iter()
            .map(|&count| instances(config, count))
            .collect(),
        default_model_filename: config.default_model_filename.clone(),
        parameters: parameters.collect(),
        scheduling_choice: config.dynamic_batching.as_ref().map(|batching| {
            pb::model_config::SchedulingChoice::DynamicBatching(dynamic_batching(batching))
        }),
    }
}

fn instances(config: &ModelConfig, count: u32) -> pb::ModelInstanceGroup {
    pb::ModelInstanceGroup {
        name: config.name.clone(),
        count: i32::try_from(count).unwrap_or(i32::MAX),
        gpus: Vec::new(),
        kind: pb::model_instance_group::Kind::Auto.into(),
    }
}

fn input(tensor: &ConfigTensor) -> pb::ModelInput {
    pb::ModelInput {
        name: tensor.name.clone(),
        data_type: data_type(tensor.dtype).into(),
        dims: tensor.dims.clone(),
        optional: tensor.optional,
        ..pb::ModelInput::default()
    }
}

fn output(tensor: &ConfigTensor) -> pb::ModelOutput {
    pb::ModelOutput {
        name: tensor.name.clone(),
        data_type: data_type(tensor.dtype).into(),
        dims: tensor.dims.clone(),
        ..pb::ModelOutput::default()
    }
}

fn version_policy(policy: &VersionPolicy) -> pb::ModelVersionPolicy {
    use pb::model_version_policy::{All, Latest, Specific};
    let choice = match policy {
        VersionPolicy::Latest { count } => PolicyChoice::Latest(Latest { num_versions: *count }),
        VersionPolicy::All => PolicyChoice::All(All {}),
        VersionPolicy::Specific(versions) => {
            let versions = versions.iter().map(|&version| version.cast_signed()).collect();
            PolicyChoice::Specific(Specific { versions })
        }
    };
    pb::ModelVersionPolicy { policy_choice: Some(choice) }
}

fn dynamic_batching(batching: &DynamicBatching) -> pb::ModelDynamicBatching {
    pb::ModelDynamicBatching {
        preferred_batch_size: batching.preferred.iter().map(|&size| size.cast_signed()).collect(),
        max_queue_delay_microseconds: batching.max_queue_delay_us,
        priority_levels: batching.priority_levels.into(),
        default_priority_level: batching.default_priority.into(),
        default_queue_policy: Some(pb::ModelQueuePolicy {
            default_timeout_microseconds: batching.default_timeout_us,
            allow_timeout_override: true,
            max_queue_size: batching.max_queue_size,
        }),
    }
}

fn data_type(dtype: DType) -> pb::DataType {
    match dtype {
        DType::F32 => pb::DataType::TypeFp32,
        DType::F16 => pb::DataType::TypeFp16,
        DType::BF16 => pb::DataType::TypeBf16,
        DType::F64 => pb::DataType::TypeFp64,
        DType::I8 => pb::DataType::TypeInt8,
        DType::I16 => pb::DataType::TypeInt16,
        DType::I32 => pb::DataType::TypeInt32,
        DType::I64 => pb::DataType::TypeInt64,
        DType::U8 => pb::DataType::TypeUint8,
        DType::U16 => pb::DataType::TypeUint16,
        DType::U32 => pb::DataType::TypeUint32,
        DType::U64 => pb::DataType::TypeUint64,
        DType::Bool => pb::DataType::TypeBool,
    }
}

pub(crate) fn statistics(
    engine: &Engine,
    model: Option<&str>,
    version: Option<u64>,
) -> Result<pb::ModelStatisticsResponse, Failure> {
    let models = engine.statistics(model, version)?;
    let devices = engine.devices();
    let is_gpu = |id: DeviceId| {
        devices.iter().any(|device| device.device == id && device.name.starts_with("cuda"))
    };
    let model_stats = models.iter().map(|model| model_statistics(model, is_gpu)).collect();
    Ok(pb::ModelStatisticsResponse { model_stats })
}

fn model_statistics(
    model: &ModelStatistics,
    is_gpu: impl Fn(DeviceId) -> bool,
) -> pb::ModelStatistics {
    let batches = model.batches.iter().map(|batch| pb::InferBatchStatistics {
        batch_size: batch.batch_size,
        compute_input: duration(batch.compute_input),
        compute_infer: duration(batch.compute_infer),
        compute_output: duration(batch.compute_output),
    });
    let resident = model.resident.iter().map(|&(device, bytes)| pb::MemoryUsage {
        r#type: if is_gpu(device) { "GPU" } else { "CPU" }.to_owned(),
        id: device.0.into(),
        byte_size: bytes.0,
    });
    pb::ModelStatistics {
        name: model.name.clone(),
        version: model.version.to_string(),
        last_inference: model.last_inference_ms,
        inference_count: model.inference_count,
        execution_count: model.execution_count,
        inference_stats: Some(pb::InferStatistics {
            success: duration(model.success),
            fail: duration(model.fail),
            queue: duration(model.queue),
            compute_input: duration(model.compute_input),
            compute_infer: duration(model.compute_infer),
            compute_output: duration(model.compute_output),
            cache_hit: duration(DurationStat::default()),
            cache_miss: duration(DurationStat::default()),
        }),
        batch_stats: batches.collect(),
        memory_usage: resident.collect(),
    }
}

fn duration(stat: DurationStat) -> Option<pb::StatisticDuration> {
    Some(pb::StatisticDuration { count: stat.count, ns: stat.ns })
}

pub(crate) fn index(
    engine: &Engine,
    ready_only: bool,
) -> Vec<pb::repository_index_response::ModelIndex> {
    let entries = engine.index(ready_only).into_iter();
    let entry = |entry: sublet_engine::IndexEntry| pb::repository_index_response::ModelIndex {
        name: entry.name,
        version: entry.version.map(|version| version.to_string()).unwrap_or_default(),
        state: match entry.state {
            ModelState::Unavailable => "UNAVAILABLE",
            ModelState::Loading => "LOADING",
            ModelState::Ready => "READY",
            ModelState::Unloading => "UNLOADING",
        }
        .to_owned(),
        reason: entry.reason,
    };
    entries.map(entry).collect()
}

pub(crate) fn regions(
    regions: &SystemRegions,
    name: Option<&str>,
) -> Result<Vec<pb::system_shared_memory_status_response::RegionStatus>, Failure> {
    let regions = regions.status(name)?.into_iter();
    let status =
        regions.map(|(name, region)| pb::system_shared_memory_status_response::RegionStatus {
            name,
            key: region.key.clone(),
            offset: region.offset,
            byte_size: region.bytes,
        });
    Ok(status.collect())
}
