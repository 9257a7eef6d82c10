//! `counterfoil psql`.

use super::{leave, or_signalled, say};
use counterfoil::config::Config;
use counterfoil::postgres::connect::PRIVATE_DATABASE;
use counterfoil::postgres::private::{PrivateCluster, PrivateError};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::error::Error;
use std::ffi::OsString;
use std::process::{ExitCode, ExitStatus};
use std::time::Duration;
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What psql is given, such as -c 'SELECT count(*) FROM events'; without any it asks on the terminal.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    arguments: Vec<OsString>,
}

/// How long psql has to set the terminal right, once it is asked to end.
const FAREWELL: Duration = Duration::from_secs(2);

/// Returns psql's own exit code.
pub(crate) async fn run(config: &Config, arguments: &Arguments) -> Result<ExitCode, Box<dyn Error>> {
    if config.database_url.is_some() {
        return Err("this is for the private cluster, and database_url (DATABASE_URL) names another database: give that address to psql itself".into());
    }
    let cluster = tokio::select! {
        entered = PrivateCluster::enter_existing(&config.data_dir, &say) => entered?,
        stopped = or_signalled() => stopped?,
    };
    let ended = until_it_ends(cluster.psql(PRIVATE_DATABASE), arguments).await;
    leave(cluster).await?;
    match ended?.code().and_then(|code| u8::try_from(code).ok()) {
        Some(code) => Ok(code.into()),
        None => Err("psql was ended by a signal".into()),
    }
}

/// Ctrl-C is for psql, which ends a statement by it; what is meant to end this program ends psql with it.
async fn until_it_ends(mut psql: Command, arguments: &Arguments) -> Result<ExitStatus, Box<dyn Error>> {
    let (mut terminate, mut hangup) = (signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
    let _interrupt = signal(SignalKind::interrupt())?;
    let no_psql = |error| PrivateError::Program { program: "psql", detail: format!("{error}") };
    let mut child = psql.args(&arguments.arguments).kill_on_drop(true).spawn().map_err(no_psql)?;
    tokio::select! {
        ended = child.wait() => return Ok(ended?),
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
    if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    }
    let _ = timeout(FAREWELL, child.wait()).await;
    Err("stopped by a signal before psql ended".into())
}
