//! Before the load: what each model takes, its requests, and a warm-up.

use super::body::Body;
use super::describe::Client;
use super::inputs::InputSpec;
use super::options::{Encoding, Load};
use super::target::{Protocol, Target};
use crate::shapes;
use anyhow::{Context, Result, bail};
use sublet_workload::Draw;

/// The requests for each model of `options`, after each was asked as often as the warm-up wants.
pub fn prepare(options: &Load, target: &Target) -> Result<Vec<Vec<Body>>> {
    requests(options, target).with_context(|| target.name.clone())
}

fn requests(options: &Load, target: &Target) -> Result<Vec<Vec<Body>>> {
    let mut client = Client::new(target, options.timeout.into());
    let binary = match (options.encoding, target.protocol) {
        (Encoding::Auto, Protocol::Http) => client.takes_binary()?,
        (encoding, _) => encoding == Encoding::Binary,
    };
    let mut all = Vec::new();
    for (index, model) in options.model.iter().enumerate() {
        let specs = specs(options, &mut client, model)?;
        // A stream of its own per model: another model changes none of its inputs.
        let mut draw = Draw::new(options.seed, u64::MAX - index as u64);
        let slo = options.slo.filter(|_| options.tell_slo);
        let mut bodies = Vec::new();
        for _ in 0..options.bodies.max(1) {
            let inputs =
                specs.iter().map(|spec| spec.fill(&mut draw)).collect::<Result<Vec<_>>>()?;
            bodies.push(Body::new(target, model, &inputs, slo, binary)?);
        }
        for turn in 0..options.warmup {
            let asked = client.infer(&bodies[turn % bodies.len()]);
            asked.with_context(|| format!("warming up {model}"))?;
        }
        all.push(bodies);
    }
    Ok(all)
}

/// The inputs of one model: as stated, or as the server describes them.
fn specs(options: &Load, client: &mut Client<'_>, model: &str) -> Result<Vec<InputSpec>> {
    if !options.input.is_empty() {
        return options.input.iter().map(|text| InputSpec::parse(text)).collect();
    }
    let specs = client.inputs(model, &shapes::parse(&options.shape)?)?;
    if specs.is_empty() {
        bail!("the server does not say what {model} takes: state it with --input NAME=TYPE:SHAPE");
    }
    Ok(specs)
}
