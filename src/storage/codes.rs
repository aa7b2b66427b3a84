//! The numbers that stand for states, phases and reasons in the store. They never change: new ones are added at the
//! end of each list.

use crate::check::{IncidentEnd, MonitorStatus, Phase, Reason, State};

const STATES: [State; 8] = [
    State::Unknown,
    State::Up,
    State::Degraded,
    State::Suspect,
    State::Down,
    State::Unreachable,
    State::Maintenance,
    State::Paused,
];

const PHASES: [Phase; 9] = [
    Phase::Resolve,
    Phase::Setup,
    Phase::Connect,
    Phase::Tls,
    Phase::Request,
    Phase::Rtt,
    Phase::Check,
    Phase::Processing,
    Phase::Transfer,
];

const REASONS: &[Reason] = &[
    Reason::AgentError,
    Reason::DnsNotFound,
    Reason::DnsFailure,
    Reason::ConnectionRefused,
    Reason::ConnectionReset,
    Reason::TargetForbidden,
    Reason::HostUnreachable,
    Reason::ConnectionFailed,
    Reason::TlsExpired,
    Reason::TlsNotYetValid,
    Reason::TlsWrongHost,
    Reason::TlsUntrusted,
    Reason::TlsExpiresSoon,
    Reason::TlsHandshake,
    Reason::Timeout,
    Reason::TooSlow,
    Reason::ProtocolError,
    Reason::TooManyRedirects,
    Reason::TruncatedBody,
    Reason::BodyTooLarge,
    Reason::StatusCode,
    Reason::HttpVersion,
    Reason::HeaderMismatch,
    Reason::BodyMismatch,
    Reason::JsonMismatch,
    Reason::SslRequired,
    Reason::SslForbidden,
    Reason::ResponseMismatch,
    Reason::NotServing,
    Reason::PacketLoss,
];

const INCIDENT_ENDS: [IncidentEnd; 4] = [
    IncidentEnd::Recovered,
    IncidentEnd::Paused,
    IncidentEnd::TargetChanged,
    IncidentEnd::Removed,
];

/// A value with a number in the store.
pub(super) trait Coded: Copy + PartialEq + 'static {
    /// The values in the order of their numbers.
    const LIST: &'static [Self];

    /// The number of the value.
    fn code(self) -> u8 {
        let position = Self::LIST.iter().position(|known| *known == self);
        // A test holds the lists complete.
        u8::try_from(position.unwrap_or_default()).unwrap_or_default()
    }

    /// The value with the number `code`.
    fn from_code(code: u8) -> Option<Self> {
        Self::LIST.get(usize::from(code)).copied()
    }
}

impl Coded for State {
    const LIST: &'static [Self] = &STATES;
}

impl Coded for Phase {
    const LIST: &'static [Self] = &PHASES;
}

impl Coded for Reason {
    const LIST: &'static [Self] = REASONS;
}

impl Coded for IncidentEnd {
    const LIST: &'static [Self] = &INCIDENT_ENDS;
}

/// Number of accounts that the time of a monitor is booked to.
pub(super) const ACCOUNTS: usize = STATES.len() + 1;

/// An account that the time of a monitor is booked to: its state, where `suspect` has two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Account(u8);

impl Account {
    /// Suspect while the confirmed state is down.
    const SUSPECT_WHILE_DOWN: Self = Self(8);

    /// The account for time in `status`.
    pub(super) fn new(status: &MonitorStatus) -> Self {
        if status.state == State::Suspect && status.is_up == Some(false) {
            Self::SUSPECT_WHILE_DOWN
        } else {
            Self(status.state.code())
        }
    }

    pub(super) fn code(self) -> u8 {
        self.0
    }

    pub(super) fn from_code(code: u8) -> Option<Self> {
        (usize::from(code) < ACCOUNTS).then_some(Self(code))
    }

    pub(super) fn index(self) -> usize {
        self.0.into()
    }

    /// Every account.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        (0..=Self::SUSPECT_WHILE_DOWN.0).map(Self)
    }

    /// The state.
    pub(super) fn state(self) -> State {
        State::from_code(self.0).unwrap_or(State::Suspect)
    }

    /// True for time that counts as up, false for down, and `None` if it does not count.
    pub(super) fn is_up(self) -> Option<bool> {
        match self.state() {
            State::Up | State::Degraded => Some(true),
            State::Down => Some(false),
            State::Suspect => Some(self != Self::SUSPECT_WHILE_DOWN),
            State::Unknown | State::Unreachable | State::Maintenance | State::Paused => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_list<T: Coded + std::fmt::Debug>(all: &[T]) {
        assert_eq!(all.len(), T::LIST.len(), "add it at the end of the list");
        for value in all {
            assert!(T::LIST.contains(value), "{value:?}");
            assert_eq!(T::from_code(value.code()), Some(*value));
        }
    }

    #[test]
    fn every_value_has_a_number() {
        check_list(State::ALL);
        check_list(Phase::ALL);
        check_list(Reason::ALL);
        check_list(IncidentEnd::ALL);
        assert_eq!(Reason::PacketLoss.code(), 29, "numbers never change");
    }

    #[test]
    fn a_suspect_is_what_it_was_before() {
        let suspect = |is_up| {
            let status = MonitorStatus {
                state: State::Suspect,
                is_up,
                ..MonitorStatus::default()
            };
            Account::new(&status)
        };
        assert_eq!(suspect(Some(false)).is_up(), Some(false));
        assert_eq!(suspect(Some(true)).is_up(), Some(true));
        assert_eq!(suspect(Some(false)).state(), State::Suspect);
        assert_eq!(Account::all().count(), ACCOUNTS);
    }
}
