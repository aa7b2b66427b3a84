//! The values that settings are made of: what a scalar of the file means, and what is wrong with one.
//!
//! A setting reads itself from [`Fields`], which collects every problem instead of stopping at one.

mod accept_encoding;
mod bytes;
mod context;
mod duration;
mod endpoint;
mod fields;
mod file;
mod file_hashes;
mod headers;
mod http;
mod label;
mod merge;
mod network;
mod node;
mod pattern;
pub(crate) mod pem;
mod problems;
mod re2;
mod redirects;
mod secret;
mod size;
mod status;
mod targets;
mod tls_versions;
mod units;
mod validity;
pub(crate) mod yaml;

pub(crate) use accept_encoding::weighted_codings;
pub use bytes::{Bytes, Line};
pub use context::Context;
pub use duration::format_duration;
pub use endpoint::{Endpoint, Host, Target, ZonedAddress, address_in};
pub use fields::{Fields, nearest};
pub use file::{File, ReadError, read_regular_file};
pub use file_hashes::FileHashes;
pub use http::{HttpUrl, HttpVersion, ZonedHttpUrl};
pub(crate) use http::{basic_authorization, userinfo};
pub use label::{CaughtLabel, check_label_name, is_plain_label_name, warn_of_label_name};
pub use network::IpFamily;
pub use node::{FromNode, Node};
pub use pattern::{Captures, Pattern};
pub use problems::{Path, Place, PlaceKey, Problem, Problems, Segment, Warning};
pub(crate) use redirects::{MAX_REDIRECTS, is_same_service};
pub use secret::Secret;
pub use size::ByteSize;
pub use status::StatusCodes;
pub use targets::{ForbiddenNetworks, ForbiddenTargets};
pub use tls_versions::{TlsVersion, TlsVersions};
pub(crate) use validity::check_validity;
