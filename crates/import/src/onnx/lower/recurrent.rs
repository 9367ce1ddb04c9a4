//! Recurrent layers.

use super::lowering::Lowering;
use crate::onnx::problem::{Problem, invalid, unsupported};
use sublet_graph::{Direction, Op, Rnn, RnnKind, Unary};

pub fn lower(cx: &mut Lowering<'_, '_>, op: &str) -> Result<bool, Problem> {
    let (kind, inputs, outputs) = match op {
        "RNN" => (RnnKind::Simple, 6, 2),
        "GRU" => {
            (RnnKind::Gru { linear_before_reset: cx.flag("linear_before_reset", false)? }, 6, 2)
        }
        "LSTM" => (RnnKind::Lstm { couple_input_forget: cx.flag("input_forget", false)? }, 8, 3),
        _ => return Ok(false),
    };
    cx.arity(3, inputs, outputs)?;
    if cx.opset < 7 {
        // Whether the first output is wanted at all, which its presence says too.
        cx.ignore(&["output_sequence"]);
    }
    let direction = match cx.string_or("direction", "forward")? {
        "forward" => Direction::Forward,
        "reverse" => Direction::Reverse,
        "bidirectional" => Direction::Bidirectional,
        other => return invalid(format!("unknown direction `{other}`")),
    };
    let clip = cx.float("clip")?;
    if clip.is_some_and(|clip| clip.is_nan() || clip <= 0.0) {
        return invalid("`clip` is not positive");
    }
    let rnn = Rnn {
        kind,
        hidden: hidden(cx)?,
        direction,
        activations: activations(cx, kind, direction)?,
        clip,
        batch_first: cx.flag("layout", false)?,
    };
    cx.finish_same(Op::Rnn(rnn))?;
    Ok(true)
}

/// The size of the state; where the attribute is missing, the recurrence weights `[directions, gates, hidden]` tell.
fn hidden(cx: &Lowering<'_, '_>) -> Result<usize, Problem> {
    let hidden = match cx.int("hidden_size")? {
        Some(_) => cx.required_size("hidden_size")?,
        None => cx.fixed_dim(cx.input(2)?, 2).unwrap_or(0),
    };
    if hidden == 0 { invalid("`hidden_size` is missing or zero") } else { Ok(hidden) }
}

fn activations(
    cx: &Lowering<'_, '_>,
    kind: RnnKind,
    direction: Direction,
) -> Result<Vec<Unary>, Problem> {
    let names = cx.strings("activations")?;
    let mut alphas = cx.floats("activation_alpha")?.unwrap_or(&[]).iter().copied();
    let mut betas = cx.floats("activation_beta")?.unwrap_or(&[]).iter().copied();
    let gates = match kind {
        RnnKind::Simple => 1,
        RnnKind::Gru { .. } => 2,
        RnnKind::Lstm { .. } => 3,
    };
    let wanted = if direction == Direction::Bidirectional { 2 * gates } else { gates };
    // The simple layer's default lists both directions whatever the direction.
    if names.len() > wanted && names[wanted..].iter().any(|name| *name != "Tanh") {
        return invalid(format!("{} activations where it takes {wanted}", names.len()));
    }
    if !names.is_empty() && names.len() < wanted {
        return invalid(format!("{} activations where it takes {wanted}", names.len()));
    }
    let names = names.into_iter().take(wanted);
    names.map(|name| activation(name, &mut alphas, &mut betas)).collect()
}

/// Parameters are taken in order by the activations that have any.
fn activation(
    name: &str,
    alphas: &mut impl Iterator<Item = f32>,
    betas: &mut impl Iterator<Item = f32>,
) -> Result<Unary, Problem> {
    Ok(match name.to_ascii_lowercase().as_str() {
        "tanh" => Unary::Tanh,
        "sigmoid" => Unary::Sigmoid,
        "relu" => Unary::Relu,
        "softsign" => Unary::Softsign,
        "softplus" => Unary::Softplus,
        "leakyrelu" => Unary::LeakyRelu { alpha: alphas.next().unwrap_or(0.01) },
        "thresholdedrelu" => Unary::ThresholdedRelu { alpha: alphas.next().unwrap_or(1.0) },
        "elu" => Unary::Elu { alpha: alphas.next().unwrap_or(1.0) },
        "hardsigmoid" => Unary::HardSigmoid {
            alpha: alphas.next().unwrap_or(0.2),
            beta: betas.next().unwrap_or(0.5),
        },
        _ => return unsupported(format!("activation `{name}`")),
    })
}
