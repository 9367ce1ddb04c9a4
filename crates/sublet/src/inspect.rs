//! `sublet inspect`: what a model is made of, and what a swap-in costs.

use crate::cli::Inspect;
use crate::{models, shapes};
use anyhow::{Context, Result, anyhow};
use std::collections::BTreeMap;
use std::sync::Arc;
use sublet_device_cpu::Evaluator;
use sublet_engine::{InspectOptions, Inspection, inspect};
use sublet_plan::LoadEstimate;
use sublet_units::Bytes;

/// Lines shown of the graph and of the plan, unless all are wanted.
const LINES: usize = 12;

pub fn main(options: &Inspect) -> Result<()> {
    let link: Bytes = options
        .link
        .trim_end_matches("/s")
        .parse()
        .map_err(|error| anyhow!("{error}"))
        .with_context(|| format!("--link {}", options.link))?;
    let path = models::resolve(&options.model)?;
    let wanted = InspectOptions {
        repositories: Vec::new(),
        version: None,
        shapes: shapes::parse(&options.shape)?,
        model_bytes_max: Bytes::from_gib(64),
    };
    let spinner = crate::progress::spinner(format!("importing {}", path.display()));
    let inspection = inspect(&path.to_string_lossy(), &wanted, Arc::new(Evaluator));
    spinner.finish_and_clear();
    show(&inspection?, link.0, options.all);
    Ok(())
}

fn show(inspection: &Inspection, link_rate: u64, all: bool) {
    let layout = &inspection.layout;
    println!("model     {} ({})", inspection.name, inspection.platform);
    for (name, value) in &inspection.properties {
        let line: String =
            value.chars().take(60).map(|c| if c.is_control() { ' ' } else { c }).collect();
        println!("property  {name}: {line}");
    }
    println!("rewrites  {}", inspection.report);
    let mut operators = BTreeMap::new();
    for node in &inspection.graph.nodes {
        let name = node.op.to_string();
        let name = name.split([' ', '{', '(']).next().unwrap_or_default().to_owned();
        *operators.entry(name).or_insert(0) += 1;
    }
    let operators: Vec<_> =
        operators.iter().map(|(name, count)| format!("{count} {name}")).collect();
    println!("graph     {}", operators.join(", "));
    lines(&inspection.graph.to_string(), all);
    println!("weights   {} in {} tensors", layout.bytes, layout.weights.len());
    match &inspection.plan {
        Ok(plan) => {
            let shapes: Vec<_> = inspection
                .shapes
                .iter()
                .map(|(name, shape)| format!("{name} {}", shapes::show(shape)))
                .collect();
            println!(
                "plan      for {}: arena {}",
                shapes.join(", "),
                Bytes::from(plan.arena_bytes)
            );
            lines(&plan.to_string(), all);
        }
        Err(error) => println!(
            "plan      none for these shapes: {error}\n          give others with --shape NAME=1x3x224x224"
        ),
    }
    let estimate = LoadEstimate::new(layout, link_rate);
    println!("segments  {:>4} {:>12} {:>14}", "#", "bytes", "arrives after");
    for (index, segment) in estimate.segments.iter().enumerate() {
        println!(
            "          {index:>4} {:>12} {:>14}",
            segment.bytes.to_string(),
            segment.arrives.to_string()
        );
    }
    println!("swap-in   {} in {} at {}/s", layout.bytes, estimate.total, Bytes(link_rate));
}

fn lines(text: &str, all: bool) {
    let count = text.lines().count();
    let shown = if all { count } else { LINES };
    text.lines().take(shown).for_each(|line| println!("          {line}"));
    if count > shown {
        println!("          … {} more (--all shows them)", count - shown);
    }
}
