//! Which monitors have series of a family.
//!
//! A page asks this of each monitor for each family, so the answer is a matter of a few bits.

use std::ops::BitOr;

use super::{
    family::{Cardinality, Family},
    settings::Profile,
};
use crate::check::Phase;

/// Properties of a monitor that decide which families have series of it: a set of bits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Traits(u64);

impl Traits {
    /// A check failed.
    pub(super) const FAILED: Self = Self(1 << 16);
    /// A check ended while a maintenance window was open.
    pub(super) const MAINTAINED: Self = Self(1 << 17);
    /// More than one failure confirms that it is down.
    pub(super) const CONFIRMED: Self = Self(1 << 18);
    /// It depends on others.
    pub(super) const DEPENDENT: Self = Self(1 << 19);
    const FIRST_KIND: usize = 20;

    const NONE: Self = Self(0);
    const ALL: Self = Self(u64::MAX);

    /// Its checks have reached `phase`.
    pub(super) fn reached(phase: Phase) -> Self {
        Self(1 << phase as u16)
    }

    /// Its type is that at `index` among those of the page. The last bit stands for all that have none of their own.
    pub(super) fn kind(index: usize) -> Self {
        let last = u64::BITS as usize - 1;
        Self(1 << (Self::FIRST_KIND + index).min(last))
    }

    /// This trait if `has_it`, else none.
    pub(super) fn only_if(self, has_it: bool) -> Self {
        if has_it { self } else { Self::NONE }
    }

    fn has_any_of(self, others: Self) -> bool {
        self.0 & others.0 != 0
    }
}

impl BitOr for Traits {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl FromIterator<Traits> for Traits {
    fn from_iter<I: IntoIterator<Item = Self>>(traits: I) -> Self {
        traits.into_iter().fold(Self::NONE, Self::bitor)
    }
}

/// Selects the monitors that may have series of a family.
#[derive(Clone, Copy, Debug)]
pub(super) struct Selection {
    kinds: Traits,
    phases: Traits,
    others: Traits,
}

impl Selection {
    /// Of `family` in `profile`, on a page with monitors of the types `kinds`; `None` if none of these may have series.
    pub(super) fn new(family: &Family, profile: Profile, kinds: &[&str]) -> Option<Self> {
        let indices = kinds.iter().enumerate();
        let kinds = indices.filter(|(_, kind)| family.is_of(kind, profile));
        let kinds: Traits = kinds.map(|(index, _)| Traits::kind(index)).collect();
        let phases = family.phases().map(|phases| {
            let phases = phases.iter().copied();
            phases.map(Traits::reached).collect()
        });
        kinds.has_any_of(Traits::ALL).then_some(Self {
            kinds,
            phases: phases.unwrap_or(Traits::ALL),
            others: match family.cardinality {
                Cardinality::Failures => Traits::FAILED,
                Cardinality::Maintenance => Traits::MAINTAINED,
                Cardinality::Confirmations => Traits::CONFIRMED,
                Cardinality::Dependencies => Traits::DEPENDENT,
                _ => Traits::ALL,
            },
        })
    }

    /// Returns false if a monitor with `traits` has no series.
    pub(super) fn has(self, traits: Traits) -> bool {
        [self.kinds, self.phases, self.others]
            .into_iter()
            .all(|wanted| traits.has_any_of(wanted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_phase_has_a_bit_of_its_own() {
        let phases: Traits = Phase::ALL.iter().copied().map(Traits::reached).collect();
        assert_eq!(phases.0.count_ones() as usize, Phase::ALL.len());
        assert!(phases.0 < Traits::FAILED.0);
    }

    #[test]
    fn types_without_a_bit_of_their_own_share_one() {
        for index in [44, 1000] {
            assert_eq!(Traits::kind(index).0, Traits::kind(43).0);
        }
        assert_ne!(Traits::kind(42).0, Traits::kind(43).0);
    }
}
