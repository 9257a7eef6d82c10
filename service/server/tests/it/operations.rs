//! What an operator sees: metrics, logs, limits, and how the program stops.

use crate::support::Service;
use crate::support::program::Program;
use crate::support::raw::{Raw, exchange};
use counterfoil::clock::random;
use counterfoil::http::admission::Edge;
use counterfoil::http::edge;
use counterfoil_domain::plaintext::Plaintext;
use nix::sys::signal::Signal;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::num::NonZeroU32;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";

fn number(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

/// The value of a series.
fn series(metrics: &str, name: &str) -> f64 {
    let line = metrics.lines().find(|line| line.split(' ').next() == Some(name));
    line.unwrap_or_else(|| panic!("{name}: {metrics}")).rsplit(' ').next().unwrap().parse().unwrap()
}

fn lines_of(metrics: &str) -> usize {
    metrics.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_tell_what_happens_and_do_not_grow_by_strangers() {
    let service = Service::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let edge = tokio::spawn(edge::serve(listener, Edge::metrics(service.app(), &Default::default())));
    let scrape = || async {
        let request = "GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: application/openmetrics-text\r\n\r\n";
        let answer = exchange(&address, request).await;
        assert_eq!(answer.status, 200);
        assert!(
            answer.header("content-type").is_some_and(|kind| kind.starts_with("text/plain; version=0.0.4"))
        );
        answer.body
    };
    exchange(&address, "GET /v1/token HTTP/1.1\r\nHost: x\r\n\r\n").await.assert_problem(404, "not-found");
    exchange(service.base(), "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .assert_problem(404, "not-found");

    let token = service.issue(json!({})).await;
    let plaintext = token["plaintext"].as_str().unwrap();
    assert_eq!(service.introspect(plaintext).await["active"], true);
    assert_eq!(service.introspect("unknown").await["active"], false);
    let post =
        format!("POST /oauth2/introspect HTTP/1.1\r\nHost: x\r\n{FORM}Content-Length: 7\r\n\r\ntoken=x");
    exchange(service.base(), post).await.assert_oauth(401, "invalid_client");
    let before = scrape().await;
    for (name, value) in [
        ("counterfoil_introspections_total{outcome=\"active\"}", 1.0),
        ("counterfoil_introspections_total{outcome=\"inactive\"}", 1.0),
        ("counterfoil_introspections_total{outcome=\"refused\"}", 1.0),
        ("counterfoil_introspections_total{outcome=\"unavailable\"}", 0.0),
        ("counterfoil_http_requests_total{route=\"/v1/user/tokens\",method=\"POST\",status=\"201\"}", 1.0),
        ("counterfoil_http_requests_total{route=\"/oauth2/introspect\",method=\"POST\",status=\"200\"}", 2.0),
        ("counterfoil_http_requests_total{route=\"unmatched\",method=\"GET\",status=\"404\"}", 1.0),
        ("counterfoil_http_request_duration_seconds_count{route=\"/v1/user/tokens\"}", 1.0),
        ("counterfoil_index_digests", 3.0),
        ("counterfoil_applied_lag_events", 0.0),
        ("counterfoil_writer_queue_commands", 0.0),
        ("counterfoil_commit_failures_total", 0.0),
        ("counterfoil_fresh", 1.0),
    ] {
        assert_eq!(series(&before, name), value, "{name}: {before}");
    }
    for name in
        ["counterfoil_commits_total", "counterfoil_batch_commands_sum", "counterfoil_batch_seconds_count"]
    {
        assert!(series(&before, name) >= 1.0, "{name}: {before}");
    }
    let last: i64 =
        sqlx::query_scalar("SELECT max(seq) FROM events").fetch_one(&service.database.pool).await.unwrap();
    assert_eq!(series(&before, "counterfoil_applied_seq"), last as f64);
    assert_eq!(series(&before, "counterfoil_head_seq"), last as f64);
    assert!(series(&before, "process_resident_memory_bytes") > 1e6);

    let mut raw = Raw::to(service.base()).await;
    for n in 0..2000 {
        let method = ["GET", "POST", "BREW", "DELETE"][n % 4];
        let (odd, path) = match n % 5 {
            0 => (format!("M{n}"), format!("/v1/user/tokens/{n}")),
            1 => (method.into(), format!("/ext_authz/{n}")),
            2 => (method.into(), format!("/oauth2/{n}?x={n}")),
            3 => (format!("M{n}"), "/oauth2/introspect".into()),
            _ => (method.into(), format!("/{n}/{n}")),
        };
        raw.send(format!("{odd} {path} HTTP/1.1\r\nHost: h{n}.example\r\nUser-Agent: a{n}\r\n\r\n")).await;
        assert!((400..500).contains(&raw.answer().await.status));
    }
    let after = scrape().await;
    let grown = lines_of(&after) - lines_of(&before);
    assert!(grown < 100, "{grown} new series");
    assert!(
        series(
            &after,
            "counterfoil_http_requests_total{route=\"unmatched\",method=\"other\",status=\"404\"}"
        ) > 100.0
    );
    edge.abort();
    let _ = edge.await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_count_against_an_address_and_good_credentials_do_not_suffer() {
    let limited = |config: &mut counterfoil::config::Config| {
        (config.limits.failures_per_second, config.limits.failures_burst) = (number(1), number(3));
        config.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    };
    let service = Service::start_with(limited, |edge| edge).await;
    let mut raw = Raw::to(service.base()).await;
    let mut other = Raw::to(service.base()).await;
    let mut ask = async |token: &str, client: &str| {
        let head = "GET /v1/token HTTP/1.1\r\nHost: x\r\n";
        other
            .send(format!(
                "{head}Authorization: Bearer {token}\r\nX-Forwarded-For: 6.6.6.6, {client}\r\n\r\n"
            ))
            .await;
        other.answer().await
    };
    // The allowance comes back meanwhile, slowly; so it is used up by many quick failures.
    for _ in 0..3 {
        ask("wrong", "192.0.2.1").await.assert_problem(401, "unauthenticated");
    }
    let mut refused = ask("wrong", "192.0.2.1").await;
    for _ in 0..50 {
        if refused.status == 429 {
            break;
        }
        refused = ask("wrong", "192.0.2.1").await;
    }
    refused.assert_problem(429, "too-many-requests");
    let wait = refused.header("retry-after").and_then(|seconds| seconds.parse::<u32>().ok());
    assert!(wait.is_some_and(|seconds| (1..=2).contains(&seconds)), "{refused:?}");
    // A good token from there, and a bad one from elsewhere.
    assert_eq!(ask(&service.made.owner.token, "192.0.2.1").await.status, 200);
    ask("wrong", "192.0.2.2").await.assert_problem(401, "unauthenticated");
    // A /64 is one client.
    let mut statuses = Vec::new();
    for host in 1..=50 {
        statuses.push(ask("wrong", &format!("2001:db8::{host}")).await.status);
    }
    assert!(statuses[..3] == [401; 3] && statuses.contains(&429), "{statuses:?}");
    ask("wrong", "2001:db8:0:1::4").await.assert_problem(401, "unauthenticated");
    let form = format!("{FORM}X-Forwarded-For: 192.0.2.3\r\nContent-Length: 7\r\n\r\ntoken=x");
    let mut wrong = Vec::new();
    for _ in 0..50 {
        raw.send(format!("POST /oauth2/introspect HTTP/1.1\r\nHost: x\r\n{form}")).await;
        wrong.push(raw.answer().await);
    }
    wrong[0].assert_oauth(401, "invalid_client");
    let limited = wrong.iter().find(|answer| answer.status == 429).unwrap();
    limited.assert_oauth(429, "temporarily_unavailable");
    assert!(limited.header("retry-after").is_some());
    assert!(series(&service.metrics(), "counterfoil_rate_limited_total{limit=\"address\"}") >= 3.0);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_has_a_rate_and_introspection_has_none() {
    let limited = |config: &mut counterfoil::config::Config| {
        (config.limits.credential_per_second, config.limits.credential_burst) = (number(1), number(5));
        (config.limits.strangers_per_second, config.limits.strangers_burst) = (number(1), number(4));
    };
    let service = Service::start_with(limited, |edge| edge).await;
    let (owner, token) = (service.made.owner.token.clone(), service.issue(json!({})).await);
    let mut answers = Vec::new();
    for _ in 0..30 {
        answers.push(service.call(Method::GET, "/v1/token", &owner, None).await);
    }
    let limited: Vec<_> =
        answers.iter().filter(|(status, _)| *status == StatusCode::TOO_MANY_REQUESTS).collect();
    assert!(
        limited.len() >= 2 && limited.iter().all(|(_, body)| body["type"] == "/problems/too-many-requests")
    );
    let plaintext = token["plaintext"].as_str().unwrap();
    assert_eq!(service.call(Method::GET, "/v1/token", plaintext, None).await.0, StatusCode::OK);
    for _ in 0..50 {
        assert_eq!(service.introspect(plaintext).await["active"], true);
    }
    // The doors without a credential, by a layer.
    let metadata = "GET /.well-known/oauth-authorization-server HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut raw = Raw::to(service.base()).await;
    let mut answers = Vec::new();
    for _ in 0..30 {
        raw.send(metadata).await;
        answers.push(raw.answer().await);
    }
    assert!(answers[..4].iter().all(|answer| answer.status == 200));
    let refused = answers.iter().find(|answer| answer.status == 429).unwrap();
    refused.assert_problem(429, "too-many-requests");
    assert!(refused.header("retry-after").is_some());
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_have_a_line_for_each_request_and_no_secret() {
    let mut program = Program::start();
    let token = program.printed("owner", "token");
    // A token of somebody's, everywhere but where it belongs.
    let canary = Plaintext::mint("cf_pat_", &random()).into_shown();
    let mut raw = Raw::to(&program.base).await;
    // What init committed is known within a moment.
    let until = Instant::now() + Duration::from_secs(30);
    let mut ids = Vec::new();
    loop {
        raw.send(format!("GET /v1/token HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n")).await;
        let answer = raw.answer().await;
        ids.push(answer.header("x-request-id").unwrap().to_string());
        if answer.status == 200 {
            break;
        }
        assert!(Instant::now() < until);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let everywhere = format!(
        "Host: {canary}\r\nX-Request-Id: {canary}\r\nX-Organization: {canary}\r\nIdempotency-Key: {canary}\r\n\
         User-Agent: {canary}\r\nReferer: {canary}\r\ntraceparent: {canary}\r\nX-Forwarded-For: {canary}\r\n"
    );
    for request in [
        format!(
            "DELETE /v1/user/tokens/{canary} HTTP/1.1\r\n{everywhere}Authorization: Bearer {token}\r\n\r\n"
        ),
        format!("GET /v1/user/tokens?search={canary}&cursor={canary} HTTP/1.1\r\n{everywhere}\r\n"),
        format!("GET /{canary}/{canary} HTTP/1.1\r\n{everywhere}Authorization: Bearer {canary}\r\n\r\n"),
        format!("{canary} /v1/token HTTP/1.1\r\n{everywhere}X-API-KEY: {canary}\r\n\r\n"),
        format!(
            "POST /v1/user/tokens HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n\
                 Content-Length: {}\r\n\r\n{{\"{canary}\":1}}",
            canary.len() + 6
        ),
        format!(
            "POST /v1/user/tokens HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n\
                 Content-Length: {}\r\n\r\n{{\"note\":\"{canary}\"}}",
            canary.len() + 11
        ),
    ] {
        raw.send(request).await;
        let answer = raw.answer().await;
        assert!((400..500).contains(&answer.status), "{answer:?}");
        assert!(!format!("{answer:?}").contains(&canary), "{answer:?}");
        ids.push(answer.header("x-request-id").unwrap().to_string());
    }
    let (id, secret) = (program.printed("gateway", "client_id"), program.printed("gateway", "client_secret"));
    let form = format!("client_id={id}&client_secret={secret}&token={token}");
    raw.send(format!(
        "POST /oauth2/introspect HTTP/1.1\r\nHost: x\r\n{FORM}Content-Length: {}\r\n\r\n{form}",
        form.len()
    ))
    .await;
    let introspected = raw.answer().await;
    assert_eq!(introspected.status, 200, "{introspected:?}");
    let metrics =
        exchange(program.metrics.trim_end_matches("/metrics"), "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            .await;
    assert_eq!(metrics.status, 200);

    program.signal(Signal::SIGTERM);
    assert!(program.ended_within(Duration::from_secs(20)).is_some_and(|status| status.success()));
    let lines = program.lines();
    let all = format!("{}{}", lines.join("\n"), metrics.body);
    for secret in [&canary, &token, &secret, &program.printed("owner", "password")] {
        assert!(!all.contains(secret), "{all}");
    }
    let requests: Vec<Value> = lines
        .iter()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|line| line["target"] == "counterfoil::request")
        .collect();
    let logged: Vec<&str> = requests.iter().map(|line| line["request_id"].as_str().unwrap()).collect();
    assert_eq!(logged, ids, "a line each, in their order, and none for an introspection that succeeded");
    let first = requests.iter().find(|line| line["status"] == 200).unwrap();
    assert_eq!((&first["route"], &first["method"]), (&json!("/v1/token"), &json!("GET")));
    assert!(first["actor"].as_str().unwrap().starts_with("token ") && first["duration_us"].is_u64());
    assert!(requests.iter().any(|line| line["route"] == "/v1/user/tokens/{id}" && line["status"] == 400));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_stops_in_time_whatever_hangs_on_it() {
    let mut program = Program::start();
    let mut idle = Vec::new();
    for _ in 0..50 {
        let mut raw = Raw::to(&program.base).await;
        raw.send("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert_eq!(raw.answer().await.status, 200);
        idle.push(raw);
    }
    let head = format!("POST /oauth2/introspect HTTP/1.1\r\nHost: x\r\n{FORM}Content-Length: 7\r\n\r\ntok",);
    let (mut half, mut never) = (Raw::to(&program.base).await, Raw::to(&program.base).await);
    half.send(&head).await;
    never.send(&head).await;
    let began = Instant::now();
    program.signal(Signal::SIGTERM);
    for raw in &mut idle {
        assert!(raw.ends_within(Duration::from_secs(9)).await);
    }
    half.send("en=x").await;
    assert_eq!(half.answer().await.status, 401);
    // The other never sends the rest: the body's time is over first.
    let status = program.ended_within(Duration::from_secs(25));
    assert!(status.is_some_and(|status| status.success()), "{:?}", program.lines());
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_stops_at_once() {
    let mut program = Program::start();
    let mut never = Raw::to(&program.base).await;
    never
        .send(format!("POST /oauth2/introspect HTTP/1.1\r\nHost: x\r\n{FORM}Content-Length: 7\r\n\r\ntok"))
        .await;
    program.signal(Signal::SIGTERM);
    assert!(program.ended_within(Duration::from_millis(1500)).is_none());
    program.signal(Signal::SIGINT);
    let status = program.ended_within(Duration::from_secs(8));
    assert!(status.is_some_and(|status| status.success()), "{:?}", program.lines());
}
