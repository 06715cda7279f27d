//! What became of every message, as its handler sees it.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use infra_core::queue::{Delivery, Disposition, Handler};
use infra_core::{Error, ErrorKind, Result, async_trait};

use super::steps::{MOST_ATTEMPTS, Reply};
use crate::check;
use crate::conformance::{Failure, Outcome};

/// The handler of the group under test: answers as the schedule says, and writes everything down.
#[derive(Debug)]
pub(super) struct Ledger {
    unit: Duration,
    /// Whether order per key is promised.
    ordered: bool,
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    messages: Vec<Entry>,
    /// The first thing that was wrong.
    wrong: Option<String>,
}

/// One message; its number is its place.
#[derive(Debug)]
struct Entry {
    key: &'static str,
    replies: Vec<Reply>,
    /// Whether the producer said that it is stored.
    accepted: bool,
    /// The attempts that its deliveries had, in their order.
    attempts: Vec<u32>,
    busy: bool,
    acknowledged: usize,
    given_up: bool,
}

/// What must become of a message that is delivered undisturbed.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Acknowledged { attempts: usize },
    DeadLetter { attempts: usize },
}

impl Entry {
    fn fate(&self) -> Fate {
        for attempts in 1..=MOST_ATTEMPTS.get() as usize {
            match self.replies.get(attempts - 1) {
                None | Some(Reply::Ack | Reply::AckAfter(_)) => return Fate::Acknowledged { attempts },
                Some(Reply::DeadLetter) => return Fate::DeadLetter { attempts },
                Some(Reply::Fail | Reply::Retry(_)) => {}
            }
        }
        Fate::DeadLetter {
            attempts: MOST_ATTEMPTS.get() as usize,
        }
    }

    fn is_settled(&self) -> bool {
        self.acknowledged > 0 || self.given_up
    }
}

impl Ledger {
    pub(super) fn new(unit: Duration, ordered: bool) -> Self {
        Self {
            unit,
            ordered,
            book: Mutex::default(),
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a message down that is about to be sent; gives its number.
    pub(super) fn expect(&self, key: &'static str, replies: Vec<Reply>) -> usize {
        let mut book = self.book();
        book.messages.push(Entry {
            key,
            replies,
            accepted: false,
            attempts: Vec::new(),
            busy: false,
            acknowledged: 0,
            given_up: false,
        });
        book.messages.len() - 1
    }

    pub(super) fn accepted(&self, number: usize) {
        self.book().messages[number].accepted = true;
    }

    /// How many accepted messages are neither acknowledged nor given up.
    pub(super) fn unsettled(&self) -> usize {
        let book = self.book();
        let open = |entry: &&Entry| entry.accepted && !entry.is_settled();
        book.messages.iter().filter(open).count()
    }

    /// The accepted messages that no handler acknowledged.
    pub(super) fn not_acknowledged(&self) -> BTreeSet<usize> {
        let book = self.book();
        let lost = book.messages.iter().enumerate();
        lost.filter(|(_, entry)| entry.accepted && entry.acknowledged == 0)
            .map(|(number, _)| number)
            .collect()
    }

    pub(super) fn unfinished(&self) -> String {
        format!("not acknowledged are {:?}", self.not_acknowledged())
    }

    /// What was seen to be wrong so far.
    pub(super) fn check(&self) -> Outcome {
        match &self.book().wrong {
            Some(wrong) => Err(Failure::broken(wrong.clone())),
            None => Ok(()),
        }
    }

    /// What must hold when everything is settled.
    pub(super) fn check_end(&self, letters: &[usize], disturbed: bool) -> Outcome {
        self.check()?;
        let book = self.book();
        for (number, entry) in book
            .messages
            .iter()
            .enumerate()
            .filter(|(_, entry)| entry.accepted)
        {
            let copies = letters.iter().filter(|letter| **letter == number).count();
            check!(
                entry.acknowledged > 0 || copies > 0,
                "message {number} of key {:?} is lost: its attempts were {:?}",
                entry.key,
                entry.attempts
            );
            if disturbed {
                continue;
            }
            let (attempts, acknowledged, dead) = match entry.fate() {
                Fate::Acknowledged { attempts } => (attempts, 1, 0),
                Fate::DeadLetter { attempts } => (attempts, 0, 1),
            };
            check!(
                entry.attempts.len() == attempts && entry.acknowledged == acknowledged && copies == dead,
                "message {number} had the attempts {:?}, was acknowledged {} times and has {copies} dead letters; \
                 nobody joined or left, so that it must have {attempts} attempts, {acknowledged} acknowledgements and {dead} dead letters",
                entry.attempts,
                entry.acknowledged
            );
        }
        Ok(())
    }

    fn begin(&self, number: usize, attempt: u32) -> Option<Reply> {
        let mut book = self.book();
        let ordered = self.ordered;
        let Some(key) = book.messages.get(number).map(|entry| entry.key) else {
            book.wrong
                .get_or_insert(format!("message {number} was never sent"));
            return None;
        };
        let same_key = |entry: &&Entry| entry.key == key;
        let busy = book.messages.iter().filter(same_key).any(|entry| entry.busy);
        let overtaken = book.messages[..number]
            .iter()
            .filter(same_key)
            .any(|entry| entry.attempts.is_empty());
        let entry = &mut book.messages[number];
        let last = entry.attempts.iter().max().copied().unwrap_or(0);
        entry.attempts.push(attempt);
        entry.busy = true;
        let reply = entry
            .replies
            .get(attempt as usize - 1)
            .copied()
            .unwrap_or(Reply::Ack);
        let wrong = if ordered && busy {
            Some(format!(
                "message {number} came while another of key {key:?} was being handled"
            ))
        } else if ordered && overtaken {
            Some(format!(
                "message {number} came before an earlier one of key {key:?}"
            ))
        } else if attempt > last + 1 || attempt > MOST_ATTEMPTS.get() {
            Some(format!(
                "attempt {attempt} of message {number} came after attempt {last}"
            ))
        } else {
            None
        };
        book.wrong = book.wrong.take().or(wrong);
        Some(reply)
    }

    fn end(&self, number: usize, settle: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.book().messages.get_mut(number) {
            entry.busy = false;
            settle(entry);
        }
    }
}

/// Frees the message also when its handler is stopped.
struct Busy<'a>(&'a Ledger, usize);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.end(self.1, |_| {});
    }
}

fn number_of(delivery: &Delivery) -> Result<usize> {
    let text = std::str::from_utf8(&delivery.message.payload);
    let number = text.ok().and_then(|text| text.parse().ok());
    number.ok_or_else(|| {
        Error::new(
            ErrorKind::DataCorrupted,
            "the payload is not the one that was sent",
        )
    })
}

#[async_trait]
impl Handler for Ledger {
    async fn handle(&self, delivery: &Delivery) -> Result<Disposition> {
        let number = number_of(delivery)?;
        let attempt = delivery.attempt.get();
        let Some(reply) = self.begin(number, attempt) else {
            return Ok(Disposition::Ack);
        };
        let _busy = Busy(self, number);
        tokio::task::yield_now().await;
        let after = |units: u8| self.unit * u32::from(units);
        match reply {
            Reply::Ack => self.end(number, |entry| entry.acknowledged += 1),
            Reply::AckAfter(units) => {
                tokio::time::sleep(after(units)).await;
                self.end(number, |entry| entry.acknowledged += 1);
            }
            Reply::DeadLetter => {
                self.end(number, |entry| entry.given_up = true);
                return Ok(Disposition::DeadLetter {
                    reason: "as the schedule says".to_owned(),
                });
            }
            Reply::Fail | Reply::Retry(_) if attempt >= MOST_ATTEMPTS.get() => {
                self.end(number, |entry| entry.given_up = true);
                return Err(Error::new(ErrorKind::Internal, "the last attempt fails"));
            }
            Reply::Fail => return Err(Error::new(ErrorKind::Internal, "as the schedule says")),
            Reply::Retry(units) => return Ok(Disposition::Retry { after: after(units) }),
        }
        Ok(Disposition::Ack)
    }
}

/// The reader of the dead letters.
#[derive(Debug, Default)]
pub(super) struct Letters {
    numbers: Mutex<Vec<usize>>,
}

impl Letters {
    pub(super) fn numbers(&self) -> Vec<usize> {
        self.numbers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn hold(&self, wanted: &BTreeSet<usize>) -> bool {
        let numbers = self.numbers();
        wanted.iter().all(|number| numbers.contains(number))
    }
}

#[async_trait]
impl Handler for Letters {
    async fn handle(&self, delivery: &Delivery) -> Result<Disposition> {
        let number = number_of(delivery)?;
        self.numbers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(number);
        Ok(Disposition::Ack)
    }
}
