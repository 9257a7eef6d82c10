//! A client that is waited for: it sends no more of a body, or takes no more of an answer.

use super::{Crowd, Member, Slow};
use futures_util::task::AtomicWaker;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Context;
use tokio::time::Instant;

impl Crowd {
    /// A client is waited for from now on, if another makes way where that is needed.
    pub(in crate::http) fn wait(&self, from: IpAddr) -> Waiting {
        let wait =
            Arc::new(Wait { since: Instant::now(), over: AtomicBool::new(false), waker: AtomicWaker::new() });
        let member = self.join(from, wait.clone());
        wait.over.store(member.is_none(), Ordering::Release);
        Waiting { wait, _member: member }
    }
}

/// A client that is waited for, until this is dropped.
pub(in crate::http) struct Waiting {
    wait: Arc<Wait>,
    /// None if nobody made way for it, so that it does itself.
    _member: Option<Member>,
}

impl Waiting {
    /// Whether it makes way; if not, the task is woken when it does.
    pub(in crate::http) fn is_over(&self, cx: &Context<'_>) -> bool {
        self.wait.waker.register(cx.waker());
        self.wait.over.load(Ordering::Acquire)
    }
}

struct Wait {
    since: Instant,
    over: AtomicBool,
    waker: AtomicWaker,
}

impl Slow for Wait {
    fn since(&self) -> Instant {
        self.since
    }

    fn weight(&self) -> usize {
        1
    }

    fn end(&self) {
        self.over.store(true, Ordering::Release);
        self.waker.wake();
    }
}
