//! What an operator sees: metrics, what grows, limits, logs, and how the program stops.

mod growth;
mod limits;
mod logs;
mod metrics;
mod panics;
mod ports;
mod stopping;

pub(crate) const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";

/// The value of a series.
pub(crate) fn series(metrics: &str, name: &str) -> f64 {
    let line = metrics.lines().find(|line| line.split(' ').next() == Some(name));
    line.unwrap_or_else(|| panic!("{name}: {metrics}")).rsplit(' ').next().unwrap().parse().unwrap()
}
