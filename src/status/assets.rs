//! The stylesheet, the script and the icon of the status page.

/// The stylesheet.
pub(crate) const STYLE: &str = include_str!("style.css");
/// The script. Without it the page works, but does not update itself.
pub(crate) const SCRIPT: &str = include_str!("script.js");
