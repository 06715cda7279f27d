//! The walk of one call through the layers of its stack: down through every `enter`, up through every `exit`.
//!
//! It knows nothing of the types of the call, so that it is compiled once and not for every method.

use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;
use tokio::time::Instant;

use super::interceptor::{Enter, Exit, Interceptor, Outcome, Scope, State, Status, Waiting};
use super::method::Call;
use crate::error::{Error, ErrorKind, Failure as _};

/// So many layers are walked without allocating; more cost one allocation.
const INLINE_LAYERS: usize = 8;

/// Where the walk stands, and how to undo it.
///
/// Dropping it before it has ended tells every layer that was entered: this is how cancellation reaches them.
pub(super) struct Walk<'a> {
    layers: &'a [Arc<dyn Interceptor>],
    repeats: bool,
    call: Call<'a>,
    /// One frame per layer, outermost first. They are worked on where they are: moving them costs more than most layers.
    frames: SmallVec<[Frame; INLINE_LAYERS]>,
    /// Whether the layer of the last frame is not inside: not admitted yet, or already told the end.
    outside: bool,
    /// How many frames have a span.
    spans: usize,
    now: Instant,
    /// Whether control is with the runtime, so that being dropped means cancelled and not unwinding.
    suspended: bool,
    /// Whether the implementation was called at all.
    called: bool,
    /// Why the call was last repeated.
    last: Option<Error>,
}

struct Frame {
    scope: Scope,
    /// Always there; an option so that an empty frame is a constant, which is copied faster than it is put together.
    entered: Option<Instant>,
}

impl Frame {
    const EMPTY: Self = Self {
        scope: Scope::EMPTY,
        entered: None,
    };

    /// When the bound that the layer set passes; a bound beyond what the clock can say is no bound.
    fn deadline(&self) -> Option<Instant> {
        self.entered?.checked_add(self.scope.bound?)
    }
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
    /// Bring the failure into this final form and go on.
    Conclude(Error),
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
            outside: false,
            spans: 0,
            suspended: false,
            called: false,
            last: None,
        }
    }

    /// Goes down from where the walk stands, until something is to be awaited or a layer refuses.
    pub(super) fn descend(&mut self) -> Descent {
        while let Some(layer) = self.layers.get(self.frames.len()) {
            match self.ask(&**layer) {
                Enter::Proceed => self.step_inside(),
                Enter::Wait(waiting) => return Descent::Wait(waiting),
                Enter::Refuse(error) => {
                    self.pop_outside();
                    return Descent::Refuse(self.place(error));
                }
            }
        }
        self.called = true;
        Descent::Call
    }

    /// Asks the next layer, whose frame is pushed and still outside.
    #[inline]
    fn ask(&mut self, layer: &dyn Interceptor) -> Enter {
        self.outside = true;
        self.frames.push(Frame::EMPTY);
        let Some((frame, outer)) = self.frames.split_last_mut() else {
            return Enter::Proceed;
        };
        frame.entered = Some(self.now);
        within(outer, self.spans, || layer.enter(&self.call, &mut frame.scope))
    }

    /// The layer that waited has what it wanted: it is inside, and the walk goes on.
    pub(super) fn admit(&mut self, state: State) -> Descent {
        self.read_clock();
        if let Some(frame) = self.frames.last_mut() {
            frame.scope.state = state;
        }
        self.step_inside();
        self.descend()
    }

    /// The layer that waited refuses the call.
    pub(super) fn refuse(&mut self, error: Error) -> Error {
        self.read_clock();
        self.pop_outside();
        self.place(error)
    }

    /// Goes up from where the walk stands, telling each layer how the call ended.
    pub(super) fn ascend(&mut self, status: Status<'_>) -> Ascent {
        while !self.frames.is_empty() {
            let next = match self.tell(status) {
                Exit::Done => None,
                Exit::Replace(error) => Some(Ascent::Replace(self.place(error))),
                Exit::Conclude(error) => Some(Ascent::Conclude(error)),
                Exit::Repeat { after } => self.repeat(after, status),
                Exit::Duplicate => self.duplicate(),
            };
            self.pop_outside();
            if let Some(next) = next {
                return next;
            }
        }
        Ascent::Return
    }

    /// The layer of the last frame wants everything inside it done again after a delay.
    ///
    /// A repetition that could only begin when a bound has passed is not waited for, since that would only hide the
    /// failure behind a timeout.
    fn repeat(&mut self, after: Duration, status: Status<'_>) -> Option<Ascent> {
        let Status::Err(failed) = status else { return None };
        let outcome = Outcome {
            status,
            at: self.now,
            entered: self.now,
        };
        if !self.keeps_arguments() || !self.call.may_repeat(&outcome) {
            return None;
        }
        let begins = self.now.checked_add(after)?;
        let passes = self.frames.iter().filter_map(Frame::deadline).min();
        if passes.is_some_and(|passes| passes <= begins) {
            let error = failed.error()?.clone().exhausted();
            let why =
                "not repeated, because the next attempt would begin after the time allowed from outside";
            return Some(Ascent::Conclude(error.context(why)));
        }
        self.last = failed.error().cloned();
        self.begin_again();
        Some(Ascent::Repeat {
            until: (!after.is_zero()).then_some(begins),
        })
    }

    fn duplicate(&mut self) -> Option<Ascent> {
        if !self.keeps_arguments() {
            return None;
        }
        self.begin_again();
        Some(Ascent::Repeat { until: None })
    }

    fn begin_again(&mut self) {
        self.call.attempt = self.call.attempt.saturating_add(1);
        self.step_inside();
    }

    /// Whether the arguments must survive the next call of the implementation.
    pub(super) fn keeps_arguments(&self) -> bool {
        self.repeats && !self.call.method().is_once()
    }

    /// The earliest moment at which a bound of the layers inside passes; only asked for what is not ready at once.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let inside = self.frames.len() - usize::from(self.outside);
        self.frames.iter().take(inside).filter_map(Frame::deadline).min()
    }

    /// A bound has passed: tells the layers inside the one that set it, and gives that one's error.
    ///
    /// What was being awaited must have been dropped before.
    pub(super) fn expire(&mut self) -> Error {
        self.read_clock();
        self.pop_outside();
        let now = self.now;
        // Of several that passed at once, the outermost ends the others too.
        let passed = self
            .frames
            .iter()
            .position(|frame| frame.deadline().is_some_and(|deadline| deadline <= now));
        let inside = passed.map_or(self.frames.len(), |index| index + 1);
        let bound = passed.and_then(|index| self.frames.get(index)?.scope.bound);
        while self.frames.len() > inside {
            self.tell_the_end(Status::Cancelled);
        }
        let bound = bound.unwrap_or_default();
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
        let message = "the call was to be repeated after its arguments were given away";
        self.place(Error::new(ErrorKind::Internal, message).without_effect())
    }

    fn place(&self, error: Error) -> Error {
        let method = self.call.method();
        error.at(method.component(), self.call.backend(), method.name())
    }

    #[inline]
    pub(super) fn read_clock(&mut self) {
        self.now = Instant::now();
    }

    /// Runs `work` in the spans of the layers that were entered.
    #[inline]
    pub(super) fn in_spans<T>(&self, work: impl FnOnce() -> T) -> T {
        within(&self.frames, self.spans, work)
    }

    /// Notes that control goes back to the runtime.
    #[inline]
    pub(super) fn suspend(&mut self) {
        self.suspended = true;
    }

    /// Notes that control came back from the runtime.
    #[inline]
    pub(super) fn resume(&mut self) {
        self.suspended = false;
    }

    /// Tells the layer of the last frame, which afterwards is outside and still to be popped.
    #[inline]
    fn tell(&mut self, status: Status<'_>) -> Exit {
        self.step_outside();
        let Some((frame, outer)) = self.frames.split_last_mut() else {
            return Exit::Done;
        };
        let Some(layer) = self.layers.get(outer.len()) else {
            return Exit::Done;
        };
        let outcome = Outcome {
            status,
            at: self.now,
            entered: frame.entered.unwrap_or(self.now),
        };
        within(outer, self.spans, || {
            layer.exit(&self.call, &mut frame.scope, &outcome)
        })
    }

    /// Tells the layer of the last frame that the call is over for it, whatever it answers.
    #[cold]
    fn tell_the_end(&mut self, status: Status<'_>) {
        let _ = self.tell(status);
        self.pop_outside();
    }

    /// The layer of the last frame is inside: what it asked for holds from now on.
    #[inline]
    fn step_inside(&mut self) {
        self.outside = false;
        if let Some(frame) = self.frames.last() {
            self.spans += usize::from(frame.scope.span.is_some());
        }
    }

    /// The layer of the last frame is outside: what it asked for holds no more.
    #[inline]
    fn step_outside(&mut self) {
        self.outside = true;
        if let Some(frame) = self.frames.last() {
            self.spans -= usize::from(frame.scope.span.is_some());
        }
    }

    /// Removes the last frame if its layer is outside.
    #[inline]
    fn pop_outside(&mut self) {
        if std::mem::take(&mut self.outside) {
            self.frames.truncate(self.frames.len().saturating_sub(1));
        }
    }
}

impl Drop for Walk<'_> {
    fn drop(&mut self) {
        self.pop_outside();
        if self.frames.is_empty() {
            return;
        }
        self.read_clock();
        let status = if self.suspended {
            Status::Cancelled
        } else {
            Status::Panicked
        };
        while !self.frames.is_empty() {
            self.tell_the_end(status);
        }
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
