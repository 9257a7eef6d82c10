//! Clients that are on other machines in life.

use std::process::Command;
use tokio::runtime::{Builder, Runtime};

/// Threads for clients: here they get what processor time is left over. Threads of the lowest niceness would not do: the
/// kernel lets one that runs go on for a while, though another is wanted.
pub(crate) fn elsewhere() -> Runtime {
    let last = || {
        let thread = nix::unistd::gettid().to_string();
        let done = Command::new("chrt").args(["--idle", "--pid", "0", &thread]).output().unwrap();
        assert!(done.status.success(), "{done:?}");
    };
    let mut threads = Builder::new_multi_thread();
    threads.worker_threads(2).enable_all().on_thread_start(last).build().unwrap()
}
