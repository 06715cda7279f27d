//! Watches: streams of enums that never end in silence and never stall the connection they share.
//!
//! Every backend feeds a [`WatchSink`] from whatever its server offers; the consumer reads the paired [`Watch`].

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_util::Stream;

use crate::error::Error;

/// One thing that happened to what is watched.
///
/// Not a `Result`: a `?` on a lag or a reset would be a bug, since the watch goes on after both.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum WatchEvent<T> {
    /// It was created or changed; the new state.
    Put(T),
    /// It was deleted or expired; its key or id.
    Delete(String),
    /// The consumer was too slow and this many events were dropped: read the current state again.
    Lagged {
        /// How many events were dropped.
        missed: u64,
    },
    /// The history between two events was lost (compaction, a long disconnection): read the current state again.
    Reset,
    /// The watch is over and will yield nothing more.
    Closed(Error),
}

/// A stream of [`WatchEvent`]s. Dropping it unsubscribes.
///
/// It starts from the revision of the snapshot that was read with it, reconnects by itself, and says
/// [`Reset`](WatchEvent::Reset) when something may have been missed. After [`Closed`](WatchEvent::Closed) it ends.
#[derive(Debug)]
pub struct Watch<T> {
    shared: Arc<Shared<T>>,
}

/// The writing end of a [`Watch`], for backends.
#[derive(Debug)]
pub struct WatchSink<T> {
    shared: Arc<Shared<T>>,
}

#[derive(Debug)]
struct Shared<T> {
    capacity: usize,
    state: Mutex<State<T>>,
}

#[derive(Debug)]
struct State<T> {
    events: VecDeque<WatchEvent<T>>,
    missed: u64,
    /// `Some` once the sink closed; handed out after every queued event.
    closing: Option<WatchEvent<T>>,
    finished: bool,
    reader: Option<Waker>,
    reader_gone: bool,
    on_drop: Option<Waker>,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes a watch that holds at most `capacity` events that were not read yet (at least one).
///
/// ```
/// # tokio_test(async {
/// use futures_util::StreamExt;
/// use infra_core::watch::{self, WatchEvent};
///
/// let (sink, mut watch) = watch::channel(1);
/// sink.push(WatchEvent::Put("first"));
/// sink.push(WatchEvent::Put("second")); // nobody read yet: dropped and counted, the writer never waits
///
/// assert!(matches!(watch.next().await, Some(WatchEvent::Put("first"))));
/// assert!(matches!(watch.next().await, Some(WatchEvent::Lagged { missed: 1 })));
/// # });
/// # fn tokio_test(f: impl std::future::Future) {
/// #     tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(f);
/// # }
/// ```
#[must_use]
pub fn channel<T>(capacity: usize) -> (WatchSink<T>, Watch<T>) {
    let shared = Arc::new(Shared {
        capacity: capacity.max(1),
        state: Mutex::new(State {
            events: VecDeque::new(),
            missed: 0,
            closing: None,
            finished: false,
            reader: None,
            reader_gone: false,
            on_drop: None,
        }),
    });
    (
        WatchSink {
            shared: Arc::clone(&shared),
        },
        Watch { shared },
    )
}

impl<T> WatchSink<T> {
    /// Queues an event without ever waiting; a full queue drops it and tells the reader [`WatchEvent::Lagged`].
    ///
    /// Returns `false` when the reader is gone and the backend should unsubscribe.
    pub fn push(&self, event: WatchEvent<T>) -> bool {
        let mut state = self.shared.lock();
        if state.reader_gone || state.closing.is_some() {
            return false;
        }
        // Once events are missing, later ones must not overtake the notice of the gap.
        if state.missed > 0 || state.events.len() >= self.shared.capacity {
            state.missed += 1;
        } else {
            state.events.push_back(event);
        }
        let reader = state.reader.take();
        drop(state);
        if let Some(waker) = reader {
            waker.wake();
        }
        true
    }

    /// Ends the watch: what is queued is still delivered, then [`WatchEvent::Closed`] with `error`, then the end.
    pub fn close(&self, error: Error) {
        self.finish(WatchEvent::Closed(error));
    }

    /// Whether the reader was dropped.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.shared.lock().reader_gone
    }

    /// Waits until the reader is dropped, so that a backend task can end its server-side subscription at once.
    pub async fn abandoned(&self) {
        std::future::poll_fn(|context| {
            let mut state = self.shared.lock();
            if state.reader_gone {
                return Poll::Ready(());
            }
            state.on_drop = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn finish(&self, last: WatchEvent<T>) {
        let mut state = self.shared.lock();
        if state.closing.is_none() {
            state.closing = Some(last);
        }
        let reader = state.reader.take();
        drop(state);
        if let Some(waker) = reader {
            waker.wake();
        }
    }
}

impl<T> Drop for WatchSink<T> {
    fn drop(&mut self) {
        self.finish(WatchEvent::Closed(Error::closed("the source of this watch")));
    }
}

impl<T> Stream for Watch<T> {
    type Item = WatchEvent<T>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut state = self.shared.lock();
        if let Some(event) = state.events.pop_front() {
            return Poll::Ready(Some(event));
        }
        if state.missed > 0 {
            let missed = std::mem::take(&mut state.missed);
            return Poll::Ready(Some(WatchEvent::Lagged { missed }));
        }
        if state.finished {
            return Poll::Ready(None);
        }
        if let Some(last) = state.closing.take() {
            // `closing` stays observable as `finished`, and pushes are refused from here on.
            state.finished = true;
            state.reader_gone = true;
            return Poll::Ready(Some(last));
        }
        state.reader = Some(context.waker().clone());
        Poll::Pending
    }
}

impl<T> Drop for Watch<T> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.reader_gone = true;
        state.events.clear();
        let on_drop = state.on_drop.take();
        drop(state);
        if let Some(waker) = on_drop {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;

    use super::*;
    use crate::error::ErrorKind;

    #[tokio::test]
    async fn a_slow_reader_is_told_once_and_goes_on() {
        let (sink, mut watch) = channel(2);
        for n in 0..5 {
            assert!(sink.push(WatchEvent::Put(n)));
        }
        assert!(matches!(watch.next().await, Some(WatchEvent::Put(0))));
        assert!(matches!(watch.next().await, Some(WatchEvent::Put(1))));
        assert!(matches!(
            watch.next().await,
            Some(WatchEvent::Lagged { missed: 3 })
        ));
        sink.push(WatchEvent::Put(5));
        assert!(matches!(watch.next().await, Some(WatchEvent::Put(5))));
    }

    #[tokio::test]
    async fn close_comes_after_what_is_queued_and_then_the_stream_ends() {
        let (sink, mut watch) = channel(4);
        sink.push(WatchEvent::Put(1));
        sink.close(Error::new(ErrorKind::PermissionDenied, "revoked"));
        assert!(!sink.push(WatchEvent::Put(2)));
        assert!(matches!(watch.next().await, Some(WatchEvent::Put(1))));
        let Some(WatchEvent::Closed(error)) = watch.next().await else {
            panic!("expected the close")
        };
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        assert!(watch.next().await.is_none());
    }

    #[tokio::test]
    async fn dropping_either_end_reaches_the_other() {
        let (sink, watch) = channel::<u8>(1);
        let waiting = tokio::spawn(async move {
            sink.abandoned().await;
            sink.push(WatchEvent::Reset)
        });
        tokio::task::yield_now().await;
        drop(watch);
        assert!(!waiting.await.expect("the task ends"));

        let (sink, mut watch) = channel::<u8>(1);
        drop(sink);
        assert!(
            matches!(watch.next().await, Some(WatchEvent::Closed(error)) if error.kind() == ErrorKind::Closed)
        );
    }
}
