//! A second node on the database of a service, behind a line of its own.

use super::tap::Tap;
use super::{Service, Serving};
use counterfoil::app::App;
use counterfoil::clock::Clock;
use counterfoil::postgres::connect::Database;

/// See the module. End it with [`Second::stop`], before the service whose database it is.
pub(crate) struct Second {
    /// Its line.
    pub(crate) tap: Tap,
    serving: Serving,
}

impl Service {
    /// Starts one. That takes until the lock is lost here, and the moment for which a node waits then.
    pub(crate) async fn second(&self) -> Second {
        let tap = Tap::before(self.database.private.as_ref().unwrap().socket_dir());
        let options = self.database.options.clone().socket(tap.socket_dir());
        let pool = self.database.pool.options().clone().connect_lazy_with(options.clone());
        let database = Database { options, pool, private: None };
        let faults = Some(tap.hook());
        let serving = Serving::start(&self.config, &database, &Clock::system(), faults, |edge| edge).await;
        Second { tap, serving }
    }
}

impl Second {
    /// Where it listens.
    pub(crate) fn base(&self) -> &str {
        &self.serving.base
    }

    /// What handlers share.
    pub(crate) fn app(&self) -> &App {
        &self.serving.app
    }

    /// Stops it.
    pub(crate) async fn stop(self) {
        self.serving.stop().await;
    }
}
