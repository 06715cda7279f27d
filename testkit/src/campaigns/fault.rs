//! Faults: something that is done to servers or connections, and undone after a while.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::{Verdict, Violation};

type Step = Box<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// Something that happens to servers or connections, for a while.
pub struct Fault {
    name: String,
    lasts: Duration,
    begin: Step,
    end: Step,
}

impl Fault {
    /// A fault that lasts this long: how it begins, and how it is undone. Both fail with what the control of the servers says, which
    /// ends the campaign.
    pub fn new<B, E, BR, ER, P, Q>(name: impl Into<String>, lasts: Duration, begin: B, end: E) -> Self
    where
        B: Fn() -> BR + Send + Sync + 'static,
        E: Fn() -> ER + Send + Sync + 'static,
        BR: Future<Output = Result<(), P>> + Send + 'static,
        ER: Future<Output = Result<(), Q>> + Send + 'static,
        P: fmt::Display,
        Q: fmt::Display,
    {
        Self {
            name: name.into(),
            lasts,
            begin: Box::new(move || {
                let doing = begin();
                Box::pin(async move { doing.await.map_err(|problem| problem.to_string()) })
            }),
            end: Box::new(move || {
                let doing = end();
                Box::pin(async move { doing.await.map_err(|problem| problem.to_string()) })
            }),
        }
    }

    /// What it is called in reports.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Begins it, lets it last, and ends it.
    pub(super) async fn inflict(&self) -> Verdict<()> {
        let failed = |problem: String| {
            Violation::new(format!(
                "the fault {:?} could not be played: {problem}",
                self.name
            ))
        };
        (self.begin)().await.map_err(failed)?;
        tokio::time::sleep(self.lasts).await;
        (self.end)().await.map_err(failed)
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fault")
            .field("name", &self.name)
            .field("lasts", &self.lasts)
            .finish_non_exhaustive()
    }
}
