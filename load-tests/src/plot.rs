//! A plot of the sizes.

use crate::Result;
use crate::sizes::Size;
use plotters::prelude::*;
use std::path::Path;

/// CPU time of a request by the number of tokens, beside the fixed answer's.
pub(crate) fn draw(file: &Path, sizes: &[Size]) -> Result<()> {
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
