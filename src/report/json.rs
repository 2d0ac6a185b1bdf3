//! Records in, JSON out.

use super::export::{ExportError, Exporter, Part};
use super::result::StoredResult;
use serde::Serialize;

/// The stored form, which `ringmark report` reads.
pub struct Json;

impl Exporter for Json {
    fn export(&self, result: &dyn StoredResult) -> Result<Vec<Part>, ExportError> {
        Ok(Part::whole(result.json()?))
    }
}

/// The stored form: indented, with a final line break.
pub fn render(record: &impl Serialize) -> Result<String, serde_json::Error> {
    Ok(serde_json::to_string_pretty(record)? + "\n")
}
