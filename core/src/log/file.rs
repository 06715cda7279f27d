//! The log file: appended to, rotated and cleaned up only as far as it is asked for.
//!
//! Written here rather than taken from `file-rotate`: that crate panics when a directory cannot be made, and after a rotation
//! that failed it drops every further line without an error.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use time::OffsetDateTime;
use time::format_description::FormatItem;
use time::macros::format_description;

use super::config::Rotation;
use super::writer::complain;
use crate::error::{Error, ErrorKind, Result};

const STAMP: &[FormatItem<'static>] =
    format_description!("[year][month][day]T[hour][minute][second].[subsecond digits:3]Z");

/// After a rotation that failed the file goes on growing, and rotation is tried again after this time.
const RETRY_ROTATION: Duration = Duration::from_secs(10);

/// Each call of `write_all` is one line, which is never split over two files.
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    bytes: u64,
    begun: SystemTime,
    rotation: Rotation,
    not_before: Option<SystemTime>,
    /// The last write failed, perhaps after half a line.
    torn: bool,
    now: fn() -> SystemTime,
}

impl LogFile {
    /// Opens the file for appending, making its directory if need be.
    pub(super) fn open(path: &Path, rotation: Rotation) -> Result<Self> {
        Self::open_with_clock(path, rotation, SystemTime::now)
    }

    fn open_with_clock(path: &Path, rotation: Rotation, now: fn() -> SystemTime) -> Result<Self> {
        let opened = make_directory(path).and_then(|()| append(path)).and_then(|file| {
            let metadata = file.metadata()?;
            Ok((file, metadata))
        });
        let (file, metadata) = opened.map_err(|error| {
            Error::new(
                ErrorKind::InvalidConfig,
                format!("the log file {} cannot be opened: {error}", path.display()),
            )
            .with_source(error)
            .at("log", "", "init")
        })?;
        let bytes = metadata.len();
        // Not every file system knows when a file was made; the last change is never earlier.
        let begun = match metadata.created().or_else(|_| metadata.modified()) {
            Ok(time) if bytes > 0 => time,
            _ => now(),
        };
        Ok(Self {
            path: path.to_owned(),
            file,
            bytes,
            begun,
            rotation,
            not_before: None,
            torn: false,
            now,
        })
    }

    fn is_due(&self, line: usize, now: SystemTime) -> bool {
        if self.bytes == 0 || self.not_before.is_some_and(|time| now < time) {
            return false;
        }
        let too_large = |limit| self.bytes.saturating_add(line as u64) > limit;
        let too_old = |limit| now.duration_since(self.begun).is_ok_and(|age| age >= limit);
        self.rotation.max_bytes.is_some_and(too_large) || self.rotation.every.is_some_and(too_old)
    }

    /// Renames the file and starts a new one; when that fails, the old one stays in use.
    fn rotate(&mut self, now: SystemTime) {
        match self.replace_file(now) {
            Ok(()) => {
                self.bytes = 0;
                self.begun = now;
                self.not_before = None;
                self.clean_up(now);
            }
            Err(error) => {
                self.not_before = Some(now + RETRY_ROTATION);
                complain(&format!("{} cannot be rotated: {error}", self.path.display()));
            }
        }
    }

    fn replace_file(&mut self, now: SystemTime) -> io::Result<()> {
        let rotated = self.free_name(now)?;
        fs::rename(&self.path, &rotated)?;
        match append(&self.path) {
            Ok(file) => {
                self.file = file;
                Ok(())
            }
            Err(error) => {
                // The open file goes by its old name again.
                fs::rename(&rotated, &self.path)?;
                Err(error)
            }
        }
    }

    /// A name with the time in it that no file has.
    fn free_name(&self, now: SystemTime) -> io::Result<PathBuf> {
        let stamp = OffsetDateTime::from(now)
            .format(STAMP)
            .map_err(io::Error::other)?;
        for attempt in 0..10_000 {
            let mut name = self.path.as_os_str().to_owned();
            name.push(".");
            name.push(&stamp);
            if attempt > 0 {
                name.push(format!("-{attempt:04}"));
            }
            let name = PathBuf::from(name);
            if !name.try_exists()? {
                return Ok(name);
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    fn clean_up(&self, now: SystemTime) {
        if self.rotation.keep_files.is_none() && self.rotation.keep_for.is_none() {
            return;
        }
        let rotated = match self.rotated() {
            Ok(rotated) => rotated,
            Err(error) => return complain(&format!("old log files cannot be listed: {error}")),
        };
        let surplus = self
            .rotation
            .keep_files
            .map_or(0, |keep| rotated.len().saturating_sub(keep));
        for (index, path) in rotated.iter().enumerate() {
            if (index < surplus || self.is_too_old(path, now))
                && let Err(error) = fs::remove_file(path)
            {
                complain(&format!("{} cannot be deleted: {error}", path.display()));
            }
        }
    }

    fn is_too_old(&self, path: &Path, now: SystemTime) -> bool {
        let Some(keep_for) = self.rotation.keep_for else {
            return false;
        };
        let written = fs::metadata(path).and_then(|metadata| metadata.modified());
        written.is_ok_and(|written| now.duration_since(written).is_ok_and(|age| age > keep_for))
    }

    /// The rotated files, oldest first.
    fn rotated(&self) -> io::Result<Vec<PathBuf>> {
        let Some(own) = self.path.file_name().and_then(|name| name.to_str()) else {
            return Ok(Vec::new());
        };
        let mut found = Vec::new();
        for entry in fs::read_dir(directory_of(&self.path))? {
            let entry = entry?;
            let is_ours = entry
                .file_name()
                .to_str()
                .and_then(|name| name.strip_prefix(own)?.strip_prefix('.'))
                .is_some_and(is_stamp);
            if is_ours {
                found.push(entry.path());
            }
        }
        found.sort();
        Ok(found)
    }
}

impl Write for LogFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.write_all(line).map(|()| line.len())
    }

    fn write_all(&mut self, line: &[u8]) -> io::Result<()> {
        let now = (self.now)();
        if self.is_due(line.len(), now) {
            self.rotate(now);
        }
        if self.bytes == 0 {
            self.begun = now;
        }
        if std::mem::replace(&mut self.torn, true) {
            self.file.write_all(b"\n")?;
        }
        self.file.write_all(line)?;
        self.torn = false;
        self.bytes += line.len() as u64;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn make_directory(path: &Path) -> io::Result<()> {
    fs::create_dir_all(directory_of(path))
}

fn directory_of(path: &Path) -> &Path {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// Whether a file name's ending is one that rotation gives: a time, and perhaps a number.
fn is_stamp(text: &str) -> bool {
    let (stamp, number) = match text.split_once('-') {
        Some((stamp, number)) => (stamp, Some(number)),
        None => (text, None),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let Some((date, time)) = stamp.strip_suffix('Z').and_then(|stamp| stamp.split_once('T')) else {
        return false;
    };
    let Some((seconds, millis)) = time.split_once('.') else {
        return false;
    };
    [(date, 8), (seconds, 6), (millis, 3)]
        .iter()
        .all(|(part, length)| part.len() == *length && digits(part))
        && number.is_none_or(|number| number.len() == 4 && digits(number))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(directory)
            .expect("readable")
            .map(|entry| {
                entry
                    .expect("an entry")
                    .file_name()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect();
        names.sort();
        names
    }

    fn all_lines(directory: &Path) -> usize {
        names(directory)
            .iter()
            .map(|name| {
                fs::read_to_string(directory.join(name))
                    .expect("text")
                    .lines()
                    .count()
            })
            .sum()
    }

    #[test]
    fn nothing_rotates_or_disappears_unasked() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("deep/er/app.log");
        for _ in 0..2 {
            let mut file = LogFile::open(&path, Rotation::never()).expect("opens");
            let line = [b'x'; 1_000_000];
            for _ in 0..3 {
                file.write_all(&line).expect("written");
            }
        }
        assert_eq!(names(path.parent().expect("a parent")), ["app.log"]);
        assert_eq!(
            fs::metadata(&path).expect("there").len(),
            6_000_000,
            "appended to, not truncated"
        );
    }

    #[test]
    fn rotates_by_size_between_lines_and_keeps_all_by_default() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("app.log");
        let mut file = LogFile::open(&path, Rotation::never().with_max_bytes(100)).expect("opens");
        for n in 0..50 {
            file.write_all(format!("line {n:04} ..............................\n").as_bytes())
                .expect("written");
        }
        file.write_all(&[b'y'; 500])
            .expect("a line larger than the limit is written whole");
        let names = names(directory.path());
        assert_eq!(names.len(), 26, "{names:?}");
        assert!(
            names[1..]
                .iter()
                .all(|name| is_stamp(name.strip_prefix("app.log.").expect("ours")))
        );
        assert_eq!(all_lines(directory.path()), 51, "no line is lost or split");
    }

    #[test]
    fn deletes_the_oldest_when_asked_and_never_a_strangers_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("app.log");
        for stranger in [
            "app.log.bak",
            "app.log.20200101",
            "other.log.20200101T000000.000Z",
            "app.log.1",
        ] {
            fs::write(directory.path().join(stranger), "keep me").expect("written");
        }
        let rotation = Rotation::never().with_max_bytes(10).with_keep_files(2);
        let mut file = LogFile::open(&path, rotation).expect("opens");
        for n in 0..9 {
            file.write_all(format!("line {n}...\n").as_bytes())
                .expect("written");
        }
        assert_eq!(file.rotated().expect("readable").len(), 2);
        assert_eq!(names(directory.path()).len(), 4 + 1 + 2);
        assert_eq!(fs::read_to_string(&path).expect("text"), "line 8...\n");
    }

    #[test]
    fn rotates_and_deletes_by_age() {
        static NOW: AtomicU64 = AtomicU64::new(0);
        fn now() -> SystemTime {
            SystemTime::now() + Duration::from_secs(NOW.load(Ordering::SeqCst))
        }
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("app.log");
        let rotation = Rotation::never()
            .with_every(Duration::from_secs(3600))
            .with_keep_for(Duration::from_secs(9000));
        let mut file = LogFile::open_with_clock(&path, rotation, now).expect("opens");
        let mut write = |at: u64| {
            NOW.store(at, Ordering::SeqCst);
            file.write_all(b"line\n").expect("written");
            names(directory.path()).len()
        };
        assert_eq!(write(0), 1);
        assert_eq!(write(3000), 1);
        assert_eq!(write(3700), 2);
        assert_eq!(write(7400), 3);
        assert_eq!(write(20_000), 1, "everything older than keep_for went");
    }

    #[cfg(unix)]
    #[test]
    fn a_rotation_that_fails_loses_no_line() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("sub/app.log");
        let mut file = LogFile::open(&path, Rotation::never().with_max_bytes(10)).expect("opens");
        file.write_all(b"first line\n").expect("written");
        // Without its directory the file can be neither renamed nor opened anew.
        fs::rename(path.parent().expect("a parent"), directory.path().join("moved")).expect("moved");
        for _ in 0..3 {
            file.write_all(b"later line\n").expect("written all the same");
        }
        let text = fs::read_to_string(directory.path().join("moved/app.log")).expect("text");
        assert_eq!(text.lines().count(), 4);
        assert!(LogFile::open(Path::new("/proc/none/app.log"), Rotation::never()).is_err());
    }
}
