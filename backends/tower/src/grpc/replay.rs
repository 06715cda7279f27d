//! A request's body that can be sent again: what was sent of it is kept, up to a bound, until the answer begins.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Frame;
use tonic::Status;
use tonic::body::Body;

/// A request's body, of which each attempt gets a copy from the beginning.
#[derive(Debug)]
pub(super) struct Replay {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug)]
struct Shared {
    source: Body,
    source_ended: bool,
    /// What was taken from the source, if all of it is kept or not all of it is sent again.
    kept: Vec<Bytes>,
    kept_bytes: usize,
    /// How many of the kept pieces the current attempt has sent.
    sent: usize,
    limit: usize,
    keeping: Keeping,
    /// Counts the attempts; the body of an earlier one gets nothing more.
    attempt: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keeping {
    /// Everything from the beginning is kept.
    Whole,
    /// Something that was sent is not kept: it was too much, or is not needed any more.
    NotWhole,
}

impl Replay {
    /// Keeps at most `limit` bytes of `source`.
    pub(super) fn new(source: Body, limit: usize) -> Self {
        Self {
            shared: Arc::new(Mutex::new(Shared {
                source,
                source_ended: false,
                kept: Vec::new(),
                kept_bytes: 0,
                sent: 0,
                limit,
                keeping: Keeping::Whole,
                attempt: 0,
            })),
        }
    }

    /// The body for the next attempt, or `None` when part of it is gone.
    pub(super) fn attempt(&self) -> Option<Body> {
        let mut shared = lock(&self.shared);
        if shared.keeping == Keeping::NotWhole {
            return None;
        }
        shared.attempt += 1;
        shared.sent = 0;
        let attempt = shared.attempt;
        drop(shared);
        Some(Body::new(Attempt {
            shared: Arc::clone(&self.shared),
            attempt,
        }))
    }

    /// Lets go of what was kept: the answer has begun.
    pub(super) fn settle(&self) {
        lock(&self.shared).stop_keeping();
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn stop_keeping(&mut self) {
        self.keeping = Keeping::NotWhole;
        // An attempt that is not the first may still have to send some of it.
        if self.all_sent() {
            self.kept = Vec::new();
            self.sent = 0;
        }
    }

    fn all_sent(&self) -> bool {
        self.sent >= self.kept.len()
    }

    /// The next piece that an earlier attempt had taken from the source.
    fn again(&mut self) -> Option<Bytes> {
        let piece = self.kept.get(self.sent).cloned()?;
        self.sent += 1;
        if self.keeping == Keeping::NotWhole {
            self.stop_keeping();
        }
        Some(piece)
    }

    /// Keeps what is about to be sent, if there is room.
    fn keep(&mut self, frame: &Frame<Bytes>) {
        if self.keeping == Keeping::NotWhole {
            return;
        }
        match frame.data_ref() {
            Some(data) if self.kept_bytes + data.len() <= self.limit => {
                self.kept_bytes += data.len();
                self.kept.push(data.clone());
                self.sent = self.kept.len();
            }
            _ => self.stop_keeping(),
        }
    }
}

/// The body of one attempt: first what was kept, then the rest of the source.
#[derive(Debug)]
struct Attempt {
    shared: Arc<Mutex<Shared>>,
    attempt: u32,
}

impl http_body::Body for Attempt {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        let mut shared = lock(&this.shared);
        if shared.attempt != this.attempt {
            // The connection that was given up still asks; the source belongs to the next attempt.
            return Poll::Ready(Some(Err(Status::cancelled(
                "the request was sent to another instance",
            ))));
        }
        if let Some(piece) = shared.again() {
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        if shared.source_ended {
            return Poll::Ready(None);
        }
        let polled = Pin::new(&mut shared.source).poll_frame(context);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => shared.keep(frame),
            Poll::Ready(Some(Err(_))) => shared.stop_keeping(),
            Poll::Ready(None) => shared.source_ended = true,
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        let shared = lock(&self.shared);
        let source_ended = shared.source_ended || shared.source.is_end_stream();
        shared.attempt == self.attempt && shared.all_sent() && source_ended
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// A body of these pieces.
    #[derive(Debug)]
    struct Pieces(VecDeque<&'static str>);

    impl http_body::Body for Pieces {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            let piece = self.0.pop_front();
            Poll::Ready(piece.map(|piece| Ok(Frame::data(Bytes::from_static(piece.as_bytes())))))
        }
    }

    fn replay(limit: usize) -> Replay {
        Replay::new(Body::new(Pieces(["one ", "two ", "three"].into())), limit)
    }

    /// The next piece of an attempt, or what it ends with.
    fn next(body: &mut Body) -> Option<Result<Bytes, Status>> {
        let mut context = Context::from_waker(std::task::Waker::noop());
        match http_body::Body::poll_frame(Pin::new(body), &mut context) {
            Poll::Ready(polled) => polled.map(|frame| frame.map(|frame| frame.into_data().expect("data"))),
            Poll::Pending => panic!("these bodies are always ready"),
        }
    }

    fn rest(body: &mut Body) -> String {
        let mut text = String::new();
        while let Some(piece) = next(body) {
            text.push_str(std::str::from_utf8(&piece.expect("a piece")).expect("text"));
        }
        text
    }

    #[test]
    fn every_attempt_gets_the_body_from_its_beginning() {
        let replay = replay(1_000);
        assert!(next(&mut replay.attempt().expect("whole")).is_some());
        let mut second = replay.attempt().expect("whole");
        assert_eq!(rest(&mut second), "one two three");
        assert_eq!(rest(&mut replay.attempt().expect("whole")), "one two three");
    }

    #[test]
    fn an_attempt_that_was_given_up_takes_nothing_from_the_next() {
        let replay = replay(1_000);
        let mut first = replay.attempt().expect("whole");
        assert!(next(&mut first).is_some());
        let mut second = replay.attempt().expect("whole");
        assert!(next(&mut first).is_some_and(|piece| piece.is_err()));
        assert_eq!(rest(&mut second), "one two three");
    }

    #[test]
    fn what_is_larger_than_the_limit_is_sent_whole_but_once() {
        let replay = replay(5);
        assert_eq!(
            rest(&mut replay.attempt().expect("nothing was sent yet")),
            "one two three"
        );
        assert!(replay.attempt().is_none());
    }

    #[test]
    fn an_answer_that_begins_early_does_not_cut_the_request_short() {
        let replay = replay(1_000);
        let mut first = replay.attempt().expect("whole");
        assert!(next(&mut first).is_some() && next(&mut first).is_some());
        let mut second = replay.attempt().expect("whole");
        replay.settle();
        assert_eq!(rest(&mut second), "one two three");
        assert!(lock(&replay.shared).kept.is_empty() && replay.attempt().is_none());
    }

    #[test]
    fn an_empty_body_stays_empty() {
        let replay = Replay::new(Body::empty(), 10);
        assert!(http_body::Body::is_end_stream(&replay.attempt().expect("whole")));
    }
}
