//! One component's part of the configuration: a URL, and what the backend behind it understands.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::config::BackendUrl;
use crate::error::{Error, Result};

/// A component's section: the URL that names its backend, and that backend's own options.
///
/// ```toml
/// [database]
/// url = "sqlite://data/messages.db"
/// max_connections = 25
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Section {
    /// Which backend, and where it is.
    pub url: BackendUrl,
    /// The backend's own options, as they stand in the file.
    #[serde(flatten)]
    options: Options,
}

/// Options may hold secrets: only their names are shown.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
struct Options(Map<String, Value>);

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

impl Section {
    /// A section with the backend's defaults.
    #[must_use]
    pub fn new(url: BackendUrl) -> Self {
        Self {
            url,
            options: Options::default(),
        }
    }

    /// The same section with one option set.
    #[must_use]
    pub fn with_option(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.options.0.insert(name.into(), value.into());
        self
    }

    /// Reads the options over `defaults`; nested tables are merged, everything else is replaced.
    ///
    /// # Errors
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) names the option that is unknown or of the wrong type.
    pub fn options<T: Serialize + DeserializeOwned>(&self, defaults: &T) -> Result<T> {
        let named = |(path, problem): (String, String)| match path.as_str() {
            "" => problem,
            path => format!("{path}: {problem}"),
        };
        self.options_at(defaults)
            .map_err(|problem| Error::invalid_config(named(problem)))
    }

    /// The options, or the path within the section and what is wrong there.
    pub(super) fn options_at<T: Serialize + DeserializeOwned>(
        &self,
        defaults: &T,
    ) -> Result<T, (String, String)> {
        let mut merged = serde_json::to_value(defaults).map_err(|error| {
            let problem = format!("a backend's defaults cannot be written as JSON: {error}");
            (String::new(), problem)
        })?;
        merge(&mut merged, &Value::Object(self.options.0.clone()));
        crate::json::decode_value_at(merged)
    }
}

fn merge(base: &mut Value, over: &Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (name, value) in over {
                merge(base.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
        (base, over) => *base = over.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Pool {
        max: u32,
        min: u32,
    }

    #[test]
    fn options_lie_over_the_defaults_and_are_named_when_wrong() {
        let section = Section::new(BackendUrl::memory()).with_option("max", 9);
        let defaults = Pool { max: 3, min: 1 };
        assert_eq!(
            section.options(&defaults).expect("valid"),
            Pool { max: 9, min: 1 }
        );

        let wrong = section.clone().with_option("min", "many");
        assert!(
            wrong
                .options(&defaults)
                .expect_err("no number")
                .message()
                .starts_with("min:")
        );
        let unknown = section.with_option("minn", 2);
        assert!(
            unknown
                .options(&defaults)
                .expect_err("a typo")
                .message()
                .contains("minn")
        );
        assert!(
            !format!("{unknown:?}").contains('2'),
            "values stay out of debug output"
        );
    }
}
