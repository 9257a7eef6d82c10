//! The connection to PostgreSQL is cut at COMMIT, again and again: before anything of it arrives, while it is done, before
//! that is told, and with an error in place of what is done. What never arrived is sent again; whoever is told "not now" and
//! asks again gets what they asked for, once: by a key, where asking twice would do it twice.

use crate::faults::{call, events_about, insist};
use crate::support::tap::{Cut, Tap};
use crate::support::{Service, rounds};
use crate::whole::whole;
use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::cell::Cell;

const TOKENS: &str = "/v1/user/tokens";

/// Services that are cut beside each other: after a cut, each waits until another's proof would be over.
const SERVICES: usize = 10;

/// How many of the requests whose commit may have been cut were answered in which way.
#[derive(Default)]
struct Told {
    done: Cell<usize>,
    not_now: Cell<usize>,
}

impl Told {
    fn count(&self, status: StatusCode, done: StatusCode) {
        let so_many = if status == done { &self.done } else { &self.not_now };
        assert!(status == done || status == StatusCode::SERVICE_UNAVAILABLE, "{status}");
        so_many.update(|count| count + 1);
    }
}

fn id(thing: &Value) -> &str {
    thing["id"].as_str().unwrap()
}

fn path(token: &Value) -> String {
    format!("{TOKENS}/{}", id(token))
}

/// What the gateway is told of a plaintext that was shown, or `None` for "not now".
async fn is_active(service: &Service, plaintext: &Value) -> Option<bool> {
    service.is_active(plaintext.as_str().unwrap()).await
}

/// What can be asked for under a key: where, with what, how it is answered when it is done, and where the answer has what
/// it shows once.
struct Keyed<'a> {
    path: &'a str,
    key: &'a str,
    body: Value,
    done: StatusCode,
    shows: &'static str,
}

/// Asks for something under a key until it is done, and once more. It is the same thing each time, and what is shown once is
/// shown once: to whoever is told that it is done, or to nobody if that was not to be told.
async fn once(service: &Service, keyed: Keyed<'_>, told: &Told) -> Value {
    let Keyed { path, key, body, done, shows } = keyed;
    let first = call(service, Method::POST, path, Some(key), Some(body.clone())).await;
    told.count(first.0, done);
    let first_is_done = first.0 == done;
    let again = insist(service, Method::POST, path, Some(key), Some(body.clone())).await;
    let once_more = insist(service, Method::POST, path, Some(key), Some(body)).await;
    let mut answers = vec![again, once_more];
    if first_is_done {
        answers.insert(0, first);
    }
    let (mut shown, mut same) = (Vec::new(), Vec::new());
    for (status, mut answer) in answers {
        let secret = answer[shows].take();
        let is_shown = secret != "not_repeated";
        assert_eq!(status, if is_shown { done } else { StatusCode::OK }, "{path}: {answer}");
        shown.push(is_shown.then_some(secret));
        same.push(answer);
    }
    // Whoever was told "not now" may ask for what was not done, and is shown it then.
    assert!(
        shown[1..].iter().all(Option::is_none) && (shown[0].is_some() || !first_is_done),
        "{path}: {shown:?}"
    );
    assert!(same.iter().all(|answer| *answer == same[0]), "{path}: {same:?}");
    let mut answer = same.swap_remove(0);
    answer[shows] = shown.swap_remove(0).unwrap_or_default();
    answer
}

/// Issues a token.
async fn issue(service: &Service, key: &str, told: &Told) -> Value {
    let keyed = Keyed { path: TOKENS, key, body: json!({}), done: StatusCode::CREATED, shows: "plaintext" };
    let token = once(service, keyed, told).await;
    assert_eq!(events_about(service, "token.issued", id(&token)).await, 1);
    token
}

/// Rotates a token once: whoever has the plaintext of before has nothing any more.
async fn rotate(service: &Service, token: &Value, key: &str, told: &Told) {
    let (path, body) = (format!("{}/rotate", path(token)), json!({ "overlap": 0 }));
    let keyed = Keyed { path: &path, key, body, done: StatusCode::OK, shows: "plaintext" };
    let rotated = once(service, keyed, told).await;
    assert_eq!((id(&rotated), &rotated["generation"]), (id(token), &json!(2)));
    assert_ne!(is_active(service, &token["plaintext"]).await, Some(true));
    if !rotated["plaintext"].is_null() {
        assert_ne!(is_active(service, &rotated["plaintext"]).await, Some(false));
    }
    assert_eq!(events_about(service, "token.rotated", id(token)).await, 1);
}

/// Registers a gateway once, and removes it.
async fn register(service: &Service, key: &str, told: &Told) {
    let (path, body) = ("/v1/gateways", json!({ "name": format!("edge {key}") }));
    let keyed = Keyed { path, key, body, done: StatusCode::CREATED, shows: "client_secret" };
    let gateway = once(service, keyed, told).await;
    for (event, of) in [("gateway.registered", &gateway), ("token.issued", &gateway["token"])] {
        assert_eq!(events_about(service, event, id(of)).await, 1, "{event}");
    }
    let path = format!("{path}/{}", id(&gateway));
    assert_eq!(insist(service, Method::DELETE, &path, None, None).await.0, StatusCode::NO_CONTENT);
}

/// Revokes, and asks for that until it is done. Then it is so. It takes no key: what has ended does not end again.
async fn revoke(service: &Service, token: &Value, told: &Told) {
    let first = call(service, Method::DELETE, &path(token), None, None).await;
    told.count(first.0, StatusCode::NO_CONTENT);
    if first.0 == StatusCode::NO_CONTENT {
        assert_ne!(is_active(service, &token["plaintext"]).await, Some(true));
    }
    end(service, token).await;
    assert_ne!(is_active(service, &token["plaintext"]).await, Some(true));
}

/// Has a token end: once, however often that is asked for.
async fn end(service: &Service, token: &Value) {
    assert_eq!(insist(service, Method::DELETE, &path(token), None, None).await.0, StatusCode::NO_CONTENT);
    for event in ["token.issued", "token.revoked"] {
        assert_eq!(events_about(service, event, id(token)).await, 1, "{event}");
    }
}

/// How many tokens were issued and rotated, and gateways registered.
async fn made(service: &Service) -> [i64; 3] {
    let events = ["token.issued", "token.rotated", "gateway.registered"];
    join_all(events.map(|event| service.events(event))).await.try_into().unwrap()
}

/// One cut, of a commit that nothing else follows at once: what is answered next is by what was done about the cut.
async fn cut_once(service: &Service, tap: &Tap, round: usize, number: usize, told: &Told) {
    let cut = [Cut::Before, Cut::Underway, Cut::After, Cut::Failed][round % 4];
    let doomed = service.issue_patiently(json!({})).await;
    let (before, key, turn) = (made(service).await, round.to_string(), round / 4 + number);
    // What is cut before it arrives is sent once more, and given up after another cut. Turns alternate in which.
    let twice = cut == Cut::Before && (turn / 4).is_multiple_of(2);
    tap.cut_at_the_next_commits(cut, if twice { 2 } else { 1 });
    let more = match turn % 4 {
        0 => {
            let token = issue(service, &key, told).await;
            end(service, &token).await;
            [1, 0, 0]
        }
        1 => {
            rotate(service, &doomed, &key, told).await;
            [0, 1, 0]
        }
        2 => {
            register(service, &key, told).await;
            [1, 0, 1]
        }
        _ => {
            revoke(service, &doomed, told).await;
            [0, 0, 0]
        }
    };
    assert!(tap.has_cut());
    end(service, &doomed).await;
    let after = made(service).await;
    assert_eq!([0, 1, 2].map(|kind| after[kind] - before[kind]), more, "{cut:?}");
}

async fn cut_often(cuts: usize, number: usize, told: &Told) {
    let (service, tap) = Service::start_behind_a_tap(|edge| edge).await;
    for round in 0..cuts {
        cut_once(&service, &tap, round, number, told).await;
    }
    whole(&service).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cut_at_commit_and_asked_for_again_happens_once_and_at_once() {
    // Three in four of them are of what is asked for under a key: more than a thousand in the long run.
    let (cuts, told) = (rounds(120, 1_440), Told::default());
    join_all((0..SERVICES).map(|number| cut_often(cuts / SERVICES, number, &told))).await;
    // An eighth was cut twice before it arrived, or a little more. Of the others, what was done was found out, or it was done
    // then; few cuts met the sweeper's commit.
    let (done, not_now) = (told.done.get(), told.not_now.get());
    assert!(done >= cuts * 2 / 3 && not_now >= cuts / 16, "{done} done and {not_now} not now");
}
