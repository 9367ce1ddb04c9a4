//! Generated problems: small models of one operator, or of a few that devices like to fuse, with random shapes, types
//! and values. The CPU kernels say what the answer is.

mod builder;
mod elements;
mod movement;
mod products;
mod reductions;

use crate::onnx_node::{Outcome, Report};
use crate::{Failure, Loaded, Solo, Target, relative_difference};
use builder::Builder;
use std::panic::{AssertUnwindSafe, catch_unwind};
use sublet_graph::{DType, Literal, Model};

/// A model and inputs for it, in its own order.
pub struct Problem {
    /// Unique: the family and the seed.
    pub name: String,
    pub model: Model,
    pub inputs: Vec<Literal>,
    /// The least precise type computed with, which sets the tolerance.
    pub dtype: DType,
}

type Family = fn(&mut Builder);

/// Each makes a problem from the random numbers of its builder.
const FAMILIES: &[(&str, Family)] = &[
    ("unary", elements::unary),
    ("binary", elements::binary),
    ("compare", elements::compare),
    ("chain", elements::chain),
    ("cast", elements::cast),
    ("clip", elements::clip),
    ("quantize", elements::quantize),
    ("matmul", products::matmul),
    ("linear", products::linear),
    ("gemm", products::gemm),
    ("conv", products::conv),
    ("conv-block", products::conv_block),
    ("conv-transpose", products::conv_transpose),
    ("attention", products::attention),
    ("attention-steps", products::attention_steps),
    ("reduce", reductions::reduce),
    ("softmax", reductions::softmax),
    ("norm", reductions::norm),
    ("batch-norm", reductions::batch_norm),
    ("pool", reductions::pool),
    ("arg", reductions::arg),
    ("cumsum", reductions::cumsum),
    ("top-k", reductions::top_k),
    ("transpose", movement::transpose),
    ("slice", movement::slice),
    ("pad", movement::pad),
    ("concat", movement::concat),
    ("split", movement::split),
    ("gather", movement::gather),
    ("scatter", movement::scatter),
    ("shapes", movement::shapes),
    ("resize", movement::resize),
    ("attention-packed", products::attention_packed),
];

/// The names of all families.
pub fn families() -> impl Iterator<Item = &'static str> {
    FAMILIES.iter().map(|(name, _)| *name)
}

/// The problem of a family for a seed; always the same. `None` for an unknown family.
pub fn problem(family: &str, seed: u64) -> Option<Problem> {
    let (index, (name, make)) =
        FAMILIES.iter().enumerate().find(|(_, (name, _))| *name == family)?;
    let mut builder = Builder::new(seed.wrapping_mul(1_000_003) ^ index as u64);
    make(&mut builder);
    Some(builder.finish(format!("{name}-{seed}")))
}

/// Solves a problem on a device and compares with the CPU kernels; a panic is an outcome.
pub fn solve(family: &str, seed: u64, target: &dyn Target) -> Outcome {
    let tried = catch_unwind(AssertUnwindSafe(|| {
        let problem = problem(family, seed).expect("a known family");
        try_solve(problem, target)
    }));
    match tried {
        Ok(Ok(())) => Outcome::Passed,
        Ok(Err(Failure::Unsupported(what))) => Outcome::Unsupported(what),
        Ok(Err(Failure::Wrong(what))) => Outcome::Wrong(what),
        Err(_) => Outcome::Wrong("a panic".into()),
    }
}

fn try_solve(problem: Problem, target: &dyn Target) -> Result<(), Failure> {
    let max = match problem.dtype {
        DType::F64 => 1e-12,
        DType::F32 => 1e-5,
        DType::F16 => 5e-3,
        DType::BF16 => 3e-2,
        _ => 0.0,
    };
    let shown = problem.model.graph.to_string().trim().replace('\n', "; ");
    let loaded = Loaded::new(problem.model)?;
    let want = Solo.run(&loaded, &problem.inputs)?;
    let got = target.run(&loaded, &problem.inputs)?;
    for (index, (got, want)) in got.iter().zip(&want).enumerate() {
        let difference = relative_difference(got, want);
        // Also when it is not a number.
        if difference.is_nan() || difference > max {
            let shapes: Vec<_> = problem.inputs.iter().map(|input| input.shape()).collect();
            return Err(Failure::Wrong(format!(
                "output {index} {}{:?} differs by {difference:.1e}, inputs {shapes:?}: {shown}",
                want.dtype(),
                want.shape()
            )));
        }
    }
    Ok(())
}

/// Solves every family with the first so many seeds.
pub fn run(seeds: u64, filter: &str, target: &dyn Target) -> Report {
    let names = families().filter(|name| name.contains(filter));
    let all = names.flat_map(|name| (0..seeds).map(move |seed| (name, seed)));
    all.map(|(name, seed)| (format!("{name}-{seed}"), solve(name, seed, target))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Direct, OnDevice};
    use std::sync::Arc;
    use sublet_device_cpu::{CpuDevice, CpuOptions};
    use sublet_graph::{Precision, RewriteOptions};

    #[test]
    fn the_cpu_device_solves_all_of_them() {
        let device = CpuDevice::new(0, CpuOptions::default()).unwrap();
        let target = OnDevice::new(Direct::new(Arc::new(device)));
        let report = run(12, "", &target);
        let bad: Vec<_> =
            report.iter().filter(|(_, outcome)| **outcome != Outcome::Passed).collect();
        assert!(bad.is_empty(), "{bad:#?}");
    }

    /// Products change least; what compares or counts may change anywhere.
    #[test]
    fn a_cast_to_lower_precision_changes_little_and_no_type_that_clients_see() {
        let exact = ["compare", "cast", "quantize", "arg", "top-k"];
        for (precision, max) in [(Precision::F16, 1e-2), (Precision::Bf16, 6e-2)] {
            let mut compared = 0;
            for (family, seed) in
                families().flat_map(|family| (0..6).map(move |seed| (family, seed)))
            {
                let problem = problem(family, seed).unwrap();
                if problem.dtype != DType::F32 || exact.contains(&family) {
                    continue;
                }
                let options = RewriteOptions { precision: Some(precision), ..Default::default() };
                let cast = Loaded::rewritten(problem.model.clone(), &options).unwrap();
                let whole = Loaded::new(problem.model).unwrap();
                assert!(cast.image().layout.bytes <= whole.image().layout.bytes);
                let want = Solo.run(&whole, &problem.inputs).unwrap();
                let got = Solo.run(&cast, &problem.inputs).unwrap();
                for (got, want) in got.iter().zip(&want) {
                    let difference = relative_difference(got, want);
                    assert!(
                        difference <= max,
                        "{precision} {family}-{seed}: {difference}\n{}",
                        cast.graph()
                    );
                }
                let names = |loaded: &Loaded| -> Vec<String> {
                    let graph = loaded.graph();
                    graph.outputs.iter().map(|&id| graph.value(id).name.clone()).collect()
                };
                assert_eq!(names(&cast), names(&whole));
                compared += 1;
            }
            assert!(compared > 50, "only {compared} problems in f32");
        }
    }

    /// Answers with zeros.
    struct Lazy;

    impl Target for Lazy {
        fn run(&self, loaded: &Loaded, inputs: &[Literal]) -> Result<Vec<Literal>, Failure> {
            let outputs = Solo.run(loaded, inputs)?;
            let zeros = outputs.iter().map(|output| {
                let bytes = vec![0; output.bytes().len()];
                Literal::new(output.dtype(), output.shape().to_vec(), bytes.into()).unwrap()
            });
            Ok(zeros.collect())
        }
    }

    #[test]
    fn every_family_finds_a_device_that_is_wrong() {
        for family in families() {
            let found = (0..12)
                .filter(|&seed| matches!(solve(family, seed, &Lazy), Outcome::Wrong(_)))
                .count();
            assert!(found >= 6, "{family}: only {found} of 12");
        }
    }
}
