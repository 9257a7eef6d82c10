//! A line between the service and PostgreSQL that falls silent (nothing is forwarded, and nothing is closed), or is cut
//! at a COMMIT.

use super::Scratch;
use counterfoil::event_log::steps::{Faults, Step};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Result};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

/// When connections are cut, both ends closed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Cut {
    /// Before anything of the COMMIT arrives.
    Before,
    /// Once it arrived, whatever comes of it.
    Underway,
    /// Once it is done, before that is told.
    After,
    /// Once it is done, and an error of the disk is told in its place, as by a server that dies of it.
    Failed,
    /// Not at all: that it is done is told late, by [`Tap::tell`].
    Late,
}

/// An `ErrorResponse` of PostgreSQL's protocol with the code of a failing disk.
const IO_ERROR: &[u8] = b"E\0\0\0\x38SPANIC\0VPANIC\0C58030\0Mcould not fsync a file of it\0\0";

/// How it is with the line. A connection knows how many breaks there were when it was made.
#[derive(Clone, Copy)]
struct Line {
    silent: bool,
    /// Connections that were made before this many breaks are lost, and nobody is told.
    lost_before: u32,
    /// Connections that were made before this many breaks are cut.
    cut: Option<(Cut, u32)>,
    breaks: u32,
}

/// See the module. Dropping it, and the hook of it, ends the line.
pub(crate) struct Tap {
    line: watch::Sender<Line>,
    /// How the next commits are cut.
    armed: Arc<Mutex<Vec<Cut>>>,
    directory: Scratch,
}

impl Tap {
    /// Puts it before the server that listens in a directory.
    pub(crate) fn before(socket_dir: &Path) -> Self {
        let directory = Scratch::new();
        let listener = UnixListener::bind(directory.path().join(".s.PGSQL.5432")).unwrap();
        let (line, look) = watch::channel(Line { silent: false, lost_before: 0, cut: None, breaks: 0 });
        tokio::spawn(accept(listener, socket_dir.join(".s.PGSQL.5432"), look));
        Self { line, armed: Arc::default(), directory }
    }

    /// Where it listens.
    pub(crate) fn socket_dir(&self) -> &Path {
        self.directory.path()
    }

    /// Falls silent, for connections that are made meanwhile too.
    pub(crate) fn silence(&self) {
        self.line.send_modify(|line| (line.silent, line.breaks) = (true, line.breaks + 1));
    }

    /// Forwards again, what was held back included.
    pub(crate) fn resume(&self) {
        self.line.send_modify(|line| line.silent = false);
    }

    /// Tells that a commit is done that was to be told late, and falls silent.
    pub(crate) fn tell(&self) {
        self.line.send_modify(|line| (line.silent, line.cut, line.breaks) = (true, None, line.breaks + 1));
    }

    /// Forwards again for new connections. Those of before stay silent: what stood in between has forgotten them.
    pub(crate) fn resume_without_the_old(&self) {
        self.line.send_modify(|line| (line.silent, line.lost_before) = (false, line.breaks));
    }

    /// Cuts the connections that there are when the writer next commits, so many times.
    pub(crate) fn cut_at_the_next_commits(&self, cut: Cut, times: usize) {
        *self.armed.lock().unwrap() = vec![cut; times];
    }

    /// Whether every cut has been made.
    pub(crate) fn has_cut(&self) -> bool {
        self.armed.lock().unwrap().is_empty()
    }

    /// The writer's hook: it breaks no step, and says when a COMMIT is about to be sent.
    pub(crate) fn hook(&self) -> Faults {
        let (line, armed) = (self.line.clone(), self.armed.clone());
        Arc::new(move |step| {
            if step == Step::Commit
                && let Some(cut) = armed.lock().unwrap().pop()
            {
                line.send_modify(|line| {
                    line.breaks += 1;
                    line.cut = Some((cut, line.breaks));
                });
            }
            None
        })
    }
}

async fn accept(listener: UnixListener, server: PathBuf, mut line: watch::Receiver<Line>) {
    loop {
        let client = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => client,
                Err(_) => return,
            },
            // The tap was dropped.
            Err(_) = line.changed() => return,
        };
        let (server, line) = (server.clone(), line.clone());
        tokio::spawn(async move {
            let breaks = line.borrow().breaks;
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = UnixStream::connect(server).await?.into_split();
            // The first that is cut ends both.
            tokio::try_join!(
                pass(from_client, to_server, line.clone(), breaks, Way::There),
                pass(from_server, to_client, line, breaks, Way::Back)
            )
        });
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Way {
    There,
    Back,
}

/// Passes one direction on, its end included, as far as the line allows. `breaks`: how many there were when the
/// connection was made.
async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut line: watch::Receiver<Line>,
    breaks: u32,
    way: Way,
) -> Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = from.read(&mut buffer).await?;
        let bytes = &buffer[..read];
        let open = line.wait_for(|line| !line.silent && line.lost_before <= breaks).await.map(|line| *line);
        let (Ok(now), 1..) = (open, read) else { return to.shutdown().await };
        match now.cut.filter(|(_, before)| breaks < *before).map(|(cut, _)| cut) {
            Some(Cut::Before) => return Err(ErrorKind::ConnectionAborted.into()),
            Some(Cut::Underway) if way == Way::There => {
                to.write_all(bytes).await?;
                return Err(ErrorKind::ConnectionAborted.into());
            }
            Some(Cut::After) if way == Way::Back && bytes.windows(7).any(|text| text == b"COMMIT\0") => {
                return Err(ErrorKind::ConnectionAborted.into());
            }
            Some(Cut::Failed) if way == Way::Back && bytes.windows(7).any(|text| text == b"COMMIT\0") => {
                to.write_all(IO_ERROR).await?;
                return Err(ErrorKind::ConnectionAborted.into());
            }
            Some(Cut::Late) if way == Way::Back && bytes.windows(7).any(|text| text == b"COMMIT\0") => {
                let told =
                    line.wait_for(|line| line.cut.is_none() && line.lost_before <= breaks).await.is_ok();
                if !told {
                    return Ok(());
                }
                to.write_all(bytes).await?;
            }
            _ => to.write_all(bytes).await?,
        }
    }
}
