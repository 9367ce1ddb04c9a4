//! GELU spelled out: `x/2 · (1 + erf(x/√2))`, and with `tanh(√(2/π) · (x + 0.044715 · x³))` in place of erf.
//!
//! Exporters write the factors in every order; products are flattened before they are compared.

use super::editor::Editor;
use super::pattern::near;
use crate::{Binary, Op, Unary, ValueId};
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_PI};

const CUBIC: f64 = 0.044715;

/// A constant times values.
struct Product {
    scale: f64,
    factors: Vec<ValueId>,
}

pub(super) fn gelu(editor: &mut Editor, node: usize) -> bool {
    let Some((x, tanh)) = matched(editor, node) else { return false };
    editor.replace(node, Op::Unary(Unary::Gelu { tanh }), vec![Some(x)]);
    true
}

fn matched(editor: &Editor, node: usize) -> Option<(ValueId, bool)> {
    if !matches!(editor.node(node).op, Op::Binary(Binary::Mul | Binary::Div)) {
        return None;
    }
    let whole = product_of_node(editor, node, DEPTH_MAX)?;
    let [a, b] = whole.factors[..] else { return None };
    let tolerance = editor.tolerance(a);
    if !near(whole.scale as f32, 0.5, tolerance) {
        return None;
    }
    [(a, b), (b, a)].into_iter().find_map(|(x, gate)| {
        let (inner, one) = editor.with_scalar(editor.inner_operands(gate, Binary::Add)?)?;
        if one != 1.0 || !editor.is_real(x) {
            return None;
        }
        if let Some(of) = editor.inner_unary(inner, Unary::Erf) {
            let scaled = product(editor, of, DEPTH_MAX);
            let fits = scaled.factors == [x] && near(scaled.scale as f32, FRAC_1_SQRT_2, tolerance);
            return fits.then_some((x, false));
        }
        let of = editor.inner_unary(inner, Unary::Tanh)?;
        is_tanh_argument(editor, of, x).then_some((x, true))
    })
}

/// `√(2/π) · (x + c·x³)` or `√(2/π) · x · (1 + c·x²)`.
fn is_tanh_argument(editor: &Editor, id: ValueId, x: ValueId) -> bool {
    let outer = product(editor, id, DEPTH_MAX);
    let tolerance = editor.tolerance(x);
    if !near(outer.scale as f32, FRAC_2_PI.sqrt(), tolerance) {
        return false;
    }
    let power = |id: ValueId, exponent: usize| {
        let power = product(editor, id, DEPTH_MAX);
        near(power.scale as f32, CUBIC, tolerance) && power.factors == vec![x; exponent]
    };
    match outer.factors[..] {
        [sum] => editor
            .inner_operands(sum, Binary::Add)
            .is_some_and(|[a, b]| (a == x && power(b, 3)) || (b == x && power(a, 3))),
        [a, b] => {
            let sum = if a == x { b } else { a };
            let terms = editor.inner_operands(sum, Binary::Add);
            let square = terms.and_then(|terms| editor.with_scalar(terms));
            (a == x || b == x) && square.is_some_and(|(id, one)| one == 1.0 && power(id, 2))
        }
        _ => false,
    }
}

/// How deep products are flattened.
const DEPTH_MAX: usize = 4;

/// What `id` is a product of, looking into products that nobody else reads.
fn product(editor: &Editor, id: ValueId, depth: usize) -> Product {
    editor
        .inner(id)
        .filter(|_| depth > 0)
        .and_then(|node| product_of_node(editor, node, depth - 1))
        .unwrap_or(Product { scale: 1.0, factors: vec![id] })
}

fn product_of_node(editor: &Editor, node: usize, depth: usize) -> Option<Product> {
    let [a, b] = [editor.input(node, 0)?, editor.input(node, 1)?];
    match editor.node(node).op {
        Op::Binary(Binary::Mul) => {
            if let Some((x, scale)) = editor.with_scalar([a, b]) {
                let of = product(editor, x, depth);
                return Some(Product { scale: of.scale * f64::from(scale), ..of });
            }
            let (mut a, b) = (product(editor, a, depth), product(editor, b, depth));
            a.scale *= b.scale;
            a.factors.extend(b.factors);
            Some(a)
        }
        Op::Binary(Binary::Div) => {
            let divisor = editor.scalar_beside(b, a)?;
            let of = product(editor, a, depth);
            Some(Product { scale: of.scale / f64::from(divisor), ..of })
        }
        Op::Binary(Binary::Pow) => {
            let exponent = editor.scalar_beside(b, a)?;
            let count = [2, 3].into_iter().find(|&count| count as f32 == exponent)?;
            Some(Product { scale: 1.0, factors: vec![a; count] })
        }
        _ => None,
    }
}
