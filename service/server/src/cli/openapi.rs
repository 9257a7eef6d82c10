//! `counterfoil openapi`.

use super::document;
use counterfoil::http::document::yaml;
use std::error::Error;

/// Prints the API's document, as `api.yaml` keeps it.
pub(crate) fn run() -> Result<(), Box<dyn Error>> {
    document(yaml()?.trim_end());
    Ok(())
}
