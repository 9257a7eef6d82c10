//! HTTP/2 with prior knowledge: a client, and frames for what no client would send.

use super::raw::Answer;
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderName, HeaderValue, Request, Uri};
use http_body::Frame;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection with a client's library.
pub(crate) struct Http2 {
    sender: SendRequest<BoxBody<Bytes, Infallible>>,
    connection: JoinHandle<hyper::Result<()>>,
}

/// A request under way; none if it came to no answer.
pub(crate) type UnderWay = JoinHandle<Option<Answer>>;

async fn connect(base: &str) -> TcpStream {
    let stream = TcpStream::connect(base.trim_start_matches("http://")).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

impl Http2 {
    /// Connects to a service.
    pub(crate) async fn to(base: &str) -> Self {
        let (sender, connection) =
            handshake(TokioExecutor::new(), TokioIo::new(connect(base).await)).await.unwrap();
        Self { sender, connection: tokio::spawn(connection) }
    }

    /// Sends a request, with its headers as lines of HTTP/1.1.
    pub(crate) fn begin(
        &self,
        method: &str,
        path: &str,
        headers: &str,
        body: BoxBody<Bytes, Infallible>,
    ) -> UnderWay {
        let uri = Uri::builder().scheme("http").authority("x").path_and_query(path).build().unwrap();
        let mut request = Request::builder().method(method).uri(uri).body(body).unwrap();
        for (name, value) in headers.split("\r\n").filter_map(|line| line.split_once(':')) {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            request.headers_mut().append(name, HeaderValue::from_bytes(value.trim().as_bytes()).unwrap());
        }
        let mut sender = self.sender.clone();
        tokio::spawn(async move {
            let response = timeout(PATIENCE, sender.send_request(request)).await.unwrap().ok()?;
            let (parts, body) = response.into_parts();
            let text = |value: &HeaderValue| value.to_str().unwrap().to_string();
            let headers = parts.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
            let body = timeout(PATIENCE, body.collect()).await.unwrap().ok()?.to_bytes();
            let body = String::from_utf8(body.to_vec()).unwrap();
            Some(Answer { status: parts.status.as_u16(), headers, body })
        })
    }

    /// Sends a request with a body, and waits for its answer.
    pub(crate) async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &str,
        body: impl AsRef<[u8]>,
    ) -> Answer {
        let body = Full::new(Bytes::copy_from_slice(body.as_ref())).boxed();
        self.begin(method, path, headers, body).await.unwrap().unwrap()
    }

    /// Whether the connection ends within a time.
    pub(crate) async fn ends_within(&mut self, limit: Duration) -> bool {
        timeout(limit, &mut self.connection).await.is_ok()
    }
}

/// A body that comes when the test sends it, and ends when that side is dropped.
pub(crate) fn later() -> (mpsc::UnboundedSender<&'static str>, BoxBody<Bytes, Infallible>) {
    let (send, receive) = mpsc::unbounded_channel();
    let frames = stream::unfold(receive, |mut receive| async {
        let text: &'static str = receive.recv().await?;
        Some((Ok(Frame::data(Bytes::from_static(text.as_bytes()))), receive))
    });
    (send, BodyExt::boxed(StreamBody::new(frames)))
}

/// Kinds of frames (RFC 9113 section 6).
pub(crate) mod kind {
    pub(crate) const DATA: u8 = 0;
    pub(crate) const HEADERS: u8 = 1;
    pub(crate) const RST_STREAM: u8 = 3;
    pub(crate) const SETTINGS: u8 = 4;
    pub(crate) const PING: u8 = 6;
    pub(crate) const GOAWAY: u8 = 7;
    pub(crate) const WINDOW_UPDATE: u8 = 8;
    pub(crate) const CONTINUATION: u8 = 9;
}
/// The last frame of a message.
pub(crate) const END_STREAM: u8 = 1;
/// The last frame of a head.
pub(crate) const END_HEADERS: u8 = 4;

/// A frame that came.
#[derive(Debug)]
pub(crate) struct Came {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Came {
    /// The error code of what ends a stream or a connection.
    pub(crate) fn code(&self) -> u32 {
        let at = if self.kind == kind::GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

/// A connection, frame by frame.
pub(crate) struct Frames(TcpStream);

/// A frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A head's fields, each as it is (RFC 7541 section 6.2.2).
pub(crate) fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            let mut left = text.len();
            block.push(left.min(127) as u8);
            if left >= 127 {
                left -= 127;
                while left >= 128 {
                    block.push((left % 128 + 128) as u8);
                    left /= 128;
                }
                block.push(left as u8);
            }
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// The head of a request, with more fields.
pub(crate) fn head(method: &str, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let usual = [(":method", method), (":scheme", "http"), (":authority", "x"), (":path", path)];
    fields(&[&usual, more].concat())
}

impl Frames {
    /// Connects to a service with some settings: each an identifier and a value (RFC 9113 section 6.5.1).
    pub(crate) async fn to(base: &str, settings: &[(u16, u32)]) -> Self {
        Self::over(connect(base).await, settings).await
    }

    /// Connects to a service from another address of this machine.
    pub(crate) async fn from(address: &str, base: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(format!("{address}:0").parse().unwrap()).unwrap();
        let stream = socket.connect(base.trim_start_matches("http://").parse().unwrap()).await.unwrap();
        Self::over(stream, &[]).await
    }

    async fn over(stream: TcpStream, settings: &[(u16, u32)]) -> Self {
        let mut frames = Self(stream);
        let settings: Vec<u8> = settings
            .iter()
            .flat_map(|(name, value)| [name.to_be_bytes().to_vec(), value.to_be_bytes().to_vec()].concat())
            .collect();
        frames.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        frames.send(&frame(kind::SETTINGS, 0, 0, &settings)).await;
        frames
    }

    /// Sends bytes.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    /// Sends bytes; false if the connection has ended.
    pub(crate) async fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.0.write_all(bytes).await.is_ok()
    }

    /// The next frame; none at the connection's end.
    pub(crate) async fn next(&mut self) -> Option<Came> {
        timeout(PATIENCE, async {
            let mut prefix = [0; 9];
            self.0.read_exact(&mut prefix).await.ok()?;
            let [a, b, c, kind, flags, stream @ ..] = prefix;
            let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
            self.0.read_exact(&mut payload).await.ok()?;
            Some(Came { kind, flags, stream: u32::from_be_bytes(stream), payload })
        })
        .await
        .unwrap()
    }

    /// The next frame of a kind; none at the connection's end.
    pub(crate) async fn until(&mut self, kind: u8) -> Option<Came> {
        loop {
            let came = self.next().await?;
            if came.kind == kind {
                return Some(came);
            }
        }
    }

    /// What comes of a stream: its head, its end, or the connection's.
    pub(crate) async fn fate(&mut self, stream: u32) -> Option<Came> {
        loop {
            let came = self.next().await?;
            let of_it = came.stream == stream && matches!(came.kind, kind::HEADERS | kind::RST_STREAM);
            if of_it || came.kind == kind::GOAWAY {
                return Some(came);
            }
        }
    }

    /// Whether the connection ends within a time, whatever comes before.
    pub(crate) async fn ends_within(&mut self, limit: Duration) -> bool {
        let end = async {
            let mut dropped = [0; 4096];
            while !matches!(self.0.read(&mut dropped).await, Ok(0) | Err(_)) {}
        };
        timeout(limit, end).await.is_ok()
    }
}
