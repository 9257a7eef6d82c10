//! The results: a table for people, JSON with every round for programs.

use crate::Result;
use crate::issues::Part;
use crate::plot;
use crate::sizes::Size;
use counterfoil::clock::Clock;
use serde::Serialize;
use serde_json::json;
use std::path::Path;
use std::process::Command;

/// A line of the table.
#[derive(Serialize)]
pub(crate) struct Row {
    what: String,
    measured: String,
    target: String,
    met: bool,
    value: f64,
}

/// Everything that was measured.
pub(crate) struct Report {
    machine: String,
    /// The commit that is measured, as git tells it.
    commit: String,
    /// When it began, in RFC 3339.
    date: String,
    rows: Vec<Row>,
}

impl Report {
    /// A report of this machine.
    pub(crate) fn new() -> Self {
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name\t: ")).unwrap_or("unknown");
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let machine = format!("{cores} × {model}, Linux {}", kernel.trim());
        let date = Clock::system().now().to_string();
        Self { machine, commit: commit().unwrap_or_else(|| "unknown".into()), date, rows: Vec::new() }
    }

    /// Adds a line, and shows it at once.
    pub(crate) fn row(&mut self, what: &str, measured: String, target: &str, met: bool, value: f64) {
        eprintln!("→ {what}: {measured} (target {target})");
        self.rows.push(Row { what: what.into(), measured, target: target.into(), met, value });
    }

    /// Prints the table.
    pub(crate) fn print(&self) {
        print!("{}", self.table());
    }

    /// Writes the files.
    pub(crate) fn write(&self, directory: &Path, sizes: &[Size], issues: &[Part]) -> Result<()> {
        std::fs::create_dir_all(directory)?;
        std::fs::write(directory.join("bench.txt"), self.table())?;
        let document = json!({ "machine": self.machine, "commit": self.commit, "date": self.date, "rows": self.rows,
            "sizes": sizes, "issues": issues });
        std::fs::write(directory.join("bench.json"), serde_json::to_string_pretty(&document)? + "\n")?;
        plot::draw(&directory.join("sizes.svg"), sizes)?;
        eprintln!("written to {}", directory.display());
        Ok(())
    }

    fn table(&self) -> String {
        let width = |column: fn(&Row) -> &str| {
            self.rows.iter().map(|row| column(row).chars().count()).max().unwrap_or(0)
        };
        let (what, measured) = (width(|row| &row.what), width(|row| &row.measured));
        let mut table = format!("{}\ncommit {}, {}\n\n", self.machine, self.commit, self.date);
        for row in &self.rows {
            let mark = match row {
                Row { met: false, .. } => "✗",
                Row { target, .. } if target.starts_with(['≤', '≥']) => "✓",
                _ => " ",
            };
            table += &format!("{mark} {:what$}  {:>measured$}  {}\n", row.what, row.measured, row.target);
        }
        table
    }
}

/// The short name of the checkout's commit, with `-dirty` where it was changed.
fn commit() -> Option<String> {
    let arguments = ["describe", "--always", "--dirty", "--exclude=*"];
    let output =
        Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().into())
}
