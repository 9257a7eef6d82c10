//! The connection to PostgreSQL is cut at COMMIT, again and again: before anything of it arrives, while it is done, before
//! that is told, and with an error in place of what is done. What never arrived is sent again; whoever is told "not now" and
//! asks again gets what they asked for, once.

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

fn id(token: &Value) -> &str {
    token["id"].as_str().unwrap()
}

/// Issues under a key, and asks for the same until it is done, and once more: the one token that there is.
async fn issue(service: &Service, key: &str, told: &Told) -> Value {
    let issue = async || insist(service, Method::POST, TOKENS, Some(key), Some(json!({}))).await;
    let first = call(service, Method::POST, TOKENS, Some(key), Some(json!({}))).await;
    told.count(first.0, StatusCode::CREATED);
    let (again, once_more) = (issue().await, issue().await);
    assert!(again.0 == StatusCode::CREATED || again.1["plaintext"] == "not_repeated", "{again:?}");
    if first.0 == StatusCode::CREATED {
        assert_eq!((again.0, &again.1["id"]), (StatusCode::OK, &first.1["id"]));
    }
    assert_eq!((once_more.0, &once_more.1["id"]), (StatusCode::OK, &again.1["id"]));
    again.1
}

/// Revokes, and asks for that until it is done. Then it is so.
async fn revoke(service: &Service, token: &Value, key: Option<&str>, told: &Told) {
    let path = format!("{TOKENS}/{}", id(token));
    let first = call(service, Method::DELETE, &path, key, None).await;
    told.count(first.0, StatusCode::NO_CONTENT);
    let inactive_at_once = async || {
        assert_ne!(service.is_active(token["plaintext"].as_str().unwrap()).await, Some(true));
    };
    if first.0 == StatusCode::NO_CONTENT {
        inactive_at_once().await;
    }
    assert_eq!(insist(service, Method::DELETE, &path, key, None).await.0, StatusCode::NO_CONTENT);
    inactive_at_once().await;
}

/// One cut, of a commit that nothing else follows at once: what is answered next is by what was done about the cut.
async fn cut_once(service: &Service, tap: &Tap, round: usize, number: usize, told: &Told) {
    let cut = [Cut::Before, Cut::Underway, Cut::After, Cut::Failed][round % 4];
    let doomed = service.issue_patiently(json!({})).await;
    let (issued, key) = (service.events("token.issued").await, round.to_string());
    // What is cut before it arrives is sent once more, and given up after another cut. Services alternate in which.
    let twice = cut == Cut::Before && (round / 4 + number).is_multiple_of(2);
    let times = if twice { 2 } else { 1 };
    tap.cut_at_the_next_commits(cut, times);
    let (more, token) = match round / 4 % 3 {
        0 => (1, issue(service, &key, told).await),
        kind => {
            revoke(service, &doomed, (kind == 1).then_some(&*key), told).await;
            (0, doomed.clone())
        }
    };
    assert!(tap.has_cut());
    for token in [&token, &doomed] {
        let path = format!("{TOKENS}/{}", id(token));
        assert_eq!(insist(service, Method::DELETE, &path, None, None).await.0, StatusCode::NO_CONTENT);
        for event in ["token.issued", "token.revoked"] {
            assert_eq!(events_about(service, event, id(token)).await, 1, "{event}, {cut:?}");
        }
    }
    assert_eq!(service.events("token.issued").await, issued + more, "{cut:?}");
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
    let (cuts, told) = (rounds(120, 1_200), Told::default());
    join_all((0..SERVICES).map(|number| cut_often(cuts / SERVICES, number, &told))).await;
    // An eighth was cut twice before it arrived. Of the others, what was done was found out, or it was done then; few cuts
    // met the sweeper's commit.
    let (done, not_now) = (told.done.get(), told.not_now.get());
    assert!(done >= cuts * 2 / 3 && not_now >= cuts / 16, "{done} done and {not_now} not now");
}
