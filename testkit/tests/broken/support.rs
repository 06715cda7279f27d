//! What broken backends share. Most are wrappers: what they have of `Backend` is that of the backend that they break.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Implements `Backend` for a wrapper by its field `inner`; `shutdown = close` lets its method `close` do that part. The trait must be
/// in scope.
macro_rules! backend_of_inner {
    ($wrapper:ty) => {
        backend_of_inner!(@with $wrapper, |this, deadline| this.inner.shutdown(deadline).await);
    };
    ($wrapper:ty, shutdown = $close:ident) => {
        backend_of_inner!(@with $wrapper, |this, deadline| this.$close(deadline).await);
    };
    (@with $wrapper:ty, |$this:ident, $deadline:ident| $shutdown:expr) => {
        #[infra_core::async_trait]
        impl infra_core::Backend for $wrapper {
            fn backend(&self) -> &'static str {
                self.inner.backend()
            }

            fn capabilities(&self) -> &infra_core::capability::Capabilities {
                self.inner.capabilities()
            }

            async fn health(&self) -> infra_core::Result<()> {
                self.inner.health().await
            }

            async fn shutdown(&self, $deadline: std::time::Duration) -> infra_core::Result<()> {
                let $this = self;
                $shutdown
            }
        }
    };
}

pub(crate) use backend_of_inner;

/// Locks a mutex whose data are whole after every statement.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
