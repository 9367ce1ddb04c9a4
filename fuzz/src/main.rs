//! A seeded smoke run of every target on the stable toolchain: seeds, and mutations of them.

use clap::Parser;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use sublet_fuzz::{TARGETS, run, seeds};

#[derive(Parser)]
struct Cli {
    /// Inputs per target
    #[arg(long, default_value_t = 20_000)]
    runs: u64,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only this target
    #[arg(long)]
    target: Option<String>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut failures = 0;
    let mut inputs = 0;
    for target in TARGETS
        .into_iter()
        .filter(|name| cli.target.as_deref().is_none_or(|wanted| wanted == *name))
    {
        let seeds = seeds(target);
        let mut draw = fastrand::Rng::with_seed(cli.seed);
        for index in 0..cli.runs {
            let mut input = seeds[draw.usize(..seeds.len())].clone();
            if index >= seeds.len() as u64 {
                mutate(&mut input, &seeds, &mut draw);
            }
            inputs += 1;
            if catch_unwind(AssertUnwindSafe(|| run(target, &input))).is_err() {
                failures += 1;
                eprintln!("{target}: seed {} input {index}: {input:02x?}", cli.seed);
            }
        }
    }
    println!("fuzz smoke: targets {} inputs {inputs} failures {failures}", TARGETS.len());
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A few random edits: bits, bytes, interesting numbers, cuts, repeats, and pieces of other seeds.
fn mutate(input: &mut Vec<u8>, seeds: &[Vec<u8>], draw: &mut fastrand::Rng) {
    for _ in 0..1 + draw.u32(..6) {
        if input.is_empty() {
            input.push(draw.u8(..));
        }
        let at = draw.usize(..input.len());
        match draw.u32(..8) {
            0 => input[at] ^= 1 << draw.u32(..8),
            1 => input[at] = draw.u8(..),
            2 => input[at] = [0, 1, 0x7f, 0x80, 0xff, b'{', b'[', b'"'][draw.usize(..8)],
            3 => input.truncate(at),
            4 => {
                let end = (at + draw.usize(1..64)).min(input.len());
                input.drain(at..end);
            }
            5 => {
                let end = (at + draw.usize(1..64)).min(input.len());
                let piece = input[at..end].repeat(draw.usize(1..8));
                input.splice(at..at, piece);
            }
            6 => {
                let number =
                    [u64::MAX, i64::MAX as u64, 1 << 31, 1 << 32, 0][draw.usize(..5)].to_le_bytes();
                let end = (at + 8).min(input.len());
                input[at..end].copy_from_slice(&number[..end - at]);
            }
            _ => {
                let other = &seeds[draw.usize(..seeds.len())];
                let from = draw.usize(..other.len());
                let end = (from + draw.usize(1..128)).min(other.len());
                input.splice(at..at, other[from..end].iter().copied());
            }
        }
    }
}
