//! The section `metrics`.

use super::monitor::{DURATION_BUCKETS, read_buckets};
use crate::{
    metrics::{FAMILIES, Family, NativeChoice, NativeHistograms, Profile, Settings},
    value::{Fields, FromNode, Node, nearest},
};

const NATIVE: &str = "native_histograms";
const CLASSIC: &str = "classic_histograms";

/// Reads the section.
pub(super) fn read_metrics(mut fields: Fields<'_>) -> Settings {
    let settings = Settings {
        profile: fields.optional("profile").unwrap_or_default(),
        native_histograms: read_native_histograms(&mut fields),
        classic_histograms: fields.optional(CLASSIC),
        has_created_samples: fields.optional("created_samples").unwrap_or(false),
        duration_buckets: read_buckets(&mut fields, DURATION_BUCKETS, "seconds"),
        response_size_buckets: read_buckets(&mut fields, "response_size_buckets", "bytes"),
        disabled: read_families(&mut fields, "disabled")
            .map(|f| f.name)
            .collect(),
        enabled: read_families(&mut fields, "enabled")
            .map(|f| f.name)
            .collect(),
    };
    if settings.classic_histograms == Some(false) && settings.native().is_none() {
        let wrong = format_args!("would leave histograms without buckets: {NATIVE} are off");
        fields.add_value_problem(CLASSIC, wrong, format_args!("true, or {NATIVE}"));
    }
    for name in &settings.enabled {
        if FAMILIES
            .iter()
            .any(|family| family.name == *name && !family.is_opt_in(settings.profile))
        {
            let wrong = format_args!("{name} is on by default");
            fields.add_value_problem("enabled", wrong, "metrics that are off by default");
        }
    }
    fields.reject_unknown_keys();
    settings
}

/// Reads `off` or a mapping.
fn read_native_histograms(fields: &mut Fields<'_>) -> NativeChoice {
    match fields.node(NATIVE) {
        None => return NativeChoice::ByProfile,
        Some((Node::Map(_), _)) => {}
        Some(_) => {
            return match fields.optional::<Off>(NATIVE) {
                Some(Off) => NativeChoice::Off,
                None => NativeChoice::ByProfile,
            };
        }
    }
    let Some(mut fields) = fields.section(NATIVE) else {
        return NativeChoice::ByProfile;
    };
    let factor = fields.optional("factor").unwrap_or(Factor::default());
    let max_buckets = fields.optional("max_buckets").unwrap_or_default();
    fields.reject_unknown_keys();
    let (Factor(factor), MaxBuckets(max_buckets)) = (factor, max_buckets);
    NativeChoice::On(NativeHistograms::new(factor, max_buckets))
}

/// `off`: a boolean in YAML 1.1, a word in YAML 1.2.
struct Off;

impl FromNode for Off {
    const EXPECTED: &'static str = "off, or a mapping with factor and max_buckets";

    fn from_node(node: &Node) -> Result<Self, String> {
        match node {
            Node::Bool(false) => Ok(Self),
            Node::Text(text) if text == "off" => Ok(Self),
            Node::Text(text) => Err(format!("invalid value {text:?}")),
            other => Err(format!("found {}", other.kind())),
        }
    }
}

struct Factor(f64);

impl Default for Factor {
    fn default() -> Self {
        Self(NativeHistograms::DEFAULT_FACTOR)
    }
}

impl FromNode for Factor {
    const EXPECTED: &'static str = "a number above 1 such as 1.1";

    fn from_node(node: &Node) -> Result<Self, String> {
        let factor = f64::from_node(node)?;
        if factor.is_finite() && factor > 1.0 {
            return Ok(Self(factor));
        }
        Err(format!("invalid factor {factor}"))
    }
}

struct MaxBuckets(u16);

impl Default for MaxBuckets {
    fn default() -> Self {
        Self(NativeHistograms::DEFAULT_MAX_BUCKETS)
    }
}

impl FromNode for MaxBuckets {
    const EXPECTED: &'static str = "a whole number from 4 to 10000";

    fn from_node(node: &Node) -> Result<Self, String> {
        let number = i128::from_node(node)?;
        match u16::try_from(number) {
            Ok(number @ 4..=10_000) => Ok(Self(number)),
            _ => Err(format!("{number} is out of range")),
        }
    }
}

impl FromNode for Profile {
    const EXPECTED: &'static str = "full or compact";

    fn from_node(node: &Node) -> Result<Self, String> {
        match &*String::from_node(node)? {
            "full" => Ok(Self::Full),
            "compact" => Ok(Self::Compact),
            other => Err(format!("unknown profile {other:?}")),
        }
    }
}

/// Reads the metric families in the list `key`.
fn read_families(
    fields: &mut Fields<'_>,
    key: &'static str,
) -> impl Iterator<Item = &'static Family> + use<> {
    fields.list::<&'static Family>(key).into_iter()
}

impl FromNode for &'static Family {
    const EXPECTED: &'static str = "a metric of monitors from docs/metrics.md";

    fn from_node(node: &Node) -> Result<Self, String> {
        let name = String::from_node(node)?;
        let known: Vec<_> = FAMILIES.iter().filter(|f| f.is_per_monitor()).collect();
        if let Some(family) = known.iter().find(|family| family.name == name) {
            return Ok(family);
        }
        let names: Vec<_> = known.iter().map(|family| family.name).collect();
        Err(match nearest(&name, &names) {
            Some(near) => format!("unknown monitor metric {name:?}, did you mean {near}?"),
            None => format!("unknown monitor metric {name:?}"),
        })
    }
}
