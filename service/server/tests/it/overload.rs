//! More requests than can be answered.

use crate::support::{Service, is_soak, rounds};
use axum::routing::get;
use counterfoil::config::Config;
use counterfoil::http::admission::Edge;
use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// What a load came to.
#[derive(Debug, Default)]
struct Tally {
    good: usize,
    shed: usize,
    lasted: Duration,
}

impl Tally {
    /// Counts an answer. Whatever is not good is told when to come back.
    fn count(&mut self, (status, waits): (StatusCode, bool)) {
        match status {
            status if status.is_success() => self.good += 1,
            StatusCode::SERVICE_UNAVAILABLE if waits => self.shed += 1,
            status => panic!("{status}"),
        }
    }

    fn per_second(&self) -> f64 {
        self.good as f64 / self.lasted.as_secs_f64()
    }
}

type Ask = Arc<dyn Fn() -> RequestBuilder + Send + Sync>;

async fn ask(ask: Ask) -> (StatusCode, bool) {
    let answer = ask().send().await.unwrap();
    let waits = answer.headers().contains_key("retry-after");
    let status = answer.status();
    answer.bytes().await.unwrap();
    (status, waits)
}

/// So many clients, each with one request after another.
async fn closed(clients: usize, lasting: Duration, request: &Ask) -> Tally {
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..clients {
        let request = request.clone();
        tasks.spawn(async move {
            let mut answers = Vec::new();
            while began.elapsed() < lasting {
                answers.push(ask(request.clone()).await);
            }
            answers
        });
    }
    let mut tally = Tally::default();
    tasks.join_all().await.into_iter().flatten().for_each(|answer| tally.count(answer));
    tally.lasted = began.elapsed();
    tally
}

/// So many requests a second, whatever becomes of them.
async fn open(per_second: f64, lasting: Duration, request: &Ask) -> Tally {
    let (began, mut asked, mut tasks) = (Instant::now(), 0, JoinSet::new());
    while began.elapsed() < lasting {
        while (asked as f64) < began.elapsed().as_secs_f64() * per_second {
            tasks.spawn(ask(request.clone()));
            asked += 1;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut tally = Tally { lasted: began.elapsed(), ..Tally::default() };
    tasks.join_all().await.into_iter().for_each(|answer| tally.count(answer));
    tally
}

/// Ten times of what a door takes with so many clients is offered to it.
async fn ten_times(door: &str, clients: usize, request: Ask) {
    let lasting = Duration::from_secs(rounds(2, 15) as u64);
    let peak = closed(clients, lasting, &request).await;
    let overload = open(10.0 * peak.per_second(), lasting, &request).await;
    let over = Instant::now();
    // It recovers: whoever asks no more than it takes is not shed.
    while closed(clients, Duration::from_millis(200), &request).await.shed > 0 {
        assert!(over.elapsed() < Duration::from_secs(20), "{door} does not recover");
    }
    let recovered = over.elapsed();
    eprintln!(
        "{door}: {:.0} a second, of ten times as many {:.0} and {} shed; recovered in {recovered:?}",
        peak.per_second(),
        overload.per_second(),
        overload.shed
    );
    assert_eq!(peak.shed, 0, "{door}");
    assert!(overload.shed > overload.good, "{door}: {overload:?}");
    if is_soak() {
        assert!(overload.per_second() >= 0.9 * peak.per_second(), "{door}: {overload:?}, peak {peak:?}");
        assert!(recovered <= Duration::from_secs(2), "{door}: {recovered:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_much_is_shed_and_the_rest_is_answered() {
    const PLACES: usize = 20;
    let bounds = |config: &mut Config| config.limits.requests = PLACES;
    // A door that takes its time, as one does that waits for a disk.
    let waits = |mut edge: Edge| {
        edge.router =
            edge.router.route("/waits", get(async || tokio::time::sleep(Duration::from_millis(100)).await));
        edge
    };
    let service = Service::start_with(bounds, waits).await;
    let (client, waits) = (Client::new(), format!("{}/waits", service.base()));
    ten_times("/waits", PLACES, Arc::new(move || client.get(&waits))).await;
    // Passwords have places of their own.
    let (client, session) = (Client::new(), format!("{}/v1/session", service.base()));
    let body = json!({ "email": service.made.owner.email, "password": service.made.owner.password });
    ten_times("/v1/session", 4, Arc::new(move || client.post(&session).json(&body))).await;
    service.stop().await;
}
