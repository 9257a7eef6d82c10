//! The benchmark behind `make bench`: the binary that users run, against its baselines, in the same run.
//!
//! Closed loops are driven by wrk; open loops, which wrk has not, by [`open_loop`]. Reading order: [`mod@bench`], then one
//! file per kind of measurement.

#![allow(clippy::print_stdout, reason = "the table is this program's output")]

mod baseline;
mod bench;
mod issues;
mod open_loop;
mod plot;
mod report;
mod requests;
mod seed;
mod service;
mod sizes;
mod under_load;
mod wrk;

use clap::{Parser, Subcommand};
use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;

/// The allocator of the service, so that the baseline differs from it in nothing else.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Errors end the benchmark: half a table would be read as a whole one.
type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Subcommands,
}

#[derive(Subcommand)]
enum Subcommands {
    /// Measure, print the table, and write it as text and JSON, with a plot, to `--results`.
    Bench(bench::Arguments),
    /// The axum server that reads a body and answers a fixed one.
    Baseline {
        /// Where it listens.
        #[arg(long)]
        addr: SocketAddr,
        /// A file with the body that it answers.
        #[arg(long)]
        answer: PathBuf,
    },
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match arguments.command {
            Subcommands::Bench(arguments) => bench::run(&arguments).await,
            Subcommands::Baseline { addr, answer } => baseline::serve(addr, std::fs::read(answer)?).await,
        }
    })
}
