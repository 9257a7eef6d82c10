//! What may stand between the service and a PostgreSQL, in the few lines of the wire protocol that matter here.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Result, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::{Mutex, Semaphore};

/// What it does.
#[derive(Clone, Copy)]
pub(crate) enum Front {
    /// A server that recovers while so many connections are tried.
    Recovering(usize),
    /// A PostgreSQL 13: it says so, and does not know a setting of ours.
    Old,
    /// A pooler that gives each client a session, but drops the settings that the client asks for.
    Dropping,
    /// A pooler that hands so many sessions out for a transaction at a time.
    Sharing(usize),
}

impl Front {
    /// Puts it before the server that listens in a directory. Returns the address for `DATABASE_URL`.
    pub(crate) async fn before(self, socket_dir: &Path, database: &str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url =
            format!("postgres://postgres@{}/{database}?sslmode=disable", listener.local_addr().unwrap());
        let server = socket_dir.join(".s.PGSQL.5432");
        let sessions = match self {
            Self::Sharing(count) => Some(Arc::new(Sessions::open(&server, database, count).await.unwrap())),
            _ => None,
        };
        let tried = Arc::new(AtomicUsize::new(0));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (server, sessions, tried) = (server.clone(), sessions.clone(), tried.clone());
                tokio::spawn(async move {
                    match self {
                        Self::Recovering(count) if tried.fetch_add(1, Ordering::Relaxed) < count => {
                            recovering(client).await
                        }
                        Self::Recovering(_) => pass(client, server, |startup| startup).await,
                        Self::Old => old(client, server).await,
                        Self::Dropping => pass(client, server, without_options).await,
                        Self::Sharing(_) => sessions.unwrap().share(client).await,
                    }
                });
            }
        });
        url
    }
}

/// A startup message: a length and a body.
async fn startup(client: &mut TcpStream) -> Result<Vec<u8>> {
    let length = client.read_u32().await? as usize;
    let mut body = vec![0; length - 4];
    client.read_exact(&mut body).await?;
    Ok(body)
}

fn with_length(body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32 + 4).to_be_bytes()[..], body].concat()
}

/// The body without the settings of the session.
fn without_options(body: Vec<u8>) -> Vec<u8> {
    let (version, rest) = body.split_at(4);
    let words: Vec<&[u8]> = rest.split(|byte| *byte == 0).collect();
    let mut kept = version.to_vec();
    for pair in words.chunks(2).filter(|pair| pair.len() == 2 && !pair[0].is_empty() && pair[0] != b"options")
    {
        kept.extend_from_slice(&[pair[0], b"\0", pair[1], b"\0"].concat());
    }
    kept.push(0);
    kept
}

async fn pass(mut client: TcpStream, server: PathBuf, change: fn(Vec<u8>) -> Vec<u8>) -> Result<()> {
    let body = change(startup(&mut client).await?);
    let mut server = UnixStream::connect(server).await?;
    server.write_all(&with_length(&body)).await?;
    copy_bidirectional(&mut client, &mut server).await.map(drop)
}

async fn old(mut client: TcpStream, server: PathBuf) -> Result<()> {
    let body = startup(&mut client).await?;
    if body.windows(20).any(|word| word == b"idle_session_timeout") {
        let fields =
            b"SFATAL\0VFATAL\0C42704\0Munrecognized configuration parameter \"idle_session_timeout\"\0\0";
        return client.write_all(&[b"E".to_vec(), with_length(fields)].concat()).await;
    }
    let mut server = UnixStream::connect(server).await?;
    server.write_all(&with_length(&body)).await?;
    loop {
        let mut answer = message(&mut server).await?;
        if answer[0] == b'S' && answer[5..].starts_with(b"server_version\0") {
            answer[20..22].copy_from_slice(b"13");
        }
        client.write_all(&answer).await?;
        if answer[0] == b'Z' {
            return copy_bidirectional(&mut client, &mut server).await.map(drop);
        }
    }
}

async fn recovering(mut client: TcpStream) -> Result<()> {
    startup(&mut client).await?;
    let fields = b"SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0\0";
    client.write_all(&[b"E".to_vec(), with_length(fields)].concat()).await
}

/// One message of the protocol, whole.
async fn message(from: &mut (impl AsyncReadExt + Unpin)) -> Result<Vec<u8>> {
    let (tag, length) = (from.read_u8().await?, from.read_u32().await?);
    let mut body = vec![0; length as usize - 4];
    from.read_exact(&mut body).await?;
    Ok([vec![tag], with_length(&body)].concat())
}

/// The server's sessions.
struct Sessions {
    free: Mutex<Vec<UnixStream>>,
    count: Semaphore,
}

impl Sessions {
    async fn open(server: &Path, database: &str, count: usize) -> Result<Self> {
        let mut free = Vec::new();
        for _ in 0..count {
            let mut session = UnixStream::connect(server).await?;
            let words = format!("\0\u{3}\0\0user\0postgres\0database\0{database}\0\0");
            session.write_all(&with_length(words.as_bytes())).await?;
            while message(&mut session).await?[0] != b'Z' {}
            free.push(session);
        }
        Ok(Self { free: Mutex::new(free), count: Semaphore::new(count) })
    }

    /// Serves one client: a session for each transaction, whichever was used last.
    async fn share(&self, mut client: TcpStream) -> Result<()> {
        startup(&mut client).await?;
        client.write_all(b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I").await?;
        let mut held: Option<UnixStream> = None;
        loop {
            let mut request = Vec::new();
            let last = loop {
                let next = message(&mut client).await?;
                request.extend_from_slice(&next);
                if b"QSX".contains(&next[0]) {
                    break next[0];
                }
            };
            if last == b'X' {
                return Ok(());
            }
            let mut session = match held.take() {
                Some(session) => session,
                None => {
                    self.count.acquire().await.unwrap().forget();
                    self.free.lock().await.pop().unwrap()
                }
            };
            session.write_all(&request).await?;
            let status = loop {
                let answer = message(&mut session).await?;
                client.write_all(&answer).await?;
                if answer[0] == b'Z' {
                    break answer[5];
                }
            };
            if status == b'I' {
                self.free.lock().await.push(session);
                self.count.add_permits(1);
            } else {
                held = Some(session);
            }
        }
    }
}
