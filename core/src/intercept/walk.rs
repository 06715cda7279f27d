//! The walk of one call through the layers of its stack: down through every `enter`, up through every `exit`.
//!
//! It knows nothing of the types of the call, so that it is compiled once and not for every method.

use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;
use tokio::time::Instant;

use super::interceptor::{Enter, Exit, Interceptor, Outcome, Scope, State, Status, Waiting};
use super::method::Call;
use crate::error::{Error, ErrorKind};

/// So many layers are walked without allocating; more cost one allocation.
const INLINE_LAYERS: usize = 8;

/// Where the walk stands, and how to undo it.
///
/// Dropping it before it has ended tells every layer that was entered: this is how cancellation reaches them.
pub(super) struct Walk<'a> {
    layers: &'a [Arc<dyn Interceptor>],
    repeats: bool,
    call: Call<'a>,
    /// One frame per layer that was entered, outermost first.
    frames: SmallVec<[Frame; INLINE_LAYERS]>,
    /// The frame of the layer whose [`Enter::Wait`] is being awaited.
    waiting: Option<Frame>,
    spans: usize,
    /// The earliest bound of the frames, kept up to date.
    deadline: Option<Instant>,
    now: Instant,
    /// Whether control is with the runtime, so that being dropped means cancelled and not unwinding.
    suspended: bool,
    /// Whether the implementation was called at all.
    called: bool,
    last: Option<Error>,
}

struct Frame {
    scope: Scope,
    entered: Instant,
    deadline: Option<Instant>,
}

/// What to do next on the way down.
pub(super) enum Descent {
    /// Every layer let the call pass: call the implementation.
    Call,
    /// A layer waits.
    Wait(Waiting),
    /// A layer refused the call.
    Refuse(Error),
}

/// What to do next on the way up.
pub(super) enum Ascent {
    /// Every layer has been told: return the outcome.
    Return,
    /// Replace the outcome by this error and go on.
    Replace(Error),
    /// Mark the failure as exhausted and go on.
    Exhaust,
    /// Pause until then, if at all, and descend again.
    Repeat { until: Option<Instant> },
}

impl<'a> Walk<'a> {
    pub(super) fn new(layers: &'a [Arc<dyn Interceptor>], repeats: bool, call: Call<'a>) -> Self {
        Self {
            layers,
            repeats,
            now: call.started,
            call,
            frames: SmallVec::new(),
            waiting: None,
            spans: 0,
            deadline: None,
            suspended: false,
            called: false,
            last: None,
        }
    }

    /// Goes down from where the walk stands, until something is to be awaited or a layer refuses.
    pub(super) fn descend(&mut self) -> Descent {
        while let Some(layer) = self.layers.get(self.frames.len()) {
            let mut frame = Frame {
                scope: Scope::default(),
                entered: self.now,
                deadline: None,
            };
            let (call, scope) = (&self.call, &mut frame.scope);
            match within(&self.frames, self.spans, || layer.enter(call, scope)) {
                Enter::Proceed => self.push(frame),
                Enter::Wait(waiting) => {
                    self.waiting = Some(frame);
                    return Descent::Wait(waiting);
                }
                Enter::Refuse(error) => return Descent::Refuse(self.place(error)),
            }
        }
        self.called = true;
        Descent::Call
    }

    /// The layer that waited has what it wanted: it is entered, and the walk goes on.
    pub(super) fn admit(&mut self, state: State) -> Descent {
        self.read_clock();
        if let Some(mut frame) = self.waiting.take() {
            frame.scope.state = state;
            self.push(frame);
        }
        self.descend()
    }

    /// The layer that waited refuses the call.
    pub(super) fn refuse(&mut self, error: Error) -> Error {
        self.read_clock();
        self.waiting = None;
        self.place(error)
    }

    fn push(&mut self, mut frame: Frame) {
        if let Some(bound) = frame.scope.bound {
            // A bound beyond what the clock can say is no bound.
            frame.deadline = self.now.checked_add(bound);
            self.deadline = earliest(self.deadline, frame.deadline);
        }
        self.spans += usize::from(frame.scope.span.is_some());
        self.frames.push(frame);
    }

    fn pop(&mut self) -> Option<Frame> {
        let frame = self.frames.pop()?;
        self.spans -= usize::from(frame.scope.span.is_some());
        if frame.deadline.is_some() {
            self.deadline = self
                .frames
                .iter()
                .fold(None, |least, frame| earliest(least, frame.deadline));
        }
        Some(frame)
    }

    /// Goes up from where the walk stands, telling each layer how the call ended.
    pub(super) fn ascend(&mut self, status: Status<'_>) -> Ascent {
        while let Some((frame, exit)) = self.leave(status) {
            match exit {
                Exit::Done => {}
                Exit::Replace(error) => return Ascent::Replace(self.place(error)),
                Exit::Exhausted => return Ascent::Exhaust,
                Exit::Repeat { after } if self.may_repeat(status) => {
                    if let Status::Err(failed) = status {
                        self.last = failed.error().cloned();
                    }
                    let until = if after.is_zero() {
                        None
                    } else {
                        self.now.checked_add(after)
                    };
                    if self.would_pass(until, &frame) {
                        return Ascent::Exhaust;
                    }
                    self.reenter(frame);
                    return Ascent::Repeat { until };
                }
                Exit::Duplicate if self.keeps_arguments() => {
                    self.reenter(frame);
                    return Ascent::Repeat { until: None };
                }
                Exit::Repeat { .. } | Exit::Duplicate => {}
            }
        }
        Ascent::Return
    }

    /// Tells the innermost layer that is still entered.
    fn leave(&mut self, status: Status<'_>) -> Option<(Frame, Exit)> {
        let mut frame = self.pop()?;
        let layer = self.layers.get(self.frames.len())?;
        let outcome = Outcome {
            status,
            at: self.now,
            elapsed: self.now.saturating_duration_since(frame.entered),
        };
        let (call, scope) = (&self.call, &mut frame.scope);
        let exit = within(&self.frames, self.spans, || layer.exit(call, scope, &outcome));
        Some((frame, exit))
    }

    /// Whether a bound passes before a repetition could begin: then the failure is passed on at once, since waiting
    /// would only hide it behind a timeout.
    fn would_pass(&self, until: Option<Instant>, frame: &Frame) -> bool {
        let deadline = earliest(self.deadline, frame.deadline);
        deadline.is_some_and(|deadline| deadline <= until.unwrap_or(self.now))
    }

    fn reenter(&mut self, frame: Frame) {
        self.call.attempt = self.call.attempt.saturating_add(1);
        self.spans += usize::from(frame.scope.span.is_some());
        self.deadline = earliest(self.deadline, frame.deadline);
        self.frames.push(frame);
    }

    fn may_repeat(&self, status: Status<'_>) -> bool {
        let outcome = Outcome {
            status,
            at: self.now,
            elapsed: Duration::ZERO,
        };
        self.keeps_arguments() && self.call.may_repeat(&outcome)
    }

    /// Whether the arguments must survive the next call of the implementation.
    pub(super) fn keeps_arguments(&self) -> bool {
        self.repeats && !self.call.method().is_once()
    }

    /// The earliest moment at which a bound passes.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// A bound has passed: tells the layers inside the one that set it, and gives that one's error.
    ///
    /// What was being awaited must have been dropped before.
    pub(super) fn expire(&mut self) -> Error {
        self.read_clock();
        self.waiting = None;
        let now = self.now;
        // Of several that passed at once, the outermost ends the others too.
        let passed = self
            .frames
            .iter()
            .position(|frame| frame.deadline.is_some_and(|deadline| deadline <= now));
        let bound = passed
            .and_then(|index| self.frames.get(index)?.scope.bound)
            .unwrap_or_default();
        while passed.is_some_and(|index| self.frames.len() > index + 1) {
            self.leave(Status::Cancelled);
        }
        let mut error = Error::new(
            ErrorKind::Timeout,
            format!(
                "no answer within {bound:?}; if that is too short for this call, raise the timeout of its stack"
            ),
        );
        if !self.called {
            error = error.without_effect();
        }
        if let Some(last) = self.last.take() {
            error = error.with_source(last);
        }
        self.place(error)
    }

    /// The error of a driver that would call without having arguments left; the walk itself prevents it.
    pub(super) fn arguments_spent(&self) -> Error {
        self.place(
            Error::new(
                ErrorKind::Internal,
                "the call was to be repeated after its arguments were given away",
            )
            .without_effect(),
        )
    }

    fn place(&self, error: Error) -> Error {
        let method = self.call.method();
        error.at(method.component(), self.call.backend(), method.name())
    }

    pub(super) fn read_clock(&mut self) {
        self.now = Instant::now();
    }

    /// Runs `work` in the spans of the layers that were entered.
    pub(super) fn in_spans<T>(&self, work: impl FnOnce() -> T) -> T {
        within(&self.frames, self.spans, work)
    }

    /// Notes that control came back from the runtime.
    pub(super) fn resume(&mut self) {
        self.suspended = false;
    }

    /// Notes that control goes back to the runtime.
    pub(super) fn suspend(&mut self) {
        self.suspended = true;
    }
}

impl Drop for Walk<'_> {
    fn drop(&mut self) {
        if self.frames.is_empty() {
            return;
        }
        self.read_clock();
        let status = if self.suspended {
            Status::Cancelled
        } else {
            Status::Panicked
        };
        while self.leave(status).is_some() {}
    }
}

fn earliest(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// Runs `work` inside the spans of `frames`, outermost first; with no span, it is just called.
#[inline]
fn within<T>(frames: &[Frame], spans: usize, work: impl FnOnce() -> T) -> T {
    if spans == 0 {
        return work();
    }
    let guards: SmallVec<[_; 2]> = frames
        .iter()
        .filter_map(|frame| frame.scope.span.as_deref().map(tracing::Span::enter))
        .collect();
    let result = work();
    // Spans are left innermost first.
    guards.into_iter().rev().for_each(drop);
    result
}
