//! The journal of a directory index: acknowledged writes that tantivy has not committed yet.
//!
//! A commit of tantivy costs milliseconds and a segment; an append costs microseconds. So a write is acknowledged when
//! it is in the journal, and tantivy commits at the refresh. Each commit carries the sequence number of the last record
//! in it; opening replays the records after that number.
//!
//! Format: the eight bytes `INFRAJ01`, then records: payload length and CRC-32 of the payload (both little-endian u32),
//! then the payload: sequence number and version (little-endian u64), operation (one byte), length of the id
//! (little-endian u32), the id, the body. A record cut off by the end of the file was never acknowledged and is dropped.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use infra_core::{Error, ErrorKind, Result};

use crate::config::Durability;
use crate::error::from_io;

const MAGIC: &[u8; 8] = b"INFRAJ01";
const HEADER: usize = 8;
const FIXED: usize = 8 + 8 + 1 + 4;

/// One acknowledged write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) sequence: u64,
    pub(crate) id: String,
    pub(crate) operation: Operation,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Operation {
    /// The document with this body, serialised JSON.
    Put { version: u64, body: Vec<u8> },
    /// The document is gone.
    Delete,
}

/// Appends one write to a buffer.
pub(crate) fn encode(buffer: &mut Vec<u8>, sequence: u64, id: &str, put: Option<(u64, &[u8])>) {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; HEADER]);
    buffer.extend_from_slice(&sequence.to_le_bytes());
    buffer.extend_from_slice(&put.map_or(0, |(version, _)| version).to_le_bytes());
    buffer.push(u8::from(put.is_some()));
    buffer.extend_from_slice(&u32::try_from(id.len()).unwrap_or(u32::MAX).to_le_bytes());
    buffer.extend_from_slice(id.as_bytes());
    buffer.extend_from_slice(put.map_or(&[], |(_, body)| body));
    let payload = &buffer[start + HEADER..];
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes();
    let checksum = crc32fast::hash(payload).to_le_bytes();
    buffer[start..start + 4].copy_from_slice(&length);
    buffer[start + 4..start + HEADER].copy_from_slice(&checksum);
}

/// The open journal of one index.
#[derive(Debug)]
pub(crate) struct Journal {
    file: File,
    length: u64,
    durability: Durability,
}

impl Journal {
    /// Opens or creates a journal, and reads what is in it.
    pub(crate) fn open(path: &Path, durability: Durability) -> Result<(Self, Vec<Record>)> {
        let what = || format!("opening the journal {}", path.display());
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(|error| from_io(what(), error))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)
            .map_err(|error| from_io(what(), error))?;
        let (records, good) = decode(&bytes).map_err(|error| error.context(what()))?;
        if good < bytes.len() {
            tracing::warn!(
                journal = %path.display(),
                bytes = bytes.len() - good,
                "dropping an unfinished write at the end of the journal"
            );
        }
        let mut journal = Self {
            file,
            length: good as u64,
            durability,
        };
        journal
            .reset_to(good as u64)
            .map_err(|error| from_io(what(), error))?;
        Ok((journal, records))
    }

    /// Appends encoded records; when it returns, they survive what the durability says.
    pub(crate) fn append(&mut self, records: &[u8]) -> Result<()> {
        let written = self.file.write_all(records).and_then(|()| match self.durability {
            Durability::Machine => self.file.sync_data(),
            Durability::Process => Ok(()),
        });
        match written {
            Ok(()) => {
                self.length += records.len() as u64;
                Ok(())
            }
            Err(error) => {
                let length = self.length;
                let undone = self.reset_to(length);
                let error = from_io("writing to the journal of the index", error);
                // What cannot be taken back may or may not be replayed later.
                Err(if undone.is_ok() {
                    error.without_effect()
                } else {
                    Error::new(ErrorKind::OutcomeUnknown, error.message().to_owned()).with_source(error)
                })
            }
        }
    }

    /// Forgets everything: a commit holds it now.
    pub(crate) fn clear(&mut self) -> Result<()> {
        self.reset_to(HEADER as u64)
            .map_err(|error| from_io("emptying the journal of the index", error))
    }

    fn reset_to(&mut self, length: u64) -> std::io::Result<()> {
        let length = length.max(HEADER as u64);
        if self.file.metadata()?.len() < HEADER as u64 {
            self.file.seek(SeekFrom::Start(0))?;
            self.file.write_all(MAGIC)?;
        }
        self.file.set_len(length)?;
        self.file.seek(SeekFrom::Start(length))?;
        self.length = length;
        Ok(())
    }
}

/// Reads all whole records; the second value is how many bytes they and the header take.
pub(crate) fn decode(bytes: &[u8]) -> Result<(Vec<Record>, usize)> {
    if bytes.len() < HEADER {
        return Ok((Vec::new(), 0));
    }
    if &bytes[..HEADER] != MAGIC {
        return Err(damaged("it does not begin like a journal"));
    }
    let mut records = Vec::new();
    let mut at = HEADER;
    while let Some((length, checksum)) = header(&bytes[at..]) {
        let start = at + HEADER;
        let Some(payload) = bytes.get(start..start.saturating_add(length)) else {
            break;
        };
        if crc32fast::hash(payload) != checksum {
            if start + length == bytes.len() || bytes[at..].iter().all(|byte| *byte == 0) {
                break;
            }
            return Err(damaged("a record in the middle has a wrong checksum"));
        }
        records.push(record(payload).ok_or_else(|| damaged("a record cannot be understood"))?);
        at = start + length;
    }
    Ok((records, at))
}

fn header(bytes: &[u8]) -> Option<(usize, u32)> {
    let length = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?);
    let checksum = u32::from_le_bytes(bytes.get(4..HEADER)?.try_into().ok()?);
    Some((usize::try_from(length).ok()?, checksum))
}

fn record(payload: &[u8]) -> Option<Record> {
    let sequence = u64::from_le_bytes(payload.get(..8)?.try_into().ok()?);
    let version = u64::from_le_bytes(payload.get(8..16)?.try_into().ok()?);
    let is_put = *payload.get(16)? == 1;
    let id_length = usize::try_from(u32::from_le_bytes(payload.get(17..FIXED)?.try_into().ok()?)).ok()?;
    let id = payload.get(FIXED..FIXED.checked_add(id_length)?)?;
    let body = payload.get(FIXED + id_length..)?;
    Some(Record {
        sequence,
        id: String::from_utf8(id.to_vec()).ok()?,
        operation: if is_put {
            Operation::Put {
                version,
                body: body.to_vec(),
            }
        } else {
            Operation::Delete
        },
    })
}

fn damaged(problem: &str) -> Error {
    Error::new(
        ErrorKind::DataCorrupted,
        format!("{problem}; rebuild the index from its source"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let mut buffer = MAGIC.to_vec();
        encode(&mut buffer, 1, "a", Some((7, b"{}")));
        encode(&mut buffer, 2, "b", None);
        buffer
    }

    #[test]
    fn records_come_back() {
        let bytes = sample();
        let (records, good) = decode(&bytes).unwrap();
        assert_eq!(good, bytes.len());
        assert_eq!(records.len(), 2);
        assert_eq!(
            records[0].operation,
            Operation::Put {
                version: 7,
                body: b"{}".to_vec()
            }
        );
        assert_eq!(records[1].operation, Operation::Delete);
    }

    #[test]
    fn every_torn_end_keeps_what_is_whole() {
        let bytes = sample();
        for cut in 0..bytes.len() {
            let (records, good) = decode(&bytes[..cut]).unwrap();
            assert!(records.len() < 2 && good <= cut, "{cut}");
        }
    }

    #[test]
    fn damage_in_the_middle_is_reported() {
        let mut bytes = sample();
        bytes[HEADER + HEADER + 3] ^= 1;
        assert_eq!(decode(&bytes).unwrap_err().kind(), ErrorKind::DataCorrupted);
        assert_eq!(
            decode(b"something else").unwrap_err().kind(),
            ErrorKind::DataCorrupted
        );
    }

    #[test]
    fn appends_survive_and_clear_forgets() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        let (mut journal, records) = Journal::open(&path, Durability::Machine).unwrap();
        assert!(records.is_empty());
        let mut buffer = Vec::new();
        encode(&mut buffer, 5, "id", Some((1, b"{}")));
        journal.append(&buffer).unwrap();
        drop(journal);
        let (mut journal, records) = Journal::open(&path, Durability::Machine).unwrap();
        assert_eq!(records[0].sequence, 5);
        journal.clear().unwrap();
        journal.append(&buffer).unwrap();
        drop(journal);
        assert_eq!(Journal::open(&path, Durability::Process).unwrap().1.len(), 1);
    }
}
