//! Streams, each in a task of its own.

use crate::http::progress::Progress;
use hyper::rt::Executor;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

tokio::task_local! {
    /// The request that a stream's task answers.
    pub(super) static PROGRESS: Arc<Progress>;
}

/// Starts them. One whose answer was cut is reset: its client may not have what it has not taken.
#[derive(Clone)]
pub(super) struct Tasks;

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Tasks {
    fn execute(&self, stream: F) {
        let progress = Arc::<Progress>::default();
        tokio::spawn(PROGRESS.scope(progress.clone(), async move {
            let mut stream = pin!(stream);
            let until_cut = poll_fn(|cx| match stream.as_mut().poll(cx) {
                Poll::Pending if progress.is_cut(cx) => Poll::Ready(()),
                polled => polled,
            });
            until_cut.await;
        }));
    }
}
