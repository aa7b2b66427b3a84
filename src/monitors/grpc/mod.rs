//! `type: grpc`: asks the health service of a gRPC server whether a service serves.

mod health;
mod monitor;
mod settings;

pub(crate) use settings::Settings;
