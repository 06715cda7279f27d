//! What is logged, in which form, and where to.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::levels::{Level, Levels};
use crate::config::{Problems, Profile, Validate, humane};

/// The set-up of the log.
///
/// ```
/// use infra_core::config::Validate;
/// use infra_core::log::{Level, LogConfig, Output};
///
/// let config = LogConfig::production()
///     .with_level(Level::Warn)
///     .with_namespace_level("user.auth", Level::Debug)
///     .with_output(Output::File("/var/log/im-gateway/current.log".into()));
/// assert!(config.check().is_ok());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct LogConfig {
    /// The level of every namespace without one of its own.
    pub level: Level,
    /// Levels by namespace; the longest prefix wins. See [`Levels`].
    pub levels: BTreeMap<String, Level>,
    /// JSON for machines, console for people.
    pub format: Format,
    /// Standard output, standard error, or a file.
    pub output: Output,
    /// When the file is rotated and what is deleted; nothing happens that is not asked for here.
    pub rotation: Rotation,
    /// Whether the console form is coloured.
    pub color: Color,
    /// Whether each line says where in the source it comes from.
    pub source_location: SourceLocation,
    /// The clock of the time stamps.
    pub clock: Clock,
    /// How many lines may wait to be written; more are dropped and counted, the service never waits for its log.
    pub buffer_lines: usize,
    /// Fields whose values are replaced: those with exactly this name, in any case, or whose name ends in `_`, `-` or `.` and
    /// this name.
    pub redact: Vec<String>,
}

impl LogConfig {
    /// Level debug, coloured console form, standard output, with source locations.
    #[must_use]
    pub fn development() -> Self {
        Self {
            level: Level::Debug,
            format: Format::Console,
            color: Color::Auto,
            ..Self::production()
        }
    }

    /// Level info, JSON, standard output, with source locations, 32,768 waiting lines.
    #[must_use]
    pub fn production() -> Self {
        Self {
            level: Level::Info,
            levels: BTreeMap::new(),
            format: Format::Json,
            output: Output::Stdout,
            rotation: Rotation::default(),
            color: Color::Never,
            source_location: SourceLocation::Shown,
            clock: Clock::Utc,
            buffer_lines: 32_768,
            redact: ["password", "token", "secret", "authorization"]
                .map(str::to_owned)
                .to_vec(),
        }
    }

    /// The defaults of a profile.
    #[must_use]
    pub fn of(profile: Profile) -> Self {
        match profile {
            Profile::Development => Self::development(),
            Profile::Production => Self::production(),
        }
    }

    /// The same with another general level.
    #[must_use]
    pub fn with_level(mut self, level: Level) -> Self {
        self.level = level;
        self
    }

    /// The same with a level for one namespace and those below it.
    #[must_use]
    pub fn with_namespace_level(mut self, namespace: impl Into<String>, level: Level) -> Self {
        self.levels.insert(namespace.into(), level);
        self
    }

    /// The same in another form.
    #[must_use]
    pub fn with_format(mut self, format: Format) -> Self {
        self.format = format;
        self
    }

    /// The same to another place.
    #[must_use]
    pub fn with_output(mut self, output: Output) -> Self {
        self.output = output;
        self
    }

    /// The same with a rotated file.
    #[must_use]
    pub fn with_rotation(mut self, rotation: Rotation) -> Self {
        self.rotation = rotation;
        self
    }

    /// The same with or without colour.
    #[must_use]
    pub fn with_color(mut self, color: Color) -> Self {
        self.color = color;
        self
    }

    /// The same with or without source locations.
    #[must_use]
    pub fn with_source_location(mut self, source_location: SourceLocation) -> Self {
        self.source_location = source_location;
        self
    }

    /// The same with another clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// The same with room for another number of waiting lines.
    #[must_use]
    pub fn with_buffer_lines(mut self, lines: usize) -> Self {
        self.buffer_lines = lines;
        self
    }

    /// The same with one more field whose values are not shown.
    #[must_use]
    pub fn with_redacted(mut self, field: impl Into<String>) -> Self {
        self.redact.push(field.into());
        self
    }

    /// The part that can change while the service runs.
    #[must_use]
    pub fn levels(&self) -> Levels {
        Levels {
            level: self.level,
            levels: self.levels.clone(),
        }
    }
}

impl Default for LogConfig {
    /// The production defaults: a log that somebody forgot to configure says less rather than more.
    fn default() -> Self {
        Self::production()
    }
}

impl Validate for LogConfig {
    fn validate(&self, problems: &mut Problems) {
        self.levels().validate(problems);
        problems.ensure(self.buffer_lines > 0, "buffer_lines", "must be at least 1");
        problems.ensure(
            self.buffer_lines <= 16_777_216,
            "buffer_lines",
            "must be at most 16777216",
        );
        for (index, field) in self.redact.iter().enumerate() {
            problems.ensure(
                !field.is_empty(),
                &format!("redact[{index}]"),
                "must not be empty",
            );
        }
        problems.within("rotation", |problems| self.rotation.validate(problems));
        let Output::File(path) = &self.output else {
            problems.ensure(
                self.rotation == Rotation::default(),
                "rotation",
                "only a file can be rotated; set `output` to a path",
            );
            return;
        };
        problems.ensure(path.file_name().is_some(), "output", "names no file");
    }
}

/// The form of the lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Format {
    /// One JSON object per line.
    Json,
    /// One line of text, for people.
    Console,
}

/// Where lines go. In configuration: `"stdout"`, `"stderr"`, or the path of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Output {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file, which is appended to; its directory is made if need be.
    File(PathBuf),
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => f.write_str("stdout"),
            Self::Stderr => f.write_str("stderr"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

impl Serialize for Output {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::File(path) => path.serialize(serializer),
            _ => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Output {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(match text.as_str() {
            "stdout" => Self::Stdout,
            "stderr" => Self::Stderr,
            _ => Self::File(text.into()),
        })
    }
}

/// When a log file is rotated, and which rotated files are deleted. By default neither ever happens.
///
/// A rotated file keeps its name and gets the time of its rotation appended: `current.log.20261121T101500.123Z`. Only files
/// with such a name are ever deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Rotation {
    /// Rotates before a line would make the file larger than this many bytes.
    pub max_bytes: Option<u64>,
    /// Rotates when the first line of the file is older than this.
    #[serde(with = "humane::option")]
    pub every: Option<Duration>,
    /// Deletes the oldest rotated files when there are more than this many.
    pub keep_files: Option<usize>,
    /// Deletes rotated files that were last written longer ago than this.
    #[serde(with = "humane::option")]
    pub keep_for: Option<Duration>,
}

impl Rotation {
    /// Rotates nothing and deletes nothing.
    #[must_use]
    pub fn never() -> Self {
        Self::default()
    }

    /// The same, rotating by size.
    #[must_use]
    pub fn with_max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = Some(bytes);
        self
    }

    /// The same, rotating by age.
    #[must_use]
    pub fn with_every(mut self, age: Duration) -> Self {
        self.every = Some(age);
        self
    }

    /// The same, deleting all but the latest rotated files.
    #[must_use]
    pub fn with_keep_files(mut self, files: usize) -> Self {
        self.keep_files = Some(files);
        self
    }

    /// The same, deleting rotated files by age.
    #[must_use]
    pub fn with_keep_for(mut self, age: Duration) -> Self {
        self.keep_for = Some(age);
        self
    }
}

impl Validate for Rotation {
    fn validate(&self, problems: &mut Problems) {
        problems.ensure(
            self.max_bytes.is_none_or(|bytes| bytes >= 4096),
            "max_bytes",
            "must be at least 4096",
        );
        for (name, age) in [("every", self.every), ("keep_for", self.keep_for)] {
            problems.ensure(
                age.is_none_or(|age| age >= Duration::from_secs(1)),
                name,
                "must be at least 1s",
            );
        }
        let rotates = self.max_bytes.is_some() || self.every.is_some();
        let deletes = self.keep_files.is_some() || self.keep_for.is_some();
        problems.ensure(
            rotates || !deletes,
            "",
            "files are to be deleted, yet nothing rotates them; set `max_bytes` or `every`",
        );
    }
}

/// Whether the console form is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Color {
    /// When the output is a terminal and the variable `NO_COLOR` is not set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Whether lines say where in the source they come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum SourceLocation {
    /// With file and line.
    Shown,
    /// Without.
    Hidden,
}

/// The clock of the time stamps, which are RFC 3339 either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Clock {
    /// Coordinated universal time.
    Utc,
    /// The time zone of the machine, with its offset.
    Local,
}
