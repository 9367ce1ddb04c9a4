//! Compiles the wire schema, without needing protoc.
//!
//! Messages that HTTP answers with too are serializable: their JSON has the same names.

use prost::Message;
use std::path::PathBuf;

const AS_JSON: [&str; 24] = [
    "InferBatchStatistics",
    "InferStatistics",
    "MemoryUsage",
    "ModelConfig",
    "ModelConfig.scheduling_choice",
    "ModelDynamicBatching",
    "ModelInput",
    "ModelInstanceGroup",
    "ModelMetadataResponse",
    "ModelMetadataResponse.TensorMetadata",
    "ModelOutput",
    "ModelParameter",
    "ModelQueuePolicy",
    "ModelStatistics",
    "ModelStatisticsResponse",
    "ModelVersionPolicy",
    "ModelVersionPolicy.All",
    "ModelVersionPolicy.Latest",
    "ModelVersionPolicy.Specific",
    "ModelVersionPolicy.policy_choice",
    "RepositoryIndexResponse.ModelIndex",
    "ServerMetadataResponse",
    "StatisticDuration",
    "SystemSharedMemoryStatusResponse.RegionStatus",
];

/// Enumerations, which JSON writes by name.
const NAMED: [(&str, &str); 4] = [
    ("ModelInput.data_type", "data_type"),
    ("ModelOutput.data_type", "data_type"),
    ("ModelInput.format", "format"),
    ("ModelInstanceGroup.kind", "kind"),
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let files = protox::compile(["inference.proto"], ["proto"])?;
    std::fs::write(out.join("descriptors.bin"), files.encode_to_vec())?;

    let mut builder = tonic_prost_build::configure()
        .build_transport(false)
        .codec_path("crate::grpc::codec::BoundedCodec")
        .bytes(".");
    for message in AS_JSON {
        builder = builder
            .type_attribute(format!("inference.{message}"), "#[derive(serde::Serialize)]")
            .type_attribute(
                format!("inference.{message}"),
                "#[serde(rename_all = \"snake_case\")]",
            );
    }
    for choice in ["ModelConfig.scheduling_choice", "ModelVersionPolicy.policy_choice"] {
        builder = builder.field_attribute(format!("inference.{choice}"), "#[serde(flatten)]");
    }
    for (field, function) in NAMED {
        builder = builder.field_attribute(
            format!("inference.{field}"),
            format!("#[serde(serialize_with = \"crate::grpc::named::{function}\")]"),
        );
    }
    for optional in [
        "RepositoryIndexResponse.ModelIndex.version",
        "RepositoryIndexResponse.ModelIndex.state",
        "RepositoryIndexResponse.ModelIndex.reason",
    ] {
        builder = builder.field_attribute(
            format!("inference.{optional}"),
            "#[serde(skip_serializing_if = \"String::is_empty\")]",
        );
    }
    builder.compile_fds(files)?;
    Ok(())
}
