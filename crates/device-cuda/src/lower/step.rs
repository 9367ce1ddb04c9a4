//! The one match over operators.

use super::{Emitter, LowerError, Value};
use sublet_graph::Op;

/// Emits one step.
pub fn emit(
    _emitter: &mut Emitter<'_>,
    op: &Op,
    _inputs: &[Option<Value>],
    _outputs: &[Option<Value>],
) -> Result<(), LowerError> {
    Err(LowerError::unsupported(op.name()))
}
