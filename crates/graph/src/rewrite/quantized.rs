//! A product of two dequantised matrices multiplies the integers and scales the sums:
//! `Σ sa·(a − za) · sb·(b − zb) = sa·sb · Σ (a − za)·(b − zb)`.
//!
//! The weights stay as small as they are in the file, and the sums are exact.

use super::editor::Editor;
use crate::{Binary, DType, Literal, Op, ValueId};

/// An 8-bit matrix with what dequantises it.
struct Quantized {
    values: ValueId,
    /// One scale, or one per column.
    scales: Vec<f32>,
    zeros: Option<ValueId>,
}

pub(super) fn matmul(editor: &mut Editor, node: usize) -> bool {
    let Some((a, b)) = matched(editor, node) else { return false };
    let name = editor.node(node).name.clone();
    let scales: Vec<f32> = b.scales.iter().map(|scale| scale * a.scales[0]).collect();
    let shape: &[usize] = if scales.len() == 1 { &[] } else { &[scales.len()] };
    let scales = editor.add_weight(&format!("{name}.scale"), Literal::f32(shape, &scales));
    let inputs = vec![Some(a.values), Some(b.values), a.zeros, b.zeros];
    let sums = format!("{name}/sums");
    let sums = editor.insert_before(node, &sums, Op::MatMulInteger, inputs, DType::I32);
    let cast = Op::Cast { to: DType::F32 };
    let sums =
        editor.insert_before(node, &format!("{name}/cast"), cast, vec![Some(sums)], DType::F32);
    editor.replace(node, Op::Binary(Binary::Mul), vec![Some(sums), Some(scales)]);
    true
}

fn matched(editor: &Editor, node: usize) -> Option<(Quantized, Quantized)> {
    if editor.node(node).op != Op::MatMul {
        return None;
    }
    let (a, b) = (editor.input(node, 0)?, editor.input(node, 1)?);
    let (a_rank, b_rank) = (editor.probes.rank(a)?, editor.probes.rank(b)?);
    let (a, b) = (dequantized(editor, a, None)?, dequantized(editor, b, Some(b_rank))?);
    // Sums of products of bytes must stay within 32 bits.
    let depth = editor.probes.last_dim(b.values, 2)?;
    (a_rank >= 2 && b_rank >= 2 && depth <= DEPTH_MAX).then_some((a, b))
}

const DEPTH_MAX: usize = (1 << 31) / (256 * 256);

/// What dequantises a value: one scale, or one for each index of its last axis if `columns_of` gives its rank.
fn dequantized(editor: &Editor, id: ValueId, columns_of: Option<usize>) -> Option<Quantized> {
    let node = editor.maker(id).filter(|_| editor.value(id).dtype == Some(DType::F32))?;
    let Op::DequantizeLinear { axis, block: 0 } = editor.node(node).op else { return None };
    let values = editor.input(node, 0)?;
    if !matches!(editor.value(values).dtype, Some(DType::I8 | DType::U8)) {
        return None;
    }
    let scales = editor.constant(editor.input(node, 1)?)?.to_f32s()?;
    let last = columns_of.is_some_and(|rank| axis == -1 || axis + 1 == rank as i64);
    let zeros = editor.input(node, 2);
    let fits = scales.len() == 1 || (last && columns_of == Some(2));
    let constant = zeros.is_none_or(|zeros| editor.constant(zeros).is_some());
    (fits && constant).then_some(Quantized { values, scales, zeros })
}
