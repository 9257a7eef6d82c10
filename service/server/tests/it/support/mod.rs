//! A service with a private PostgreSQL, an organization, and people who talk to it over HTTP.

pub(crate) mod browser;
mod calls;
mod elsewhere;
mod everything;
pub(crate) mod front;
pub(crate) mod http2;
pub(crate) mod load;
pub(crate) mod mounts;
pub(crate) mod people;
pub(crate) mod program;
pub(crate) mod raw;
mod scratch;
mod second;
pub(crate) mod tap;

pub(crate) use elsewhere::elsewhere;
pub(crate) use everything::{Made, everything};
pub(crate) use scratch::{Frozen, Scratch, end_all_in};

use counterfoil::app::App;
use counterfoil::clock::Clock;
use counterfoil::config::Config;
use counterfoil::event_log::steps::Faults;
use counterfoil::http::admission::Edge;
use counterfoil::http::edge;
use counterfoil::init::{Printed, init};
use counterfoil::operator;
use counterfoil::ops::drain::{Drain, Stage};
use counterfoil::postgres::connect::Database;
use reqwest::{Method, StatusCode};
use std::num::NonZeroU32;
use std::time::{Duration, Instant};
use tap::Tap;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How long anything may take that is waited for: the machine may be busy with other tests, and slow besides.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Whether this is the long run (`COUNTERFOIL_SOAK=1`). Who asks, to hold the service to more, has the machine alone in it:
/// the Makefile's `ALONE` says so.
pub(crate) fn is_soak() -> bool {
    std::env::var_os("COUNTERFOIL_SOAK").is_some_and(|value| value == "1")
}

/// How many rounds: few in the suite, all of them in the long run.
pub(crate) fn rounds(few: usize, all: usize) -> usize {
    if is_soak() { all } else { few }
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let since = Instant::now();
    while !so().await {
        assert!(since.elapsed() < PATIENCE, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A service that refuses nobody for asking too often.
pub(crate) fn without_limits(config: &mut Config) {
    let (limits, many) = (&mut config.limits, NonZeroU32::new(1_000_000).unwrap());
    (limits.failures_per_second, limits.failures_burst) = (many, many);
    (limits.credential_per_second, limits.credential_burst) = (many, many);
}

/// A running service. End it with [`Service::stop`]; a test that panics before leaves nothing running either.
pub(crate) struct Service {
    /// What `init` printed.
    pub(crate) made: Printed,
    /// Reads of the database.
    pub(crate) database: Database,
    serving: Serving,
    config: Config,
    clock: Clock,
    faults: Option<Faults>,
    directory: Scratch,
}

/// What `serve` runs, until the next restart.
struct Serving {
    app: App,
    base: String,
    edge: JoinHandle<()>,
    operator: JoinHandle<()>,
    writer: JoinHandle<()>,
}

impl Serving {
    async fn start(
        config: &Config,
        database: &Database,
        clock: &Clock,
        faults: Option<Faults>,
        change_edge: impl FnOnce(Edge) -> Edge,
    ) -> Self {
        let (app, writer) = App::start(config, database, clock.clone(), faults, &|_| {}).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let edge = tokio::spawn(edge::serve(listener, change_edge(Edge::api(&app, config))));
        let operator = tokio::spawn(operator::serve(app.clone()));
        Self { app, base, edge, operator, writer }
    }

    async fn stop(self) {
        self.app.drain.reach(Stage::Leaving);
        // The writer ends once nobody can hand it commands any more.
        drop(self.app);
        self.edge.await.unwrap();
        self.operator.await.unwrap();
        self.writer.await.unwrap();
    }
}

impl Service {
    /// Starts one as it is configured by default.
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}, |edge| edge).await
    }

    /// Starts one that is configured, or answers, in another way.
    pub(crate) async fn start_with(
        configure: impl FnOnce(&mut Config),
        change_edge: impl FnOnce(Edge) -> Edge,
    ) -> Self {
        let mut config = Config::default();
        config.drain.notice_ms = 0;
        configure(&mut config);
        Self::start_all(config, Clock::system(), None, change_edge).await
    }

    /// Starts one whose clock a test moves, or whose write path it breaks.
    pub(crate) async fn start_on(clock: Clock, faults: Option<Faults>) -> Self {
        let mut config = Config::default();
        config.drain.notice_ms = 0;
        Self::start_all(config, clock, faults, |edge| edge).await
    }

    async fn start_all(
        config: Config,
        clock: Clock,
        faults: Option<Faults>,
        change_edge: impl FnOnce(Edge) -> Edge,
    ) -> Self {
        let directory = Scratch::with_data().await;
        let database = Database::open(None, directory.path(), &|_| {}).await.unwrap();
        Self::start_there(directory, database, config, clock, faults, change_edge).await
    }

    /// Starts one whose connections to PostgreSQL pass a line that can fall silent or be cut.
    pub(crate) async fn start_behind_a_tap(change_edge: impl FnOnce(Edge) -> Edge) -> (Self, Tap) {
        let mut config = Config::default();
        config.drain.notice_ms = 0;
        let directory = Scratch::with_data().await;
        let mut database = Database::open(None, directory.path(), &|_| {}).await.unwrap();
        let tap = Tap::before(database.private.as_ref().unwrap().socket_dir());
        database.options = database.options.socket(tap.socket_dir());
        database.pool.set_connect_options(database.options.clone());
        let clock = Clock::system();
        let faults = Some(tap.hook());
        (Self::start_there(directory, database, config, clock, faults, change_edge).await, tap)
    }

    async fn start_there(
        directory: Scratch,
        database: Database,
        config: Config,
        clock: Clock,
        faults: Option<Faults>,
        change_edge: impl FnOnce(Edge) -> Edge,
    ) -> Self {
        let serving = Serving::start(&config, &database, &clock, faults.clone(), change_edge).await;
        // Beside the running service, as the README says: what it commits reaches the index by the log.
        let made =
            init(&database, &clock, &config.prefixes, "acme", "owner@example.com", None).await.unwrap();
        let service = Self { made, database, serving, config, clock, faults, directory };
        service.until_known(&service.made.owner.token).await;
        service
    }

    /// Stops what serves and starts it again on the same database, by the ordinary path.
    pub(crate) async fn restart(self) -> Self {
        self.restart_after(async {}).await.0
    }

    /// The same, with something done while nobody serves.
    pub(crate) async fn restart_after<T>(self, between: impl Future<Output = T>) -> (Self, T) {
        let Self { made, database, serving, config, clock, faults, directory } = self;
        serving.stop().await;
        let done = between.await;
        let serving = Serving::start(&config, &database, &clock, faults.clone(), |edge| edge).await;
        let service = Self { made, database, serving, config, clock, faults, directory };
        service.until_known(&service.made.owner.token).await;
        (service, done)
    }

    /// Waits until a token that another process issued is known here.
    pub(crate) async fn until_known(&self, token: &str) {
        let known = async || self.call(Method::GET, "/v1/token", token, None).await.0 == StatusCode::OK;
        until("the token becomes known", known).await;
    }

    /// Waits until nobody is connected any more, such as whoever asked while it started.
    pub(crate) async fn until_alone(&self) {
        while !self.metrics().contains("counterfoil_connections 0\n") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Where it listens: scheme, host and port.
    pub(crate) fn base(&self) -> &str {
        &self.serving.base
    }

    /// What handlers share.
    pub(crate) fn app(&self) -> &App {
        &self.serving.app
    }

    /// How it is told to stop.
    pub(crate) fn drain(&self) -> Drain {
        self.app().drain.clone()
    }

    /// What Prometheus would read.
    pub(crate) fn metrics(&self) -> String {
        self.app().metrics.render(&self.app().sample())
    }

    /// How many events of a type there are.
    pub(crate) async fn events(&self, name: &str) -> i64 {
        let sql = "SELECT count(*) FROM events WHERE type = $1";
        sqlx::query_scalar(sql).bind(name).fetch_one(&self.database.pool).await.unwrap()
    }

    /// Stops its PostgreSQL as a debugger would, until what is returned is dropped.
    pub(crate) fn freeze(&self) -> Frozen {
        self.directory.freeze()
    }

    /// Stops it, its PostgreSQL included.
    pub(crate) async fn stop(self) {
        self.into_data().await;
    }

    /// The same, for whoever goes on with its data: the directory, and what `init` printed.
    pub(crate) async fn into_data(self) -> (Scratch, Printed) {
        self.serving.stop().await;
        // As the program does: a connection that a silent line holds is not waited for. The driver asks each twice whether it
        // works before it takes it back, and the second time without an end.
        let _ = timeout(Duration::from_secs(1), self.database.pool.close()).await;
        self.database.private.unwrap().leave(&|_| {}).await.unwrap();
        (self.directory, self.made)
    }
}
