//! Headers that the daemon sets by itself, so that a configuration may not.

use http::HeaderName;

/// Refuses the headers `own`, with the reason `why`: for [`Fields::headers`](crate::value::Fields::headers).
pub(crate) fn refuse_headers<const N: usize>(
    own: [HeaderName; N],
    why: &'static str,
) -> impl Fn(&HeaderName) -> Result<(), (&'static str, &'static str)> {
    move |name| {
        if own.contains(name) {
            return Err((why, "no such header"));
        }
        Ok(())
    }
}
