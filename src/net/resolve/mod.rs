//! Resolves a name to the one address that is checked, by asking the name servers every time.
//!
//! A stub resolver that does what the C library's does (`resolv.conf(5)`, `hosts(5)`), with two
//! differences: a check that ends takes its lookup with it, and a name server that is silent costs
//! less. No cache, so that the measured phase is a lookup and not a memory of one.

mod hosts;
mod message;
mod name;
mod resolv_conf;
mod resolver;
mod search;
mod server;
mod servers;
mod system_files;

pub use resolver::Resolver;
