//! Values of settings: how they are read from YAML, and the problems with them.
//!
//! Settings are read from [`Fields`], which collects all problems instead of stopping at the first.

mod accept_encoding;
mod byte_size;
mod bytes;
mod context;
mod duration;
mod endpoint;
mod fields;
mod file_contents;
mod file_hashes;
mod file_stamp;
mod forbidden_targets;
mod headers;
mod http;
mod ip_family;
mod json;
mod label;
mod merge;
mod node;
mod pattern;
pub(crate) mod pem;
mod problems;
mod re2;
mod redirects;
mod secret;
mod status_codes;
mod tls_versions;
mod units;
mod validity;
pub(crate) mod yaml;

pub(crate) use accept_encoding::weighted_codings;
pub use byte_size::ByteSize;
pub use bytes::{Bytes, Line};
pub use context::Context;
pub use duration::format_duration;
pub use endpoint::{Endpoint, Host, Target, ZonedAddress, ip_literal};
pub use fields::{Fields, nearest};
pub use file_contents::{FileContents, ReadError, read_regular_file};
pub use file_hashes::FileHashes;
pub use file_stamp::FileStamp;
pub use forbidden_targets::{AllowedTarget, AllowedTargets, ForbiddenNetworks, ForbiddenTargets};
pub use http::{HttpUrl, HttpVersion, ZonedHttpUrl};
pub(crate) use http::{basic_authorization, userinfo};
pub use ip_family::IpFamily;
pub(crate) use json::parse_json;
pub use label::{CaptureLabel, check_label_name, is_plain_label_name, warn_of_label_name};
pub(crate) use merge::{MERGE, TAKEN_OUT};
pub use node::{FromNode, Node};
pub use pattern::{Captures, Pattern};
pub use problems::{EntryPart, Location, Path, Problem, Problems, Segment, Warning, WarningKind};
pub(crate) use redirects::{MAX_REDIRECTS, is_same_service};
pub use secret::Secret;
pub use status_codes::StatusCodes;
pub use tls_versions::{TlsVersion, TlsVersions};
pub(crate) use validity::check_validity;
