//! An ordered list of interceptors, and the check of its order.

use std::fmt;
use std::sync::Arc;

use super::interceptor::{Interceptor, Role};
use super::proxy::Proxy;
use crate::backend::Backend;
use crate::error::{Error, Result};

/// An ordered list of interceptors: the first one added is the outermost, it sees a call first and its outcome last.
///
/// Cloning it shares the interceptors, and with them their state: two components wrapped by clones of one stack share
/// one concurrency limit and one recorder.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use std::sync::Arc;
/// use std::time::Duration;
/// use infra_core::intercept::{Recorder, Stack, Timeout};
/// use infra_core::{Result, async_trait, intercept};
///
/// #[intercept(component = "greeter")]
/// #[async_trait]
/// trait Greeter: Send + Sync {
///     #[call(idempotent)]
///     async fn greet(&self, name: &str) -> Result<String>;
/// }
///
/// struct Polite;
/// #[async_trait]
/// impl Greeter for Polite {
///     async fn greet(&self, name: &str) -> Result<String> {
///         Ok(format!("good day, {name}"))
///     }
/// }
///
/// let recorder = Arc::new(Recorder::new());
/// let stack = Stack::new()
///     .with_shared(recorder.clone())
///     .with(Timeout::new(Duration::from_millis(300)));
///
/// let plain: Arc<dyn Greeter> = Arc::new(Polite);
/// let greeter: Arc<dyn Greeter> = stack.wrap_named("polite", plain);
/// assert_eq!(greeter.greet("Ann").await?, "good day, Ann");
/// assert_eq!(recorder.labels(), ["greeter.greet"]);
/// # Result::<()>::Ok(()) }).unwrap();
/// ```
#[derive(Clone, Default)]
pub struct Stack {
    layers: Vec<Arc<dyn Interceptor>>,
    repeats: bool,
}

impl Stack {
    /// No interceptor: what it wraps is called as if it were not wrapped, but for one branch.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            layers: Vec::new(),
            repeats: false,
        }
    }

    /// The same stack with one more interceptor, inside those that it has.
    #[must_use]
    pub fn with(self, interceptor: impl Interceptor) -> Self {
        self.with_shared(Arc::new(interceptor))
    }

    /// The same stack with one more interceptor that somebody else holds too, to read it or to steer it.
    #[must_use]
    pub fn with_shared(mut self, interceptor: Arc<dyn Interceptor>) -> Self {
        self.repeats |= interceptor.repeats();
        self.layers.push(interceptor);
        self
    }

    /// The same stack with the interceptors of `inner` inside its own.
    #[must_use]
    pub fn with_stack(self, inner: &Self) -> Self {
        inner
            .layers
            .iter()
            .fold(self, |stack, layer| stack.with_shared(Arc::clone(layer)))
    }

    /// Wraps a component; the result is used in its place.
    ///
    /// The proxy of a `dyn Trait` implements that trait, so the result goes wherever the original went:
    /// `let cache: Arc<dyn KeyValue> = stack.wrap(cache);`
    #[must_use]
    pub fn wrap<T: Backend + ?Sized>(&self, inner: Arc<T>) -> Arc<Proxy<T>> {
        let backend = inner.backend();
        self.wrap_named(backend, inner)
    }

    /// Wraps something that is not a [`Backend`], such as a service's own trait; `backend` names what serves it.
    #[must_use]
    pub fn wrap_named<T: ?Sized>(&self, backend: &'static str, inner: Arc<T>) -> Arc<Proxy<T>> {
        Arc::new(Proxy::new(inner, backend, self.clone()))
    }

    /// The interceptors, outermost first.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<dyn Interceptor>> {
        self.layers.iter()
    }

    /// Whether it has no interceptor.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    /// Finds orders that do not do what they seem to do. [`StandardStack`](super::StandardStack) always passes.
    ///
    /// # Errors
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) that names both interceptors of the first trap found, and says why:
    /// - a timeout outside a retry with no timeout inside it: one slow attempt uses up the time of all;
    /// - a retry outside a breaker, or outside a limit: each attempt counts as a call of its own, and a refusal is repeated;
    /// - a limit inside a breaker: a full queue would be counted as an unwell backend;
    /// - two retries: their attempts multiply;
    /// - a timeout, retry, breaker or limit inside faults: it never sees the faults.
    pub fn validate(&self) -> Result<()> {
        let roles: Vec<Role> = self.layers.iter().map(|layer| layer.role()).collect();
        for (outer, outer_role) in roles.iter().enumerate() {
            for (inner, inner_role) in roles.iter().enumerate().skip(outer + 1) {
                let covered = *outer_role == Role::Timeout
                    && roles.iter().skip(inner + 1).any(|role| *role == Role::Timeout);
                if let (Some(trap), false) = (trap(*outer_role, *inner_role), covered) {
                    return Err(self.report(outer, inner, trap));
                }
            }
        }
        Ok(())
    }

    fn report(&self, outer: usize, inner: usize, trap: &str) -> Error {
        let name = |index: usize| self.layers.get(index).map_or("", |layer| layer.name());
        Error::invalid_config(format!(
            "`{}` (place {}) stands outside `{}` (place {}), counted from the outermost: {trap}",
            name(outer),
            outer + 1,
            name(inner),
            inner + 1
        ))
        .at("intercept", "", "validate")
    }

    pub(super) fn layers(&self) -> &[Arc<dyn Interceptor>] {
        &self.layers
    }

    pub(super) fn repeats(&self) -> bool {
        self.repeats
    }
}

/// Why `inner` should not stand inside `outer`, if it should not.
fn trap(outer: Role, inner: Role) -> Option<&'static str> {
    match (outer, inner) {
        (Role::Timeout, Role::Retry) => {
            Some("one slow attempt uses up the time of all attempts; put a timeout inside the retry as well")
        }
        (Role::Retry, Role::Retry) => Some("their attempts multiply; keep one"),
        (Role::Retry, Role::Breaker) => {
            Some("the retry would repeat the breaker's own refusals; put the breaker outside the retry")
        }
        (Role::Retry, Role::Limit) => {
            Some("every attempt would queue again and count as a call; put the limit outside the retry")
        }
        (Role::Breaker, Role::Limit) => {
            Some("a full queue would be counted as an unwell backend; put the limit outside the breaker")
        }
        (Role::Faults, Role::Timeout | Role::Retry | Role::Breaker | Role::Limit) => {
            Some("it would never see the injected faults; put the faults innermost")
        }
        _ => None,
    }
}

impl fmt::Debug for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.layers.iter().map(|layer| layer.name()))
            .finish()
    }
}
