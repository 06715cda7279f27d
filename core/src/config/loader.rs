//! Reads a configuration from its sources, weakest first: defaults, files, environment variables, code.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::collect;
use super::depth::MAX_KEY_PARTS;
use super::document::{self, Format};
use super::problems::{Problems, Validate};
use super::profile::Profile;
use super::secret;
use super::tree::{Kind, Node, Path, Source};
use crate::error::Result;

/// Loads a configuration from its sources.
///
/// Weakest first, whatever the order of the calls:
///
/// 1. the profile's defaults,
/// 2. files and documents, in the order given; in each, the section named like the profile (`[production]`) is laid over
///    the keys that all profiles share,
/// 3. environment variables: with the prefix `APP`, `APP__CACHE__URL` sets `cache.url`. Names are lower-cased, text is read
///    as whatever type the field has, a list is written `a,b,c` or as JSON, a table as JSON,
/// 4. values set in code.
///
/// Tables are merged key by key, everything else is replaced as a whole. All problems are reported at once, each with its
/// path and the source of the bad value; values themselves are never shown.
///
/// ```
/// use infra_core::config::{Format, Loader, Problems, Profile, Validate};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Debug, Serialize, Deserialize)]
/// #[serde(deny_unknown_fields)]
/// struct ServerConfig { host: String, port: u16 }
///
/// impl Validate for ServerConfig {
///     fn validate(&self, problems: &mut Problems) {
///         problems.ensure(self.port != 0, "port", "must not be 0");
///     }
/// }
///
/// let defaults = ServerConfig { host: "localhost".to_owned(), port: 8080 };
/// let config: ServerConfig = Loader::new(Profile::Production)
///     .with_defaults(&defaults)
///     .with_document("app.toml", Format::Toml, "host = '::'\n[production]\nhost = '0.0.0.0'")
///     .with_variables("APP", [("APP__PORT", "9000")])
///     .load()?;
/// assert_eq!((config.host.as_str(), config.port), ("0.0.0.0", 9000));
///
/// let error = Loader::new(Profile::Production)
///     .with_document("app.toml", Format::Toml, "prot = 1")
///     .with_variables("APP", [("APP__PORT", "many")])
///     .load::<ServerConfig>()
///     .unwrap_err();
/// for expected in [
///     "prot: unknown key; expected one of `host`, `port` (from app.toml)",
///     "port: expected u16 (from environment variable APP__PORT)",
///     "host: missing; set it in app.toml or as APP__HOST",
/// ] {
///     assert!(error.message().contains(expected), "{error}");
/// }
/// # Ok::<(), infra_core::Error>(())
/// ```
#[must_use]
pub struct Loader {
    profile: Profile,
    defaults: Vec<serde_json::Result<serde_json::Value>>,
    documents: Vec<Document>,
    variables: Vec<Variables>,
    overrides: Vec<(String, serde_json::Result<serde_json::Value>)>,
}

enum Document {
    Required(PathBuf),
    Optional(PathBuf),
    Text(PathBuf, Format, String),
}

impl Document {
    fn path(&self) -> &std::path::Path {
        match self {
            Self::Required(path) | Self::Optional(path) | Self::Text(path, ..) => path,
        }
    }
}

struct Variables {
    prefix: String,
    /// `None` reads the process's environment when loading.
    given: Option<Vec<(OsString, OsString)>>,
}

impl Loader {
    /// Starts without any source.
    pub fn new(profile: Profile) -> Self {
        Self {
            profile,
            defaults: Vec::new(),
            documents: Vec::new(),
            variables: Vec::new(),
            overrides: Vec::new(),
        }
    }

    /// Takes the profile's defaults from a value, usually of the type that is loaded. Secrets keep their values.
    pub fn with_defaults<T: Serialize + ?Sized>(mut self, defaults: &T) -> Self {
        self.defaults
            .push(secret::revealed(|| serde_json::to_value(defaults)));
        self
    }

    /// Reads a file that must exist; its extension tells the format.
    pub fn with_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.documents.push(Document::Required(path.into()));
        self
    }

    /// Reads a file if it exists.
    pub fn with_optional_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.documents.push(Document::Optional(path.into()));
        self
    }

    /// Takes a document that is in memory already; `name` stands for it in messages.
    pub fn with_document(
        mut self,
        name: impl Into<PathBuf>,
        format: Format,
        text: impl Into<String>,
    ) -> Self {
        self.documents
            .push(Document::Text(name.into(), format, text.into()));
        self
    }

    /// Reads the variables of the process whose names start with `prefix` and two underscores.
    pub fn with_env(mut self, prefix: impl Into<String>) -> Self {
        self.variables.push(Variables {
            prefix: prefix.into(),
            given: None,
        });
        self
    }

    /// Reads the given variables in place of the process's.
    pub fn with_variables<N: Into<OsString>, V: Into<OsString>>(
        mut self,
        prefix: impl Into<String>,
        variables: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let given = variables
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        self.variables.push(Variables {
            prefix: prefix.into(),
            given: Some(given),
        });
        self
    }

    /// Sets one value, `"cache.url"` for instance, above every other source. Secrets keep their values.
    pub fn with_override<T: Serialize>(mut self, path: impl Into<String>, value: T) -> Self {
        let value = secret::revealed(|| serde_json::to_value(value));
        self.overrides.push((path.into(), value));
        self
    }

    /// Reads the sources, decodes and validates. Blocks while it reads files.
    ///
    /// # Errors
    /// One [`InvalidConfig`](crate::ErrorKind::InvalidConfig): a file that is missing or malformed, with name and line;
    /// otherwise every problem of the values.
    pub fn load<T: DeserializeOwned + Validate>(self) -> Result<T> {
        self.load_explained().map(|(config, _)| config)
    }

    /// Like [`load`](Self::load), and says which source gave each value.
    ///
    /// # Errors
    /// Those of [`load`](Self::load).
    pub fn load_explained<T: DeserializeOwned + Validate>(self) -> Result<(T, Origins)> {
        let tree = self.tree().map_err(|error| error.at("config", "", "load"))?;
        let origins = Origins::of(&tree);
        let config =
            collect::decode(tree, &|path| self.hint(path)).map_err(|error| error.at("config", "", "load"))?;
        Ok((config, origins))
    }

    /// Merges all sources, or reports every source that cannot be read.
    fn tree(&self) -> Result<Node> {
        let mut problems = Problems::new();
        let mut tree = Node::empty_table(Source::Defaults);
        for defaults in &self.defaults {
            match defaults {
                Ok(value) => tree = tree.merge(Node::from_json(value.clone(), &Source::Defaults)),
                Err(error) => problems.add("", format!("the defaults cannot be serialised: {error}")),
            }
        }
        for document in &self.documents {
            if let Some(Some(layer)) = problems.accept("", self.read(document)) {
                tree = tree.merge(layer);
            }
        }
        for variables in &self.variables {
            tree = tree.merge(variables.layer(&mut problems));
        }
        for (path, value) in &self.overrides {
            tree = tree.merge(override_layer(path, value, &mut problems));
        }
        problems.finish()?;
        Ok(tree)
    }

    fn read(&self, document: &Document) -> Result<Option<Node>> {
        let node = match document {
            Document::Required(path) => Some(document::read_file(path)?.ok_or_else(|| {
                crate::Error::invalid_config(format!(
                    "{}: there is no such file; create it or correct the path",
                    path.display()
                ))
            })?),
            Document::Optional(path) => document::read_file(path)?,
            Document::Text(name, format, text) => Some(document::parse(
                text.as_bytes(),
                *format,
                &Source::File(name.clone()),
            )?),
        };
        node.map(|node| document::apply_profile(node, self.profile))
            .transpose()
    }

    /// Where a missing value can be set.
    fn hint(&self, path: &Path) -> Option<String> {
        let file = self
            .documents
            .last()
            .map(|document| format!("in {}", document.path().display()));
        let variable = self.variables.last().and_then(|variables| {
            let name = variables.name_of(path)?;
            Some(format!("as {name}"))
        });
        let places: Vec<_> = file.into_iter().chain(variable).collect();
        (!places.is_empty()).then(|| format!("set it {}", places.join(" or ")))
    }
}

impl Variables {
    fn layer(&self, problems: &mut Problems) -> Node {
        let mut layer = Node::empty_table(Source::Variable(format!("{}__*", self.prefix)));
        let mut variables = match &self.given {
            Some(given) => given.clone(),
            None => std::env::vars_os().collect(),
        };
        variables.sort();
        for (name, value) in variables {
            let Some(name) = name.to_str() else {
                continue;
            };
            let Some(keys) = name
                .strip_prefix(self.prefix.as_str())
                .and_then(|rest| rest.strip_prefix("__"))
            else {
                continue;
            };
            let keys = keys.to_lowercase();
            if keys.split("__").any(str::is_empty) {
                problems.add(
                    "",
                    format!("environment variable {name}: a part of the name is empty"),
                );
                continue;
            }
            if keys.split("__").count() > MAX_KEY_PARTS {
                let beginning: String = name.chars().take(40).collect();
                problems.add(
                    "",
                    format!(
                        "environment variable {beginning}…: its name has more than {MAX_KEY_PARTS} parts"
                    ),
                );
                continue;
            }
            let Ok(value) = value.into_string() else {
                problems.add("", format!("environment variable {name}: not valid UTF-8"));
                continue;
            };
            let node = Node::new(Kind::Variable(value), Source::Variable(name.to_owned()));
            if !layer.insert(&Path::of_keys(keys.split("__")).0, node) {
                problems.add(
                    "",
                    format!("environment variable {name}: another variable sets the table that this one belongs to"),
                );
            }
        }
        layer
    }

    fn name_of(&self, path: &Path) -> Option<String> {
        let mut name = self.prefix.clone();
        for step in &path.0 {
            let super::tree::Step::Key(key) = step else {
                return None;
            };
            name.push_str("__");
            name.push_str(&key.to_uppercase());
        }
        Some(name)
    }
}

fn override_layer(
    path: &str,
    value: &serde_json::Result<serde_json::Value>,
    problems: &mut Problems,
) -> Node {
    let mut layer = Node::empty_table(Source::Override);
    if path.is_empty() || path.split('.').any(str::is_empty) {
        problems.add(
            "",
            format!("the override {path:?} has an empty key; write it like \"cache.url\""),
        );
        return layer;
    }
    match value {
        Ok(value) => {
            let node = Node::from_json(value.clone(), &Source::Override);
            layer.insert(&Path::of_keys(path.split('.')).0, node);
        }
        Err(error) => problems.add(path, format!("the override cannot be serialised: {error}")),
    }
    layer
}

impl fmt::Debug for Loader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let documents: Vec<_> = self.documents.iter().map(Document::path).collect();
        let prefixes: Vec<_> = self.variables.iter().map(|variables| &variables.prefix).collect();
        let overrides: Vec<_> = self.overrides.iter().map(|(path, _)| path).collect();
        f.debug_struct("Loader")
            .field("profile", &self.profile)
            .field("documents", &documents)
            .field("variables", &prefixes)
            .field("overrides", &overrides)
            .finish_non_exhaustive()
    }
}

/// Which source gave each value of a loaded configuration; paths and sources, never values.
#[derive(Debug, Clone, Default)]
pub struct Origins {
    winners: Vec<(String, Source)>,
}

impl Origins {
    fn of(tree: &Node) -> Self {
        let mut winners = Vec::new();
        tree.leaves(&mut Path::default(), &mut |path, leaf| {
            winners.push((path.to_string(), leaf.source.clone()));
        });
        Self { winners }
    }

    /// The source of the value at `path`; `None` for a field's own default.
    #[must_use]
    pub fn of_path(&self, path: &str) -> Option<&Source> {
        self.winners
            .iter()
            .find(|(known, _)| known == path)
            .map(|(_, source)| source)
    }

    /// Every path with its source, in order of the paths.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Source)> + '_ {
        self.winners.iter().map(|(path, source)| (path.as_str(), source))
    }
}
