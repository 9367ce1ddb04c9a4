//! An execution plan: an engine made ready, with the addresses it works on.

use super::descriptor::Descriptor;
use super::engine::Config;
use super::graph::Graph;
use super::{Dnn, Handle, check};
use crate::driver::{Address, CudaError, Stream};
use crate::program::Enqueue;
use cudarc::cudnn::sys::{
    self, cudnnBackendAttributeName_t as Name, cudnnBackendDescriptorType_t as Kind,
};
use std::sync::Arc;

/// A plan with addresses, which can be put on a stream.
pub struct PlanCall {
    plan: Descriptor,
    addresses: Descriptor,
    handle: Arc<Handle>,
    name: String,
    _values: Box<[f32]>,
    _config: Config,
    _graph: Graph,
}

/// The plan of a configuration.
pub fn finished(dnn: &Dnn, config: &Descriptor) -> Result<Descriptor, CudaError> {
    Descriptor::new(Kind::CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR)?
        .with_handle(Name::CUDNN_ATTR_EXECUTION_PLAN_HANDLE, dnn.handle.raw)?
        .with_descriptors(Name::CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, &[config])?
        .finalize()
}

pub fn workspace_bytes(plan: &Descriptor) -> Result<usize, CudaError> {
    let bytes = plan.i64(Name::CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE)?;
    Ok(usize::try_from(bytes).unwrap_or(0))
}

impl PlanCall {
    /// `operands` as the graph numbers them.
    pub fn new(
        dnn: &Dnn,
        graph: Graph,
        config: Config,
        operands: &[Address],
        workspace: Address,
        name: String,
    ) -> Result<PlanCall, CudaError> {
        let plan = finished(dnn, &config.config)?;
        let (value_ids, values): (Vec<i64>, Vec<f32>) = graph.values.iter().copied().unzip();
        let ids = [&graph.operands[..], &value_ids].concat();
        // What is given by value is read where the host has it, whenever the plan is put on a stream.
        let values: Box<[f32]> = values.into();
        let mut pointers = operands.to_vec();
        pointers.extend(values.iter().map(|value| std::ptr::from_ref(value) as u64));
        let addresses = Descriptor::new(Kind::CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR)?
            .with_i64s(Name::CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, &ids)?
            .with_pointers(Name::CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, &pointers)?
            .with_pointers(Name::CUDNN_ATTR_VARIANT_PACK_WORKSPACE, &[workspace])?
            .finalize()?;
        let handle = dnn.handle.clone();
        Ok(PlanCall {
            plan,
            addresses,
            handle,
            name,
            _values: values,
            _config: config,
            _graph: graph,
        })
    }
}

impl Enqueue for PlanCall {
    fn enqueue(&self, stream: &Stream) -> Result<(), CudaError> {
        // SAFETY: both handles live.
        check("cudnnSetStream", unsafe {
            sys::cudnnSetStream(self.handle.raw, stream.raw().cast())
        })?;
        // SAFETY: the descriptors live; the addresses are mapped for the layouts of the graph while a program runs.
        let status = unsafe {
            sys::cudnnBackendExecute(self.handle.raw, self.plan.raw(), self.addresses.raw())
        };
        check(&format!("cudnnBackendExecute of {}", self.name), status)
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}
