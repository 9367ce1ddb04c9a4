//! An execution plan: an engine made ready, with the addresses it works on.

use super::descriptor::Descriptor;
use super::engine::{self, Config, EngineChoice, Subject};
use super::graph::Graph;
use super::{Dnn, Handle, check};
use crate::driver::{Address, CudaError, Stream};
use crate::program::Enqueue;
use cudarc::cudnn::sys::{
    self, cudnnBackendAttributeName_t as Name, cudnnBackendDescriptorType_t as Kind,
};
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, Weak};

/// An engine ready to run a graph, wherever its operands lie. One plan serves all steps that are alike.
pub struct Plan {
    plan: Descriptor,
    pub workspace_bytes: usize,
    /// Names of the operands, and of what is given by value.
    ids: Vec<i64>,
    values: Vec<f32>,
    _config: Config,
    _graph: Graph,
}

/// Plans made so far, by what they compute and how. Those that were compiled are kept, for that took long; the others
/// as long as a call has them.
#[derive(Default)]
pub struct Plans {
    used: HashMap<String, Weak<Plan>>,
    compiled: Vec<Arc<Plan>>,
}

/// A plan with addresses, which can be put on a stream.
pub struct PlanCall {
    plan: Arc<Plan>,
    addresses: Descriptor,
    handle: Arc<Handle>,
    name: String,
    _values: Box<[f32]>,
}

impl Plan {
    /// The plan of a choice, new or made before.
    pub fn of(
        dnn: &Dnn,
        subject: &impl Subject,
        choice: &EngineChoice,
    ) -> Result<Arc<Plan>, CudaError> {
        let key = format!("{} {}", subject.key(), choice.key());
        let mut plans = dnn.plans.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(plan) = plans.used.get(&key).and_then(Weak::upgrade) {
            return Ok(plan);
        }
        let plan = Arc::new(Plan::new(dnn, subject, choice)?);
        plans.used.retain(|_, plan| plan.strong_count() > 0);
        plans.used.insert(key, Arc::downgrade(&plan));
        if subject.is_compiled() {
            plans.compiled.push(plan.clone());
        }
        Ok(plan)
    }

    fn new(dnn: &Dnn, subject: &impl Subject, choice: &EngineChoice) -> Result<Plan, CudaError> {
        let graph = subject.graph(dnn, choice.unused_residual)?;
        let config = engine::config(&graph, choice)?;
        let plan = Descriptor::new(Kind::CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR)?
            .with_handle(Name::CUDNN_ATTR_EXECUTION_PLAN_HANDLE, dnn.handle.raw)?
            .with_descriptors(Name::CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, &[&config.config])?
            .finalize()?;
        let bytes = plan.i64(Name::CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE)?;
        let (value_ids, values): (Vec<i64>, Vec<f32>) = graph.values.iter().copied().unzip();
        let ids = [&graph.operands[..], &value_ids].concat();
        let workspace_bytes = usize::try_from(bytes).unwrap_or(0);
        Ok(Plan { plan, workspace_bytes, ids, values, _config: config, _graph: graph })
    }
}

impl PlanCall {
    /// `operands` as the graph numbers them.
    pub fn new(
        dnn: &Dnn,
        plan: Arc<Plan>,
        operands: &[Address],
        workspace: Address,
        name: String,
    ) -> Result<PlanCall, CudaError> {
        // What is given by value is read where the host has it, whenever the plan is put on a stream.
        let values: Box<[f32]> = plan.values.clone().into();
        let mut pointers = operands.to_vec();
        pointers.extend(values.iter().map(|value| std::ptr::from_ref(value) as u64));
        let addresses = Descriptor::new(Kind::CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR)?
            .with_i64s(Name::CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, &plan.ids)?
            .with_pointers(Name::CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, &pointers)?
            .with_pointers(Name::CUDNN_ATTR_VARIANT_PACK_WORKSPACE, &[workspace])?
            .finalize()?;
        let handle = dnn.handle.clone();
        Ok(PlanCall { plan, addresses, handle, name, _values: values })
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
            sys::cudnnBackendExecute(self.handle.raw, self.plan.plan.raw(), self.addresses.raw())
        };
        check(&format!("cudnnBackendExecute of {}", self.name), status)
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}
