//! What one request reads of the log.

use super::{Asked, Until};
use crate::app::App;
use crate::event_log::feed::{Filter, Item, Viewer, last_before, page, subject};
use crate::event_log::read::head;
use crate::http::authenticate::{in_doubt, role_still};
use crate::http::caller::Caller;
use crate::http::problem::Problem;
use crate::ops::drain::Stage;
use crate::postgres::connect::in_time;
use crate::read_model::freshness::Doubt;
use counterfoil_domain::ids::Seq;
use counterfoil_domain::policy::{Permission, allows};
use counterfoil_domain::scope::READ;
use futures_util::FutureExt;
use std::fmt::Write;
use std::panic::resume_unwind;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::task::JoinError;
use tokio::time::{Instant, sleep, timeout};

/// How long the index may need for what the log has already.
const BEHIND: Duration = Duration::from_secs(1);
/// How long it may take to find out whether the reader may still read.
const JUDGED: Duration = Duration::from_millis(100);

/// What is read, once its bounds are known.
pub(super) struct Reading {
    pub(super) app: App,
    caller: Caller,
    viewer: Viewer,
    filter: Filter,
    /// Where it goes on.
    pub(super) after: Seq,
    /// The last position that is looked at.
    last: Seq,
    /// The head as of the request.
    head: Seq,
    /// How many events may still be shown.
    pub(super) left: usize,
}

impl Reading {
    pub(super) async fn begin(app: App, caller: Caller, asked: Asked, left: usize) -> Result<Self, Problem> {
        let mut connection = app.pool.acquire().await?;
        let head = head(&mut connection).await?;
        let last = match asked.until {
            None => head,
            Some(Until::Seq(seq)) => seq.min(head),
            Some(Until::Instant(instant)) => last_before(&mut connection, instant, head).await?,
        };
        let subject = match asked.subject {
            Some(id) => Some(subject(&mut connection, id.0).await?),
            None => None,
        };
        drop(connection);
        // The credential was judged before the head was read. Once the index is there, its judgment is about the head.
        known_here(&app, head).await?;
        let role = role_still(&caller, &app, &app.pool, READ).await?.ok_or_else(|| match app.is_fresh() {
            true => Problem::unauthenticated(),
            false => in_doubt(&app),
        })?;
        let viewer = Viewer {
            user: caller.user,
            organization: caller.organization,
            everything: allows(role, Permission::ReadAllEvents),
        };
        let filter = Filter { name: asked.name, subject };
        Ok(Self { app, caller, viewer, filter, after: asked.after, last, head, left })
    }

    /// The next events of a stream, at most so many. It waits for the pool as long as that has nothing to give.
    pub(super) async fn next_of_stream(&mut self, most: usize) -> Result<Vec<Item>, sqlx::Error> {
        loop {
            match self.next(most).await {
                Err(sqlx::Error::PoolTimedOut) => {}
                next => return next,
            }
        }
    }

    /// The next events, at most so many. Goes on from where it looked.
    pub(super) async fn next(&mut self, most: usize) -> Result<Vec<Item>, sqlx::Error> {
        let place = self.app.feeds.page().await?;
        let (pool, viewer, filter) = (self.app.pool.clone(), self.viewer, self.filter.clone());
        let (after, last, limit) = (self.after, self.last, most.min(self.left));
        // In a task of its own: a stream that is given up would cancel the query in its middle, and give the place away
        // while the database still worked on it.
        let read = tokio::spawn(async move {
            let mut connection = pool.acquire().await?;
            let page = in_time(page(&mut connection, &viewer, &filter, after, last, limit)).await;
            drop((connection, place));
            page
        });
        let page = match read.await.map_err(JoinError::try_into_panic) {
            Ok(page) => page?,
            Err(Ok(panic)) => resume_unwind(panic),
            // The whole program ends.
            Err(Err(_)) => return Err(sqlx::Error::PoolClosed),
        };
        (self.after, self.left) = (page.next_after, self.left - page.items.len());
        Ok(page.items)
    }

    pub(super) fn more(&self) -> bool {
        self.after < self.last
    }

    /// Where a reader goes on, and whether there is more already.
    pub(super) fn position(&self) -> String {
        format!("\"next_after\":{},\"more\":{},\"head\":{}", self.after, self.more(), self.head)
    }

    pub(super) fn is_draining(&self) -> bool {
        self.app.drain.reached(Stage::Draining).now_or_never().is_some()
    }

    /// How it is found out whether the reader may still read.
    pub(super) fn right(&self) -> Right {
        Right { app: self.app.clone(), caller: self.caller.clone(), everything: self.viewer.everything }
    }
}

/// Waits until the index reflects an event.
async fn known_here(app: &App, seq: Seq) -> Result<(), Problem> {
    let deadline = Instant::now() + BEHIND;
    while app.applied.load(Ordering::Acquire) < seq {
        if Instant::now() >= deadline {
            return Err(Problem::in_doubt(Doubt::Behind));
        }
        sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

/// The right to read on.
pub(super) struct Right {
    app: App,
    caller: Caller,
    everything: bool,
}

impl Right {
    /// Whether it is still there: a stream can outlast a credential, a membership and a role. None if that cannot be said
    /// at once.
    pub(super) async fn holds(&self) -> Option<bool> {
        let role = role_still(&self.caller, &self.app, &self.app.feeds.sessions, READ);
        let role = timeout(JUDGED, role).await.ok()?.ok()?;
        Some(role.is_some_and(|role| !self.everything || allows(role, Permission::ReadAllEvents)))
    }
}

/// Writes an event. The record goes in as it is: it is JSON, and its bytes are what the chain value proves.
pub(super) fn write(item: &Item, out: &mut String) {
    // Writing to a string does not fail.
    let _ = write!(out, "{{\"chain\":\"{}\",\"record\":{}}}", item.chain.hex(), item.record);
}
