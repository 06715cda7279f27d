//! A corpus: one JSON object per line, read as a stream.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use infra_core::error::{Error, ErrorKind, Result};
use serde::Deserialize;

use crate::model::{MAX_CONTENT_BYTES, NewMessage};

/// A line that is longer is broken, not read.
const MAX_LINE_BYTES: u64 = 4 * MAX_CONTENT_BYTES as u64;

/// One message of a corpus.
#[derive(Clone, PartialEq, Eq, Deserialize)]
pub struct CorpusLine {
    /// The session.
    pub session_id: String,
    /// Who wrote it.
    pub sender_id: String,
    /// The text.
    pub content: String,
    /// The language.
    #[serde(default)]
    pub lang: Option<String>,
    /// Its number within the session.
    pub seq: u64,
}

/// Leaves the text out.
impl std::fmt::Debug for CorpusLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CorpusLine")
            .field("session_id", &self.session_id)
            .field("seq", &self.seq)
            .finish_non_exhaustive()
    }
}

impl CorpusLine {
    /// The message and the idempotency key under which it is sent: its number in the session.
    #[must_use]
    pub fn into_request(self) -> (NewMessage, String) {
        let Self {
            session_id,
            sender_id,
            content,
            lang,
            seq,
        } = self;
        (
            NewMessage {
                session_id,
                sender_id,
                content,
                lang,
            },
            format!("corpus:{seq}"),
        )
    }
}

/// A line that could not be read; it is skipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokenLine {
    /// Its number, from 1.
    pub line: u64,
    /// What is wrong with it; never its content.
    pub problem: String,
}

/// A corpus that is being read.
#[derive(Debug)]
pub struct Corpus {
    reader: BufReader<File>,
    line: u64,
    bytes: u64,
}

impl Corpus {
    /// Opens a file.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound), [`Unavailable`](ErrorKind::Unavailable), or
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) for a directory, names the file.
    pub fn open(path: &Path) -> Result<Self> {
        let failed = |source: std::io::Error| {
            let kind = match source.kind() {
                std::io::ErrorKind::NotFound => ErrorKind::NotFound,
                _ => ErrorKind::Unavailable,
            };
            Error::new(
                kind,
                format!("the corpus {} cannot be opened: {source}", path.display()),
            )
            .with_source(source)
        };
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_dir() {
            return Err(Error::invalid_argument(format!(
                "the corpus {} is a directory, not a file",
                path.display()
            )));
        }
        Ok(Self {
            reader: BufReader::new(file),
            line: 0,
            bytes: metadata.len(),
        })
    }

    /// The size of the file, for a progress bar.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The number of the line that was read last.
    #[must_use]
    pub fn line(&self) -> u64 {
        self.line
    }

    /// The next line with its size in bytes, or `None` at the end; blank lines are passed over.
    ///
    /// # Errors
    /// When the file can no longer be read.
    pub fn next_line(&mut self) -> Result<Option<(u64, Result<CorpusLine, BrokenLine>)>> {
        loop {
            let mut bytes = Vec::new();
            let read = self.read_line(&mut bytes)?;
            if read == 0 {
                return Ok(None);
            }
            self.line += 1;
            if !bytes.trim_ascii().is_empty() {
                return Ok(Some((read, self.parse(&bytes, read))));
            }
        }
    }

    /// Reads one line whole, but keeps no more of it than a good line can have.
    fn read_line(&mut self, kept: &mut Vec<u8>) -> Result<u64> {
        let mut read = 0;
        loop {
            let available = self.reader.fill_buf().map_err(|source| {
                Error::new(
                    ErrorKind::Unavailable,
                    format!("the corpus cannot be read after line {}", self.line),
                )
                .with_source(source)
            })?;
            if available.is_empty() {
                return Ok(read);
            }
            let end = available.iter().position(|byte| *byte == b'\n');
            let used = end.map_or(available.len(), |position| position + 1);
            if read <= MAX_LINE_BYTES {
                kept.extend_from_slice(available.get(..used).unwrap_or_default());
            }
            self.reader.consume(used);
            read += used as u64;
            if end.is_some() {
                return Ok(read);
            }
        }
    }

    fn parse(&self, bytes: &[u8], read: u64) -> Result<CorpusLine, BrokenLine> {
        let broken = |problem: String| BrokenLine {
            line: self.line,
            problem,
        };
        if read > MAX_LINE_BYTES {
            return Err(broken(format!("it has {read} bytes, more than {MAX_LINE_BYTES}")));
        }
        let line: CorpusLine = serde_json::from_slice(bytes).map_err(|error| {
            broken(match error.classify() {
                serde_json::error::Category::Data => {
                    "it lacks a field or has one of the wrong type".to_owned()
                }
                _ => format!("it is not JSON (column {})", error.column()),
            })
        })?;
        line.clone()
            .into_request()
            .0
            .validate()
            .map_err(|error| broken(error.message().to_owned()))?;
        Ok(line)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn broken_lines_are_told_by_number_and_passed_over() {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        let good = r#"{"session_id":"s","sender_id":"a","lang":"en","seq":0,"content":"hi"}"#;
        let long = format!(
            r#"{{"session_id":"s","sender_id":"a","seq":1,"content":"{}"}}"#,
            "x".repeat(80_000)
        );
        let nameless = r#"{"session_id":"","sender_id":"a","seq":2,"content":"hi"}"#;
        write!(
            file,
            "{good}\n\n{{oops\n{{\"seq\":1}}\n{long}\n{nameless}\n{good}"
        )
        .expect("written");
        file.write_all(b"\n\xff\xfe\n").expect("written");

        let mut corpus = Corpus::open(file.path()).expect("opened");
        let (mut good, mut broken, mut bytes) = (0, Vec::new(), 0);
        while let Some((read, line)) = corpus.next_line().expect("readable") {
            bytes += read;
            match line {
                Ok(_) => good += 1,
                Err(line) => broken.push(line.line),
            }
        }
        assert_eq!((good, broken), (2, vec![3, 4, 5, 6, 8]));
        assert_eq!(bytes + 1, corpus.bytes(), "all but the blank line was counted");
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Corpus::open(Path::new("no/such.jsonl")).expect_err("missing");
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.message().contains("no/such.jsonl"));
    }
}
