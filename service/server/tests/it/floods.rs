//! Clients that take their time, in numbers.

use crate::support::http2::{END_HEADERS, END_STREAM, Frames, frame, head, kind};
use crate::support::load::People;
use crate::support::program::{INIT, Program, command};
use crate::support::{Scratch, elsewhere, is_soak, rounds};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::task::JoinSet;

/// How often a slow client moves.
const STEP: Duration = Duration::from_secs(1);

/// What is slow about a client.
#[derive(Clone, Copy)]
enum Slow {
    /// Its head: a byte at a time.
    Head,
    /// Its body.
    Body,
    /// Its form, of which it sends most at once.
    Form,
    /// The end of its body, before which it falls silent.
    End,
    /// Its reading: of many answers it takes a byte at a time.
    Reading,
    /// A head of HTTP/2, and bodies and windows on its other streams.
    Streams,
    /// Its reading of events, with a credential: the longest pages that there are, and a stream.
    Feed,
}

const KINDS: [Slow; 7] =
    [Slow::Head, Slow::Body, Slow::Form, Slow::End, Slow::Reading, Slow::Streams, Slow::Feed];

impl Slow {
    /// What it begins with.
    fn beginning(self, token: &str) -> Vec<u8> {
        match self {
            Self::Head => b"GET /livez HTTP/1.1\r\nX: ".to_vec(),
            Self::Body => b"POST /v1/session HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                            Content-Length: 60000\r\n\r\n{"
                .to_vec(),
            Self::Form => [
                b"POST /oauth2/introspect HTTP/1.1\r\nHost: x\r\nContent-Length: 8000\r\n".as_slice(),
                b"Content-Type: application/x-www-form-urlencoded\r\n\r\n",
                &[b'x'; 7000],
            ]
            .concat(),
            Self::End => [
                b"POST /v1/session HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                  Content-Length: 60001\r\n\r\n"
                    .as_slice(),
                &[b' '; 60_000],
            ]
            .concat(),
            Self::Reading => "GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n".repeat(30).into(),
            Self::Streams => {
                let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
                // A window of nothing (RFC 9113 section 6.9.2).
                bytes.extend(frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]));
                let post = head("POST", "/v1/session", &[("content-type", "application/json")]);
                let get = head("GET", "/docs/swagger-ui-bundle.js", &[]);
                for number in 0..2 {
                    bytes.extend(frame(kind::HEADERS, END_HEADERS, 4 * number + 1, &post));
                    bytes.extend(frame(kind::HEADERS, END_HEADERS | END_STREAM, 4 * number + 3, &get));
                }
                bytes.extend([0, 16, 0, kind::HEADERS, 0, 0, 0, 0, 9]);
                bytes
            }
            Self::Feed => {
                let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
                bytes.extend(frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]));
                let authorization = format!("Bearer {token}");
                for (number, accept) in
                    ["application/json", "application/json", "application/x-ndjson"].into_iter().enumerate()
                {
                    let more = [("authorization", authorization.as_str()), ("accept", accept)];
                    let get = head("GET", "/v1/events?limit=1000", &more);
                    let number = 2 * number as u32 + 1;
                    bytes.extend(frame(kind::HEADERS, END_HEADERS | END_STREAM, number, &get));
                }
                bytes
            }
        }
    }

    /// How often it moves. The fewer there are, the more pieces a body comes in.
    fn step(self) -> Duration {
        if matches!(self, Self::Body) { STEP / rounds(20, 2) as u32 } else { STEP }
    }

    /// One client after another, as long as they are wanted. The last one is silent until it is sent away, if it reads.
    async fn go_on(self, address: SocketAddr, token: &str, flood: &Flood) {
        while !flood.is_over.load(Ordering::Relaxed) {
            let socket = TcpSocket::new_v4().unwrap();
            let _ = socket.set_recv_buffer_size(4096);
            let Ok(mut stream) = socket.connect(address).await else { continue };
            if stream.write_all(&self.beginning(token)).await.is_err() {
                continue;
            }
            flood.open.fetch_add(1, Ordering::Relaxed);
            let (mut byte, mut ignored) = ([b' '], [0; 512]);
            loop {
                let moved = match (self, flood.is_over.load(Ordering::Relaxed)) {
                    (Self::Reading, true) => break,
                    (Self::Reading, false) => {
                        let read = tokio::time::timeout(STEP, stream.read_exact(&mut byte)).await;
                        tokio::time::sleep(STEP).await;
                        read.is_err() || read.is_ok_and(|read| read.is_ok())
                    }
                    (Self::End | Self::Feed, false) => {
                        // It sends nothing more, and notices when it is sent away.
                        !matches!(
                            tokio::time::timeout(STEP, stream.read(&mut ignored)).await,
                            Ok(Ok(0) | Err(_))
                        )
                    }
                    (_, true) => stream.read_exact(&mut byte).await.is_ok(),
                    (_, false) => {
                        tokio::time::sleep(self.step()).await;
                        stream.write_all(&byte).await.is_ok()
                    }
                };
                if !moved {
                    break;
                }
                flood.moves.fetch_add(1, Ordering::Relaxed);
            }
            // Whoever is sent away at once comes back, but not at once.
            if !flood.is_over.load(Ordering::Relaxed) {
                tokio::time::sleep(self.step()).await;
            }
            flood.open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[derive(Default)]
struct Flood {
    open: AtomicUsize,
    /// How often they have moved: who stands still harms nobody.
    moves: AtomicUsize,
    is_over: AtomicBool,
}

/// What became of good traffic.
struct Good {
    /// How long each answer took, in order of size.
    took: Vec<Duration>,
    /// Answers that it cannot be judged now: on a machine that is busy with other tests, the proof of freshness may be late.
    not_now: usize,
}

impl Good {
    fn p99(&self) -> Duration {
        self.took[self.took.len() * 99 / 100]
    }
}

/// Introspects for a time with a few clients.
async fn good_traffic(people: &People, base: &str, token: &str, lasting: Duration) -> Good {
    let (until, mut clients) = (Instant::now() + lasting, JoinSet::new());
    for _ in 0..4 {
        let (people, base, token) = (people.clone(), base.to_string(), token.to_string());
        clients.spawn(async move {
            let (mut took, mut not_now) = (Vec::new(), 0);
            while Instant::now() < until {
                let began = Instant::now();
                let (status, answer) = people.introspection(&base, &token).await.unwrap();
                match status.as_u16() {
                    200 if answer["active"] == true => took.push(began.elapsed()),
                    503 if !is_soak() && answer["error"] == "temporarily_unavailable" => not_now += 1,
                    _ => panic!("{status}: {answer}"),
                }
                // A machine that has nothing left to give would be measured, and not who gets it.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            (took, not_now)
        });
    }
    let mut good = Good { took: Vec::new(), not_now: 0 };
    for (took, not_now) in clients.join_all().await {
        good.took.extend(took);
        good.not_now += not_now;
    }
    good.took.sort();
    good
}

/// The same on a thread of its own: what is measured is not the queue of the slow clients' own tasks.
async fn apart(people: &People, base: &str, token: &str, lasting: Duration) -> Good {
    let (people, base, token) = (people.clone(), base.to_string(), token.to_string());
    let on_a_thread = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(good_traffic(&people.apart(), &base, &token, lasting))
    };
    tokio::task::spawn_blocking(on_a_thread).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_in_numbers_harm_nobody_and_leave_nothing_behind() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
    let (count, lasting) = (rounds(700, 5000), Duration::from_secs(rounds(8, 40) as u64));
    let scratch = Scratch::new();
    let mut serve = command(scratch.path(), &["serve"]);
    // All of them come from one address here.
    for limit in ["PER_SECOND", "BURST"] {
        serve.env(format!("COUNTERFOIL__LIMITS__STRANGERS_{limit}"), "1000000");
    }
    let mut process = Program::start(serve);
    process.until_ready().await;
    let base = process.base().to_string();
    let people = People::made_by(command(scratch.path(), &INIT), &base).await;
    let (_, token) = people.ask(&base, reqwest::Method::POST, "/v1/user/tokens").await.unwrap();
    let (token, id) = ["plaintext", "id"].map(|field| token[field].as_str().unwrap().to_string()).into();
    // Events for the longest page.
    for _ in 0..500 {
        for end in ["disable", "enable"] {
            let path = format!("/v1/user/tokens/{id}/{end}");
            assert_eq!(people.ask(&base, reqwest::Method::POST, &path).await.unwrap().0.as_u16(), 200);
        }
    }

    let quiet = apart(&people, &base, &token, lasting / 2).await;
    let (memory_before, files_before) = (process.memory(), process.open_files().await);
    let (flood, mut clients, elsewhere) = (Arc::new(Flood::default()), JoinSet::new(), elsewhere());
    let address: SocketAddr = base.trim_start_matches("http://").parse().unwrap();
    for number in 0..count {
        let (flood, token) = (flood.clone(), token.clone());
        // Not all in step: waves would be measured.
        let later = STEP.mul_f64(number as f64 / count as f64);
        let client = async move {
            tokio::time::sleep(later).await;
            KINDS[number % KINDS.len()].go_on(address, &token, &flood).await;
        };
        clients.spawn_on(client, elsewhere.handle());
    }
    let until = Instant::now() + Duration::from_secs(60);
    while flood.open.load(Ordering::Relaxed) < count * 9 / 10 {
        assert!(Instant::now() < until, "they do not get in");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (began, moves) = (Instant::now(), flood.moves.load(Ordering::Relaxed));
    let busy = apart(&people, &base, &token, lasting).await;
    let moves = flood.moves.load(Ordering::Relaxed) - moves;
    let steps = count * began.elapsed().as_secs() as usize;
    let grown = process.memory().saturating_sub(memory_before) / 1024;
    eprintln!(
        "{count} slow clients: p99 {:?}, quiet {:?}; {} answers and {} not now, quiet {} and {}; {grown} MiB more",
        busy.p99(),
        quiet.p99(),
        busy.took.len(),
        busy.not_now,
        quiet.took.len(),
        quiet.not_now
    );
    assert!(grown <= 100, "{grown} MiB more");
    assert!(moves >= steps / 3, "they stand still: {moves} moves in {steps} steps");
    assert!(busy.not_now <= busy.took.len() / 10, "{} not now", busy.not_now);
    assert!(flood.open.load(Ordering::Relaxed) >= count * 9 / 10);
    if is_soak() {
        assert!(busy.p99() <= 2 * quiet.p99(), "{:?} and {:?}", busy.p99(), quiet.p99());
    }

    // They fall silent, and are sent away; what they held is free again.
    flood.is_over.store(true, Ordering::Relaxed);
    tokio::time::timeout(Duration::from_secs(90), clients.join_all()).await.unwrap();
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let files = process.open_files().await;
        if files <= files_before + 20 {
            break;
        }
        assert!(Instant::now() < until, "{files} open files, {files_before} before");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(people.introspect(&base, &token).await, Some(true));
    elsewhere.shutdown_background();
    assert!(process.interrupt().await.success(), "{}", process.said());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_frames_is_sent_away_and_harms_nobody() {
    let service = crate::support::Service::start().await;
    let token = service.issue(serde_json::json!({})).await["plaintext"].as_str().unwrap().to_string();
    let get = head("GET", "/livez", &[]);
    let endless = [
        // Heads that go on and on (CVE-2024-27316).
        [frame(kind::HEADERS, END_STREAM, 1, &get[..10]), frame(kind::CONTINUATION, 0, 1, b"").repeat(5000)],
        // Streams that are wrong, one after another.
        [(0..5000).flat_map(|n| frame(kind::HEADERS, 5, 2 * n + 1, b"\0\x01A\x01x")).collect(), Vec::new()],
        // A setting that nobody may send, and frames of no stream.
        [frame(kind::SETTINGS, 0, 0, &[0, 4, 0xff, 0xff, 0xff, 0xff]), frame(kind::DATA, 0, 0, b"x")],
        [frame(kind::DATA, 0, 77, b"x"), Vec::new()],
        [frame(kind::HEADERS, 5, 2, &get), Vec::new()],
    ];
    for (number, bytes) in endless.iter().enumerate() {
        let mut frames = Frames::to(service.base(), &[]).await;
        frames.try_send(&bytes.concat()).await;
        let goaway = frames.until(kind::GOAWAY).await.unwrap_or_else(|| panic!("{number}"));
        assert_ne!(goaway.code(), 0, "{number}: {goaway:?}");
        assert!(frames.ends_within(Duration::from_secs(20)).await, "{number}");
        assert_eq!(service.introspect(&token).await["active"], true);
    }
    service.stop().await;
}
