//! The subcommands: what each takes, does and prints.

pub(crate) mod doctor;
mod downloads;
pub(crate) mod init;
pub(crate) mod migrate;
pub(crate) mod openapi;
pub(crate) mod password;
mod progress;
pub(crate) mod psql;
pub(crate) mod rebuild;
pub(crate) mod replay;
pub(crate) mod serve;
mod tour;
pub(crate) mod verify;

use counterfoil::config::Config;
use counterfoil::ops::telemetry;
use counterfoil::passwords::Password;
use counterfoil::postgres::connect::{Database, DatabaseError};
use counterfoil::postgres::private::PrivateCluster;
use serde::Serialize;
use std::error::Error;
use std::fmt::Display;
use std::io::{BufWriter, ErrorKind, Read, Write};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Tells whoever started the program how it is getting on. Standard output is for documents. Nobody may be listening
/// any more: `eprintln!` would panic then. Where each line of the log is a document, this is one.
pub(crate) fn say(sentence: &str) {
    if telemetry::is_json() {
        tracing::info!("{sentence}");
    } else {
        let _ = writeln!(std::io::stderr(), "counterfoil: {sentence}");
    }
}

/// Tells why the program ends.
pub(crate) fn fail(error: &dyn Error) {
    if telemetry::is_json() {
        tracing::error!("{error}");
    } else {
        say(&error.to_string());
    }
}

/// Writes to standard output. Whoever reads it may have read enough.
pub(crate) fn document(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Prints a document that may be large: what is written is not kept.
///
/// # Errors
/// It could not be written. That whoever reads it has enough is none.
pub(crate) fn json(document: &impl Serialize) -> std::io::Result<()> {
    printed(|output| {
        serde_json::to_writer(&mut *output, document)?;
        writeln!(output)
    })
}

/// Prints lines, of which nobody may take the lack for a good sign.
///
/// # Errors
/// As of [`json`].
pub(crate) fn documents(mut lines: impl Iterator<Item = impl Display>) -> std::io::Result<()> {
    printed(|output| lines.try_for_each(|line| writeln!(output, "{line}")))
}

fn printed(write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> std::io::Result<()> {
    let mut output = BufWriter::with_capacity(1 << 16, std::io::stdout().lock());
    match write(&mut output).and_then(|()| output.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

/// Shows what is shown once. Where it cannot be shown, the error says what to do.
pub(crate) fn show(text: &str, otherwise: &str) -> Result<(), Box<dyn Error>> {
    let mut output = std::io::stdout().lock();
    let shown = writeln!(output, "{}", text.trim_end()).and_then(|()| output.flush());
    shown.map_err(|error| format!("what was made cannot be shown ({error}). {otherwise}").into())
}

/// How long the pool may take to close its connections.
const CLOSE: Duration = Duration::from_secs(1);

/// Does something with the database that is there, and gives the private cluster up whatever came of it. A signal ends the
/// work, unless that is just done.
pub(crate) async fn with_database<T>(
    config: &Config,
    work: impl AsyncFnOnce(&Database) -> Result<T, Box<dyn Error>>,
) -> Result<T, Box<dyn Error>> {
    with_opened(Database::existing(config, &say), until_signalled(work)).await
}

/// The same with a database that is made and migrated first, where it has to be.
pub(crate) async fn with_made_database<T>(
    config: &Config,
    work: impl AsyncFnOnce(&Database) -> Result<T, Box<dyn Error>>,
) -> Result<T, Box<dyn Error>> {
    with_opened(Database::configured(config, &say), until_signalled(work)).await
}

/// The same for work that heeds signals itself, and for whoever is to be told how the start is getting on. Signals end the
/// wait for the database.
pub(crate) async fn with_database_until<T>(
    config: &Config,
    tell: &(dyn Fn(&str) + Send + Sync),
    work: impl AsyncFnOnce(&Database) -> Result<T, Box<dyn Error>>,
) -> Result<T, Box<dyn Error>> {
    with_opened(Database::configured(config, tell), work).await
}

/// Work that a signal ends.
fn until_signalled<T>(
    work: impl AsyncFnOnce(&Database) -> Result<T, Box<dyn Error>>,
) -> impl AsyncFnOnce(&Database) -> Result<T, Box<dyn Error>> {
    async |database: &Database| {
        tokio::select! {
            biased;
            done = work(database) => done,
            stopped = or_signalled() => stopped,
        }
    }
}

async fn with_opened<T>(
    open: impl Future<Output = Result<Database, DatabaseError>>,
    work: impl AsyncFnOnce(&Database) -> Result<T, Box<dyn Error>>,
) -> Result<T, Box<dyn Error>> {
    let database = tokio::select! {
        opened = open => opened?,
        stopped = or_signalled() => stopped?,
    };
    let result = work(&database).await;
    // A connection that is still at work is not waited for.
    let _ = tokio::time::timeout(CLOSE, database.pool.close()).await;
    if let Some(cluster) = database.private {
        leave(cluster).await?;
    }
    result
}

/// Gives the private cluster up. A signal ends the wait for it.
pub(crate) async fn leave(cluster: PrivateCluster) -> Result<(), Box<dyn Error>> {
    tokio::select! {
        left = cluster.leave(&say) => left?,
        again = signalled() => {
            again?;
            say("the private PostgreSQL is not waited for any more; what it was asked to do, it does");
        }
    }
    Ok(())
}

/// Waits for SIGINT or SIGTERM, or for the terminal to be closed.
pub(crate) async fn signalled() -> Result<(), std::io::Error> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
    Ok(())
}

/// The same as an error, for what a signal cuts short.
pub(crate) async fn or_signalled<T>() -> Result<T, Box<dyn Error>> {
    signalled().await?;
    Err("stopped by a signal before it was done".into())
}

/// Bytes that are read of standard input, which no password has.
const MOST: u64 = 64 * 1024;

/// Reads a password from standard input: one line, whatever its end, with or without a byte order mark.
pub(crate) fn password_from_stdin() -> Result<Password, Box<dyn Error>> {
    let wrong = |what: &dyn Display| format!("the password from standard input: {what}");
    let mut read = Vec::new();
    std::io::stdin().lock().take(MOST).read_to_end(&mut read).map_err(|error| wrong(&error))?;
    let text = if read.len() as u64 == MOST {
        // It may be cut amid a character; what is wrong with it is its length.
        String::from_utf8_lossy(&read).into_owned()
    } else {
        String::from_utf8(read).map_err(|_| wrong(&"it is not UTF-8"))?
    };
    let line = text.trim_start_matches('\u{feff}').trim_end_matches(['\r', '\n']);
    Ok(Password::chosen(line.into()).map_err(|what| wrong(&what))?)
}
