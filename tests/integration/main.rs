//! Integration tests: the library and the program against local sockets that behave, or do not.

mod support;

mod command_line;
mod daemon_endpoints;
mod daemon_log;
mod daemon_signals;
mod daemon_slots;
mod daemon_stdout;
mod dashboard;
mod dns_answers;
mod dns_https;
mod dns_transports;
mod grpc;
mod http_addresses;
mod http_bodies;
mod http_cancel;
mod http_cookies;
mod http_decoding;
mod http_oauth2;
mod http_phases;
mod http_proxy;
mod http_reasons;
mod http_redirects;
mod http_secrets;
mod http_settings;
mod http_tls;
mod icmp;
mod icmp_networks;
mod once;
mod plan;
mod repository;
mod starttls;
mod tcp;
mod tls;
mod unix;
mod websocket;
