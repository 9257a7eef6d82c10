//! Reading events: streams that are open, a few of each user and not too many in all, and pages that are read.
//!
//! A stream lasts as long as its client likes, and is looked after all the while; a page is long. What that costs the
//! database is bounded here: whoever reads events leaves most of the pool to others, and whether the sessions of streams
//! still count is asked on a connection of its own, so that a pool that has nothing to give ends no stream.

use counterfoil_domain::ids::UserId;
use metrics::Counter;
use sqlx::PgPool;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Streams of one user at a time. Not of one credential: a user has many of those, and could take every stream there
/// is.
pub const OF_ONE: usize = 4;
/// Streams at a time.
const ALL: usize = 32;
/// Pages that are read at a time.
const PAGES: usize = 4;
/// How long a page may wait for that: as long as for the pool.
const PATIENCE: Duration = Duration::from_secs(5);

/// See the module.
pub struct Feeds {
    all: Arc<Semaphore>,
    of: Mutex<HashMap<UserId, usize>>,
    pages: Arc<Semaphore>,
    /// Where it is asked whether sessions still count.
    pub sessions: PgPool,
    shed: Counter,
}

/// Why a stream cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TooMany {
    /// Its user has as many as one may.
    OfOne,
    /// There are as many as there may be.
    All,
}

/// A stream that is open.
pub struct Feed {
    feeds: Arc<Feeds>,
    user: UserId,
    _place: OwnedSemaphorePermit,
}

impl Feeds {
    /// None is open. The pool gives the options of the connection for sessions.
    pub fn new(pool: &PgPool, shed: Counter) -> Self {
        let options = pool.options().clone().min_connections(0).max_connections(1);
        let sessions = options.connect_lazy_with((*pool.connect_options()).clone());
        let all = Arc::new(Semaphore::new(ALL));
        let pages = Arc::new(Semaphore::new(PAGES));
        Self { all, of: Mutex::default(), pages, sessions, shed }
    }

    /// A place for reading a page. It is for who reads, and not for whom: a client that goes away does not make room for
    /// the next while the database still works for it.
    ///
    /// # Errors
    /// Others have them all for too long.
    pub async fn page(&self) -> Result<OwnedSemaphorePermit, sqlx::Error> {
        let page = timeout(PATIENCE, self.pages.clone().acquire_owned()).await;
        page.ok().and_then(Result::ok).ok_or(sqlx::Error::PoolTimedOut)
    }

    /// Opens a stream.
    ///
    /// # Errors
    /// There are too many.
    pub fn open(self: &Arc<Self>, user: UserId) -> Result<Feed, TooMany> {
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        if of.get(&user).is_some_and(|open| *open >= OF_ONE) {
            return Err(TooMany::OfOne);
        }
        let place = self.all.clone().try_acquire_owned().map_err(|_| {
            self.shed.increment(1);
            TooMany::All
        })?;
        *of.entry(user).or_default() += 1;
        Ok(Feed { feeds: self.clone(), user, _place: place })
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        let mut of = self.feeds.of.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = of.get_mut(&self.user) {
            *open -= 1;
            if *open == 0 {
                of.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
    use uuid::Uuid;

    #[tokio::test]
    async fn streams_are_few_of_one_and_not_too_many_in_all() {
        let pool = PgPoolOptions::new().connect_lazy_with(PgConnectOptions::new());
        let feeds = Arc::new(Feeds::new(&pool, Counter::noop()));
        let open = |user: usize| feeds.open(UserId(Uuid::from_u128(user as u128)));
        let mut all: Vec<_> = (0..ALL).map(|number| open(number / OF_ONE).ok()).collect();
        assert!(all.iter().all(Option::is_some));
        assert_eq!((open(0).err(), open(ALL).err()), (Some(TooMany::OfOne), Some(TooMany::All)));
        all.pop();
        assert!(open(ALL).is_ok());
        drop(all);
        assert!(feeds.of.lock().unwrap().is_empty());
        assert_eq!(feeds.all.available_permits(), ALL);
    }
}
