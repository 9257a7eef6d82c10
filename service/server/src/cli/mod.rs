//! The subcommands: what each takes, does and prints.

pub(crate) mod init;
mod progress;
pub(crate) mod replay;
pub(crate) mod serve;
mod tour;
pub(crate) mod verify;

use counterfoil::config::Config;
use counterfoil::postgres::connect::Database;
use std::error::Error;
use std::io::Write;
use std::time::Duration;

/// Tells whoever started the program how it is getting on. Standard output is for documents.
pub(crate) fn say(sentence: &str) {
    eprintln!("counterfoil: {sentence}");
}

/// Writes to standard output. Whoever reads it may have read enough.
pub(crate) fn document(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// How long the pool may take to close its connections.
const CLOSE: Duration = Duration::from_secs(1);

/// Does something with the database, and gives the private cluster up whatever came of it.
pub(crate) async fn with_database<T>(
    config: &Config,
    work: impl AsyncFnOnce(&Database) -> Result<T, Box<dyn Error>>,
) -> Result<T, Box<dyn Error>> {
    let database = Database::open(config.database_url.as_deref(), &config.data_dir, &say).await?;
    let result = work(&database).await;
    // A connection that is still at work is not waited for.
    let _ = tokio::time::timeout(CLOSE, database.pool.close()).await;
    if let Some(cluster) = database.private {
        cluster.leave(&say).await?;
    }
    result
}
