//! What a valid run may have of what should not happen, in words: the same for a run and for a comparison.

use crate::units::three_digits;

/// `errors up to 0.1 % and loss up to 5 % allowed`; `None` where nothing was allowed beyond the usual.
pub fn describe(allow_errors: Option<f64>, max_loss: Option<f64>) -> Option<String> {
    let percent = |share: f64| three_digits((share * 1e8).round() / 1e6);
    let up_to = |what: &str, share: Option<f64>| Some(format!("{what} up to {} %", percent(share?)));
    let parts: Vec<String> = up_to("errors", allow_errors).into_iter().chain(up_to("loss", max_loss)).collect();
    (!parts.is_empty()).then(|| format!("{} allowed", parts.join(" and ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_allowed_is_said() {
        assert_eq!(describe(None, None), None);
        assert_eq!(describe(Some(0.001), None).as_deref(), Some("errors up to 0.10 % allowed"));
        assert_eq!(describe(Some(0.01), Some(0.07)).as_deref(), Some("errors up to 1 % and loss up to 7 % allowed"));
    }
}
