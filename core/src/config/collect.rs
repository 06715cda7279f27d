//! Decoding that reports everything that is wrong.
//!
//! `serde` stops at the first error. Each error's value is therefore taken out of the tree, so that the weaker value or
//! the field's default applies, and decoding starts again; where something required is missing, a filler takes its place.
//! Every round removes or replaces one value, so the rounds are bounded by the size of the tree.

use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;

use super::decode::{DecodeError, FILLER_ATTEMPTS};
use super::problems::{Problem, Problems, Validate};
use super::tree::{Kind, Node, Path, Source, Step};
use crate::error::Result;

/// Ends the search for problems in a type that needs itself.
const MAX_ROUNDS: usize = 1_000;

/// Decodes and validates a tree; one error lists every problem.
pub(super) fn decode<T: DeserializeOwned + Validate>(
    tree: Node,
    hint: &dyn Fn(&Path) -> Option<String>,
) -> Result<T> {
    let mut collection = Collection {
        tree,
        problems: Problems::new(),
        faulty: Vec::new(),
        hint,
    };
    let decoded = collection.rounds::<T>();
    if let Some(value) = &decoded {
        collection.validate(value);
    }
    collection.problems.finish()?;
    decoded.ok_or_else(|| {
        crate::Error::new(
            crate::ErrorKind::Internal,
            "decoding gave neither a value nor a problem",
        )
    })
}

struct Collection<'a> {
    tree: Node,
    problems: Problems,
    /// Paths already reported: what is found there or below is a consequence.
    faulty: Vec<Path>,
    hint: &'a dyn Fn(&Path) -> Option<String>,
}

impl Collection<'_> {
    fn rounds<T: DeserializeOwned>(&mut self) -> Option<T> {
        for _ in 0..MAX_ROUNDS {
            let mut track = serde_path_to_error::Track::new();
            let deserializer = serde_path_to_error::Deserializer::new(&self.tree, &mut track);
            let error = match T::deserialize(deserializer) {
                Ok(value) => return Some(value),
                Err(error) => error,
            };
            let path = self.locate(&track.path());
            if !self.resolve(&path, error) {
                return None;
            }
        }
        None
    }

    /// Reports an error and changes the tree so that the next round gets further; false when it cannot.
    fn resolve(&mut self, path: &Path, error: DecodeError) -> bool {
        match error {
            DecodeError::Unknown { field, message } => {
                // The tracked path ends with the key or with its table, depending on who refused it.
                let path = match path.0.last() {
                    Some(Step::Key(last)) if *last == field => path.clone(),
                    _ => path.child(&field),
                };
                self.report(&path, message);
                // Every layer's value is unknown, not the strongest one's alone.
                let mut progress = false;
                while self.tree.discard(&path.0) {
                    progress = true;
                }
                progress
            }
            DecodeError::Missing { field } => {
                let path = path.child(field);
                if !self.is_consequence(&path) {
                    let hint = (self.hint)(&path)
                        .map(|hint| format!("; {hint}"))
                        .unwrap_or_default();
                    self.problems.add(&path.to_string(), format!("missing{hint}"));
                    self.faulty.push(path.clone());
                }
                self.tree
                    .insert(&path.0, Node::new(Kind::Filler(0), Source::Defaults))
            }
            DecodeError::Structure => match self.tree.at_mut(&path.0).map(Node::unfold_variable) {
                Some(Ok(())) => true,
                Some(Err(error)) => self.discard(path, error.to_string()),
                None => false,
            },
            DecodeError::Bad(message) => match self.tree.next_filler(&path.0) {
                Some(attempt) => attempt < FILLER_ATTEMPTS,
                None => self.discard(path, message),
            },
        }
    }

    fn discard(&mut self, path: &Path, message: String) -> bool {
        self.report(path, message);
        self.tree.discard(&path.0)
    }

    fn report(&mut self, path: &Path, message: String) {
        let source = self.tree.at(&path.0).map(|node| node.source.clone());
        self.problems.push(Problem {
            path: path.to_string(),
            message,
            source,
        });
        self.faulty.push(path.clone());
    }

    fn is_consequence(&self, path: &Path) -> bool {
        self.faulty.iter().any(|faulty| faulty.covers(path))
    }

    /// The tracked path as a path of the tree: up to the first step that the tree does not have.
    fn locate(&self, tracked: &serde_path_to_error::Path) -> Path {
        let mut path = Path::default();
        for segment in tracked {
            let step = match segment {
                Segment::Seq { index } => Step::Index(*index),
                Segment::Map { key } => Step::Key(key.clone()),
                Segment::Enum { variant } => Step::Key(variant.clone()),
                Segment::Unknown => break,
            };
            let mut steps = path.0.clone();
            steps.push(step);
            let found = self.tree.at(&steps).is_some();
            match segment {
                // A variant is a key of the tree only if it came as a table.
                Segment::Enum { .. } if !found => {}
                _ if !found => break,
                _ => path.0 = steps,
            }
        }
        path
    }

    /// Validates the value; what concerns values that were already reported, and are now defaults or fillers, is left out.
    fn validate<T: Validate>(&mut self, value: &T) {
        let mut found = Problems::new();
        value.validate(&mut found);
        for mut problem in found.into_vec() {
            let path = Path::parse(&problem.path);
            if self.is_consequence(&path) {
                continue;
            }
            problem.source = self.tree.at(&path.0).and_then(|node| match node.kind {
                Kind::Table(_) | Kind::Sequence(_) => None,
                _ => Some(node.source.clone()),
            });
            self.problems.push(problem);
        }
    }
}
