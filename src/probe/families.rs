//! The table of metric families of a probe: names, help texts, labels and values of blackbox_exporter, one row
//! for each.

use std::{net::IpAddr, time::Duration};

use super::{Traits, text::SampleWriter};
use crate::{
    check::{Expectation, PeerCertificates, Phase, Reason, Report, ServingStatus},
    monitors::Type,
};

/// A family of metrics of a probe. All are gauges.
pub(crate) struct ProbeFamily {
    /// The name.
    pub name: &'static str,
    /// The help text.
    pub help: &'static str,
    /// The labels of its series in alphabetical order, without those that the user has named.
    pub labels: &'static [&'static str],
    /// The types of probes that have it.
    pub(crate) probers: &'static [Type],
    /// Writes its samples.
    pub(super) writer: fn(&ProbeResult<'_>, &mut SampleWriter<'_>),
}

/// The result of one probe.
pub(super) struct ProbeResult<'r> {
    pub prober: Type,
    pub(crate) traits: Traits,
    pub report: &'r Report,
    /// Its maximum duration.
    pub timeout: Duration,
    /// True if the target could be read, so that there was something to do.
    pub(crate) is_target_valid: bool,
}

impl ProbeResult<'_> {
    /// The samples in the text format.
    pub(super) fn write(&self) -> String {
        let mut page = String::with_capacity(4096);
        for family in FAMILIES {
            if family.probers.contains(&self.prober) {
                let ProbeFamily {
                    name, help, labels, ..
                } = family;
                let mut out = SampleWriter::new(&mut page, name, help, labels);
                (family.writer)(self, &mut out);
            }
        }
        page
    }

    /// True if the address of the target was looked for.
    fn is_resolution_tried(&self) -> bool {
        self.is_target_valid
    }

    /// True if it was found.
    fn is_resolved(&self) -> bool {
        self.report.first_address().is_some()
    }

    /// Seconds spent in these phases.
    fn seconds(&self, phases: &[Phase]) -> f64 {
        let spent = self
            .report
            .phases
            .iter()
            .filter(|(phase, _)| phases.contains(phase));
        // The sum of no numbers would be -0.
        spent
            .map(|(_, spent)| spent)
            .sum::<Duration>()
            .as_secs_f64()
    }

    fn reason(&self) -> Option<Reason> {
        self.report.failure.as_ref().map(|failure| failure.reason)
    }

    /// True if the connection stands that a dialogue is held over.
    fn is_connected(&self) -> bool {
        let is_before = |phase| match phase {
            Phase::Resolve | Phase::Connect => true,
            Phase::Tls => self.traits.begins_with_tls,
            _ => false,
        };
        let is_tried = self.report.time_in(Phase::Connect).is_some();
        let failure = self.report.failure.as_ref();
        is_tried && failure.is_none_or(|failure| !is_before(failure.phase))
    }

    /// The handshake that metrics tell of, if there was one and it succeeded.
    fn handshake(&self) -> Option<(&'static str, &'static str)> {
        let has_result = match self.prober {
            Type::Http => self.report.http_head().is_some_and(|head| head.is_over_tls),
            Type::Grpc => self.report.grpc_status() == Some(0),
            _ => true,
        };
        self.report.tls().filter(|_| has_result)
    }

    /// The certificates of that handshake.
    fn certificates(&self) -> Option<&PeerCertificates> {
        self.handshake()?;
        self.report.peer_certificates()
    }

    /// The status of a gRPC call as a client of gRPC has it: one that never got an answer has one too.
    fn grpc_status(&self) -> u32 {
        const DEADLINE_EXCEEDED: u32 = 4;
        const UNAVAILABLE: u32 = 14;
        match (self.report.grpc_status(), self.reason()) {
            (Some(status), _) => status,
            (None, Some(Reason::Timeout)) if self.is_resolved() => DEADLINE_EXCEEDED,
            (None, Some(_)) if self.is_resolved() => UNAVAILABLE,
            (None, _) => 0,
        }
    }
}

/// FNV-1a over the bytes of `address`, in 32 bits.
fn address_hash(address: IpAddr) -> u32 {
    let hash = |bytes: &[u8]| {
        bytes.iter().fold(0x811c_9dc5_u32, |hash, byte| {
            (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
        })
    };
    match address.to_canonical() {
        IpAddr::V4(address) => hash(&address.octets()),
        IpAddr::V6(address) => hash(&address.octets()),
    }
}

const ALL: &[Type] = Type::ALL;
/// Those whose target has an address.
const ADDRESSED: &[Type] = &[
    Type::Http,
    Type::Tcp,
    Type::Tls,
    Type::Dns,
    Type::Icmp,
    Type::Grpc,
    Type::Websocket,
];
const DNS: &[Type] = &[Type::Dns];
const GRPC: &[Type] = &[Type::Grpc];
const HTTP: &[Type] = &[Type::Http];
const ICMP: &[Type] = &[Type::Icmp];
const WEBSOCKET: &[Type] = &[Type::Websocket];
const DIALOGUES: &[Type] = &[Type::Tcp, Type::Unix];
/// Those that tell of certificates.
const CERTIFIED: &[Type] = &[Type::Http, Type::Tcp, Type::Tls, Type::Unix, Type::Grpc];
const CHAINS: &[Type] = &[Type::Http, Type::Tcp, Type::Tls, Type::Unix];

/// Every family, by name, in the order in which they stand on a page.
pub(crate) const FAMILIES: &[ProbeFamily] = &[
    ProbeFamily {
        name: "probe_dns_additional_rrs",
        help: "Returns number of entries in the additional resource record list",
        labels: &[],
        probers: DNS,
        writer: |probe, out| {
            let response = probe.report.dns().unwrap_or_default();
            out.count(response.additionals.into());
        },
    },
    ProbeFamily {
        name: "probe_dns_answer_rrs",
        help: "Returns number of entries in the answer resource record list",
        labels: &[],
        probers: DNS,
        writer: |probe, out| {
            let response = probe.report.dns().unwrap_or_default();
            out.count(response.answers.into());
        },
    },
    ProbeFamily {
        name: "probe_dns_authority_rrs",
        help: "Returns number of entries in the authority resource record list",
        labels: &[],
        probers: DNS,
        writer: |probe, out| {
            let response = probe.report.dns().unwrap_or_default();
            out.count(response.authorities.into());
        },
    },
    ProbeFamily {
        name: "probe_dns_duration_seconds",
        help: "Duration of DNS request by phase",
        labels: &["phase"],
        probers: DNS,
        writer: |probe, out| {
            let request = [Phase::Request, Phase::Processing, Phase::Transfer];
            out.number(&["connect"], probe.seconds(&[Phase::Connect, Phase::Tls]));
            out.number(&["request"], probe.seconds(&request));
            out.number(&["resolve"], probe.seconds(&[Phase::Resolve]));
        },
    },
    ProbeFamily {
        name: "probe_dns_lookup_time_seconds",
        help: "Returns the time taken for probe dns lookup in seconds",
        labels: &[],
        probers: ADDRESSED,
        writer: |probe, out| {
            if probe.is_resolution_tried() {
                out.number(&[], probe.seconds(&[Phase::Resolve]));
            }
        },
    },
    ProbeFamily {
        name: "probe_dns_query_succeeded",
        help: "Displays whether or not the query was executed successfully",
        labels: &[],
        probers: DNS,
        writer: |probe, out| out.flag(probe.report.dns().is_some()),
    },
    ProbeFamily {
        name: "probe_dns_serial",
        help: "Returns the serial number of the zone",
        labels: &[],
        probers: DNS,
        writer: |probe, out| {
            let response = probe.report.dns().filter(|_| probe.traits.asks_for_soa);
            if let Some(response) = response {
                out.count(response.serial.unwrap_or_default().into());
            }
        },
    },
    ProbeFamily {
        name: "probe_duration_seconds",
        help: "Returns how long the probe took to complete in seconds",
        labels: &[],
        probers: ALL,
        writer: |probe, out| out.number(&[], probe.report.duration.as_secs_f64()),
    },
    ProbeFamily {
        name: "probe_expect_info",
        help: "Explicit content matched",
        labels: &[],
        probers: DIALOGUES,
        writer: |probe, out| {
            let captured = probe.report.captured().unwrap_or_default();
            if !captured.is_empty() {
                out.info(captured.iter().map(|(name, value)| (&**name, &**value)));
            }
        },
    },
    ProbeFamily {
        name: "probe_failed_due_to_bytes",
        help: "Indicates if probe failed due to bytes",
        labels: &[],
        probers: DIALOGUES,
        writer: |probe, out| {
            if probe.is_connected() {
                out.flag(probe.report.unexpected() == Some(Expectation::Bytes));
            }
        },
    },
    ProbeFamily {
        name: "probe_failed_due_to_cel",
        help: "Indicates if probe failed due to CEL expression not matching",
        labels: &[],
        probers: HTTP,
        writer: |probe, out| {
            if probe.traits.judges_json {
                out.flag(probe.reason() == Some(Reason::JsonMismatch));
            }
        },
    },
    ProbeFamily {
        name: "probe_failed_due_to_regex",
        help: "Indicates if probe failed due to regex",
        labels: &[],
        probers: &[Type::Http, Type::Tcp, Type::Unix],
        writer: |probe, out| match probe.prober {
            Type::Http => out.flag(matches!(
                probe.reason(),
                Some(Reason::HeaderMismatch | Reason::BodyMismatch)
            )),
            _ if probe.is_connected() => {
                out.flag(probe.report.unexpected() == Some(Expectation::Match));
            }
            _ => {}
        },
    },
    ProbeFamily {
        name: "probe_failure_info",
        help: "Why the probe failed: the phase that failed and the reason",
        labels: &["phase", "reason"],
        probers: ALL,
        writer: |probe, out| {
            if let Some(failure) = &probe.report.failure {
                out.number(&[failure.phase.as_str(), failure.reason.as_str()], 1.0);
            }
        },
    },
    ProbeFamily {
        name: "probe_grpc_duration_seconds",
        help: "Duration of gRPC request by phase",
        labels: &["phase"],
        probers: GRPC,
        writer: |probe, out| {
            if probe.is_resolved() {
                let call = [Phase::Connect, Phase::Tls, Phase::Check];
                out.number(&["check"], probe.seconds(&call));
            }
            out.number(&["resolve"], probe.seconds(&[Phase::Resolve]));
        },
    },
    ProbeFamily {
        name: "probe_grpc_healthcheck_response",
        help: "Response HealthCheck response",
        labels: &["serving_status"],
        probers: GRPC,
        writer: |probe, out| {
            if !probe.is_resolved() {
                return;
            }
            let mut statuses: Vec<_> = ServingStatus::ALL.to_vec();
            statuses.sort_by_key(|status| status.as_str());
            for status in statuses {
                let is_it = probe.report.serving() == Some(status);
                out.number(&[status.as_str()], f64::from(u8::from(is_it)));
            }
        },
    },
    ProbeFamily {
        name: "probe_grpc_ssl",
        help: "Indicates if SSL was used for the connection",
        labels: &[],
        probers: GRPC,
        writer: |probe, out| out.flag(probe.handshake().is_some()),
    },
    ProbeFamily {
        name: "probe_grpc_status_code",
        help: "Response gRPC status code",
        labels: &[],
        probers: GRPC,
        writer: |probe, out| out.count(probe.grpc_status().into()),
    },
    ProbeFamily {
        name: "probe_http_content_length",
        help: "Length of http content response",
        labels: &[],
        probers: HTTP,
        writer: |probe, out| {
            let has_no_body = matches!(probe.report.status(), Some(204 | 304));
            match probe.report.http_head() {
                Some(head) => match head.content_length {
                    Some(length) => out.count(length),
                    None if has_no_body => out.count(0),
                    None => out.number(&[], -1.0),
                },
                None => out.count(0),
            }
        },
    },
    ProbeFamily {
        name: "probe_http_duration_seconds",
        help: "Duration of http request by phase, summed over all redirects",
        labels: &["phase"],
        probers: HTTP,
        writer: |probe, out| {
            if !probe.is_resolution_tried() {
                return;
            }
            let phases = [
                Phase::Connect,
                Phase::Processing,
                Phase::Resolve,
                Phase::Tls,
                Phase::Transfer,
            ];
            for phase in phases {
                if phase == Phase::Resolve || probe.is_resolved() {
                    out.number(&[phase.as_str()], probe.seconds(&[phase]));
                }
            }
        },
    },
    ProbeFamily {
        name: "probe_http_last_modified_timestamp_seconds",
        help: "Returns the Last-Modified HTTP response header in unixtime",
        labels: &[],
        probers: HTTP,
        writer: |probe, out| {
            let head = probe.report.http_head();
            if let Some(time) = head.and_then(|head| head.last_modified) {
                #[expect(clippy::cast_precision_loss, reason = "samples are floats")]
                out.number(&[], time as f64);
            }
        },
    },
    ProbeFamily {
        name: "probe_http_redirects",
        help: "The number of redirects",
        labels: &[],
        probers: HTTP,
        writer: |probe, out| out.count(probe.report.redirects().unwrap_or_default().into()),
    },
    ProbeFamily {
        name: "probe_http_ssl",
        help: "Indicates if SSL was used for the final redirect",
        labels: &[],
        probers: HTTP,
        writer: |probe, out| {
            let head = probe.report.http_head();
            out.flag(head.is_some_and(|head| head.is_over_tls));
        },
    },
    ProbeFamily {
        name: "probe_http_status_code",
        help: "Response HTTP status code",
        labels: &[],
        probers: HTTP,
        writer: |probe, out| out.count(probe.report.status().unwrap_or_default().into()),
    },
    ProbeFamily {
        name: "probe_http_uncompressed_body_length",
        help: "Length of uncompressed response body",
        labels: &[],
        probers: HTTP,
        writer: |probe, out| out.count(probe.report.decoded_bytes().unwrap_or_default()),
    },
    ProbeFamily {
        name: "probe_http_version",
        help: "Returns the version of HTTP of the probe response",
        labels: &[],
        probers: HTTP,
        writer: |probe, out| {
            let head = probe.report.http_head().unwrap_or_default();
            out.number(&[], f64::from(head.version_tenths) / 10.0);
        },
    },
    ProbeFamily {
        name: "probe_icmp_duration_seconds",
        help: "Duration of icmp request by phase",
        labels: &["phase"],
        probers: ICMP,
        writer: |probe, out| {
            let is_answered = probe.report.failure.is_none();
            for phase in [Phase::Resolve, Phase::Rtt, Phase::Setup] {
                let seconds = if phase == Phase::Rtt && !is_answered {
                    0.0
                } else {
                    probe.seconds(&[phase])
                };
                out.number(&[phase.as_str()], seconds);
            }
        },
    },
    ProbeFamily {
        name: "probe_icmp_reply_hop_limit",
        help: "Replied packet hop limit (TTL for ipv4)",
        labels: &[],
        probers: ICMP,
        writer: |probe, out| {
            let echoes = probe.report.echoes();
            if let Some(limit) = echoes.and_then(|echoes| echoes.reply_hop_limit) {
                out.count(limit.into());
            }
        },
    },
    ProbeFamily {
        name: "probe_ip_addr_hash",
        help: "Specifies the hash of IP address. It's useful to detect if the IP address changes.",
        labels: &[],
        probers: ADDRESSED,
        writer: |probe, out| {
            if probe.is_resolution_tried() {
                let address = probe.report.first_address();
                out.count(address.map_or(0, address_hash).into());
            }
        },
    },
    ProbeFamily {
        name: "probe_ip_protocol",
        help: "Specifies whether probe ip protocol is IP4 or IP6",
        labels: &[],
        probers: ADDRESSED,
        writer: |probe, out| {
            if probe.is_resolution_tried() {
                out.count(match probe.report.first_address() {
                    None => 0,
                    Some(IpAddr::V4(_)) => 4,
                    Some(IpAddr::V6(_)) => 6,
                });
            }
        },
    },
    ProbeFamily {
        name: "probe_ssl_earliest_cert_expiry",
        help: "Returns last SSL chain expiry in unixtime",
        labels: &[],
        probers: CERTIFIED,
        writer: |probe, out| {
            if let Some(certificates) = probe.certificates() {
                #[expect(clippy::cast_precision_loss, reason = "samples are floats")]
                out.number(&[], certificates.earliest_not_after as f64);
            }
        },
    },
    ProbeFamily {
        name: "probe_ssl_last_chain_expiry_timestamp_seconds",
        help: "Returns last SSL chain expiry in timestamp",
        labels: &[],
        probers: CHAINS,
        writer: |probe, out| {
            let verified = probe
                .handshake()
                .and_then(|_| probe.report.verified_until());
            if let Some(not_after) = verified {
                #[expect(clippy::cast_precision_loss, reason = "samples are floats")]
                out.number(&[], not_after as f64);
            }
        },
    },
    ProbeFamily {
        name: "probe_ssl_last_chain_info",
        help: "Contains SSL leaf certificate information",
        labels: &[
            "fingerprint_sha256",
            "issuer",
            "serialnumber",
            "subject",
            "subjectalternative",
        ],
        probers: CERTIFIED,
        writer: |probe, out| {
            if let Some(sent) = probe.certificates() {
                let values = [
                    &*sent.fingerprint_sha256,
                    &sent.issuer,
                    &sent.serial,
                    &sent.subject,
                    &sent.dns_names,
                ];
                out.number(&values, 1.0);
            }
        },
    },
    ProbeFamily {
        name: "probe_success",
        help: "Displays whether or not the probe was a success",
        labels: &[],
        probers: ALL,
        writer: |probe, out| out.flag(probe.report.failure.is_none()),
    },
    ProbeFamily {
        name: "probe_timeout_seconds",
        help: "Returns how long the probe timeout is in seconds",
        labels: &[],
        probers: ALL,
        writer: |probe, out| out.number(&[], probe.timeout.as_secs_f64()),
    },
    ProbeFamily {
        name: "probe_tls_cipher_info",
        help: "Returns the TLS cipher negotiated during handshake",
        labels: &["cipher"],
        probers: HTTP,
        writer: |probe, out| {
            if let Some((_, cipher)) = probe.handshake() {
                out.number(&[cipher], 1.0);
            }
        },
    },
    ProbeFamily {
        name: "probe_tls_version_info",
        help: "Returns the TLS version used or NaN when unknown",
        labels: &["version"],
        probers: CERTIFIED,
        writer: |probe, out| {
            if let Some((version, _)) = probe.handshake() {
                out.number(&[version], 1.0);
            }
        },
    },
    ProbeFamily {
        name: "probe_websocket_connection_upgraded",
        help: "Indicates if the websocket connection was successfully upgraded",
        labels: &[],
        probers: WEBSOCKET,
        writer: |probe, out| {
            let failure = probe.report.failure.as_ref();
            let is_refused = failure.is_some_and(|failure| failure.phase == Phase::Processing);
            out.flag(probe.report.status() == Some(101) && !is_refused);
        },
    },
    ProbeFamily {
        name: "probe_websocket_duration_seconds",
        help: "Duration of websocket request by phase",
        labels: &["phase"],
        probers: WEBSOCKET,
        writer: |probe, out| {
            if !probe.is_resolution_tried() {
                return;
            }
            out.number(&["connect"], probe.seconds(&[Phase::Connect]));
            let upgrade = [Phase::Tls, Phase::Processing];
            out.number(&["processing"], probe.seconds(&upgrade));
            out.number(&["resolve"], probe.seconds(&[Phase::Resolve]));
            if probe.traits.has_steps {
                out.number(&["transfer"], probe.seconds(&[Phase::Transfer]));
            }
        },
    },
    ProbeFamily {
        name: "probe_websocket_failed_due_to_regex",
        help: "Indicates if probe failed due to regex",
        labels: &[],
        probers: WEBSOCKET,
        writer: |probe, out| {
            let failure = probe.report.failure.as_ref();
            out.flag(failure.is_some_and(|failure| failure.phase == Phase::Transfer));
        },
    },
    ProbeFamily {
        name: "probe_websocket_status_code",
        help: "Response HTTP status code",
        labels: &[],
        probers: WEBSOCKET,
        writer: |probe, out| out.count(probe.report.status().unwrap_or_default().into()),
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_in_order_and_so_are_their_labels() {
        assert!(FAMILIES.is_sorted_by(|a, b| a.name < b.name));
        for family in FAMILIES {
            assert!(family.labels.is_sorted(), "{}", family.name);
        }
    }

    #[test]
    fn an_address_has_the_hash_of_go() {
        // hash/fnv, New32a
        let hash = |text: &str| address_hash(text.parse().expect("an address"));
        assert_eq!(hash("127.0.0.1"), 0xdaaf_40ed);
        assert_eq!(hash("::ffff:127.0.0.1"), hash("127.0.0.1"));
    }
}
