//! The tree of values that sources are merged into; every value remembers its source and what it overrode.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use config::{Value, ValueKind};

/// Where a value of the configuration came from, weakest first.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Source {
    /// The profile's defaults.
    Defaults,
    /// A file, or a document that was handed over under a file's name.
    File(PathBuf),
    /// An entry of the config centre; its key.
    ConfigCenter(String),
    /// An environment variable; its name.
    Variable(String),
    /// A value set in code.
    Override,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Defaults => f.write_str("the profile's defaults"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::ConfigCenter(key) => write!(f, "config centre key {key:?}"),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Override => f.write_str("an override in code"),
        }
    }
}

/// One step of a [`Path`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

/// The way from the root to a value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Path(pub(super) Vec<Step>);

impl Path {
    pub(super) fn of_keys<'a>(keys: impl IntoIterator<Item = &'a str>) -> Self {
        Self(keys.into_iter().map(|key| Step::Key(key.to_owned())).collect())
    }

    pub(super) fn child(&self, key: &str) -> Self {
        let mut steps = self.0.clone();
        steps.push(Step::Key(key.to_owned()));
        Self(steps)
    }

    /// Whether `other` is this path or lies below it.
    pub(super) fn covers(&self, other: &Self) -> bool {
        other.0.starts_with(&self.0)
    }

    /// Reads the form that [`Display`](fmt::Display) writes; exact for keys without dots and brackets.
    pub(super) fn parse(text: &str) -> Self {
        let mut steps = Vec::new();
        for part in text.split('.').filter(|part| !part.is_empty()) {
            let (key, positions) = part.split_at(part.find('[').unwrap_or(part.len()));
            if !key.is_empty() {
                steps.push(Step::Key(key.to_owned()));
            }
            for position in positions
                .split(['[', ']'])
                .filter(|position| !position.is_empty())
            {
                steps.push(
                    position
                        .parse()
                        .map_or_else(|_| Step::Key(position.to_owned()), Step::Index),
                );
            }
        }
        Self(steps)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if position == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// A value, its source, and the weaker value that it overrode.
#[derive(Clone)]
pub(super) struct Node {
    pub(super) kind: Kind,
    pub(super) source: Source,
    shadowed: Option<Box<Node>>,
}

/// What a [`Node`] holds.
#[derive(Clone)]
pub(super) enum Kind {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    /// The text of an environment variable: whatever type is asked for is read from it.
    Variable(String),
    Sequence(Vec<Node>),
    Table(BTreeMap<String, Node>),
    /// Stands where something required is missing, so that decoding can go on and find further problems. It pretends to
    /// be whatever is asked for; the number counts the attempts to please.
    Filler(usize),
}

impl Node {
    pub(super) fn new(kind: Kind, source: Source) -> Self {
        Self {
            kind,
            source,
            shadowed: None,
        }
    }

    pub(super) fn empty_table(source: Source) -> Self {
        Self::new(Kind::Table(BTreeMap::new()), source)
    }

    /// Takes over what the `config` crate has read.
    pub(super) fn from_config(value: Value, source: &Source) -> Self {
        let integer = |wide: Result<i128, _>, float: f64| wide.map_or(Kind::Float(float), Kind::Integer);
        let kind = match value.kind {
            ValueKind::Nil => Kind::Null,
            ValueKind::Boolean(value) => Kind::Bool(value),
            ValueKind::I64(value) => Kind::Integer(value.into()),
            ValueKind::I128(value) => Kind::Integer(value),
            ValueKind::U64(value) => Kind::Integer(value.into()),
            ValueKind::U128(value) => integer(i128::try_from(value), value as f64),
            ValueKind::Float(value) => Kind::Float(value),
            ValueKind::String(value) => Kind::Text(value),
            ValueKind::Array(values) => Kind::Sequence(
                values
                    .into_iter()
                    .map(|value| Self::from_config(value, source))
                    .collect(),
            ),
            ValueKind::Table(table) => Kind::Table(
                table
                    .into_iter()
                    .map(|(key, value)| (key, Self::from_config(value, source)))
                    .collect(),
            ),
        };
        Self::new(kind, source.clone())
    }

    /// Takes over what `serde` has serialised.
    pub(super) fn from_json(value: serde_json::Value, source: &Source) -> Self {
        use serde_json::Value as Json;

        let kind = match value {
            Json::Null => Kind::Null,
            Json::Bool(value) => Kind::Bool(value),
            Json::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(value), _) => Kind::Integer(value.into()),
                (None, Some(value)) => Kind::Integer(value.into()),
                (None, None) => number.as_f64().map_or(Kind::Null, Kind::Float),
            },
            Json::String(value) => Kind::Text(value),
            Json::Array(values) => Kind::Sequence(
                values
                    .into_iter()
                    .map(|value| Self::from_json(value, source))
                    .collect(),
            ),
            Json::Object(table) => Kind::Table(
                table
                    .into_iter()
                    .map(|(key, value)| (key, Self::from_json(value, source)))
                    .collect(),
            ),
        };
        Self::new(kind, source.clone())
    }

    /// Lays `stronger` over this value: tables key by key, anything else as a whole.
    pub(super) fn merge(self, stronger: Self) -> Self {
        match (self, stronger) {
            (
                Self {
                    kind: Kind::Table(mut weak),
                    shadowed,
                    ..
                },
                Self {
                    kind: Kind::Table(strong),
                    source,
                    ..
                },
            ) => {
                for (key, value) in strong {
                    let merged = match weak.remove(&key) {
                        Some(weaker) => weaker.merge(value),
                        None => value,
                    };
                    weak.insert(key, merged);
                }
                Self {
                    kind: Kind::Table(weak),
                    source,
                    shadowed,
                }
            }
            (weak, mut strong) => {
                strong.shadowed = Some(Box::new(weak));
                strong
            }
        }
    }

    /// The value at `path`.
    pub(super) fn at(&self, path: &[Step]) -> Option<&Self> {
        let Some((step, rest)) = path.split_first() else {
            return Some(self);
        };
        match (step, &self.kind) {
            (Step::Key(key), Kind::Table(table)) => table.get(key)?.at(rest),
            (Step::Index(index), Kind::Sequence(values)) => values.get(*index)?.at(rest),
            _ => None,
        }
    }

    pub(super) fn at_mut(&mut self, path: &[Step]) -> Option<&mut Self> {
        let Some((step, rest)) = path.split_first() else {
            return Some(self);
        };
        match (step, &mut self.kind) {
            (Step::Key(key), Kind::Table(table)) => table.get_mut(key)?.at_mut(rest),
            (Step::Index(index), Kind::Sequence(values)) => values.get_mut(*index)?.at_mut(rest),
            _ => None,
        }
    }

    /// Puts a value at `path`, making tables on the way; false when something on the way is no table.
    pub(super) fn insert(&mut self, path: &[Step], value: Self) -> bool {
        let Some((step, rest)) = path.split_first() else {
            *self = value;
            return true;
        };
        match (step, &mut self.kind) {
            (Step::Key(key), Kind::Table(table)) => {
                let source = value.source.clone();
                table
                    .entry(key.clone())
                    .or_insert_with(|| Self::empty_table(source))
                    .insert(rest, value)
            }
            (Step::Index(index), Kind::Sequence(values)) => match values.get_mut(*index) {
                Some(child) => child.insert(rest, value),
                None => false,
            },
            (Step::Key(_), Kind::Filler(_)) => {
                self.kind = Kind::Table(BTreeMap::new());
                self.insert(path, value)
            }
            _ => false,
        }
    }

    /// Drops the value at `path` in favour of the one that it overrode; false when there is nothing to drop.
    pub(super) fn discard(&mut self, path: &[Step]) -> bool {
        let Some((last, parents)) = path.split_last() else {
            return false;
        };
        let Some(parent) = self.at_mut(parents) else {
            return false;
        };
        match (last, &mut parent.kind) {
            (Step::Key(key), Kind::Table(table)) => match table.remove(key) {
                Some(node) => {
                    if let Some(weaker) = node.shadowed {
                        table.insert(key.clone(), *weaker);
                    }
                    true
                }
                None => false,
            },
            // Removing an element would renumber those that follow.
            (Step::Index(index), Kind::Sequence(values)) => match values.get_mut(*index) {
                Some(node) => {
                    node.kind = Kind::Filler(0);
                    true
                }
                None => false,
            },
            _ => false,
        }
    }

    /// Lets the filler at `path` try something else; `None` when there is no filler.
    pub(super) fn next_filler(&mut self, path: &[Step]) -> Option<usize> {
        match &mut self.at_mut(path)?.kind {
            Kind::Filler(attempt) => {
                *attempt += 1;
                Some(*attempt)
            }
            _ => None,
        }
    }

    /// Calls `visit` for every leaf with its path.
    pub(super) fn leaves(&self, path: &mut Path, visit: &mut impl FnMut(&Path, &Self)) {
        let mut descend = |step: Step, child: &Self, visit: &mut _| {
            path.0.push(step);
            child.leaves(path, visit);
            path.0.pop();
        };
        match &self.kind {
            Kind::Table(table) => {
                for (key, child) in table {
                    descend(Step::Key(key.clone()), child, visit);
                }
            }
            Kind::Sequence(values) => {
                for (index, child) in values.iter().enumerate() {
                    descend(Step::Index(index), child, visit);
                }
            }
            _ => visit(path, self),
        }
    }
}
