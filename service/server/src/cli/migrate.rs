//! `counterfoil migrate`.

use super::{or_signalled, say};
use counterfoil::config::Config;
use counterfoil::postgres::connect::Database;
use std::error::Error;

pub(crate) async fn run(config: &Config) -> Result<(), Box<dyn Error>> {
    let roles = tokio::select! {
        migrated = Database::migrate(config, &say) => migrated?,
        stopped = or_signalled() => stopped?,
    };
    say(&format!("the database is migrated: {roles}"));
    Ok(())
}
