//! The one proxy type, for which the macro implements every intercepted trait.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::stack::Stack;
use crate::backend::Backend;
use crate::capability::Capabilities;
use crate::error::Result;

/// Something that is called through a [`Stack`] of interceptors.
///
/// It implements every intercepted trait that `T` implements; `Proxy<dyn Cache>` is a `Cache`, and so a `KeyValue`. Made
/// by [`Stack::wrap`]. Its own functions take the proxy as an argument, like those of `Arc`, so as not to hide methods of the traits.
pub struct Proxy<T: ?Sized> {
    inner: Arc<T>,
    backend: &'static str,
    stack: Stack,
}

impl<T: ?Sized> Proxy<T> {
    pub(super) fn new(inner: Arc<T>, backend: &'static str, stack: Stack) -> Self {
        Self {
            inner,
            backend,
            stack,
        }
    }

    /// What is called in the end.
    #[inline]
    #[must_use]
    pub fn inner(this: &Self) -> &Arc<T> {
        &this.inner
    }

    /// The name of the backend, as interceptors see it.
    #[inline]
    #[must_use]
    pub fn label(this: &Self) -> &'static str {
        this.backend
    }

    /// The stack, unless it is empty.
    #[inline]
    #[must_use]
    pub fn interceptors(this: &Self) -> Option<&Stack> {
        if this.stack.is_empty() {
            None
        } else {
            Some(&this.stack)
        }
    }
}

impl<T: ?Sized> fmt::Debug for Proxy<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy")
            .field("backend", &self.backend)
            .field("stack", &self.stack)
            .finish_non_exhaustive()
    }
}

/// The common part is forwarded untouched: a health check must reach the server, not an open breaker in front of it, and
/// a shutdown must not be refused by a limit.
#[async_trait]
impl<T: Backend + ?Sized> Backend for Proxy<T> {
    fn backend(&self) -> &'static str {
        self.inner.backend()
    }

    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    async fn health(&self) -> Result<()> {
        self.inner.health().await
    }

    async fn shutdown(&self, deadline: Duration) -> Result<()> {
        self.inner.shutdown(deadline).await
    }
}
