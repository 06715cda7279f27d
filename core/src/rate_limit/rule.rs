//! Rules as the configuration centre holds them.

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::quota::Quota;
use crate::config::{Problems, Validate};
use crate::error::Result;

/// Where the buckets of a rule are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// In each process: every instance of a service gives out the whole quota.
    Local,
    /// In the shared store: the fleet gives out the quota together.
    Distributed,
}

/// One rate limit.
///
/// ```
/// use infra_core::config::Validate;
/// use infra_core::rate_limit::{Mode, Rule};
///
/// let rule: Rule = serde_json::from_str(
///     r#"{ "mode": "distributed", "rate": 30.0, "capacity": 60, "description": "messages of one user" }"#,
/// )?;
/// rule.check()?;
/// assert_eq!(rule.mode, Some(Mode::Distributed));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Rule {
    /// Where its buckets are; what the limiter's configuration says, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Tokens per second; see [`Quota`] for the range.
    pub rate: f64,
    /// The most tokens that a bucket can hold: the largest burst.
    pub capacity: u64,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
}

impl Rule {
    /// A rule of `rate` tokens per second and bursts of `capacity`.
    #[must_use]
    pub fn new(rate: f64, capacity: u64) -> Self {
        Self {
            mode: None,
            rate,
            capacity,
            description: String::new(),
        }
    }

    /// The same rule with its buckets at a certain place.
    #[must_use]
    pub fn with_mode(mut self, mode: Mode) -> Self {
        self.mode = Some(mode);
        self
    }

    /// The same rule with a description.
    #[must_use]
    pub fn with_description(mut self, description: impl Into<String>) -> Self {
        self.description = description.into();
        self
    }

    pub(super) fn quota(&self) -> Result<Quota> {
        Quota::new(self.rate, self.capacity)
    }
}

impl Validate for Rule {
    /// Finds a rate or a capacity outside the ranges of [`Quota`]: zero, negative, not a number, too large.
    fn validate(&self, problems: &mut Problems) {
        problems.accept("rate", Quota::check_rate(self.rate));
        problems.accept("capacity", Quota::check_capacity(self.capacity));
    }
}

/// The value of one key below the rules path: one rule, named by its key, or a map of rules by name.
///
/// ```
/// use infra_core::rate_limit::RuleFile;
///
/// let one: RuleFile = serde_json::from_str(r#"{ "rate": 5, "capacity": 10 }"#)?;
/// let map: RuleFile = serde_json::from_str(r#"{ "login": { "rate": 5, "capacity": 10 }, "rate": { "rate": 1, "capacity": 1 } }"#)?;
/// assert!(matches!(one, RuleFile::One(_)));
/// assert!(matches!(map, RuleFile::Map(rules) if rules.len() == 2));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum RuleFile {
    /// One rule; its name is that of the key, without `.json`.
    One(Rule),
    /// Rules by name.
    Map(BTreeMap<String, Rule>),
}

impl<'de> Deserialize<'de> for RuleFile {
    /// A document whose values are all objects is a map; so `{}` is an empty one, and errors name the field that is wrong.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        let is_map = value
            .as_object()
            .is_some_and(|fields| fields.values().all(serde_json::Value::is_object));
        if is_map {
            crate::json::decode_value_at(value).map(Self::Map)
        } else {
            crate::json::decode_value_at(value).map(Self::One)
        }
        .map_err(|(path, problem)| match path.as_str() {
            "" => D::Error::custom(problem),
            path => D::Error::custom(format_args!("{path}: {problem}")),
        })
    }
}

impl Validate for RuleFile {
    fn validate(&self, problems: &mut Problems) {
        match self {
            Self::One(rule) => rule.validate(problems),
            Self::Map(rules) => rules.validate(problems),
        }
    }
}

/// All rules of several files, by name.
///
/// # Errors
/// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) names every rule that two files set.
pub(super) fn flatten(files: &BTreeMap<String, RuleFile>) -> Result<BTreeMap<String, Rule>> {
    let mut rules = BTreeMap::new();
    let mut problems = Problems::new();
    for (file, content) in files {
        let named: Vec<_> = match content {
            RuleFile::One(rule) => vec![(file, rule)],
            RuleFile::Map(map) => map.iter().collect(),
        };
        for (name, rule) in named {
            if rules.insert(name.clone(), rule.clone()).is_some() {
                problems.add(
                    file,
                    format!("the rule {name:?} is set elsewhere too; delete one of the two"),
                );
            }
        }
    }
    problems.finish().map(|()| rules)
}
