//! `counterfoil psql`.

use super::{or_signalled, say};
use counterfoil::config::Config;
use counterfoil::postgres::connect::PRIVATE_DATABASE;
use counterfoil::postgres::private::{PrivateCluster, PrivateError, exists};
use std::error::Error;
use std::ffi::OsString;
use std::process::ExitStatus;
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What psql is given, such as -c 'SELECT count(*) FROM events'; without any it asks on the terminal.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    arguments: Vec<OsString>,
}

pub(crate) async fn run(config: &Config, arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    if config.database_url.is_some() {
        return Err(r#"this is for the private cluster, and DATABASE_URL names another database: psql "$DATABASE_URL" reaches that"#.into());
    }
    if !exists(&config.data_dir)? {
        return Err("there is no private PostgreSQL cluster yet: `counterfoil serve` makes it".into());
    }
    let cluster = tokio::select! {
        entered = PrivateCluster::enter(&config.data_dir, &say) => entered?,
        stopped = or_signalled() => stopped?,
    };
    let ended = until_it_ends(cluster.psql(PRIVATE_DATABASE), arguments).await;
    cluster.leave(&say).await?;
    match ended? {
        status if status.success() => Ok(()),
        status => Err(format!("psql: {status}").into()),
    }
}

/// Ctrl-C is for psql, which ends a statement by it; what is meant to end this program ends psql with it.
async fn until_it_ends(mut psql: Command, arguments: &Arguments) -> Result<ExitStatus, Box<dyn Error>> {
    let (mut terminate, mut hangup) = (signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
    let _interrupt = signal(SignalKind::interrupt())?;
    let no_psql = |error| PrivateError::Program { program: "psql", detail: format!("{error}") };
    let mut child = psql.args(&arguments.arguments).kill_on_drop(true).spawn().map_err(no_psql)?;
    tokio::select! {
        ended = child.wait() => Ok(ended?),
        _ = terminate.recv() => Err("stopped by a signal before psql ended".into()),
        _ = hangup.recv() => Err("stopped by a signal before psql ended".into()),
    }
}
