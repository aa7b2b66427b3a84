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
pub(crate) use byte_size::ByteSize;
pub(crate) use bytes::{Bytes, Line};
pub(crate) use context::Context;
pub(crate) use duration::{format_duration, read_duration};
pub(crate) use endpoint::{Endpoint, Host, Target, ZonedAddress, ip_literal};
pub use fields::Fields;
pub(crate) use fields::nearest;
pub(crate) use file_contents::{FileContents, ReadError, read_regular_file};
pub(crate) use file_hashes::FileHashes;
pub(crate) use file_stamp::FileStamp;
pub(crate) use forbidden_targets::{
    AllowedTarget, AllowedTargets, ForbiddenNetworks, ForbiddenTargets,
};
pub(crate) use http::{HttpUrl, HttpVersion, ZonedHttpUrl, basic_authorization, userinfo};
pub use ip_family::IpFamily;
pub(crate) use json::parse_json;
pub(crate) use label::{CaptureLabel, check_label_name, is_plain_label_name, warn_of_label_name};
pub(crate) use merge::{MERGE, TAKEN_OUT};
pub use node::{FromNode, Node};
pub(crate) use pattern::{Captures, Pattern};
pub(crate) use problems::{EntryPart, Problem, Segment, Warning, WarningKind};
pub use problems::{Path, Problems};
pub(crate) use redirects::{MAX_REDIRECTS, is_same_service};
pub(crate) use secret::Secret;
pub(crate) use status_codes::StatusCodes;
pub(crate) use tls_versions::{TlsVersion, TlsVersions};
pub(crate) use validity::check_validity;
