//! The results: a table for people, JSON for programs, a plot of the sizes.

use crate::Result;
use crate::sizes::Size;
use plotters::prelude::*;
use serde::Serialize;
use std::path::Path;

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
#[derive(Serialize, Default)]
pub(crate) struct Report {
    machine: String,
    rows: Vec<Row>,
}

impl Report {
    /// A report of this machine.
    pub(crate) fn new() -> Self {
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name\t: ")).unwrap_or("unknown");
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        Self { machine: format!("{cores} × {model}"), rows: Vec::new() }
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
    pub(crate) fn write(&self, directory: &Path, sizes: &[Size]) -> Result<()> {
        std::fs::create_dir_all(directory)?;
        std::fs::write(directory.join("bench.txt"), self.table())?;
        std::fs::write(directory.join("bench.json"), serde_json::to_string_pretty(self)? + "\n")?;
        plot(&directory.join("sizes.svg"), sizes)?;
        eprintln!("written to {}", directory.display());
        Ok(())
    }

    fn table(&self) -> String {
        let width = |column: fn(&Row) -> &str| {
            self.rows.iter().map(|row| column(row).chars().count()).max().unwrap_or(0)
        };
        let (what, measured) = (width(|row| &row.what), width(|row| &row.measured));
        let mut table = format!("{}\n\n", self.machine);
        for row in &self.rows {
            let mark = if row.met { "✓" } else { "✗" };
            table += &format!("{mark} {:what$}  {:>measured$}  {}\n", row.what, row.measured, row.target);
        }
        table
    }
}

/// CPU time of a request by the number of tokens, beside the fixed answer's.
fn plot(file: &Path, sizes: &[Size]) -> Result<()> {
    let root = SVGBackend::new(file, (720, 420)).into_drawing_area();
    root.fill(&WHITE)?;
    let most = sizes
        .iter()
        .flat_map(|size| size.service.iter().chain(&size.baseline))
        .map(|m| m.cpu_us)
        .fold(0.0, f64::max);
    let mut chart = ChartBuilder::on(&root)
        .caption("CPU time of a request (µs) by live tokens", ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(44)
        .build_cartesian_2d((500f64..2_000_000f64).log_scale(), 0f64..most * 1.2)?;
    chart.configure_mesh().draw()?;
    let line = |of: fn(&Size) -> f64| sizes.iter().map(move |size| (size.tokens as f64, of(size)));
    chart
        .draw_series(LineSeries::new(line(|size| size.service(|m| m.cpu_us)), &BLUE).point_size(3))?
        .label("introspection")
        .legend(|(x, y)| PathElement::new(vec![(x, y), (x + 16, y)], BLUE));
    chart
        .draw_series(LineSeries::new(line(|size| size.baseline(|m| m.cpu_us)), &RED).point_size(3))?
        .label("axum, fixed answer")
        .legend(|(x, y)| PathElement::new(vec![(x, y), (x + 16, y)], RED));
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .border_style(BLACK)
        .background_style(WHITE)
        .draw()?;
    root.present()?;
    Ok(())
}
