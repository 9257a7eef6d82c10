//! The service is killed at each named step of the write path, and comes back with everything that it acknowledged.
//!
//! Who dies is this test program once more, in a process of its own: it serves as the program does, by the constructors
//! that the program uses, and kills itself where a file says. The program itself can do no such thing.

use crate::crashes::again_within;
use crate::support::load::{Ledger, Load, People};
use crate::support::program::{INIT, Program, command, verify};
use crate::support::{Scratch, rounds, without_limits};
use axum::extract::Request;
use axum::middleware::{self, Next};
use counterfoil::app::App;
use counterfoil::clock::{Clock, random};
use counterfoil::config::Config;
use counterfoil::event_log::steps::{Faults, Step};
use counterfoil::http::admission::Edge;
use counterfoil::http::edge;
use counterfoil::postgres::connect::Database;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reqwest::Method;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

/// The file that says where to die: only who is to die has it in its environment.
const DIES_WHERE: &str = "COUNTERFOIL_TEST_DIES_WHERE";
/// The data of who is to die.
const DATA: &str = "COUNTERFOIL_TEST_DATA";
/// A moment after COMMIT was sent.
const UNDERWAY: &str = "underway";
/// After everything, with the answer made and not sent.
const ANSWER: &str = "answer";

/// Every place to die at: before each step, and what comes of the last.
fn places() -> Vec<String> {
    let steps = Step::ALL.iter().map(|step| format!("{step:?}"));
    steps.chain([UNDERWAY, ANSWER].map(String::from)).collect()
}

fn die() {
    kill(Pid::this(), Signal::SIGKILL).unwrap();
}

/// Whether this is where to die.
#[derive(Clone)]
struct Here(Arc<Path>);

impl Here {
    fn is(&self, place: &str) -> bool {
        std::fs::read_to_string(&*self.0).is_ok_and(|named| named == place)
    }

    fn hook(&self) -> Faults {
        let here = self.clone();
        Arc::new(move |step| {
            if here.is(&format!("{step:?}")) {
                die();
            }
            if step == Step::Commit && here.is(UNDERWAY) {
                let [chance]: [u8; 1] = random();
                std::thread::spawn(move || {
                    std::thread::sleep(Duration::from_micros(u64::from(chance) * 10));
                    die();
                });
            }
            None
        })
    }
}

/// Serves until it dies.
async fn serve(here: Here) {
    let mut config = Config::default();
    without_limits(&mut config);
    let data = PathBuf::from(std::env::var_os(DATA).unwrap());
    let database = Database::open(None, &data, &|_| {}).await.unwrap();
    let started = App::start(&config, &database, Clock::system(), Some(here.hook()), &|_| {}).await;
    let (app, _writer) = started.unwrap();
    let mut edge = Edge::api(&app, &config);
    edge.router = edge.router.layer(middleware::from_fn(move |request: Request, next: Next| {
        let here = here.clone();
        async move {
            let changes = request.method() != Method::GET;
            let answer = next.run(request).await;
            if changes && answer.status().is_success() && here.is(ANSWER) {
                die();
            }
            answer
        }
    }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    // In the words of the program.
    eprintln!("serving on http://{}\nmetrics on nothing/metrics", listener.local_addr().unwrap());
    edge::serve(listener, edge).await;
}

/// This program, to run this one test, which finds there that it is to die.
fn mortal(data: &Path, dies_where: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let test = "steps::a_service_killed_at_any_step_loses_nothing_and_comes_back";
    command.args([test, "--exact", "--include-ignored", "--nocapture"]);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env(DIES_WHERE, dies_where).env(DATA, data);
    command.current_dir("/").stdin(Stdio::null()).process_group(0);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_killed_at_any_step_loses_nothing_and_comes_back() {
    if let Some(dies_where) = std::env::var_os(DIES_WHERE) {
        return serve(Here(Path::new(&dies_where).into())).await;
    }
    let (scratch, beside) = (Scratch::with_data().await, tempfile::tempdir().unwrap());
    let dies_where = beside.path().join("dies-where");
    let start = async || {
        let mut started = Program::start(mortal(scratch.path(), &dies_where));
        started.until_ready().await;
        started
    };
    let (mut program, ledger) = (start().await, Arc::new(Ledger::default()));
    let people = People::made_by(command(scratch.path(), &INIT), program.base()).await;
    let places = places();
    for round in 0..rounds(10, 100) {
        let load = Load::start(&people, program.base(), &ledger, true);
        ledger.some_more().await;
        std::fs::write(&dies_where, &places[round % places.len()]).unwrap();
        let ended = program.until_it_ends().await;
        assert_eq!(ended.signal(), Some(Signal::SIGKILL as i32), "{ended}: {}", program.said());
        load.stop().await;
        std::fs::remove_file(&dies_where).unwrap();
        let since = Instant::now();
        program = start().await;
        assert!(since.elapsed() <= again_within(), "{:?}", since.elapsed());
        ledger.check(&people, program.base()).await;
        ledger.tidy(&people, program.base()).await;
        verify(scratch.path()).await;
    }
    program.kill();
    // And so does the program itself.
    let mut program = Program::serve(scratch.path()).await;
    ledger.check(&people, program.base()).await;
    program.stop().await;
    assert!(scratch.processes().is_empty());
}
