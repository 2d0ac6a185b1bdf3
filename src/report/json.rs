//! Records in, JSON out.

use serde::Serialize;

/// The stored form: indented, with a final line break.
pub fn render(record: &impl Serialize) -> Result<String, serde_json::Error> {
    Ok(serde_json::to_string_pretty(record)? + "\n")
}
