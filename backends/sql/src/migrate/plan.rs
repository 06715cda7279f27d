//! What is to be done, worked out from the migrations and the sharding before any I/O, and compared with what was done.

use std::collections::BTreeMap;

use infra_core::database::{Migration, Migrations, Parameters, Value};
use infra_core::{Error, ErrorKind, Result};

use crate::dialect::Dialect;
use crate::router::Router;
use crate::statement::{Mode, Parsed, bind};

/// The steps of a history, checked.
#[derive(Debug)]
pub(super) struct Plan {
    steps: Vec<Step>,
}

/// One step.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) migration: Migration,
    pub(super) checksum: String,
    /// The number of shards of its tables, when they are sharded.
    pub(super) shards: Option<u32>,
    up: Parsed,
    down: Option<Parsed>,
}

/// A step on one shard, or on the one database of tables that are not sharded.
#[derive(Debug)]
pub(super) struct Unit {
    pub(super) shard: Option<u32>,
    pub(super) database: usize,
    pub(super) text: std::sync::Arc<str>,
}

impl Unit {
    /// The shard as it is noted: -1 for none.
    pub(super) fn number(&self) -> Value {
        self.shard.map_or(-1, i64::from).into()
    }
}

impl Plan {
    /// Parses every step.
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) that names the migration.
    pub(super) fn new(migrations: &Migrations, router: &Router) -> Result<Self> {
        let steps = migrations
            .steps()
            .iter()
            .map(|migration| {
                Step::new(migration, router).map_err(|error| {
                    error.context(format_args!(
                        "migration {} {:?}",
                        migration.version, migration.name
                    ))
                })
            })
            .collect::<Result<_>>()?;
        Ok(Self { steps })
    }

    pub(super) fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Proves that what was applied is what the steps say.
    ///
    /// # Errors
    /// [`Conflict`](ErrorKind::Conflict).
    pub(super) fn check(&self, applied: &Applied) -> Result<()> {
        for ((version, _), note) in &applied.notes {
            let problem = match self.steps.iter().find(|step| step.migration.version == *version) {
                None => format!(
                    "was applied and is missing here; restore it, it is {:?}",
                    note.name
                ),
                Some(step) if step.checksum != note.checksum => {
                    "was changed after it had been applied; restore its text and write a new migration"
                        .to_owned()
                }
                Some(step) if step.shards.unwrap_or(0) != note.shards => format!(
                    "was applied with {} shards and the configuration now says {}; move the rows before the number of shards changes",
                    note.shards,
                    step.shards.unwrap_or(0)
                ),
                Some(_) => continue,
            };
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("migration {version} {problem}"),
            ));
        }
        Ok(())
    }
}

impl Step {
    fn new(migration: &Migration, router: &Router) -> Result<Self> {
        let parse = |text: &str| {
            let parsed = Parsed::new(text, &Dialect::SQLITE, router.sharding(), Mode::Migration)?;
            if !parsed.tables().is_empty() && parsed.has_other_tables() {
                return Err(Error::invalid_argument(format!(
                    "it is on the sharded tables {:?} and on others too; write a migration for each kind",
                    parsed.tables()
                )));
            }
            if parsed.tables().is_empty() && parsed.has_suffix() && router.sharding().is_some() {
                return Err(Error::invalid_argument(
                    "it says {shard} and names no sharded table; name one or remove {shard}",
                ));
            }
            Ok(parsed)
        };
        let up = parse(&migration.up)?;
        let down = migration.down.as_deref().map(parse).transpose()?;
        let shards = router.shards(&up)?;
        if let Some(down) = &down
            && router.shards(down)? != shards
        {
            return Err(Error::invalid_argument(
                "the statements that undo it are not on the same shards as those that apply it",
            ));
        }
        Ok(Self {
            migration: migration.clone(),
            checksum: migration.checksum(),
            shards,
            up,
            down,
        })
    }

    pub(super) fn units(&self, router: &Router) -> Vec<Unit> {
        units(&self.up, self.shards, router)
    }

    /// # Errors
    /// [`Unsupported`](ErrorKind::Unsupported) when the step cannot be undone.
    pub(super) fn down_units(&self, router: &Router) -> Result<Vec<Unit>> {
        let down = self.down.as_ref().ok_or_else(|| {
            Error::new(
                ErrorKind::Unsupported,
                format!(
                    "migration {} {:?} has no statements that undo it; write a new migration",
                    self.migration.version, self.migration.name
                ),
            )
        })?;
        Ok(units(down, self.shards, router))
    }

    /// Whether the step was applied to every shard.
    pub(super) fn is_applied(&self, applied: &Applied) -> bool {
        match self.shards {
            Some(shards) => (0..shards).all(|shard| applied.contains(&self.migration, Some(shard))),
            None => applied.contains(&self.migration, None),
        }
    }

    /// Whether the step was applied to any shard.
    pub(super) fn is_touched(&self, applied: &Applied) -> bool {
        applied
            .notes
            .keys()
            .any(|(version, _)| *version == self.migration.version)
    }
}

fn units(parsed: &Parsed, shards: Option<u32>, router: &Router) -> Vec<Unit> {
    let targets: Vec<Option<u32>> = match shards {
        Some(shards) => (0..shards).map(Some).collect(),
        None => vec![None],
    };
    let nothing = Parameters::Positional(Vec::new());
    targets
        .into_iter()
        .filter_map(|shard| {
            // A migration has no parameters, so that binding none cannot fail.
            let bound = bind(parsed, &nothing, &Dialect::SQLITE, shard, || {
                router.physical(parsed, shard)
            })
            .ok()?;
            Some(Unit {
                shard,
                database: shard.map_or(0, |shard| router.database_of(shard)),
                text: bound.text,
            })
        })
        .collect()
}

/// What the databases say was applied.
#[derive(Debug, Default)]
pub(super) struct Applied {
    notes: BTreeMap<(u64, Option<u32>), Note>,
}

#[derive(Debug)]
struct Note {
    shards: u32,
    name: String,
    checksum: String,
}

impl Applied {
    pub(super) fn add(
        &mut self,
        version: u64,
        shard: Option<u32>,
        shards: u32,
        name: String,
        checksum: String,
    ) {
        let note = Note {
            shards,
            name,
            checksum,
        };
        self.notes.insert((version, shard), note);
    }

    pub(super) fn contains(&self, migration: &Migration, shard: Option<u32>) -> bool {
        self.notes.contains_key(&(migration.version, shard))
    }
}
