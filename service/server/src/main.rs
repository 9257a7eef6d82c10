//! The `counterfoil` program.

use clap::{Parser, Subcommand};
use counterfoil::app::App;
use counterfoil::clock::Clock;
use counterfoil::config::{Config, LogFormat};
use counterfoil::http::{api, edge};
use counterfoil::init::{Printed, init};
use counterfoil::postgres::connect::Database;
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// An event-sourced, multi-tenant token service.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The configuration file; without it ./counterfoil.yaml, if there is one.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Subcommands,
}

#[derive(Subcommand)]
enum Subcommands {
    /// Serve until a signal; a second signal ends at once.
    Serve,
    /// Make the first organization, its owner and its gateway, and print their credentials once.
    Init {
        /// The organization's name.
        #[arg(long)]
        organization: String,
        /// The owner's e-mail address.
        #[arg(long)]
        owner: String,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Make the roles and tables of the database.
    Migrate,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("counterfoil: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    let config = Config::load(arguments.config.as_deref(), std::env::vars())?;
    logs(&config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match arguments.command {
            Subcommands::Serve => serve(&config).await,
            Subcommands::Init { organization, owner, json } => {
                let printed = with_database(&config, async |database| {
                    Ok(init(database, &Clock::system(), &organization, &owner, None).await?)
                })
                .await?;
                print(&printed, json)
            }
            Subcommands::Migrate => with_database(&config, async |_| Ok(())).await,
        }
    })
}

/// Logs go to standard error: standard output is for documents.
fn logs(config: &Config) -> Result<(), Box<dyn Error>> {
    let filter =
        EnvFilter::try_new(&config.log.level).map_err(|error| format!("log.level is wrong: {error}"))?;
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match config.log.format {
        LogFormat::Text => logs.init(),
        LogFormat::Json => logs.json().init(),
    }
    Ok(())
}

fn say(sentence: &str) {
    eprintln!("counterfoil: {sentence}");
}

/// Does something with the database, and gives the private cluster up whatever came of it.
async fn with_database<T>(
    config: &Config,
    work: impl AsyncFnOnce(&Database) -> Result<T, Box<dyn Error>>,
) -> Result<T, Box<dyn Error>> {
    let database = Database::open(config.database_url.as_deref(), &config.data_dir, &say).await?;
    let result = work(&database).await;
    database.pool.close().await;
    if let Some(cluster) = database.private {
        cluster.leave(&say).await?;
    }
    result
}

#[expect(clippy::print_stdout, reason = "the credentials are this command's output")]
fn print(printed: &Printed, json: bool) -> Result<(), Box<dyn Error>> {
    if json {
        println!("{}", serde_json::to_string(printed)?);
        return Ok(());
    }
    println!("organization  {} ({})", printed.organization.name, printed.organization.id);
    println!("owner         {}", printed.owner.email);
    println!("password      {}", printed.owner.password);
    println!("token         {}   (24 hours)", printed.owner.token);
    println!("gateway       {}", printed.gateway.client_id);
    println!("secret        {}", printed.gateway.client_secret);
    println!("None of this is shown again.");
    Ok(())
}

async fn serve(config: &Config) -> Result<(), Box<dyn Error>> {
    // Before anything is started: a taken port should cost nothing.
    let taken = |error| {
        format!("api.addr {} cannot be listened on: {error}; set api.addr to a free one", config.api.addr)
    };
    let listener = TcpListener::bind(config.api.addr).await.map_err(taken)?;
    with_database(config, async move |database| {
        let clock = Clock::system();
        let (app, writer) = App::start(config, database, clock.clone(), None, &say).await?;
        say(&format!("serving on http://{}", listener.local_addr()?));
        let (drain, draining) = watch::channel(false);
        let bounds = edge::Bounds::new(config.limits.connections, config.limits.requests);
        let mut edge = tokio::spawn(edge::serve(listener, api(app.clone()), clock, bounds, draining));
        signalled().await?;
        say("stopping: requests under way are answered first");
        drain.send_replace(true);
        tokio::select! {
            _ = &mut edge => {}
            again = signalled() => {
                again?;
                edge.abort();
            }
        }
        // The writer ends once nobody can hand it commands any more.
        drop(app);
        let _ = tokio::time::timeout(edge::DRAIN, writer).await;
        Ok(())
    })
    .await
}

/// Waits for SIGINT or SIGTERM.
async fn signalled() -> Result<(), std::io::Error> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}
