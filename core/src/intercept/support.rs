//! What the macro's output calls; public because it must be, not meant to be used by hand.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep, sleep_until};

use super::interceptor::{Failed, Status};
use super::method::Call;
use super::stack::Stack;
use super::walk::{Ascent, Descent, Walk};
use crate::error::{Error, Failure, Retry};

/// The output of an intercepted async method: a `Result` whose error implements [`Failure`].
#[diagnostic::on_unimplemented(
    message = "an intercepted async method must return a `Result`, not `{Self}`",
    label = "not a `Result`",
    note = "write `-> infra_core::Result<T>`, or `-> Result<T, E>` with an `E` that implements `infra_core::Failure`",
    note = "or mark the method `#[call(direct)]` to have it forwarded untouched"
)]
pub trait Fallible: Send + Sized {
    /// How the call ended.
    fn status(&self) -> Status<'_>;
    /// The outcome of a call that was refused or given up.
    fn failed(error: Error) -> Self;
    /// The same failure in its final form: `error` itself where the error is [`Error`], else marked exhausted as `error` is.
    #[must_use]
    fn concluded(self, error: Error) -> Self;
}

impl<T: Send, E: Failure> Fallible for Result<T, E> {
    #[inline]
    fn status(&self) -> Status<'_> {
        match self {
            Ok(_) => Status::Ok,
            Err(error) => Status::Err(Failed {
                kind: error.kind(),
                error: error.as_error(),
            }),
        }
    }

    fn failed(error: Error) -> Self {
        Err(E::from(error))
    }

    fn concluded(self, error: Error) -> Self {
        self.map_err(|mut failure| {
            if let Some(inner) = (&mut failure as &mut dyn Any).downcast_mut::<Error>() {
                *inner = error;
                failure
            } else if error.retry() == Retry::Exhausted {
                failure.exhausted()
            } else {
                failure
            }
        })
    }
}

/// An argument that can be given to a repeated call.
#[diagnostic::on_unimplemented(
    message = "an argument of type `{Self}` cannot be given to a repeated call, because it is not `Clone`",
    label = "not `Clone`",
    note = "mark the method `#[call(once)]` so that it is never repeated, or `#[call(direct)]` so that it is never intercepted"
)]
pub trait Repeatable {}

impl<T: Clone> Repeatable for T {}

/// Checks at compile time that an argument can be given to a repeated call.
#[inline]
pub const fn repeatable<T: Repeatable>(_: &T) {}

/// The arguments of a call, held until the last attempt takes them.
#[derive(Debug)]
pub struct Arguments<A>(Option<A>);

impl<A> Arguments<A> {
    /// Holds them.
    #[inline]
    pub const fn new(arguments: A) -> Self {
        Self(Some(arguments))
    }

    /// Gives them away.
    #[inline]
    pub fn take(&mut self) -> Option<A> {
        self.0.take()
    }

    /// Gives a copy of them, or them themselves if they need not be kept.
    #[inline]
    pub fn next(&mut self, keep: bool) -> Option<A>
    where
        A: Clone,
    {
        if keep { self.0.clone() } else { self.0.take() }
    }
}

/// Drives one call through a stack.
///
/// `invoke` makes the future of one attempt; it is told whether its arguments must survive for another, and gives `None`
/// when they are gone. All layers share this one future: none of them adds another.
///
/// # Cancellation
/// Dropping the future drops the attempt that is under way and then tells every layer that was entered.
pub fn drive<'a, R, C>(stack: &'a Stack, call: Call<'a>, mut invoke: C) -> impl Future<Output = R> + Send
where
    R: Fallible,
    C: FnMut(bool) -> Option<Pin<Box<dyn Future<Output = R> + Send + 'a>>> + Send,
{
    // Captured and so dropped last: layers are told only when what they guard is gone. Not an `async fn`, which would
    // keep a second copy of its arguments.
    let mut walk = Walk::new(stack.layers(), stack.repeats(), call);
    async move {
        let mut timer = pin!(None::<Sleep>);
        let mut descent = walk.descend();
        loop {
            let mut result = match descent {
                Descent::Refuse(error) => R::failed(error),
                Descent::Wait(waiting) => match within(&mut walk, timer.as_mut(), waiting).await {
                    Ok(Ok(state)) => {
                        descent = walk.admit(state);
                        continue;
                    }
                    Ok(Err(error)) => R::failed(walk.refuse(error)),
                    Err(Passed) => R::failed(walk.expire()),
                },
                Descent::Call => match invoke(walk.keeps_arguments()) {
                    Some(attempt) => match within(&mut walk, timer.as_mut(), attempt).await {
                        Ok(result) => {
                            walk.read_clock();
                            result
                        }
                        Err(Passed) => R::failed(walk.expire()),
                    },
                    None => R::failed(walk.arguments_spent()),
                },
            };
            let until = loop {
                match walk.ascend(result.status()) {
                    Ascent::Return => return result,
                    Ascent::Replace(error) => result = R::failed(error),
                    Ascent::Conclude(error) => result = result.concluded(error),
                    Ascent::Repeat { until } => break until,
                }
            };
            drop(result);
            if let Some(until) = until {
                pause(&mut walk, timer.as_mut(), until).await;
            }
            descent = walk.descend();
        }
    }
}

/// A bound passed before the future was ready.
struct Passed;

/// Awaits `future` in the spans and within the earliest bound of the layers that were entered.
#[inline]
fn within<F: Future + Unpin>(
    walk: &mut Walk<'_>,
    mut timer: Pin<&mut Option<Sleep>>,
    mut future: F,
) -> impl Future<Output = Result<F::Output, Passed>> {
    poll_fn(move |context| {
        walk.resume();
        if let Poll::Ready(output) = walk.in_spans(|| Pin::new(&mut future).poll(context)) {
            return Poll::Ready(Ok(output));
        }
        // Only what is not ready at once costs a timer.
        let polled = match walk.deadline() {
            Some(deadline) => poll_timer(timer.as_mut(), deadline, context),
            None => Poll::Pending,
        };
        if polled.is_pending() {
            walk.suspend();
        }
        polled.map(|()| Err(Passed))
    })
}

/// Waits until then; no bound can pass meanwhile, since a repetition beyond one is never begun.
fn pause(
    walk: &mut Walk<'_>,
    mut timer: Pin<&mut Option<Sleep>>,
    until: Instant,
) -> impl Future<Output = ()> {
    poll_fn(move |context| {
        walk.resume();
        let polled = poll_timer(timer.as_mut(), until, context);
        if polled.is_pending() {
            walk.suspend();
        } else {
            walk.read_clock();
        }
        polled
    })
}

fn poll_timer(mut timer: Pin<&mut Option<Sleep>>, until: Instant, context: &mut Context<'_>) -> Poll<()> {
    if timer
        .as_ref()
        .as_pin_ref()
        .is_none_or(|sleep| sleep.deadline() != until)
    {
        timer.set(Some(sleep_until(until)));
    }
    timer
        .as_pin_mut()
        .map_or(Poll::Pending, |sleep| sleep.poll(context))
}
