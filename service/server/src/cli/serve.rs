//! `counterfoil serve`.

use super::{init, say, tour, with_database};
use counterfoil::app::App;
use counterfoil::clock::Clock;
use counterfoil::config::Config;
use counterfoil::http::{api, edge};
use counterfoil::init::{InitError, init as make};
use counterfoil::postgres::connect::Database;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

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

pub(crate) async fn run(config: &Config, arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    // Before anything is started: a taken port should cost nothing.
    let taken = |error| {
        format!("api.addr {} cannot be listened on: {error}; set api.addr to a free one", config.api.addr)
    };
    let listener = TcpListener::bind(config.api.addr).await.map_err(taken)?;
    with_database(config, async move |database| {
        let clock = Clock::system();
        let (app, writer) = App::start(config, database, clock.clone(), None, &say).await?;
        let address = listener.local_addr()?;
        say(&format!("serving on http://{address}"));
        let (drain, draining) = watch::channel(false);
        let bounds = edge::Bounds::new(config.limits.connections, config.limits.requests);
        let mut edge = tokio::spawn(edge::serve(listener, api(app.clone()), clock, bounds, draining));
        tokio::select! {
            signal = signalled() => signal?,
            Err(error) = show_and_stay(database, &app, address, arguments) => return Err(error),
        }
        say("stopping: requests under way are answered first");
        drain.send_replace(true);
        tokio::select! {
            _ = &mut edge => {}
            again = signalled() => {
                again?;
                edge.abort();
            }
        }
        // The writer ends once nobody can hand it commands any more.
        drop(app);
        let _ = tokio::time::timeout(edge::DRAIN, writer).await;
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
    let made = match make(database, &app.clock, organization, owner, None).await {
        Err(InitError::Exists(_)) => {
            say(
                "the data of earlier starts is there: the tour is for the first one. Ctrl-C stops the service",
            );
            return Ok(());
        }
        made => made?,
    };
    init::print(&made);
    // What init committed reaches the index by the log, within a moment.
    while app.applied.load(Ordering::Acquire) == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    match tour::play(address, &made).await {
        Ok(()) => say("that was the tour. The service goes on; Ctrl-C stops it"),
        Err(error) => say(&format!("{error}. The service goes on; Ctrl-C stops it")),
    }
    Ok(())
}

/// Waits for SIGINT or SIGTERM.
async fn signalled() -> Result<(), std::io::Error> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}
