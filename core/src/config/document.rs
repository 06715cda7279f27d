//! Documents: files, or texts of the config centre, read by the `config` crate into a tree.

use std::path::Path;

use config::{File, FileFormat, Source as _};

use super::depth::{MAX_KEY_PARTS, MAX_YAML_INDENT, deep_toml_line, deep_yaml_line};
use super::profile::Profile;
use super::tree::{Kind, Node, Source};
use crate::error::{Error, Result};

/// The format of a configuration document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// TOML.
    Toml,
    /// YAML.
    Yaml,
    /// JSON.
    Json,
}

impl Format {
    /// The format that a name's extension tells: `.toml`, `.yaml`, `.yml` or `.json`.
    #[must_use]
    pub fn of_name(name: impl AsRef<Path>) -> Option<Self> {
        let extension = name.as_ref().extension()?.to_str()?.to_ascii_lowercase();
        match extension.as_str() {
            "toml" => Some(Self::Toml),
            "yaml" | "yml" => Some(Self::Yaml),
            "json" => Some(Self::Json),
            _ => None,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Toml => "TOML",
            Self::Yaml => "YAML",
            Self::Json => "JSON",
        }
    }
}

/// Reads a file; a missing one is `None`.
pub(super) fn read_file(path: &Path) -> Result<Option<Node>> {
    let Some(format) = Format::of_name(path) else {
        return Err(Error::invalid_config(format!(
            "{}: the format is not known; name the file .toml, .yaml, .yml or .json",
            path.display()
        )));
    };
    match std::fs::read(path) {
        Ok(bytes) => parse(&bytes, format, &Source::File(path.to_owned())).map(Some),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(
            Error::invalid_config(format!("{}: cannot be read: {error}", path.display())).with_source(error),
        ),
    }
}

/// Reads a document.
pub(super) fn parse(bytes: &[u8], format: Format, source: &Source) -> Result<Node> {
    let malformed =
        |what: String| Error::invalid_config(format!("{source}: not valid {}: {what}", format.name()));
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = bytes[..error.valid_up_to()]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count()
            + 1;
        malformed(format!("line {line} is not UTF-8"))
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let kind = match format {
        Format::Toml => {
            if let Some(line) = deep_toml_line(text) {
                return Err(malformed(format!(
                    "line {line} has a key of more than {MAX_KEY_PARTS} parts"
                )));
            }
            FileFormat::Toml
        }
        Format::Json => FileFormat::Json,
        Format::Yaml => {
            if let Some(line) = deep_yaml_line(text) {
                return Err(malformed(format!(
                    "line {line} is nested deeper than {MAX_YAML_INDENT} columns"
                )));
            }
            FileFormat::Yaml
        }
    };
    let table = File::from_str(text, kind)
        .collect()
        .map_err(|error| malformed(without_excerpt(&error)))?;
    let entries = table
        .into_iter()
        .map(|(key, value)| (key, Node::from_config(value, source)))
        .collect();
    Ok(Node::new(Kind::Table(entries), source.clone()))
}

/// Reads a document whose top level may be any value, where the format allows that.
pub(super) fn parse_value(bytes: &[u8], format: Format, source: &Source) -> Result<Node> {
    if format != Format::Json {
        return parse(bytes, format, source);
    }
    // The category and the place, for the parser's message may quote the text.
    let value = serde_json::from_slice(bytes).map_err(|error| {
        Error::invalid_config(format!(
            "not valid JSON at line {} column {}",
            error.line(),
            error.column()
        ))
    })?;
    Ok(Node::from_json(value, source))
}

/// Applies the document's section for `profile` and removes the sections of all profiles.
pub(super) fn apply_profile(mut document: Node, profile: Profile) -> Result<Node> {
    let mut chosen = None;
    if let Kind::Table(table) = &mut document.kind {
        for known in Profile::ALL {
            let Some(section) = table.remove(known.name()) else {
                continue;
            };
            if !matches!(section.kind, Kind::Table(_)) {
                return Err(Error::invalid_config(format!(
                    "{}: {known}: expected a table, since the names of profiles are reserved for their sections",
                    section.source
                )));
            }
            if known == profile {
                chosen = Some(section);
            }
        }
    }
    Ok(match chosen {
        Some(section) => document.merge(section),
        None => document,
    })
}

/// A parser's message on one line, without the excerpt of the document: it may show a password.
fn without_excerpt(error: &config::ConfigError) -> String {
    let config::ConfigError::FileParse { cause, .. } = error else {
        return "the document cannot be read".to_owned();
    };
    let message = cause.to_string();
    if message.contains("invalid type") {
        return "the top level must be a table".to_owned();
    }
    if message.contains("unsupported hash key") {
        // The message shows the whole key, which is a table or a list with values of its own.
        return "a key is a table or a list; quote it if it is meant as text".to_owned();
    }
    if let Some((_, place)) = message.rsplit_once("): duplicated key") {
        // Where a quote is missing, a value is part of the key.
        return format!("duplicated key{place}");
    }
    let lines: Vec<_> = message
        .lines()
        .map(str::trim)
        .filter(|line| {
            let gutter = line.trim_start_matches(|character: char| character.is_ascii_digit());
            !line.is_empty() && !gutter.trim_start().starts_with('|')
        })
        .collect();
    lines.join(": ")
}
