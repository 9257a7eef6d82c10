//! Two nodes on one database, of which one serves at a time. Whoever it is loses the serving lock, and hears of that at
//! once, late or not at all; meanwhile clients issue, revoke and introspect at both.

mod clients;

use crate::support::load::People;
use crate::support::tap::{Cut, Tap};
use crate::support::{Service, rounds, until};
use crate::whole::whole;
use clients::{Clients, Ledger};
use counterfoil::app::App;
use counterfoil::event_log::SERVING_LOCK;
use counterfoil::read_model::freshness::Doubt;
use futures_util::future::join_all;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use sqlx::{ConnectOptions, Connection};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// How many steps are drawn with one seed, and with how many seeds at once: most of the time is waited for.
const STEPS: usize = 4;
const AT_ONCE: u64 = 3;
/// In which clients get something done.
const MOMENT: Duration = Duration::from_millis(200);

/// What happens, to the node that serves where no other is named.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Its session is ended, and it hears of that.
    Ended,
    /// Its line falls silent and its session is ended: it does not hear of that.
    EndedUnheard,
    /// Its line falls silent. The lock stays with it.
    Silent,
    /// Its next COMMIT is cut.
    Cut(Cut),
    /// A COMMIT of it is done, and its session ended. It hears of the first once the other serves, and of no more.
    ToldLate,
    /// Both lines forward again.
    Resumed,
    /// Both lines forward again, but nothing of the connections of before.
    Forgotten,
}

impl Step {
    const ALL: [Self; 12] = [
        Self::Ended,
        Self::EndedUnheard,
        Self::EndedUnheard,
        Self::Silent,
        Self::Cut(Cut::Before),
        Self::Cut(Cut::Underway),
        Self::Cut(Cut::After),
        Self::ToldLate,
        Self::ToldLate,
        Self::Resumed,
        Self::Resumed,
        Self::Forgotten,
    ];
}

/// Both nodes, of which the first is the service whose database it is.
struct Nodes<'a> {
    service: &'a Service,
    apps: [&'a App; 2],
    taps: [&'a Tap; 2],
}

impl Nodes<'_> {
    async fn take(&self, step: Step) {
        let serves = usize::from(self.apps[1].is_fresh());
        let its = self.taps[serves];
        match step {
            Step::Ended => end_the_session(self.service).await,
            Step::EndedUnheard => {
                self.stands_in_line(1 - serves).await;
                its.silence();
                end_the_session(self.service).await;
            }
            Step::Silent => its.silence(),
            Step::Cut(cut) => its.cut_at_the_next_commits(cut, 1),
            Step::ToldLate => {
                self.stands_in_line(1 - serves).await;
                its.cut_at_the_next_commits(Cut::Late, 1);
                // Neither of the two has to come: it may not serve any more, and the other may not be there yet.
                soon(async || its.has_cut()).await;
                sleep(MOMENT).await;
                end_the_session(self.service).await;
                soon(async || self.apps[1 - serves].is_fresh()).await;
                sleep(MOMENT).await;
                its.cut_at_the_next_commits(Cut::Late, 0);
                its.tell();
            }
            Step::Resumed => self.taps.iter().for_each(|tap| tap.resume()),
            Step::Forgotten => self.taps.iter().for_each(|tap| tap.resume_without_the_old()),
        }
    }

    /// Has a node wait for the serving lock, if it is not in the middle of something longer.
    async fn stands_in_line(&self, node: usize) {
        self.taps[node].resume();
        soon(async || self.apps[node].freshness.doubt() == Doubt::AnotherServes).await;
    }
}

/// Waits until something is so, or has not become so soon.
async fn soon(so: impl AsyncFnMut() -> bool) {
    let _ = timeout(Duration::from_secs(3), until("it is so", so)).await;
}

/// Ends the session that holds the serving lock, on the server.
async fn end_the_session(service: &Service) {
    let superuser = service.database.private.as_ref().unwrap().superuser("counterfoil");
    let mut superuser = superuser.connect().await.unwrap();
    let sql = "SELECT pg_terminate_backend(pid, 5000) FROM pg_locks WHERE locktype = 'advisory' AND granted
        AND objsubid = 1 AND (classid::bigint << 32 | objid::bigint) = $1";
    sqlx::query(sql).bind(SERVING_LOCK).execute(&mut superuser).await.unwrap();
    superuser.close().await.unwrap();
}

async fn two_nodes(seed: u64) {
    let mut dice = StdRng::seed_from_u64(seed);
    let (service, tap) = Service::start_behind_a_tap(|edge| edge).await;
    let ledger = Arc::new(Ledger::default());
    let made = &service.made;
    let people = People::with(&made.owner.token, &made.gateway.client_id, &made.gateway.client_secret);
    let first = Clients::of(&people, service.base(), &ledger, seed);
    ledger.some_more(service.base()).await;

    // The second stands in line, and takes over from a node that does not hear of it.
    let loses_it = async {
        tap.silence();
        end_the_session(&service).await;
    };
    let (second, ()) = tokio::join!(service.second(), loses_it);
    let others = Clients::of(&people, second.base(), &ledger, !seed);
    ledger.some_more(second.base()).await;

    let nodes = Nodes { service: &service, apps: [service.app(), second.app()], taps: [&tap, &second.tap] };
    // Back and forth first: a node that starts takes the lock in one way, and one that had it in another.
    let mut steps = vec![Step::EndedUnheard; 2];
    steps.extend((0..STEPS).map(|_| Step::ALL[dice.random_range(0..Step::ALL.len())]));
    for step in steps {
        let pause = dice.random_range(50..1300);
        eprintln!("seed {seed}: {step:?}, and {pause} ms");
        nodes.take(step).await;
        sleep(Duration::from_millis(pause)).await;
        assert_eq!(ledger.wrong(), Vec::<String>::new(), "seed {seed}, after {step:?}");
    }
    nodes.take(Step::Resumed).await;
    until("somebody serves", async || nodes.apps.iter().any(|app| app.is_fresh())).await;
    first.stop().await;
    others.stop().await;
    second.stop().await;
    service.until_known(&service.made.owner.token).await;
    assert_eq!(ledger.wrong(), Vec::<String>::new(), "seed {seed}");
    ledger.is_in_the_log(&service).await;
    whole(&service).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_node_revoked_no_node_calls_active_whoever_serves() {
    for seeds in 0..rounds(1, 10) as u64 {
        join_all((0..AT_ONCE).map(|number| two_nodes(seeds * AT_ONCE + number))).await;
    }
}
