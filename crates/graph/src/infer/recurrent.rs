//! Recurrent layers.

use super::context::{Context, Types, tensor};
use crate::shape::invalid;
use crate::{DType, Direction, Rnn, RnnKind};

/// Outputs: every state `[sequence, directions, batch, hidden]`, the last state `[directions, batch, hidden]` and, for
/// LSTM, the last cell; with `batch_first` `[batch, sequence, directions, hidden]` and `[batch, directions, hidden]`.
pub(super) fn rnn(rnn: &Rnn, context: &Context) -> Types {
    let lstm = matches!(rnn.kind, RnnKind::Lstm { .. });
    let dtype = context.same_dtype(if lstm { &[0, 1, 2, 3, 5, 6, 7] } else { &[0, 1, 2, 3, 5] })?;
    context.need(1)?;
    context.need(2)?;
    context.expect_dtype(4, &[DType::I32])?;
    let count = if lstm { 3 } else { 2 };
    let gates = match rnn.kind {
        RnnKind::Simple => 1,
        RnnKind::Gru { .. } => 3,
        RnnKind::Lstm { .. } => 4,
    };
    let directions = if rnn.direction == Direction::Bidirectional { 2 } else { 1 };
    let hidden = rnn.hidden;
    let Some(rows) = hidden.checked_mul(2 * gates) else {
        return invalid(format!("{hidden} hidden units are too many"));
    };
    let rows = rows / 2;
    let check = |index: usize, wanted: &[usize]| match context.shape(index) {
        Some(shape) if shape != wanted => {
            invalid(format!("input {} has shape {shape:?}, not {wanted:?}", index + 1))
        }
        _ => Ok(()),
    };
    check(2, &[directions, rows, hidden])?;
    check(3, &[directions, 2 * rows])?;
    let Some(x) = context.ranked(0, 3..=3)? else {
        return Ok(vec![tensor(dtype, None); count]);
    };
    let (sequence, batch) = if rnn.batch_first { (x[1], x[0]) } else { (x[0], x[1]) };
    check(1, &[directions, rows, x[2]])?;
    check(4, &[batch])?;
    let (all, last) = if rnn.batch_first {
        (vec![batch, sequence, directions, hidden], vec![batch, directions, hidden])
    } else {
        (vec![sequence, directions, batch, hidden], vec![directions, batch, hidden])
    };
    check(5, &last)?;
    if lstm {
        check(6, &last)?;
        check(7, &[directions, 3 * hidden])?;
    }
    let mut types = vec![tensor(dtype, Some(all))];
    types.resize(count, tensor(dtype, Some(last)));
    Ok(types)
}
