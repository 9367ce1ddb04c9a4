//! The `sublet` command line: the only place that chooses devices and policies.

mod cli;
mod demo;
mod devices;
mod inspect;
mod load;
mod logging;
mod models;
mod progress;
mod run;
mod schedule;
mod serve;
mod shapes;
mod simulate;

use clap::Parser;
use cli::{Cli, Command};
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command {
        Command::Serve(options) => serve::main(options, &cli.logging),
        Command::Run(options) => {
            logging::init(&cli.logging, Some("warn")).and_then(|_| run::main(options))
        }
        Command::Inspect(options) => {
            logging::init(&cli.logging, Some("warn")).and_then(|_| inspect::main(&options))
        }
        Command::Models(options) => {
            logging::init(&cli.logging, Some("warn")).and_then(|_| models::main(options))
        }
        Command::Load(options) => {
            logging::init(&cli.logging, Some("warn")).and_then(|_| load::main(&options))
        }
        Command::Simulate(options) => {
            logging::init(&cli.logging, Some("warn")).and_then(|_| simulate::main(&options))
        }
        Command::Schedule(options) => {
            logging::init(&cli.logging, Some("warn")).and_then(|_| schedule::main(&options))
        }
        Command::Demo(options) => {
            logging::init(&cli.logging, Some("error")).and_then(|_| demo::main(options))
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sublet: {error:#}");
            ExitCode::FAILURE
        }
    }
}
