//! Integration tests: the library and the program against local sockets that behave, or do not.

mod support;

mod command_line;
mod daemon_access;
mod daemon_discovery;
mod daemon_endpoints;
mod daemon_log;
mod daemon_reload;
mod daemon_signals;
mod daemon_slots;
mod daemon_stdout;
mod dashboard;
mod discovery;
mod dns_answers;
mod dns_https;
mod dns_transports;
mod documentation;
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
<<<<<<< HEAD
mod mariadb;
=======
mod names;
>>>>>>> 48a831a (net: a stub resolver of our own, which looks names up as the system does)
mod once;
mod plan;
mod repository;
mod rules;
mod starttls;
mod status_browser;
mod status_events;
mod status_page;
mod supply_chain;
mod tcp;
mod tls;
mod unix;
mod websocket;
mod worker_stalls;
