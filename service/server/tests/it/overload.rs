//! More requests than can be answered.

use crate::support::{Service, elsewhere, is_soak, rounds, without_limits};
use axum::routing::get;
use counterfoil::config::Config;
use counterfoil::http::admission::Edge;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Connections of all clients together.
const CONNECTIONS: usize = 1000;

/// What a load came to.
#[derive(Debug, Default)]
struct Tally {
    good: usize,
    shed: usize,
    /// Not answered for another reason: on a machine that others keep busy too, a proof may come late.
    in_doubt: usize,
    lasted: Duration,
}

impl Tally {
    /// Counts an answer. Whatever is not good is told when to come back.
    fn count(&mut self, answer: Answer) {
        match answer.status {
            status if status.is_success() => self.good += 1,
            StatusCode::SERVICE_UNAVAILABLE if answer.waits && answer.is_shed => self.shed += 1,
            StatusCode::SERVICE_UNAVAILABLE if answer.waits && !is_soak() => self.in_doubt += 1,
            _ => panic!("{answer:?}"),
        }
    }

    fn per_second(&self) -> f64 {
        self.good as f64 / self.lasted.as_secs_f64()
    }
}

/// What a request came to.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    /// It was said when to come back.
    waits: bool,
    /// It was said that there are too many.
    is_shed: bool,
}

type Ask = Arc<dyn Fn() -> BoxFuture<'static, Answer> + Send + Sync>;

/// Asks for the same again and again.
fn ask(request: impl Fn() -> RequestBuilder + Send + Sync + 'static) -> Ask {
    Arc::new(move || {
        let request = request();
        let answer = async {
            let answer = request.send().await.unwrap();
            let (status, waits) = (answer.status(), answer.headers().contains_key("retry-after"));
            let is_shed = answer.text().await.unwrap().to_lowercase().contains("too many");
            Answer { status, waits, is_shed }
        };
        answer.boxed()
    })
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
                answers.push(request().await);
            }
            answers
        });
    }
    let mut tally = Tally::default();
    tasks.join_all().await.into_iter().flatten().for_each(|answer| tally.count(answer));
    tally.lasted = began.elapsed();
    tally
}

/// So many requests a second, whatever becomes of them; fewer where that many are under way already as clients have
/// connections for.
async fn open(per_second: f64, lasting: Duration, request: &Ask) -> Tally {
    let (began, mut asked, mut tasks) = (Instant::now(), 0, JoinSet::new());
    let mut tally = Tally::default();
    while began.elapsed() < lasting {
        while let Some(answer) = tasks.try_join_next() {
            tally.count(answer.unwrap());
        }
        let due = began.elapsed().as_secs_f64() * per_second;
        while (asked as f64) < due && tasks.len() < CONNECTIONS {
            tasks.spawn(request());
            asked += 1;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    tally.lasted = began.elapsed();
    tasks.join_all().await.into_iter().for_each(|answer| tally.count(answer));
    tally
}

/// The most that these clients are given in a second at any load that the door takes: they cost what they cost, on the
/// same machine, and more the more of them there are.
async fn peak(per_second: f64, lasting: Duration, request: &Ask) -> Tally {
    let mut best = Tally::default();
    for part in [0.5, 0.75, 1.0] {
        let tally = open(part * per_second, lasting, request).await;
        best = if tally.good > best.good { tally } else { best };
    }
    best
}

/// Ten times of what a door takes with so many clients is offered to it, of which it sheds at least such a part. Of its
/// peak it goes on with so much, where nothing else keeps the machine busy.
async fn ten_times(door: &'static str, clients: usize, (part, goes_on): (f64, f64), request: Ask) {
    let lasting = Duration::from_secs(rounds(2, 15) as u64);
    let alone = closed(clients, lasting, &request).await;
    let takes = alone.per_second();
    assert_eq!(alone.shed, 0, "{door}");
    // In a short run nobody asks how much that is.
    let peak = if is_soak() { peak(takes, lasting, &request).await } else { alone };
    let overload = open(10.0 * takes, lasting, &request).await;
    let over = Instant::now();
    // It recovers: whoever asks no more than it takes is not shed.
    while closed(clients, Duration::from_millis(200), &request).await.shed > 0 {
        assert!(over.elapsed() < Duration::from_secs(20), "{door} does not recover");
    }
    let recovered = over.elapsed();
    eprintln!(
        "{door}: {takes:.0} a second by {clients}, {:.0} at its peak, of ten times as many {:.0} and {} shed; recovered in {recovered:?}",
        peak.per_second(),
        overload.per_second(),
        overload.shed
    );
    assert!(overload.shed as f64 >= part * (overload.good + overload.shed) as f64, "{door}: {overload:?}");
    if is_soak() {
        assert!(overload.shed > 0, "{door}: {overload:?}");
        assert!(overload.per_second() >= goes_on * peak.per_second(), "{door}: {overload:?}, peak {peak:?}");
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
    let elsewhere = elsewhere();
    elsewhere.spawn(ten_times("/waits", PLACES, (0.5, 0.9), ask(move || client.get(&waits)))).await.unwrap();
    // Passwords have places of their own.
    let (client, session) = (Client::new(), format!("{}/v1/session", service.base()));
    let body = json!({ "email": service.made.owner.email, "password": service.made.owner.password });
    let request = ask(move || client.post(&session).json(&body));
    elsewhere.spawn(ten_times("/v1/session", 4, (0.5, 0.9), request)).await.unwrap();
    elsewhere.shutdown_background();
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn introspection_goes_on_when_too_much_is_asked_of_it() {
    const DOOR: &str = "/oauth2/introspect";
    let bounds = |config: &mut Config| {
        without_limits(config);
        config.limits.requests = 1;
    };
    let service = Service::start_with(bounds, |edge| edge).await;
    let (client, url, gateway) = (Client::new(), format!("{}{DOOR}", service.base()), &service.made.gateway);
    let (id, secret) = (gateway.client_id.clone(), gateway.client_secret.clone());
    let form = format!("token={}", service.made.owner.token);
    let request = ask(move || {
        let request = client.post(&url).basic_auth(&id, Some(&secret));
        request.header("content-type", "application/x-www-form-urlencoded").body(form.clone())
    });
    let elsewhere = elsewhere();
    // An introspection has its place for some microseconds, so few find none.
    elsewhere.spawn(ten_times(DOOR, 1, (0.0, 0.9), request)).await.unwrap();
    elsewhere.shutdown_background();
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writing_goes_on_when_too_much_is_written() {
    const PLACES: usize = 16;
    let bounds = |config: &mut Config| {
        without_limits(config);
        config.limits.requests = PLACES;
    };
    let service = Service::start_with(bounds, |edge| edge).await;
    let (client, token) = (Client::new(), service.made.owner.token.clone());
    let (_, own) = service.call(Method::GET, "/v1/token", &token, None).await;
    let url = format!("{}/v1/user/tokens/{}", service.base(), own["id"].as_str().unwrap());
    // Each name is another one, or there would be nothing to write.
    let names = AtomicUsize::new(0);
    let request = ask(move || {
        let note = format!("name {}", names.fetch_add(1, Ordering::Relaxed));
        client.patch(&url).bearer_auth(&token).json(&json!({ "note": note }))
    });
    let elsewhere = elsewhere();
    // Writing is a matter of the processor, which PostgreSQL and the service share: nine refusals cost a third of a write.
    elsewhere.spawn(ten_times("/v1/user/tokens/{id}", PLACES, (0.2, 0.5), request)).await.unwrap();
    elsewhere.shutdown_background();
    service.stop().await;
}
