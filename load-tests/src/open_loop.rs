//! Open loops: requests leave at fixed instants whether earlier ones were answered or not, and a latency counts from the
//! instant at which its request was due. A slow server cannot slow its own measurement down.
//!
//! Its own, for want of a program: `wrk` keeps to no rate, and `oha`, which does, is in no package of Debian's (it would be
//! built first, for minutes, by CMake and Cargo) and takes requests at random, where each token is to be revoked once.

use crate::Result;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

/// Requests at a rate.
pub(crate) struct OpenLoop {
    pub(crate) addr: SocketAddr,
    /// Whole requests as they go over the wire, taken in turn, by each connection from its own place on.
    pub(crate) requests: Arc<Vec<Vec<u8>>>,
    /// Requests a second.
    pub(crate) rate: f64,
    pub(crate) connections: usize,
    pub(crate) time: Duration,
}

impl OpenLoop {
    /// Runs, and gives every latency in ascending order. Every answer must be a success.
    pub(crate) async fn run(&self) -> Result<Vec<Duration>> {
        let start = Instant::now() + Duration::from_millis(100);
        let interval = Duration::from_secs_f64(self.connections as f64 / self.rate);
        let count = (self.time.as_secs_f64() / interval.as_secs_f64()) as u32;
        let connections: Vec<_> = (0..self.connections)
            .map(|number| {
                let first = start + interval.mul_f64(number as f64 / self.connections as f64);
                let offset = number * self.requests.len() / self.connections;
                tokio::spawn(connection(self.addr, self.requests.clone(), offset, first, interval, count))
            })
            .collect();
        let mut latencies = Vec::with_capacity(count as usize * self.connections);
        for connection in connections {
            latencies.extend(connection.await??);
        }
        latencies.sort_unstable();
        Ok(latencies)
    }
}

async fn connection(
    addr: SocketAddr,
    requests: Arc<Vec<Vec<u8>>>,
    offset: usize,
    first: Instant,
    interval: Duration,
    count: u32,
) -> Result<Vec<Duration>> {
    let mut stream = TcpStream::connect(addr).await?;
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(4096);
    let mut latencies = Vec::with_capacity(count as usize);
    for turn in 0..count {
        let due = first + interval * turn;
        sleep_until(due).await;
        stream.write_all(&requests[(offset + turn as usize) % requests.len()]).await?;
        let (status, _) = answer(&mut stream, &mut buffer).await?;
        if status / 100 != 2 {
            return Err(format!("an answer was {status}").into());
        }
        latencies.push(due.elapsed());
    }
    Ok(latencies)
}

/// Reads one answer with a Content-Length or none, and says its status and where its body begins.
async fn answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<(u16, usize)> {
    buffer.clear();
    loop {
        if stream.read_buf(buffer).await? == 0 {
            return Err("the server closed a connection".into());
        }
        let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = std::str::from_utf8(&buffer[..end])?.to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.map_or(Ok(0), str::parse)?;
        if buffer.len() >= end + 4 + length {
            return Ok((head.get(9..12).ok_or("no status")?.parse()?, end + 4));
        }
    }
}

/// The status of one request on a connection of its own.
pub(crate) async fn status(addr: SocketAddr, request: &str) -> Result<u16> {
    let mut stream = TcpStream::connect(addr).await?;
    stream.write_all(request.as_bytes()).await?;
    Ok(answer(&mut stream, &mut Vec::new()).await?.0)
}

/// The body of the answer to one request on a connection of its own.
pub(crate) async fn body(addr: SocketAddr, request: &str) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect(addr).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut buffer = Vec::new();
    let (_, start) = answer(&mut stream, &mut buffer).await?;
    Ok(buffer.split_off(start))
}

/// The latency that a share of requests stayed below.
pub(crate) fn percentile(sorted: &[Duration], share: f64) -> Duration {
    let at = (sorted.len() as f64 * share) as usize;
    sorted.get(at.min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}
