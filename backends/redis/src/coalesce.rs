//! Reads of concurrent tasks that travel as one `MGET`.
//!
//! A read that finds few others on their way goes by itself. The others gather while the tasks that are ready run, and go together:
//! one command, one reply to take apart, one lookup of the driver's for all of them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use infra_core::{Error, ErrorKind, Result};
use tokio::sync::oneshot;

use crate::cache::command;
use crate::client::{Client, Repeat, unexpected};
use crate::reply;

/// How many reads go by themselves at the same time before others gather.
const ALONE: usize = 4;
/// The most keys of one command, so that none holds the server up.
const TOGETHER: usize = 512;

/// The reads that wait to travel together; clones of a client share them.
#[derive(Debug, Default)]
pub(crate) struct Coalescer {
    alone: AtomicUsize,
    gathered: Mutex<Vec<Waiting>>,
}

#[derive(Debug)]
struct Waiting {
    key: String,
    answer: oneshot::Sender<Result<Option<Bytes>>>,
}

/// One read that goes by itself, until it is dropped.
struct Alone<'c>(&'c AtomicUsize);

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Coalescer {
    /// The string under a key of the server. A key that holds another type counts as absent when it travelled with others.
    pub(crate) async fn get(self: &Arc<Self>, client: &Client, key: String) -> Result<Option<Bytes>> {
        if self.alone.fetch_add(1, Ordering::Relaxed) < ALONE {
            let _alone = Alone(&self.alone);
            return reply::value(client.run(&command("GET", &key), Repeat::Harmless).await?);
        }
        self.alone.fetch_sub(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        if self.join(Waiting { key, answer }) {
            tokio::spawn(Arc::clone(self).depart(client.clone()));
        }
        answered.await.unwrap_or_else(|_| {
            Err(Error::new(
                ErrorKind::Cancelled,
                "the runtime ended while a read was on its way",
            ))
        })
    }

    /// Waits with the others; whether it is the first, which sees to the departure.
    fn join(&self, waiting: Waiting) -> bool {
        let mut gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
        gathered.push(waiting);
        gathered.len() == 1
    }

    async fn depart(self: Arc<Self>, client: Client) {
        // Whoever is ready to run gets to ask too.
        tokio::task::yield_now().await;
        let gathered = std::mem::take(&mut *self.gathered.lock().unwrap_or_else(PoisonError::into_inner));
        let mut gathered = gathered.into_iter().peekable();
        while gathered.peek().is_some() {
            let together: Vec<Waiting> = gathered.by_ref().take(TOGETHER).collect();
            if gathered.peek().is_some() {
                tokio::spawn(travel(client.clone(), together));
            } else {
                travel(client.clone(), together).await;
            }
        }
    }
}

/// Asks for all of them, and tells each.
async fn travel(client: Client, together: Vec<Waiting>) {
    let mut get = redis::cmd("MGET");
    for waiting in &together {
        get.arg(&waiting.key);
    }
    let replies = client.run(&get, Repeat::Harmless).await.and_then(reply::list);
    match replies {
        Ok(replies) => {
            let mut replies = replies.into_iter();
            for waiting in together {
                let value = replies.next().ok_or_else(unexpected).and_then(reply::value);
                // Whoever gave up does not listen.
                let _ = waiting.answer.send(value);
            }
        }
        Err(error) => {
            for waiting in together {
                let _ = waiting.answer.send(Err(error.clone()));
            }
        }
    }
}
