//! The soak: many models on two devices that hold a quarter of their bytes, with cancels, unloads and reloads mixed
//! in. Every output is compared, bit for bit, with the same request run warm and alone.

use crate::engines::{self, Served};
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use sublet_engine::{Engine, EngineError, ErrorKind, InferRequest, LoadOverride, NamedTensor};
use sublet_graph::Literal;

/// Models served; each exists in two variants that a reload switches between.
const MODELS: usize = 24;
/// Different requests per model and variant.
const INPUTS: usize = 6;
/// Requests under way at once.
const CLIENTS: usize = 12;
/// Longer than any request may take: one that takes longer is stuck.
const STUCK: Duration = Duration::from_secs(60);

/// A model of the soak.
struct Subject {
    name: String,
    /// The file's bytes, by variant.
    files: [Vec<u8>; 2],
    width: usize,
    square: bool,
    inputs: Vec<Literal>,
    /// Expected output by variant and input.
    expected: [Vec<Literal>; 2],
}

#[derive(Default)]
struct Counts {
    answered: AtomicU64,
    cancelled: AtomicU64,
    /// Refused because the model was unloaded at that moment.
    refused: AtomicU64,
    wrong: AtomicU64,
    failed: AtomicU64,
    reloads: AtomicU64,
    unloads: AtomicU64,
}

/// Runs the soak and prints its figures last.
pub fn run(requests: u64, seed: u64) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let mut subjects = subjects(seed);
    println!("computing what {} requests answer, warm and alone", subjects.len() * INPUTS * 2);
    for variant in 0..2 {
        expect(&mut subjects, variant, &scratch.path().join(format!("solo{variant}")))?;
    }
    let total: usize = subjects.iter().map(|subject| subject.files[0].len()).sum();
    let served = serve(&subjects, total, &scratch.path().join("soak"))?;
    println!(
        "serving {} models of {:.1} MiB from 2 devices of {:.1} MiB",
        subjects.len(),
        total as f64 / 1048576.0,
        total as f64 / 8.0 / 1048576.0
    );
    let counts = Counts::default();
    let repository = served.repository.clone();
    let issued = AtomicU64::new(0);
    let start = Instant::now();
    let resident = std::thread::scope(|scope| -> Result<(u64, u64)> {
        for client in 0..CLIENTS as u64 {
            let (engine, subjects, counts, issued) = (&served.engine, &subjects, &counts, &issued);
            scope.spawn(move || {
                let mut draw = fastrand::Rng::with_seed(seed ^ (client + 1) << 32);
                while issued.fetch_add(1, Ordering::Relaxed) < requests {
                    one_request(engine, subjects, counts, &mut draw);
                }
            });
        }
        let chaos = scope.spawn(|| {
            chaos(&served.engine, &subjects, &counts, &issued, requests, seed, &repository)
        });
        let mut warm = 0;
        while issued.load(Ordering::Relaxed) < requests {
            std::thread::sleep(Duration::from_millis(200));
            let done = issued.load(Ordering::Relaxed).min(requests);
            if warm == 0 && done >= requests / 4 {
                warm = engines::resident_bytes()?;
            }
            print!("\r{done} of {requests} requests, {} swap-ins ", served.swap_ins());
            std::io::Write::flush(&mut std::io::stdout())?;
        }
        chaos.join().expect("the thread that reloads does not panic")?;
        Ok((warm, engines::resident_bytes()?))
    })?;
    report(&served, &counts, resident, start.elapsed(), requests)
}

/// Perceptrons and convolutions of different sizes; the larger ones are several segments long.
fn subjects(seed: u64) -> Vec<Subject> {
    let mut draw = fastrand::Rng::with_seed(seed);
    (0..MODELS)
        .map(|index| {
            let square = index % 4 == 3;
            let width = if square { 64 } else { 192 + 64 * (index % 3) };
            let layers = 2 + index / 3 % 3;
            let file = |variant: u64| match square {
                true => {
                    sublet_catalog::convolutions(seed + index as u64 * 2 + variant, layers, width)
                }
                false => {
                    sublet_catalog::perceptron(seed + index as u64 * 2 + variant, layers, width)
                }
            };
            let shape = if square { vec![1, width, 16, 16] } else { vec![1, width] };
            let values = |draw: &mut fastrand::Rng| -> Vec<f32> {
                (0..shape.iter().product()).map(|_: usize| draw.f32() * 2.0 - 1.0).collect()
            };
            let inputs = (0..INPUTS).map(|_| Literal::f32(&shape, &values(&mut draw))).collect();
            Subject {
                name: format!("model-{index:02}"),
                files: [file(0), file(1)],
                width,
                square,
                inputs,
                expected: [Vec::new(), Vec::new()],
            }
        })
        .collect()
}

/// Fills in the expected outputs from an engine whose one device holds every model.
fn expect(subjects: &mut [Subject], variant: usize, folder: &Path) -> Result<()> {
    for subject in subjects.iter() {
        write_model(folder, subject, variant)?;
    }
    let served = engines::serve(folder, "cpu,memory=1GiB", &folder.with_extension("store"))?;
    for subject in subjects.iter_mut() {
        let name = subject.name.clone();
        for input in subject.inputs.clone() {
            // The first run is cold; the second is the reference.
            let _cold = infer(&served.engine, &name, &input)?;
            let warm = infer(&served.engine, &name, &input)?;
            subject.expected[variant].push(warm);
        }
    }
    served.engine.shutdown(Duration::from_secs(5));
    Ok(())
}

/// A perceptron or convolution in a folder of its own; every other one batches.
fn write_model(repository: &Path, subject: &Subject, variant: usize) -> Result<()> {
    let folder = repository.join(&subject.name);
    fs::create_dir_all(folder.join("1"))?;
    if subject.width.is_multiple_of(128) || subject.square {
        let dims = if subject.square {
            format!("[{}, 16, 16]", subject.width)
        } else {
            format!("[{}]", subject.width)
        };
        let out = if subject.square { format!("[{}, 1, 1]", subject.width) } else { dims.clone() };
        fs::write(
            folder.join("config.pbtxt"),
            format!(
                "platform: \"onnxruntime_onnx\"\nmax_batch_size: 8\n\
                 input [ {{ name: \"x\" data_type: TYPE_FP32 dims: {dims} }} ]\n\
                 output [ {{ name: \"y\" data_type: TYPE_FP32 dims: {out} }} ]\n\
                 dynamic_batching {{ max_queue_delay_microseconds: 500 }}\n"
            ),
        )?;
    }
    fs::write(folder.join("1/model.onnx"), &subject.files[variant])?;
    Ok(())
}

fn serve(subjects: &[Subject], total: usize, folder: &Path) -> Result<Served> {
    for subject in subjects {
        write_model(folder, subject, 0)?;
    }
    let device = format!("cpu,count=2,memory={},page=16KiB,link=2GB/s", total / 8);
    engines::serve(folder, &device, &folder.with_extension("store"))
}

fn infer(engine: &Engine, model: &str, input: &Literal) -> Result<Literal> {
    let response = engine.infer(request(model, input))?.wait()?;
    let output = response.outputs.into_iter().next().context("one output")?;
    Ok(output.tensor)
}

fn request(model: &str, input: &Literal) -> InferRequest {
    InferRequest {
        model: model.to_owned(),
        version: None,
        inputs: vec![NamedTensor { name: "x".to_owned(), tensor: input.clone() }],
        outputs: Vec::new(),
        priority: 0,
        timeout: None,
        slo: None,
    }
}

/// Sends one request; one in twenty is dropped at once, which cancels it.
fn one_request(engine: &Engine, subjects: &[Subject], counts: &Counts, draw: &mut fastrand::Rng) {
    // A few models are asked for often and most rarely, as in real traffic.
    let index = (draw.f64() * draw.f64() * subjects.len() as f64) as usize;
    let subject = &subjects[index];
    let input = draw.usize(..INPUTS);
    let sent = Instant::now();
    let pending = match engine.infer(request(&subject.name, &subject.inputs[input])) {
        Ok(pending) => pending,
        Err(error) => return note_error(&error, &subject.name, counts),
    };
    if draw.u32(..20) == 0 {
        drop(pending);
        counts.cancelled.fetch_add(1, Ordering::Relaxed);
        return;
    }
    match pending.wait() {
        Ok(response) => {
            let got = &response.outputs[0].tensor;
            if subject.expected.iter().any(|expected| expected[input] == *got) {
                counts.answered.fetch_add(1, Ordering::Relaxed);
            } else {
                counts.wrong.fetch_add(1, Ordering::Relaxed);
                eprintln!(
                    "\n{}: input {input} has another output than warm and alone",
                    subject.name
                );
            }
        }
        Err(error) => note_error(&error, &subject.name, counts),
    }
    if sent.elapsed() > STUCK {
        counts.failed.fetch_add(1, Ordering::Relaxed);
        eprintln!("\n{}: a request took {:?}", subject.name, sent.elapsed());
    }
}

fn note_error(error: &EngineError, model: &str, counts: &Counts) {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::Unavailable => {
            counts.refused.fetch_add(1, Ordering::Relaxed);
        }
        _ => {
            counts.failed.fetch_add(1, Ordering::Relaxed);
            eprintln!("\n{model}: {error}");
        }
    }
}

/// Every few hundred requests unloads and loads a model, or reloads one with its other variant, or tries to reload a
/// broken file, which must change nothing.
fn chaos(
    engine: &Engine,
    subjects: &[Subject],
    counts: &Counts,
    issued: &AtomicU64,
    requests: u64,
    seed: u64,
    repository: &Path,
) -> Result<()> {
    let mut draw = fastrand::Rng::with_seed(seed ^ 0xc4a05);
    let mut next = 0;
    while issued.load(Ordering::Relaxed) < requests {
        if issued.load(Ordering::Relaxed) < next {
            std::thread::sleep(Duration::from_millis(2));
            continue;
        }
        next = issued.load(Ordering::Relaxed) + 200;
        let subject = &subjects[draw.usize(..subjects.len())];
        match draw.u32(..4) {
            0 => {
                engine.unload(&subject.name)?;
                counts.unloads.fetch_add(1, Ordering::Relaxed);
                engine.load(&subject.name, LoadOverride::default())?;
            }
            1 => {
                fs::write(
                    repository.join(&subject.name).join("1/model.onnx"),
                    &subject.files[0][..1000],
                )?;
                let refused = engine.load(&subject.name, LoadOverride::default());
                ensure!(refused.is_err(), "a truncated model was loaded");
                write_model(repository, subject, 0)?;
            }
            variant => {
                write_model(repository, subject, variant as usize % 2)?;
                engine.load(&subject.name, LoadOverride::default())?;
                counts.reloads.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
    Ok(())
}

fn report(
    served: &Served,
    counts: &Counts,
    resident: (u64, u64),
    took: Duration,
    requests: u64,
) -> Result<()> {
    let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let swap_ins = served.swap_ins();
    let pending: u64 =
        served.engine.statistics(None, None)?.iter().map(|model| model.pending).sum();
    served.engine.shutdown(Duration::from_secs(10));
    let growth = (resident.1 as f64 / resident.0 as f64 - 1.0) * 100.0;
    println!(
        "\n{swap_ins} swap-ins, {} reloads, {} unloads in {:.1} s ({:.0} requests/s)",
        get(&counts.reloads),
        get(&counts.unloads),
        took.as_secs_f64(),
        requests as f64 / took.as_secs_f64()
    );
    println!(
        "resident set {:.1} MiB after a quarter, {:.1} MiB at the end ({growth:+.1} %)",
        resident.0 as f64 / 1048576.0,
        resident.1 as f64 / 1048576.0
    );
    let (answered, wrong, failed) =
        (get(&counts.answered), get(&counts.wrong), get(&counts.failed));
    println!(
        "soak: requests {requests} answered {answered} cancelled {} refused {} wrong {wrong} failed {failed} pending {pending} growth {growth:+.1} %",
        get(&counts.cancelled),
        get(&counts.refused)
    );
    let ended = answered + wrong + failed + get(&counts.cancelled) + get(&counts.refused);
    if wrong + failed + pending > 0 || ended != requests || answered < requests / 2 {
        bail!("{wrong} wrong, {failed} failed, {pending} pending, {ended} of {requests} ended");
    }
    ensure!(growth < 10.0, "the resident set grew by {growth:.1} %");
    Ok(())
}
