//! Streams, each in a task of its own.

use crate::http::progress::Progress;
use hyper::rt::Executor;
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::Poll;
use tokio::sync::Notify;

tokio::task_local! {
    /// The request that a stream's task answers.
    pub(super) static PROGRESS: Arc<Progress>;
}

/// Starts them. Once an answer was cut, its client may not have what it has not taken. hyper and h2 keep some of that, and
/// resetting the stream would leave it there until it is taken; so the connection ends, and the stream with it: one that
/// ended first would be reset, and a client told so.
#[derive(Clone, Default)]
pub(super) struct Tasks(Arc<Notify>);

impl Tasks {
    /// Waits until an answer was cut.
    pub(super) async fn cut(&self) {
        self.0.notified().await;
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Tasks {
    fn execute(&self, stream: F) {
        let (progress, cut) = (Arc::<Progress>::default(), self.0.clone());
        // Boxed: pinned in the task it would be there twice, as what is moved in and as what is pinned.
        let mut stream = Box::pin(stream);
        tokio::spawn(PROGRESS.scope(progress.clone(), async move {
            let ended = poll_fn(|cx| match stream.as_mut().poll(cx) {
                Poll::Pending if progress.is_cut(cx) => {
                    cut.notify_one();
                    Poll::Pending
                }
                polled => polled,
            });
            ended.await;
        }));
    }
}
