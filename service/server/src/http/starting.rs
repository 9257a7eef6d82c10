//! Before there is anything to serve: the port answers, so that a supervisor, a balancer and a gateway are told rather
//! than kept waiting while a database recovers or the index is loaded.

use super::problem::Problem;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, Request, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Connections at a time. What comes on top waits for its turn.
const CONNECTIONS: usize = 64;
/// How long one may take, with its one request.
const TIME: Duration = Duration::from_secs(5);

/// What the start waits for, by words of the sentence that tells people, and what strangers are told of it: such
/// sentences name directories.
const WAITS: [(&str, &str); 4] = [
    ("recovering", "The database is recovering from a crash. Ask again in a moment."),
    ("does not answer", "The database does not answer yet. Ask again in a moment."),
    ("no free connection", "The database has no free connection. Ask again in a moment."),
    (
        "another `counterfoil serve`",
        "Another service still works on this database, and only one answers at a time. Ask again in a moment.",
    ),
];

/// What the start waits for. Written by whoever starts the service, from what it tells people.
#[derive(Clone, Default)]
pub struct Starting {
    /// A place in [`WAITS`], after zero for nothing in particular.
    at: Arc<AtomicUsize>,
}

impl Starting {
    /// Notes what the start is at.
    pub fn note(&self, sentence: &str) {
        let at = WAITS.iter().position(|(words, _)| sentence.contains(words));
        self.at.store(at.map_or(0, |place| place + 1), Ordering::Relaxed);
    }

    fn detail(&self) -> &'static str {
        let at = self.at.load(Ordering::Relaxed).checked_sub(1);
        let told = at.and_then(|place| WAITS.get(place)).map(|(_, told)| *told);
        told.unwrap_or("The service is starting. Ask again in a moment.")
    }

    /// Answers until it is dropped: that the process lives, and that everything else has to wait.
    pub async fn serve(self, listener: Arc<TcpListener>) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                    Ok((stream, _)) => drop(connections.spawn(tokio::time::timeout(TIME, connection(stream, self.clone())))),
                    Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                },
                _ = connections.join_next(), if !connections.is_empty() => {}
            }
        }
    }

    fn answer(&self, request: &Request<Incoming>) -> Response {
        let path = request.uri().path();
        let mut response = match path {
            "/livez" => super::health::LIVES.into_response(),
            _ if path.starts_with("/oauth2/") => Problem::starting(self.detail()).into_oauth(),
            _ => Problem::starting(self.detail()).into_response(),
        };
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        response
    }
}

async fn connection(stream: TcpStream, starting: Starting) {
    let service = service_fn(|request: Request<Incoming>| {
        let response: Response<Body> = starting.answer(&request);
        async { Ok::<_, Infallible>(response) }
    });
    let _ = http1::Builder::new()
        .keep_alive(false)
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}
