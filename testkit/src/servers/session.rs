//! A set whose state nobody else changes meanwhile.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::problem::{Attempt, Problem, Result};
use super::process::wait_until;
use super::state::State;

/// The state of a set, locked against other processes, and written down at each change.
#[derive(Debug)]
pub(super) struct Session {
    file: PathBuf,
    state: Mutex<State>,
    // Dropping it unlocks.
    _lock: File,
}

/// The file of the state in a set's folder.
pub(super) fn state_file(folder: &Path) -> PathBuf {
    folder.join("state.json")
}

impl Session {
    /// Locks the set of this folder, and creates it if there is none; waits for another process that has it.
    pub(super) fn begin(folder: &Path, say: &dyn Fn(&str)) -> Result<Self> {
        let (lock, file) = (lock(folder, say)?, state_file(folder));
        let state = State::load(&file)?.unwrap_or_else(State::new);
        let session = Self {
            file,
            state: Mutex::new(state),
            _lock: lock,
        };
        session.update(|_| ())?;
        let data = session.state().data.clone();
        std::fs::create_dir_all(&data).attempt(|| format!("create the data folder {}", data.display()))?;
        Ok(session)
    }

    /// Locks the set of this folder, or returns `None` when there is none.
    pub(super) fn resume(folder: &Path, say: &dyn Fn(&str)) -> Result<Option<Self>> {
        let file = state_file(folder);
        if !file.exists() {
            return Ok(None);
        }
        let lock = lock(folder, say)?;
        Ok(State::load(&file)?.map(|state| Self {
            file,
            state: Mutex::new(state),
            _lock: lock,
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state as it is now.
    pub(super) fn snapshot(&self) -> State {
        self.state().clone()
    }

    /// Changes the state and writes it down.
    pub(super) fn update<T>(&self, change: impl FnOnce(&mut State) -> T) -> Result<T> {
        let mut state = self.state();
        let outcome = change(&mut state);
        state.save(&self.file)?;
        Ok(outcome)
    }

    /// Forgets the set: its data and its state.
    pub(super) fn end(self) -> Result<()> {
        let data = self.snapshot().data;
        // A child of a program that was killed while it laid out data may write for another moment.
        let mut removed = Ok(());
        wait_until(Duration::from_secs(5), || {
            removed = remove(|| std::fs::remove_dir_all(&data));
            removed.is_ok()
        });
        removed.attempt(|| format!("remove {}", data.display()))?;
        remove(|| std::fs::remove_file(&self.file)).attempt(|| format!("remove {}", self.file.display()))
    }
}

/// What is not there is removed.
fn remove(action: impl FnOnce() -> std::io::Result<()>) -> std::io::Result<()> {
    match action() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn lock(folder: &Path, say: &dyn Fn(&str)) -> Result<File> {
    std::fs::create_dir_all(folder).attempt(|| format!("create {}", folder.display()))?;
    let path = folder.join("lock");
    let what = || format!("lock {}", path.display());
    let file = File::options()
        .create(true)
        .append(true)
        .open(&path)
        .attempt(what)?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(TryLockError::WouldBlock) => say(&format!(
            "waiting for another process that changes {}",
            folder.display()
        )),
        Err(TryLockError::Error(error)) => return Err(Problem::new(format!("cannot {}: {error}", what()))),
    }
    file.lock().attempt(what)?;
    Ok(file)
}
