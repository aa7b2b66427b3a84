//! The stylesheet, the script and the icon of the status page.

/// The stylesheet.
pub const STYLE: &str = include_str!("style.css");
/// The script. Without it the page works, but does not update itself.
pub const SCRIPT: &str = include_str!("script.js");
