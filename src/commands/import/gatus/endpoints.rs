//! Imports the endpoints of Gatus: each becomes a monitor.

use std::{net::IpAddr, time::Duration};

use super::{
    client,
    conditions::{Condition, Operand, Operator, Subject},
    expressions::{Judgement, judgement},
    maintenance,
    patterns::regex_of_glob,
    variables::has_reference,
};
use crate::{
    check::Confirm,
    commands::import::{context::Context, entry::Keys, names::label_name, section::Section},
    value::{Node, Path, format_duration},
};

/// Gatus' default interval.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(60);

/// Bytes of an expression of CEL.
const MAX_CEL: usize = 2000;

/// The codes that a status may be.
const STATUSES: std::ops::RangeInclusive<i64> = 100..=999;

/// The codes of DNS that Gatus knows by name.
const RCODES: [&str; 6] = [
    "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED",
];

/// Makes a monitor of an endpoint, or reports why not.
pub(super) fn read(mut section: Section<'_>, context: &mut Context) {
    let report = context.report.clone();
    let path = section.path().clone();
    report.begin(&path);
    let name = section.text("name").unwrap_or_default();
    let group = section.text("group");
    let shown = group
        .as_ref()
        .map_or_else(|| name.clone(), |group| format!("{group}/{name}"));
    let is_disabled = section.flag("enabled") == Some(false);
    let outcome = Endpoint::read(&mut section, context, &shown);
    let keys = match outcome {
        Ok(endpoint) => endpoint.finish(&mut section, context, &path),
        Err(why) => Err(why),
    };
    let mut keys = match keys {
        Ok(keys) => keys,
        Err(why) => {
            report.begin(&path);
            report.left_out(&path, why);
            context.add_remarks(&format!("Endpoint {shown}"));
            return;
        }
    };
    if let Some(group) = &group {
        keys.set_in("labels", "group", group.as_str());
    }
    for (label, value, path) in section.text_map("extra-labels") {
        keys.set_in("labels", &label_name(&label, &path, &report), value);
    }
    if is_disabled {
        keys.set("enabled", false);
    }
    read_thresholds(&mut section, &mut keys);
    section.leave_out(
        &["alerts"],
        "alerts are sent by Alertmanager, for example with the rule MonitorDown",
    );
    let windows = section.sections("maintenance-windows");
    section.drop_keys(&["ui"], "there is no such setting for the status page");
    section.leave_out(&["store", "always-run"], "suites are not supported");
    section.drop_unasked(
        &["graphql", "method", "headers", "body", "ssh", "dns"],
        "has no effect for this type",
    );
    section.finish();
    let name = context.names.choose(&[&name, &shown]);
    context.add_monitor(name.clone(), keys, &path);
    for window in windows {
        maintenance::read(window, Some(&name), context);
    }
}

/// The lowest thresholds of the alerts say when an endpoint is down, and up again.
fn read_thresholds(section: &mut Section<'_>, keys: &mut Keys) {
    let report = section.report();
    let mut lowest: Option<(u32, u32)> = None;
    for (node, path) in section.repeated("alerts") {
        let Some(mut alert) = Section::open(node, path, report) else {
            continue;
        };
        if alert.flag("enabled") == Some(false) {
            continue;
        }
        let mut threshold = |key, default| {
            let given = alert.text(key).and_then(|text| text.parse().ok());
            given.filter(|number| *number > 0).unwrap_or(default)
        };
        let failures = threshold("failure-threshold", 3);
        let successes = threshold("success-threshold", 2);
        let (least_failures, least_successes) = lowest.unwrap_or((failures, successes));
        let limited = |threshold: u32| threshold.min(Confirm::MAX_RESULTS);
        lowest = Some((
            limited(least_failures.min(failures)),
            limited(least_successes.min(successes)),
        ));
    }
    if let Some((failures, successes)) = lowest {
        keys.set_in("confirm", "failures", failures);
        keys.set_in("confirm", "successes", successes);
    }
}

/// An endpoint in the making.
struct Endpoint {
    kind: &'static str,
    keys: Keys,
    conditions: Vec<(String, Path)>,
    interval: Duration,
    timeout: Duration,
    owner: String,
}

impl Endpoint {
    fn read(section: &mut Section<'_>, context: &Context, owner: &str) -> Result<Self, String> {
        let secrets = context.secrets.clone();
        let place = section.path_of("url");
        let url = section.text("url").ok_or("url is missing")?;
        let interval = section
            .duration("interval")
            .filter(|d| !d.is_zero())
            .unwrap_or(DEFAULT_INTERVAL);
        let mut keys = Keys::default();
        let kind = if let Some(mut dns) = section.section("dns") {
            keys.set("type", "dns");
            keys.set("target", url.as_str());
            let query_type = dns.text("query-type").unwrap_or_default();
            let query_name = dns.text("query-name").unwrap_or_default();
            keys.set("query_name", reverse_name(&query_type, &query_name));
            keys.set("query_type", query_type);
            dns.finish();
            "dns"
        } else {
            let (scheme, rest) = url.split_once("://").unwrap_or(("", &url));
            match scheme {
                "http" | "https" => {
                    let url = secrets.url(owner, &url, &place, Some(&mut keys));
                    keys.set("url", url);
                    "http"
                }
                "tcp" => typed(&mut keys, "tcp", rest),
                "tls" => typed(&mut keys, "tls", rest),
                "starttls" => {
                    typed(&mut keys, "tls", rest);
                    keys.set("starttls", "smtp");
                    "tls"
                }
                "icmp" => typed(&mut keys, "icmp", rest),
                "grpc" => typed(&mut keys, "grpc", rest),
                "grpcs" => {
                    typed(&mut keys, "grpc", rest);
                    keys.set("tls", true);
                    "grpc"
                }
                "ws" | "wss" => {
                    keys.set("type", "websocket");
                    let url = secrets.url(owner, &url, &place, Some(&mut keys));
                    keys.set("target", url);
                    "websocket"
                }
                "ssh" => read_ssh(section, &mut keys, rest)?,
                "udp" => return Err("UDP is not supported".to_owned()),
                "sctp" => return Err("SCTP is not supported".to_owned()),
                _ if has_reference(&url) => {
                    return Err("the scheme of the URL is in a variable".to_owned());
                }
                _ => return Err(format!("unknown scheme {scheme:?}")),
            }
        };
        let settings = section.section("client");
        let client = client::read(settings, kind, owner, &secrets, &mut keys);
        if let Some(obstacle) = client.obstacle {
            return Err(obstacle.to_owned());
        }
        Ok(Self {
            kind,
            keys,
            conditions: section.texts("conditions"),
            interval,
            timeout: client.timeout.min(interval),
            owner: owner.to_owned(),
        })
    }

    /// The keys of the monitor.
    fn finish(
        mut self,
        section: &mut Section<'_>,
        context: &Context,
        path: &Path,
    ) -> Result<Keys, String> {
        self.keys.set("check_every", self.interval);
        self.keys.set("timeout", self.timeout);
        match self.kind {
            "http" => self.read_request(section, context),
            "websocket" => {
                self.read_headers(section, context);
                self.read_message(section, context, path);
            }
            "tcp" => self.read_message(section, context, path),
            "tls" => section.leave_out(&["body"], "nothing is sent after the handshake"),
            _ => {}
        }
        self.judge(context)?;
        Ok(self.keys)
    }

    fn read_headers(&mut self, section: &mut Section<'_>, context: &Context) {
        for (name, value, place) in section.text_map("headers") {
            let value = context.secrets.header(&self.owner, &name, &value, &place);
            self.keys.set_in("headers", &name, value);
        }
    }

    fn read_request(&mut self, section: &mut Section<'_>, context: &Context) {
        self.keys.set_some("method", section.text("method"));
        self.read_headers(section, context);
        let is_graphql = section.flag("graphql") == Some(true);
        let place = section.path_of("body");
        let Some(mut body) = section.text("body") else {
            return;
        };
        if has_placeholder(&body) {
            let detail = "placeholders such as [RANDOM_STRING_N] are sent as they stand";
            context.report.changed(&place, detail);
        }
        if is_graphql {
            body = serde_json::json!({ "query": body }).to_string();
            let has_type = matches!(self.keys.get("headers"), Some(Node::Map(headers))
                if headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")));
            if !has_type {
                self.keys
                    .set_in("headers", "Content-Type", "application/json");
            }
        }
        let body = context.secrets.text(&self.owner, "body", &body, &place);
        self.keys.set("body", body);
    }

    /// The message to send over TCP or a WebSocket; any answer will do, unless a condition says more.
    fn read_message(&mut self, section: &mut Section<'_>, context: &Context, path: &Path) {
        let place = section.path_of("body");
        let body = section.text("body").unwrap_or_default();
        if body.is_empty() {
            if self.kind == "websocket" {
                let detail = "no empty message is sent, and no answer awaited";
                context.report.changed(path, detail);
            }
            return;
        }
        let key = if self.kind == "tcp" {
            "send_bytes"
        } else {
            "send"
        };
        let body = context.secrets.text(&self.owner, "body", &body, &place);
        self.keys
            .push("query_response", Keys(vec![(key.to_owned(), body)]));
        self.keys.push("query_response", expectation("(?s)."));
    }

    /// Sets the keys that judge a response as the conditions do.
    fn judge(&mut self, context: &Context) -> Result<(), String> {
        let report = context.report.clone();
        let mut of_status = Vec::new();
        let mut of_rcode = Vec::new();
        let mut cel: Vec<String> = Vec::new();
        let mut judges_body = false;
        for (text, place) in self.conditions.clone() {
            let leave_out = |why: &str| report.left_out(&place, format!("{text}: {why}"));
            let condition = match Condition::parse(&text) {
                Ok(condition) => condition,
                Err(why) => {
                    leave_out(&why);
                    continue;
                }
            };
            match condition.subject {
                Subject::Connected => match (&condition.operand, condition.operator) {
                    (Operand::Literal(word), Operator::Equal) if word == "true" => {}
                    (Operand::Literal(word), Operator::Unequal) if word == "false" => {}
                    _ => return Err(format!("{text}: a check cannot succeed by failing")),
                },
                Subject::Status if self.kind == "http" => of_status.push(condition),
                Subject::Rcode if self.kind == "dns" => of_rcode.push(condition),
                Subject::ResponseTime => self.bound_latency(&condition, &text, &place, context),
                Subject::CertificateExpiration => {
                    let speaks_tls = matches!(self.kind, "tls" | "websocket" | "grpc")
                        || matches!(self.keys.get("url"), Some(Node::Text(url) | Node::FromEnvironment(url)) if url.starts_with("https"));
                    match (condition.operator, condition.duration()) {
                        (Operator::Above | Operator::AtLeast, Some(_)) if !speaks_tls => {
                            leave_out("there is no certificate without TLS");
                        }
                        (Operator::Above | Operator::AtLeast, Some(duration)) => {
                            self.keys
                                .set("fail_if_certificate_expires_within", duration);
                        }
                        _ => leave_out("only a lower limit can be set"),
                    }
                }
                Subject::Body(_) | Subject::Length(_) | Subject::Has(_) => {
                    judges_body = true;
                    let added = match self.kind {
                        "http" => self.judge_body(&condition, &mut cel),
                        "dns" => self.judge_records(&condition, &place, context),
                        "tcp" | "websocket" => self.judge_message(&condition),
                        "grpc"
                            if text.to_uppercase().replace(' ', "") == "[BODY].STATUS==SERVING" =>
                        {
                            Ok(())
                        }
                        _ => Err("this type has no body".to_owned()),
                    };
                    if let Err(why) = added {
                        leave_out(&why);
                    }
                }
                Subject::Ip => leave_out("the address cannot be judged"),
                Subject::DomainExpiration => {
                    leave_out("registrations of domains are not looked up");
                }
                // The status of a banner is 0.
                Subject::Status if self.kind == "ssh" && condition.is_true_of(0) => {}
                Subject::Status | Subject::Rcode => leave_out("this type has no such result"),
            }
        }
        match self.kind {
            "http" => self
                .keys
                .set("valid_status_codes", valid_statuses(&of_status)?),
            "dns" => self.judge_rcode(&of_rcode, judges_body)?,
            "grpc" if !judges_body => {
                let detail = "the service must be serving, not only answer";
                report.changed(&self.place(), detail);
            }
            _ => {}
        }
        if !cel.is_empty() {
            self.keys
                .set("fail_if_body_json_not_matches_cel", cel.join(" && "));
        }
        Ok(())
    }

    fn place(&self) -> Path {
        let first = self.conditions.first();
        first.map(|(_, place)| place.clone()).unwrap_or_default()
    }

    fn bound_latency(
        &mut self,
        condition: &Condition,
        text: &str,
        place: &Path,
        context: &Context,
    ) {
        let report = &context.report;
        match (condition.operator, condition.duration()) {
            (Operator::Below | Operator::AtMost, Some(limit)) if limit >= self.timeout => {
                let timeout = format_duration(self.timeout);
                report.changed(place, format!("{text}: the timeout {timeout} is shorter"));
            }
            (Operator::Below | Operator::AtMost, Some(limit)) if !limit.is_zero() => {
                self.keys.set("fail_if_slower_than", limit);
                if self.kind == "http" {
                    let detail = "the time includes the body of the response here";
                    report.changed(place, format!("{text}: {detail}"));
                }
            }
            _ => report.left_out(place, format!("{text}: only an upper limit can be set")),
        }
    }

    fn judge_body(&mut self, condition: &Condition, cel: &mut Vec<String>) -> Result<(), String> {
        match judgement(condition)? {
            Judgement::Always => {}
            Judgement::Matches(regex) => {
                self.keys.push("fail_if_body_not_matches_regexp", regex);
            }
            Judgement::MatchesNot(regex) => {
                self.keys.push("fail_if_body_matches_regexp", regex);
            }
            Judgement::Cel(expression) => {
                let length: usize = cel.iter().map(|part| part.len() + 4).sum();
                if length + expression.len() > MAX_CEL {
                    return Err(
                        "together with the others longer than an expression may be".to_owned()
                    );
                }
                cel.push(expression);
            }
        }
        Ok(())
    }

    fn judge_message(&mut self, condition: &Condition) -> Result<(), String> {
        let Judgement::Matches(regex) = judgement(condition)? else {
            return Err("only a pattern of the answer can be expected".to_owned());
        };
        let Some(Node::List(steps)) = self.keys.get("query_response") else {
            return Err("nothing is sent, so there is no answer".to_owned());
        };
        let any = Node::Map(expectation("(?s).").0);
        let Some((last, first)) = steps.split_last() else {
            return Err("there is no answer".to_owned());
        };
        if *last != any {
            return Err("one pattern can be expected".to_owned());
        }
        let mut steps = first.to_vec();
        steps.push(Node::Map(expectation(&regex).0));
        self.keys.set("query_response", Node::List(steps));
        Ok(())
    }

    fn judge_records(
        &mut self,
        condition: &Condition,
        place: &Path,
        context: &Context,
    ) -> Result<(), String> {
        if condition.subject != Subject::Body(None) {
            return Err("the answer is not JSON".to_owned());
        }
        let kind = match self.keys.get("query_type") {
            Some(Node::Text(kind)) => kind.to_uppercase(),
            _ => String::new(),
        };
        let (before, after) = match kind.as_str() {
            "A" | "AAAA" | "CNAME" | "NS" | "PTR" => ("", ""),
            "MX" => (r"\d+\s", ""),
            "TXT" => ("\"", "\""),
            _ => return Err("records of this type are written differently here".to_owned()),
        };
        let data = |text: &str| regex_syntax::escape(text);
        let data = match &condition.operand {
            Operand::Literal(text) => data(text),
            Operand::Any(options) => {
                let options: Vec<_> = options.iter().map(|text| data(text)).collect();
                format!("(?:{})", options.join("|"))
            }
            Operand::Pattern(pattern) => {
                let regex = regex_of_glob(pattern);
                let regex = regex.trim_start_matches("(?s)");
                let start = if regex.starts_with('^') { "" } else { ".*" };
                let end = if regex.ends_with('$') { "" } else { ".*" };
                let inner = regex.trim_start_matches('^').trim_end_matches('$');
                format!("{start}{inner}{end}")
            }
        };
        let regex = format!(r"\s{kind}\s{before}{data}{after}$");
        let rule = match condition.operator {
            Operator::Equal => "fail_if_none_matches_regexp",
            Operator::Unequal => "fail_if_matches_regexp",
            _ => return Err("records are not numbers".to_owned()),
        };
        let mut rules = match self.keys.get("validate_answer_rrs") {
            Some(Node::Map(rules)) => Keys(rules.clone()),
            _ => Keys::default(),
        };
        if rule == "fail_if_none_matches_regexp" && rules.get(rule).is_some() {
            return Err("one pattern of records can be required".to_owned());
        }
        rules.push(rule, regex);
        self.keys.set("validate_answer_rrs", rules);
        let detail = "all records of the answer are looked at, not only the last one";
        context.report.changed(place, detail);
        Ok(())
    }

    fn judge_rcode(&mut self, conditions: &[Condition], judges_body: bool) -> Result<(), String> {
        let is_valid = |code: &str| {
            conditions.iter().all(|condition| {
                let is_equal = match &condition.operand {
                    Operand::Literal(word) => word == code,
                    Operand::Any(words) => words.iter().any(|word| word == code),
                    Operand::Pattern(pattern) => super::patterns::matches(pattern, code),
                };
                is_equal == (condition.operator == Operator::Equal)
            })
        };
        let codes: Vec<_> = RCODES.into_iter().filter(|code| is_valid(code)).collect();
        if codes.is_empty() {
            return Err("no response code fulfills its conditions".to_owned());
        }
        // Without a condition on it, records are what counts, and errors have none.
        if codes != ["NOERROR"] && !(conditions.is_empty() && judges_body) {
            for code in codes {
                self.keys.push("valid_rcodes", code);
            }
        }
        Ok(())
    }
}

/// Sets a type and its target.
fn typed(keys: &mut Keys, kind: &'static str, target: &str) -> &'static str {
    keys.set("type", kind);
    keys.set("target", target);
    kind
}

fn expectation(regex: &str) -> Keys {
    let mut keys = Keys::default();
    keys.set("expect", regex);
    keys
}

/// A server of SSH whose banner is all that is looked at.
fn read_ssh(
    section: &mut Section<'_>,
    keys: &mut Keys,
    target: &str,
) -> Result<&'static str, String> {
    if let Some(mut ssh) = section.section("ssh") {
        let credentials = ["username", "password", "private-key"];
        if credentials
            .iter()
            .any(|key| ssh.text(key).is_some_and(|text| !text.is_empty()))
        {
            return Err("commands over SSH are not supported".to_owned());
        }
        ssh.finish();
    }
    let target = if target.contains(':') {
        target.to_owned()
    } else {
        format!("{target}:22")
    };
    typed(keys, "tcp", &target);
    keys.push("query_response", expectation("^SSH-"));
    section
        .report()
        .changed(section.path(), "only the banner is checked, as type: tcp");
    section.drop_keys(&["body"], "nothing is sent");
    Ok("ssh")
}

fn has_placeholder(body: &str) -> bool {
    ["[RANDOM_STRING_", "[LOCAL_ADDRESS]"]
        .iter()
        .any(|placeholder| body.contains(placeholder))
}

/// The name to ask for: that of an address if pointers are wanted.
fn reverse_name(query_type: &str, query_name: &str) -> String {
    let address = query_name.trim_end_matches('.').parse::<IpAddr>();
    match (query_type, address) {
        ("PTR", Ok(IpAddr::V4(address))) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa.")
        }
        ("PTR", Ok(IpAddr::V6(address))) => {
            let nibbles = address.octets().into_iter().rev();
            let nibbles = nibbles.flat_map(|byte| [byte & 15, byte >> 4]);
            let name: Vec<_> = nibbles.map(|nibble| format!("{nibble:x}")).collect();
            format!("{}.ip6.arpa.", name.join("."))
        }
        _ => query_name.to_owned(),
    }
}

/// The codes of which all `conditions` are true, as classes and ranges.
fn valid_statuses(conditions: &[Condition]) -> Result<Node, String> {
    let is_valid = |status: i64| conditions.iter().all(|c| c.is_true_of(status));
    let mut items = Vec::new();
    let mut ranges: Vec<(i64, i64)> = Vec::new();
    for status in STATUSES.filter(|status| is_valid(*status)) {
        match ranges.last_mut() {
            Some((_, last)) if *last == status - 1 => *last = status,
            _ => ranges.push((status, status)),
        }
    }
    for (first, last) in ranges {
        let class = first / 100;
        if last - first <= 1 {
            items.extend((first..=last).map(|code| Node::Int(code.into())));
            continue;
        }
        items.push(
            if first == class * 100 && last == first + 99 && class <= 5 {
                Node::Text(format!("{class}xx"))
            } else {
                Node::Text(format!("{first}-{last}"))
            },
        );
    }
    if items.is_empty() {
        return Err("no status fulfills its conditions".to_owned());
    }
    Ok(Node::List(items))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_on_the_status_become_codes_and_ranges() {
        let codes = |texts: &[&str]| {
            let conditions = texts
                .iter()
                .map(|text| Condition::parse(text).expect("a condition"));
            valid_statuses(&conditions.collect::<Vec<_>>()).map(|node| format!("{node:?}"))
        };
        for (conditions, expected) in [
            (vec!["[STATUS] == 200"], "[Int(200)]"),
            (vec!["[STATUS] == pat(2*)"], r#"[Text("2xx")]"#),
            (vec!["[STATUS] < 300"], r#"[Text("100-299")]"#),
            (
                vec!["[STATUS] >= 200", "[STATUS] < 300"],
                r#"[Text("2xx")]"#,
            ),
            (vec!["[STATUS] == any(200, 429)"], "[Int(200), Int(429)]"),
            (vec![], r#"[Text("100-999")]"#),
        ] {
            assert_eq!(codes(&conditions), Ok(format!("List({expected})")));
        }
        assert!(codes(&["[STATUS] == 200", "[STATUS] == 201"]).is_err());
    }

    #[test]
    fn an_address_is_asked_for_by_its_reverse_name() {
        assert_eq!(reverse_name("PTR", "192.0.2.1"), "1.2.0.192.in-addr.arpa.");
        assert!(reverse_name("PTR", "2001:db8::1").ends_with("8.b.d.0.1.0.0.2.ip6.arpa."));
        assert_eq!(reverse_name("A", "192.0.2.1"), "192.0.2.1");
    }
}
