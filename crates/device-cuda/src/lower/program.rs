//! From a plan to a program, for one lane and one region.

use super::fuse::{self, Group};
use super::order;
use super::place::{self, Home, Placement};
use super::{Emitter, Gpu, LowerError, Order, Value};
use crate::driver::{Address, CudaError, CudaErrorKind, DeviceBlock};
use crate::program::{Program, ProgramOutput};
use bytes::Bytes;
use sublet_device::{DeviceError, Image};
use sublet_graph::{Literal, WeightId};
use sublet_plan::{Operand, Place, Plan};

/// Bytes at the start of an arena that are not values: the word in which kernels report faults.
pub const ARENA_HEADER_BYTES: usize = 256;

/// Integer weights up to this size are taken for parameters of operators.
const PARAMETER_BYTES_MAX: usize = 256;

/// Lowers a plan whose weights lie at `region`, for the lane whose arena starts at `arena`.
///
/// # Errors
/// [`DeviceError::Unsupported`], naming the step, for what the device does not do.
pub fn lower(
    gpu: &Gpu,
    plan: &Plan,
    image: &Image,
    region: Address,
    arena: Address,
) -> Result<Program, DeviceError> {
    let unsupported =
        |what: String, place: &str| DeviceError::Unsupported { what, place: place.to_owned() };
    let groups = fuse::groups(plan);
    let orders = order::orders(plan, &groups, image, gpu.precision);
    let placement = place::place(plan, &groups, &orders).map_err(|what| {
        let dynamic = plan.steps.iter().find(|step| {
            step.outputs.iter().flatten().any(|&slot| plan.slot_shape(slot).is_none())
        });
        unsupported(what, dynamic.map_or("the plan", |step| &step.name))
    })?;
    let values_at = arena + ARENA_HEADER_BYTES as u64;
    let (constants, constant_at) =
        constants(gpu, &plan.literals).map_err(|error| error.at("constants of a plan"))?;
    let scope =
        Scope { plan, image, region, values_at, placement: &placement, orders, constant_at };
    let scratch = values_at + placement.bytes.next_multiple_of(256) as u64;
    let mut emitter = Emitter::new(gpu, scratch, arena);
    for group in groups.iter().filter(|group| !place::takes_parts(group, &scope.orders)) {
        emit(&mut emitter, &scope, group)?;
    }
    let (actions, scratch_bytes, faults) = emitter.finish();
    let outputs = plan
        .outputs
        .iter()
        .map(|output| match output.from {
            Operand::Literal(index) => {
                Ok(ProgramOutput::Known(plan.literals[index as usize].clone()))
            }
            from => {
                let value = scope
                    .value(from)
                    .ok_or_else(|| unsupported("an output without a place".into(), &output.name))?;
                let bytes = value.bytes();
                Ok(ProgramOutput::Computed { address: value.address, bytes, shape: value.shape })
            }
        })
        .collect::<Result<_, DeviceError>>()?;
    let inputs = plan
        .inputs
        .iter()
        .map(|input| {
            let value = scope.value(Operand::Slot(input.slot)).expect("inputs have places");
            (value.address, value.bytes())
        })
        .collect();
    Ok(Program {
        actions,
        arena_bytes: (scratch - arena) as usize + scratch_bytes,
        _constants: constants,
        inputs,
        outputs,
        faults,
    })
}

fn emit(emitter: &mut Emitter<'_>, scope: &Scope<'_>, group: &Group) -> Result<(), DeviceError> {
    let plan = scope.plan;
    let last = *group.steps.last().expect("a group has steps");
    let step = &plan.steps[last];
    let segments = group.steps.iter().map(|&index| plan.steps[index].segments).max().unwrap_or(0);
    emitter.begin(last, &step.name, segments);
    let emitted = match group.steps[..] {
        [_] => {
            let inputs: Vec<_> = step
                .inputs
                .iter()
                .map(|input| input.and_then(|input| scope.value(input)))
                .collect();
            let outputs: Vec<_> = step
                .outputs
                .iter()
                .map(|output| output.and_then(|slot| scope.value(Operand::Slot(slot))))
                .collect();
            super::emit(emitter, &step.op, &inputs, &outputs)
        }
        _ => fuse::emit(emitter, plan, group, &|operand| scope.value(operand)),
    };
    emitted.map_err(|error| match error {
        LowerError::Unsupported(what) => {
            DeviceError::Unsupported { what, place: step.name.clone() }
        }
        LowerError::Invalid(what) => DeviceError::Invalid { what, place: step.name.clone() },
        LowerError::Cuda(error) => error.at(&step.name),
    })
}

/// What operands mean in one program.
struct Scope<'a> {
    plan: &'a Plan,
    image: &'a Image,
    region: Address,
    values_at: Address,
    placement: &'a Placement,
    /// By slot.
    orders: Vec<Order>,
    /// By index of the literal.
    constant_at: Vec<Address>,
}

impl Scope<'_> {
    /// The value of a weight that is a few integers: axes, sizes and such are known to lowering however they are given.
    fn parameter(&self, id: WeightId) -> Option<Literal> {
        let weight = self.image.weight(id);
        let bytes = self.image.weight_bytes(id);
        if weight.dtype.is_float() || bytes.len() > PARAMETER_BYTES_MAX {
            return None;
        }
        Literal::new(weight.dtype, weight.shape.clone(), Bytes::copy_from_slice(bytes))
    }

    /// `None` for what is never stored.
    fn value(&self, operand: Operand) -> Option<Value> {
        match operand {
            Operand::Slot(id) => {
                let slot = self.plan.slot(id);
                let Place::Arena { shape, .. } = &slot.place else { return None };
                let (address, known) = match self.placement.homes[id.0 as usize] {
                    Home::Arena(offset) => (self.values_at + offset as u64, None),
                    Home::Same(other) => {
                        let other = self.value(other)?;
                        let known = other.known.as_ref().and_then(|known| {
                            Literal::new(slot.dtype, shape.clone(), known.bytes().clone())
                        });
                        (other.address, known)
                    }
                    Home::Nowhere => return None,
                };
                let (dtype, shape) = (slot.dtype, shape.clone());
                Some(Value { dtype, shape, order: self.orders[id.0 as usize], address, known })
            }
            Operand::Weight(id) => {
                let weight = self.image.weight(id);
                Some(Value {
                    dtype: weight.dtype,
                    shape: weight.shape.clone(),
                    order: Order::RowMajor,
                    address: self.region + self.image.layout.weight(id).offset as u64,
                    known: self.parameter(id),
                })
            }
            Operand::Literal(index) => {
                let literal = &self.plan.literals[index as usize];
                Some(Value {
                    dtype: literal.dtype(),
                    shape: literal.shape().to_vec(),
                    order: Order::RowMajor,
                    address: self.constant_at[index as usize],
                    known: Some(literal.clone()),
                })
            }
        }
    }
}

/// Brings known values to the device. Returns their memory and the address of each.
fn constants(
    gpu: &Gpu,
    literals: &[Literal],
) -> Result<(Option<DeviceBlock>, Vec<Address>), CudaError> {
    let mut packed: Vec<u8> = Vec::new();
    let mut offsets = Vec::new();
    for literal in literals {
        packed.resize(packed.len().next_multiple_of(256), 0);
        offsets.push(packed.len());
        packed.extend_from_slice(literal.bytes());
    }
    if packed.is_empty() {
        return Ok((None, vec![0; literals.len()]));
    }
    let block = DeviceBlock::new(packed.len())?;
    // SAFETY: the block is as long as the bytes, which live until the copy has finished below.
    unsafe { gpu.stream.copy_in(block.address, packed.as_ptr(), packed.len()) }?;
    gpu.stream.synchronize()?;
    if block.address % 256 != 0 {
        let text = "memory that is not aligned to 256 bytes";
        return Err(CudaError::new(CudaErrorKind::Lost, "cuMemAlloc", text));
    }
    let addresses = offsets.iter().map(|&offset| block.address + offset as u64).collect();
    Ok((Some(block), addresses))
}
