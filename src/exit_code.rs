//! Exit codes of the commands.

/// Success.
pub const SUCCESS: u8 = 0;
/// A failure at run time, and `once` if a check failed.
pub const FAILURE: u8 = 1;
/// Bad usage, and a configuration that is not valid.
pub const USAGE: u8 = 2;
