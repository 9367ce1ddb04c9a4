//! Before the load: what each model takes, its requests, and a warm-up.

use super::body::Body;
use super::grpc::GrpcLane;
use super::http::HttpConnection;
use super::inputs::InputSpec;
use super::options::{Encoding, Load};
use super::target::{Protocol, Target};
use crate::shapes;
use anyhow::{Context, Result, anyhow, bail};
use sublet_workload::Draw;

/// The requests for each model of `options`, after each was asked as often as the warm-up wants.
pub fn prepare(options: &Load, target: &Target) -> Result<Vec<Vec<Body>>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(requests(options, target)).with_context(|| target.name.clone())
}

async fn requests(options: &Load, target: &Target) -> Result<Vec<Vec<Body>>> {
    let mut http = match target.protocol {
        Protocol::Http => Some(HttpConnection::open(target).await.map_err(|f| anyhow!("{f}"))?),
        Protocol::Grpc => None,
    };
    let binary = match (options.encoding, &mut http) {
        (Encoding::Auto, Some(http)) => http.takes_binary().await?,
        (encoding, _) => encoding == Encoding::Binary,
    };
    let mut all = Vec::new();
    for (index, model) in options.model.iter().enumerate() {
        let specs = specs(options, target, http.as_mut(), model).await?;
        // A stream of its own per model: another model changes none of its inputs.
        let mut draw = Draw::new(options.seed, u64::MAX - index as u64);
        let slo = options.slo.filter(|_| options.tell_slo);
        let mut bodies = Vec::new();
        for _ in 0..options.bodies.max(1) {
            let inputs =
                specs.iter().map(|spec| spec.fill(&mut draw)).collect::<Result<Vec<_>>>()?;
            bodies.push(Body::new(target, model, &inputs, slo, binary)?);
        }
        warm_up(options, target, http.as_mut(), &bodies)
            .await
            .with_context(|| format!("warming up {model}"))?;
        all.push(bodies);
    }
    Ok(all)
}

/// The inputs of one model: as stated, or as the server describes them.
async fn specs(
    options: &Load,
    target: &Target,
    http: Option<&mut HttpConnection>,
    model: &str,
) -> Result<Vec<InputSpec>> {
    if !options.input.is_empty() {
        return options.input.iter().map(|text| InputSpec::parse(text)).collect();
    }
    let shapes = shapes::parse(&options.shape)?;
    let specs = match http {
        Some(http) => http.inputs(model, &shapes).await?,
        None => GrpcLane::inputs(target, model, &shapes).await?,
    };
    if specs.is_empty() {
        bail!("the server does not say what {model} takes: state it with --input NAME=TYPE:SHAPE");
    }
    Ok(specs)
}

async fn warm_up(
    options: &Load,
    target: &Target,
    http: Option<&mut HttpConnection>,
    bodies: &[Body],
) -> Result<()> {
    let turns = (0..options.warmup).map(|turn| &bodies[turn % bodies.len()]);
    match http {
        Some(http) => {
            for body in turns {
                http.infer(body).await.map_err(|failure| anyhow!("{failure}"))?;
            }
        }
        None => {
            let mut lane = GrpcLane::open(target).await.map_err(|failure| anyhow!("{failure}"))?;
            for body in turns {
                lane.infer(body).await.map_err(|failure| anyhow!("{failure}"))?;
            }
        }
    }
    Ok(())
}
