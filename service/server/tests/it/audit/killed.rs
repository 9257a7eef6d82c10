//! Following the feed of a service that is killed, and started again, while others write.

use crate::support::load::{Ledger, Load, People};
use crate::support::people::rename;
use crate::support::program::{Program, verify};
use crate::support::{Service, rounds};
use reqwest::{Client, Method, Response, StatusCode};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// Somebody who keeps every event, and asks for those after the last one of which the whole line is here.
struct Follower {
    token: String,
    client: Client,
    /// Lines of events, in the order in which they came.
    kept: Vec<Value>,
    /// Where to go on.
    after: u64,
}

/// A stream under way.
struct Stream {
    response: Response,
    /// What came of a line that is not whole yet.
    text: Vec<u8>,
    /// The last line, once it came.
    end: Option<Value>,
}

impl Follower {
    fn with(token: &str) -> Self {
        Self { token: token.into(), client: Client::new(), kept: Vec::new(), after: 0 }
    }

    /// A stream from where the last one ended, or was cut; none if nobody answers.
    async fn begin(&self, base: &str) -> Option<Stream> {
        loop {
            let request = self.client.get(format!("{base}/v1/events?after={}", self.after));
            let request = request.bearer_auth(&self.token).header("accept", "application/x-ndjson");
            let response = request.send().await.ok()?;
            if response.status() != StatusCode::SERVICE_UNAVAILABLE {
                assert_eq!(response.status(), StatusCode::OK);
                return Some(Stream { response, text: Vec::new(), end: None });
            }
        }
    }

    /// Takes what comes next of a stream, and keeps its whole lines; false if nothing comes any more.
    async fn take(&mut self, stream: &mut Stream) -> bool {
        let Ok(Some(piece)) = stream.response.chunk().await else { return false };
        stream.text.extend_from_slice(&piece);
        let whole = stream.text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let lines: Vec<u8> = stream.text.drain(..whole).collect();
        for line in std::str::from_utf8(&lines).unwrap().lines() {
            assert!(stream.end.is_none(), "something comes after the last line");
            let line: Value = serde_json::from_str(line).unwrap();
            match line["record"]["seq"].as_u64() {
                Some(seq) => {
                    self.after = seq;
                    self.kept.push(line);
                }
                None => {
                    self.after = line["next_after"].as_u64().unwrap();
                    stream.end = Some(line);
                }
            }
        }
        true
    }

    /// The last line of a stream, read to its end; none if it is cut.
    async fn rest(&mut self, mut stream: Stream) -> Option<Value> {
        while self.take(&mut stream).await {}
        stream.end
    }

    /// Reads stream after stream, until one is cut or none begins.
    async fn follow(&mut self, base: &str) {
        while let Some(stream) = self.begin(base).await
            && self.rest(stream).await.is_some()
        {}
    }
}

/// Every event of the list, page by page.
async fn listed(people: &People, base: &str) -> Vec<Value> {
    let (mut all, mut after) = (Vec::new(), 0);
    loop {
        let path = format!("/v1/events?limit=1000&after={after}");
        let (status, mut page) = people.insist(base, Method::GET, &path).await;
        assert_eq!(status, StatusCode::OK, "{page}");
        all.append(page["items"].as_array_mut().unwrap());
        after = page["next_after"].as_u64().unwrap();
        if page["more"] == false {
            assert_eq!(page["head"], after);
            return all;
        }
    }
}

/// Kills it, not always at the same step of a batch or of a stream, after the load got through some more.
async fn kill(program: &mut Program, ledger: &Ledger, round: usize) {
    ledger.some_more().await;
    tokio::time::sleep(Duration::from_millis((round as u64 * 7) % 50)).await;
    program.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_of_a_service_that_is_killed_misses_nothing_and_sees_nothing_twice() {
    let service = Service::start().await;
    // So many that what is between a service and its client does not hold them all.
    rename(&service, rounds(3_000, 30_000)).await;
    let (scratch, made) = service.into_data().await;
    let people = People::with(&made.owner.token, &made.gateway.client_id, &made.gateway.client_secret);
    let (mut follower, ledger) = (Follower::with(&made.owner.token), Arc::new(Ledger::default()));
    let mut program = Program::serve(scratch.path()).await;
    let all = rounds(5, 60);
    for round in 0..all {
        let (base, before) = (program.base().to_string(), follower.kept.len());
        let load = Load::start(&people, &base, &ledger, true);
        // First in the middle of what there was, of which a little is read; then wherever it is in what comes.
        if round < all.div_ceil(3) {
            let mut stream = follower.begin(&base).await.unwrap();
            assert!(follower.take(&mut stream).await && follower.take(&mut stream).await);
            kill(&mut program, &ledger, round).await;
            assert_eq!(follower.rest(stream).await, None, "round {round}: the stream was not cut");
        } else {
            tokio::join!(follower.follow(&base), kill(&mut program, &ledger, round));
        }
        assert!(follower.kept.len() > before, "round {round}: it followed nothing");
        load.stop().await;
        program = Program::serve(scratch.path()).await;
        people.until_active(program.base(), people.own()).await;
        ledger.tidy(&people, program.base()).await;
    }
    let last = follower.begin(program.base()).await.unwrap();
    let end = follower.rest(last).await.unwrap();
    let head = end["head"].as_u64().unwrap();
    assert_eq!((&end["more"], end["next_after"].as_u64()), (&Value::Bool(false), Some(head)));
    let seqs = follower.kept.iter().map(|line| line["record"]["seq"].as_u64().unwrap());
    assert_eq!(seqs.zip(1..).find(|(seq, place)| seq != place), None, "a gap, or something twice");
    assert_eq!(follower.kept.len() as u64, head);
    // Each of them is as it is in the list, its chain value included.
    assert!(listed(&people, program.base()).await == follower.kept, "the list shows something else");
    program.stop().await;
    verify(scratch.path()).await;
}
