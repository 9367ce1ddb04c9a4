//! Reductions, running totals and order statistics.

use super::lowering::Lowering;
use crate::onnx::problem::{Problem, invalid};
use sublet_graph::{Op, Reduce};

pub fn lower(cx: &mut Lowering<'_, '_>, op: &str) -> Result<bool, Problem> {
    if let Some(reduce) = reduction(op) {
        return reduce_by(cx, reduce).map(|()| true);
    }
    match op {
        "ArgMax" | "ArgMin" => {
            cx.arity(1, 1, 1)?;
            let axis = cx.int_or("axis", 0)?;
            let keep_dims = cx.flag("keepdims", true)?;
            let last = cx.flag("select_last_index", false)?;
            cx.finish_same(if op == "ArgMax" {
                Op::ArgMax { axis, keep_dims, last }
            } else {
                Op::ArgMin { axis, keep_dims, last }
            })?;
        }
        "CumSum" | "CumProd" => {
            cx.arity(2, 2, 1)?;
            let exclusive = cx.flag("exclusive", false)?;
            let reverse = cx.flag("reverse", false)?;
            cx.finish_same(if op == "CumSum" {
                Op::CumSum { exclusive, reverse }
            } else {
                Op::CumProd { exclusive, reverse }
            })?;
        }
        "TopK" => top_k(cx)?,
        "Det" => {
            cx.arity(1, 1, 1)?;
            cx.finish_same(Op::Det)?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn reduction(op: &str) -> Option<Reduce> {
    Some(match op {
        "ReduceSum" => Reduce::Sum,
        "ReduceMean" => Reduce::Mean,
        "ReduceMax" => Reduce::Max,
        "ReduceMin" => Reduce::Min,
        "ReduceProd" => Reduce::Prod,
        "ReduceL1" => Reduce::L1,
        "ReduceL2" => Reduce::L2,
        "ReduceLogSum" => Reduce::LogSum,
        "ReduceLogSumExp" => Reduce::LogSumExp,
        "ReduceSumSquare" => Reduce::SumSquare,
        _ => return None,
    })
}

fn reduce_by(cx: &mut Lowering<'_, '_>, reduce: Reduce) -> Result<(), Problem> {
    let op = Op::Reduce {
        reduce,
        keep_dims: cx.flag("keepdims", true)?,
        noop_with_empty_axes: cx.flag("noop_with_empty_axes", false)?,
    };
    // The sum was the first to take its axes as an input.
    let axes_are_input = cx.opset >= if reduce == Reduce::Sum { 13 } else { 18 };
    if axes_are_input {
        cx.arity(1, 2, 1)?;
        return cx.finish_same(op);
    }
    cx.arity(1, 1, 1)?;
    let x = cx.input(0)?;
    let axes = cx.ints("axes")?.filter(|axes| !axes.is_empty());
    let axes = axes.map(|axes| cx.i64s(axes));
    cx.finish(op, vec![Some(x), axes])
}

fn top_k(cx: &mut Lowering<'_, '_>) -> Result<(), Problem> {
    let op = Op::TopK {
        axis: cx.int_or("axis", -1)?,
        largest: cx.flag("largest", true)?,
        sorted: cx.flag("sorted", true)?,
    };
    if cx.opset >= 10 {
        cx.arity(2, 2, 2)?;
        return cx.finish_same(op);
    }
    cx.arity(1, 1, 2)?;
    let k = cx.required_int("k")?;
    if k < 0 {
        return invalid(format!("`k` is {k}"));
    }
    let k = cx.i64s(&[k]);
    cx.finish(op, vec![cx.optional(0), Some(k)])
}
