//! The `counterfoil` program.

mod cli;

use clap::{Parser, Subcommand};
use counterfoil::config::Config;
use counterfoil::ops::telemetry;
use nix::sys::prctl::set_dumpable;
use nix::sys::resource::{Resource, setrlimit};
use std::error::Error;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

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
    Serve(cli::serve::Arguments),
    /// Make the first organization, its owner and its gateway, and print their credentials once.
    Init(cli::init::Arguments),
    /// Fold the whole log anew and compare everything with it; exit code 1 if anything differs.
    Verify(cli::verify::Arguments),
    /// Write every derived table anew, as the log says, while nobody serves.
    Rebuild(cli::rebuild::Arguments),
    /// Print which tokens were live at a moment, by the log alone.
    Replay(cli::replay::Arguments),
    /// Look at everything that the service stands on; exit code 1 if something is wrong.
    Doctor(cli::doctor::Arguments),
    /// Run PostgreSQL's psql on the private cluster, which is started for it if it does not run.
    Psql(cli::psql::Arguments),
    /// Set a user's password again and end the user's sessions, whether or not the service is running.
    Password(cli::password::Arguments),
    /// Print the API's document (OpenAPI 3.1): `counterfoil openapi > api.yaml`.
    Openapi,
    /// Make the roles and tables of the database, as DATABASE_MIGRATE_URL if there is one, and leave it to `serve`.
    Migrate,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // A core file would hold plaintexts. The limit is not asked where a program takes cores in; who is not dumpable leaves
    // none anywhere, and is closed to debuggers of its own user.
    let _ = (setrlimit(Resource::RLIMIT_CORE, 0, 0), set_dumpable(false));
    match run(arguments) {
        Ok(code) => code,
        Err(error) => {
            cli::fail(error.as_ref());
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<ExitCode, Box<dyn Error>> {
    // What the program says of itself depends on no configuration.
    if matches!(arguments.command, Subcommands::Openapi) {
        cli::openapi::run()?;
        return Ok(ExitCode::SUCCESS);
    }
    let config = Config::load(arguments.config.as_deref(), std::env::vars_os())?;
    telemetry::start(&config.log)?;
    if config.database_url.is_none() {
        without_postgres_variables()?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match arguments.command {
            Subcommands::Serve(arguments) => cli::serve::run(&config, &arguments).await,
            Subcommands::Init(arguments) => cli::init::run(&config, &arguments).await,
            Subcommands::Verify(arguments) => cli::verify::run(&config, &arguments).await,
            Subcommands::Rebuild(arguments) => cli::rebuild::run(&config, &arguments).await,
            Subcommands::Replay(arguments) => cli::replay::run(&config, &arguments).await,
            Subcommands::Doctor(arguments) => cli::doctor::run(&config, &arguments).await,
            Subcommands::Psql(arguments) => return cli::psql::run(&config, &arguments).await,
            Subcommands::Password(arguments) => cli::password::run(&config, &arguments).await,
            Subcommands::Openapi => cli::openapi::run(),
            Subcommands::Migrate => cli::migrate::run(&config).await,
        }?;
        Ok(ExitCode::SUCCESS)
    })
}

/// Becomes this program again without the operator's `PG*` variables, which are about other servers: the driver reads
/// some of them, and `PGOPTIONS` cannot be taken back later.
fn without_postgres_variables() -> Result<(), Box<dyn Error>> {
    let given: Vec<_> =
        std::env::vars_os().map(|(name, _)| name).filter(|name| name.as_bytes().starts_with(b"PG")).collect();
    if given.is_empty() {
        return Ok(());
    }
    let mut again = Command::new(std::env::current_exe()?);
    again.args(std::env::args_os().skip(1));
    for name in given {
        again.env_remove(name);
    }
    Err(again.exec().into())
}
