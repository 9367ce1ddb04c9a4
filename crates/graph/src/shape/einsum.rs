//! Einstein summation: the labels of an equation, and the shape of its result.

use super::invalid;
use crate::InferError;

/// An equation resolved for operands of known ranks: one label per axis.
///
/// Letters are their character codes; the axes of an ellipsis are numbered from 0 at its last axis.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EinsumLabels {
    pub operands: Vec<Vec<u32>>,
    pub output: Vec<u32>,
}

/// Reads `equation` for operands of the given ranks. Without `->` the output has the ellipsis axes, then the letters
/// that occur once, in alphabetical order.
pub fn einsum_labels(equation: &str, ranks: &[usize]) -> Result<EinsumLabels, InferError> {
    let equation: String = equation.chars().filter(|letter| !letter.is_whitespace()).collect();
    let (left, right) = match equation.split_once("->") {
        Some((left, right)) => (left, Some(right)),
        None => (equation.as_str(), None),
    };
    let terms: Vec<&str> = left.split(',').collect();
    if terms.len() != ranks.len() {
        return invalid(format!(
            "`{equation}` has {} terms for {} inputs",
            terms.len(),
            ranks.len()
        ));
    }
    let operands = terms
        .iter()
        .zip(ranks)
        .map(|(term, &rank)| {
            let labels = term_labels(term, |letters| rank.checked_sub(letters))?;
            if labels.len() != rank {
                return invalid(format!("`{term}` of `{equation}` does not fit rank {rank}"));
            }
            Ok(labels)
        })
        .collect::<Result<Vec<_>, _>>()?;
    let all = || operands.iter().flatten().copied();
    let ellipsis =
        all().filter(|&label| !is_letter(label)).max().map_or(0, |last| last as usize + 1);
    let output = match right {
        Some(term) => term_labels(term, |_| Some(ellipsis))?,
        None => {
            let mut letters: Vec<u32> =
                all().filter(|&label| all().filter(|&other| other == label).count() == 1).collect();
            letters.retain(|&label| is_letter(label));
            letters.sort_unstable();
            (0..ellipsis as u32).rev().chain(letters).collect()
        }
    };
    for (index, &label) in output.iter().enumerate() {
        if output[..index].contains(&label) || !all().any(|known| known == label) {
            return invalid(format!("the result of `{equation}` repeats or invents a label"));
        }
    }
    Ok(EinsumLabels { operands, output })
}

/// The shape of the result for operands of the given shapes. Axes with one label are equal, or 1.
pub fn einsum_shape(labels: &EinsumLabels, shapes: &[&[usize]]) -> Result<Vec<usize>, InferError> {
    let size_of = |label: u32| {
        let mut size = 1;
        for (labels, shape) in labels.operands.iter().zip(shapes) {
            for (_, &dim) in labels.iter().zip(*shape).filter(|&(&other, _)| other == label) {
                if size == 1 {
                    size = dim;
                } else if dim != 1 && dim != size {
                    return invalid(format!("axes with one label have sizes {size} and {dim}"));
                }
            }
        }
        Ok(size)
    };
    for &label in labels.operands.iter().flatten() {
        size_of(label)?;
    }
    labels.output.iter().map(|&label| size_of(label)).collect()
}

fn is_letter(label: u32) -> bool {
    char::from_u32(label).is_some_and(|letter| letter.is_ascii_alphabetic())
}

/// The most axes that an ellipsis may stand for: ranks are small, and its labels must not reach the letters.
const ELLIPSIS_MAX: usize = 32;

fn term_labels(
    term: &str,
    ellipsis_axes: impl Fn(usize) -> Option<usize>,
) -> Result<Vec<u32>, InferError> {
    let (before, after) = match term.split_once("...") {
        Some((before, after)) => (before, Some(after)),
        None => (term, None),
    };
    let letters = before.len() + after.map_or(0, str::len);
    if !before.chars().chain(after.unwrap_or("").chars()).all(|c| c.is_ascii_alphabetic()) {
        return invalid(format!("`{term}` is not a term of an equation"));
    }
    let mut labels: Vec<u32> = before.chars().map(u32::from).collect();
    if let Some(after) = after {
        match ellipsis_axes(letters) {
            Some(count) if count <= ELLIPSIS_MAX => labels.extend((0..count as u32).rev()),
            _ => return invalid(format!("`{term}` does not fit the rank of its input")),
        }
        labels.extend(after.chars().map(u32::from));
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_of_equations() {
        let check = |equation: &str, shapes: &[&[usize]], expected: Option<&[usize]>| {
            let ranks: Vec<usize> = shapes.iter().map(|shape| shape.len()).collect();
            let found = einsum_labels(equation, &ranks)
                .and_then(|labels| einsum_shape(&labels, shapes))
                .ok();
            assert_eq!(found.as_deref(), expected, "{equation}");
        };
        check("bij, bjk -> bik", &[&[5, 2, 3], &[5, 3, 4]], Some(&[5, 2, 4]));
        check("...ij,...jk", &[&[7, 1, 2, 3], &[5, 3, 4]], Some(&[7, 5, 2, 4]));
        check("ii->i", &[&[3, 3]], Some(&[3]));
        check("ba", &[&[2, 3]], Some(&[3, 2]));
        check("i,i", &[&[3], &[3]], Some(&[]));
        check("...ii->...i", &[&[3, 5, 5]], Some(&[3, 5]));
        check("ij->", &[&[2, 3]], Some(&[]));
        check("ij,jk->ik", &[&[2, 3], &[4, 5]], None);
        check("ij->ik", &[&[2, 3]], None);
        check("ij->iij", &[&[2, 3]], None);
        check("i1->i", &[&[2, 3]], None);
        check("ij", &[&[2]], None);
    }
}
