//! Bytes over TCP, for what a client library would not send.

use serde_json::Value;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// An answer, as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    /// The first value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }

    /// Asserts that this is a problem document of a type.
    pub(crate) fn assert_problem(&self, status: u16, kind: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        assert_eq!(self.json()["type"], format!("/problems/{kind}"), "{self:?}");
        assert_eq!(self.json()["status"], status, "{self:?}");
    }

    /// Asserts that this is an error of OAuth.
    pub(crate) fn assert_oauth(&self, status: u16, error: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/json"), "{self:?}");
        assert_eq!(self.header("cache-control"), Some("no-store"), "{self:?}");
        assert_eq!(self.json()["error"], error, "{self:?}");
        assert_eq!(self.header("www-authenticate").is_some(), status == 401, "{self:?}");
    }
}

/// A connection.
pub(crate) struct Raw {
    stream: TcpStream,
    came: Vec<u8>,
}

impl Raw {
    /// Connects to a service.
    pub(crate) async fn to(base: &str) -> Self {
        Self::try_to(base).await.unwrap()
    }

    /// Connects to a service, or fails.
    pub(crate) async fn try_to(base: &str) -> std::io::Result<Self> {
        let stream = TcpStream::connect(base.trim_start_matches("http://")).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, came: Vec::new() })
    }

    /// Connects to a service from another address of this machine, and takes little at a time.
    pub(crate) async fn from(address: &str, base: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        socket.bind(format!("{address}:0").parse().unwrap()).unwrap();
        let stream = socket.connect(base.trim_start_matches("http://").parse().unwrap()).await.unwrap();
        Self { stream, came: Vec::new() }
    }

    /// Sends bytes.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Sends bytes, or fails.
    pub(crate) async fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Ends this side of the connection, unless the other has ended all of it.
    pub(crate) async fn finish(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// Ends this side of the connection, unless it has ended.
    pub(crate) async fn try_finish(&mut self) -> std::io::Result<()> {
        self.stream.shutdown().await
    }

    /// Reads more; false at the end, or if the connection was reset.
    async fn more(&mut self) -> bool {
        let mut buffer = [0; 8192];
        match timeout(PATIENCE, self.stream.read(&mut buffer)).await.unwrap() {
            Ok(count) if count > 0 => {
                self.came.extend_from_slice(&buffer[..count]);
                true
            }
            _ => false,
        }
    }

    /// The next answer; none if the connection ended before one was complete. One without a length is read to the
    /// connection's end.
    pub(crate) async fn try_answer(&mut self, to_head: bool) -> Option<Answer> {
        let end = loop {
            match self.came.windows(4).position(|window| window == b"\r\n\r\n") {
                Some(end) => break end + 4,
                None if self.more().await => {}
                None => return None,
            }
        };
        let head: Vec<u8> = self.came.drain(..end).collect();
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_string()))
            .collect();
        let mut answer = Answer { status, headers, body: String::new() };
        let length = answer.header("content-length").map(|length| length.parse().unwrap());
        let length = if to_head || status < 200 || status == 204 { Some(0) } else { length };
        while length.is_none_or(|length: usize| self.came.len() < length) && self.more().await {}
        let length = length.unwrap_or(self.came.len()).min(self.came.len());
        answer.body = String::from_utf8(self.came.drain(..length).collect()).unwrap();
        Some(answer)
    }

    /// The next answer.
    pub(crate) async fn answer(&mut self) -> Answer {
        self.try_answer(false).await.unwrap()
    }

    /// How many bytes come until the connection ends.
    pub(crate) async fn rest(&mut self) -> usize {
        let mut count = self.came.len();
        self.came.clear();
        while self.more().await {
            count += self.came.len();
            self.came.clear();
        }
        count
    }

    /// Whether the connection ends, and not by a reset.
    pub(crate) async fn ends_properly(&mut self) -> bool {
        matches!(timeout(PATIENCE, self.stream.read(&mut [0; 1])).await, Ok(Ok(0)))
    }

    /// Whether the connection ends within a time, with nothing more to read.
    pub(crate) async fn ends_within(&mut self, limit: Duration) -> bool {
        matches!(timeout(limit, self.more()).await, Ok(false))
    }
}

/// Sends one request on a connection of its own.
pub(crate) async fn exchange(base: &str, request: impl AsRef<[u8]>) -> Answer {
    let mut raw = Raw::to(base).await;
    raw.send(request).await;
    raw.answer().await
}
