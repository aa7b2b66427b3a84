//! The header that carries the identity of a check's trace to its target.

use http::{HeaderName, HeaderValue};

use crate::check::Attempt;

/// The name of the header (W3C Trace Context, section 3.2).
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The value of the header, if the check of `attempt` sends its identity.
#[must_use]
pub(crate) fn traceparent(attempt: &Attempt) -> Option<HeaderValue> {
    let context = attempt.propagated_context()?;
    // Digits and dashes are right in a header.
    HeaderValue::try_from(context.traceparent()).ok()
}
