//! From the dotted names of the facade to those of Prometheus.

use std::collections::BTreeMap;

use infra_core::telemetry::{Label, Unit};
use prometheus_client::registry::Unit as PrometheusUnit;

/// Labels in the order of their names, each name once.
pub(super) type Labels = Vec<(String, String)>;

/// What the encoder appends by itself, and a name therefore must not end with.
const SUFFIXES: [&str; 3] = ["_total", "_seconds", "_bytes"];

/// The name without unit and `_total`: what a series is found by.
pub(super) fn base_name(name: &str) -> String {
    let name = identifier(name);
    let mut base = name.as_str();
    while let Some(shorter) = SUFFIXES.iter().find_map(|suffix| base.strip_suffix(suffix)) {
        if shorter.is_empty() {
            break;
        }
        base = shorter;
    }
    base.to_owned()
}

/// Labels as Prometheus takes them; of a name that is given twice the last value counts.
pub(super) fn labels_of(labels: &[Label<'_>]) -> Labels {
    let unique: BTreeMap<String, String> = labels
        .iter()
        .map(|(name, value)| (label_name(name), (*value).to_owned()))
        .collect();
    unique.into_iter().collect()
}

/// `le` belongs to the buckets of histograms.
fn label_name(name: &str) -> String {
    match identifier(name) {
        name if name == "le" => "le_".to_owned(),
        name => name,
    }
}

/// ASCII letters, digits and `_`, not beginning with a digit.
fn identifier(name: &str) -> String {
    let mut identifier: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect();
    if identifier.is_empty() || identifier.starts_with(|c: char| c.is_ascii_digit()) {
        identifier.insert(0, '_');
    }
    identifier
}

/// The suffix for a unit.
pub(super) fn unit(unit: Unit) -> Option<PrometheusUnit> {
    match unit {
        Unit::Seconds => Some(PrometheusUnit::Seconds),
        Unit::Bytes => Some(PrometheusUnit::Bytes),
        _ => None,
    }
}

/// A description on one line, escaped as the format demands.
pub(super) fn help(description: &str) -> String {
    description
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}
