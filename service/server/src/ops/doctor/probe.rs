//! Asking what listens on an address.

use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpStream;

/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// How much of an answer is read.
const LONGEST: usize = 4 << 20;

/// An answer.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

/// GETs a path; none if whatever listens there does not answer HTTP in time.
pub(super) async fn get(addr: SocketAddr, path: &str) -> Option<Answer> {
    tokio::time::timeout(PATIENCE, ask(reachable(addr), path)).await.ok()?.ok()
}

/// Where something that listens on every address can be asked.
fn reachable(addr: SocketAddr) -> SocketAddr {
    let ip = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, addr.port())
}

async fn ask(addr: SocketAddr, path: &str) -> Result<Answer, Box<dyn Error + Send + Sync>> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(TcpStream::connect(addr).await?)).await?;
    tokio::spawn(connection);
    let request = Request::get(path).header(header::HOST, addr.to_string());
    let (parts, body) = sender.send_request(request.body(Empty::<Bytes>::new())?).await?.into_parts();
    let body = Limited::new(body, LONGEST).collect().await?.to_bytes();
    let body = String::from_utf8_lossy(&body).into_owned();
    Ok(Answer { status: parts.status, headers: parts.headers, body })
}

/// The value of a series without labels.
pub(super) fn series(metrics: &str, name: &str) -> Option<u64> {
    let line = metrics.lines().find(|line| line.split(' ').next() == Some(name))?;
    line.rsplit(' ').next()?.parse::<f64>().ok().map(|value| value as u64)
}
