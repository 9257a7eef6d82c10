//! `counterfoil serve`.

use super::{init, or_signalled, say, show, signalled, tour, with_database_until};
use counterfoil::app::App;
use counterfoil::clock::Clock;
use counterfoil::config::Config;
use counterfoil::http::admission::Edge;
use counterfoil::http::edge;
use counterfoil::http::starting::Starting;
use counterfoil::init::{InitError, again, another_password, init as make};
use counterfoil::operator;
use counterfoil::ops::drain::Stage;
use counterfoil::ops::telemetry::Quiet;
use counterfoil::postgres::connect::Database;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::error::Error;
use std::io::{IsTerminal, stderr, stdout};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// Open files that are no connections of the API's: the database's, the metrics' and those that are refused.
const OTHER_FILES: u64 = 200;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// On the first start, make an organization, print its credentials, and show a tour of requests and answers.
    #[arg(long)]
    tour: bool,
    /// The name of the organization that --tour makes.
    #[arg(long, requires = "tour", default_value = "example")]
    organization: String,
    /// The e-mail address of the owner that --tour makes.
    #[arg(long, requires = "tour", default_value = "owner@example.com")]
    owner: String,
}

/// Takes a port, before anything else is started: a taken one should cost nothing.
async fn listen(field: &str, addr: SocketAddr) -> Result<TcpListener, String> {
    let taken = |error| format!("{field} {addr} cannot be listened on: {error}; set {field} to a free one");
    TcpListener::bind(addr).await.map_err(taken)
}

/// Allows the process as many open files as the system lets it have: each connection is one, and the usual 1024 are meant
/// for programs that use select(2).
fn allow_open_files(config: &Config) {
    let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
    let wanted = config.limits.connections as u64 + OTHER_FILES;
    if most < wanted {
        say(&format!(
            "the system allows {most} open files, and limits.connections needs {wanted}: connections beyond that wait; \
             raise the hard limit (`ulimit -Hn`, LimitNOFILE) or lower limits.connections"
        ));
    }
}

pub(crate) async fn run(config: &Config, arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    allow_open_files(config);
    let listener = listen("api.addr", config.api.addr).await?;
    let metrics = match config.metrics.enabled {
        true => Some(Arc::new(listen("metrics.addr", config.metrics.addr).await?)),
        false => None,
    };
    let (listener, starting) = (Arc::new(listener), Starting::default());
    let mut answering = JoinSet::new();
    for listener in [&listener].into_iter().chain(&metrics) {
        answering.spawn(starting.clone().serve(listener.clone(), config.limits.clone()));
    }
    let at = starting.clone();
    let tell = move |sentence: &str| {
        starting.note(sentence);
        say(sentence);
    };
    with_database_until(config, &tell, async |database| {
        // What the database was waited for is over; what is left is the index.
        at.note("");
        let (app, mut writer) = tokio::select! {
            started = App::start(config, database, Clock::system(), None, &tell) => started?,
            stopped = or_signalled() => stopped?,
        };
        answering.shutdown().await;
        let taken_back = |listener| Arc::into_inner(listener).ok_or("the port is still in other hands");
        let listener = taken_back(listener)?;
        let address = listener.local_addr()?;
        say(&format!("serving on http://{address}"));
        let mut edges = JoinSet::new();
        edges.spawn(edge::serve(listener, Edge::api(&app, config)));
        edges.spawn(operator::serve(app.clone()));
        if let Some(listener) = metrics.map(taken_back).transpose()? {
            say(&format!("metrics on http://{}/metrics", listener.local_addr()?));
            edges.spawn(edge::serve(listener, Edge::metrics(&app, config)));
        }
        tokio::select! {
            signal = signalled() => signal?,
            Err(error) = show_and_stay(database, &app, address, arguments) => return Err(error),
            // Neither ends by itself: a supervisor is to start the service anew.
            _ = &mut writer => return Err("the writer ended; its last words are in the log".into()),
            Some(_) = edges.join_next() => return Err("a listener ended; its last words are in the log".into()),
        }
        say("stopping: requests under way are answered first; a second signal stops at once");
        app.drain.reach(Stage::Leaving);
        // The writer ends once nobody can hand it commands any more.
        drop(app);
        let stopped = async {
            while edges.join_next().await.is_some() {}
            let _ = writer.await;
        };
        // The edges keep their own times; what is left for the writer after them is one more second.
        let whole = Duration::from_millis(config.drain.notice_ms + config.drain.timeout_ms) + Duration::from_secs(1);
        let stopped = tokio::time::timeout(whole, stopped);
        tokio::select! {
            _ = stopped => {}
            again = signalled() => {
                again?;
                say("stopping at once");
            }
        }
        Ok(())
    })
    .await
}

/// Shows the tour if it was asked for, and then waits for ever.
async fn show_and_stay(
    database: &Database,
    app: &App,
    address: SocketAddr,
    arguments: &Arguments,
) -> Result<(), Box<dyn Error>> {
    if arguments.tour {
        first_start(database, app, address, arguments).await?;
    }
    std::future::pending().await
}

/// Makes the first organization and shows the tour, unless there is one already.
async fn first_start(
    database: &Database,
    app: &App,
    address: SocketAddr,
    arguments: &Arguments,
) -> Result<(), Box<dyn Error>> {
    let Arguments { organization, owner, .. } = arguments;
    let made = match make(database, &app.clock, &app.prefixes, organization, owner, None).await {
        Err(InitError::Exists { owner, .. }) => {
            say(&format!(
                "the data of earlier starts is there: the tour is for the first one. Lost credentials: `{}`. Ctrl-C stops the service",
                another_password(&owner)
            ));
            return Ok(());
        }
        made => made?,
    };
    // What is to be pasted is not to have lines of the log in it.
    let quiet = (stdout().is_terminal() && stderr().is_terminal()).then(Quiet::begin);
    if let Err(error) = show(&init::pasted(&made), &again(&made.owner.email)) {
        say(&error.to_string());
        return Ok(());
    }
    // What init committed reaches the index by the log, within a moment.
    while app.applied.load(Ordering::Acquire) == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let played = tour::play(address, &made).await;
    drop(quiet);
    match played {
        Ok(()) => say("that was the tour. The service goes on; Ctrl-C stops it"),
        Err(error) => say(&format!("{error}. The service goes on; Ctrl-C stops it")),
    }
    Ok(())
}
