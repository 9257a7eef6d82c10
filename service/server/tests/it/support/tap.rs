//! A line between the service and PostgreSQL that falls silent: nothing is forwarded, and nothing is closed.

use super::Scratch;
use std::path::{Path, PathBuf};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Result};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

/// How it is with the line.
#[derive(Clone, Copy)]
struct Line {
    silent: bool,
    /// Connections that were made before this many silences are lost, and nobody is told.
    lost_before: u32,
    silences: u32,
}

/// See the module. Dropping it ends the line.
pub(crate) struct Tap {
    line: watch::Sender<Line>,
    directory: Scratch,
}

impl Tap {
    /// Puts it before the server that listens in a directory.
    pub(crate) fn before(socket_dir: &Path) -> Self {
        let directory = Scratch::new();
        let listener = UnixListener::bind(directory.path().join(".s.PGSQL.5432")).unwrap();
        let (line, look) = watch::channel(Line { silent: false, lost_before: 0, silences: 0 });
        tokio::spawn(accept(listener, socket_dir.join(".s.PGSQL.5432"), look));
        Self { line, directory }
    }

    /// Where it listens.
    pub(crate) fn socket_dir(&self) -> &Path {
        self.directory.path()
    }

    /// Falls silent, for connections that are made meanwhile too.
    pub(crate) fn silence(&self) {
        self.line.send_modify(|line| (line.silent, line.silences) = (true, line.silences + 1));
    }

    /// Forwards again, what was held back included.
    pub(crate) fn resume(&self) {
        self.line.send_modify(|line| line.silent = false);
    }

    /// Forwards again for new connections. Those of before stay silent: what stood in between has forgotten them.
    pub(crate) fn resume_without_the_old(&self) {
        self.line.send_modify(|line| (line.silent, line.lost_before) = (false, line.silences));
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
            let silences = line.borrow().silences;
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = UnixStream::connect(server).await?.into_split();
            tokio::try_join!(
                pass(from_client, to_server, line.clone(), silences),
                pass(from_server, to_client, line, silences)
            )
        });
    }
}

/// Passes one direction on, its end included, as far as the line allows. `silences`: how many there were when the
/// connection was made.
async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut line: watch::Receiver<Line>,
    silences: u32,
) -> Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = from.read(&mut buffer).await?;
        let open = line.wait_for(|line| !line.silent && line.lost_before <= silences).await.is_ok();
        if !open || read == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..read]).await?;
    }
}
