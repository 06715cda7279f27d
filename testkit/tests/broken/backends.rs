//! Registrations of backends that are broken on purpose.

use std::sync::Arc;
use std::time::Duration;

use infra_core::assembly::{BackendFactory, BackendOptions, Backends, OpenContext, Section, factory};
use infra_core::capability::{Capabilities, Limits};
use infra_core::config::{BackendUrl, Problems, Profile, Validate};
use infra_core::rate_limit::{Decision, LocalBuckets, RateLimitStore, Take};
use infra_core::{Backend, Error, ErrorKind, Result, async_trait};
use infra_testkit::conformance::backends::{Component, Opening};
use infra_testkit::conformance::{self, Breakage, Fixture, prove};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub(crate) const FAMILY: &str = "backends";

#[test]
#[rustfmt::skip] // a table
fn every_scenario_notices_its_defect_and_no_other() {
    use Defect::*;
    prove(
        conformance::backends::SCENARIOS,
        &[
            broken("META-001", WrongDefaults, "has defaults for production that it refuses"),
            broken("META-002", IgnoresOptions, "ignores options that it does not know"),
            broken("META-003", QuotesOptions, "quotes the options in its refusal"),
            broken("META-004", IgnoresParameters, "ignores the parameters of the URL"),
            broken("META-005", TakesForeignSchemes, "registers a scheme of somebody else"),
            broken("META-006", QuotesUrl, "quotes the URL in its refusal"),
            broken("META-007", OpensUnwell, "opens before it can work"),
            broken("META-008", ImpossibleLimits, "declares a shortest time to live above the longest"),
            broken("META-009", WellForEver, "says that it is well after its shutdown"),
        ],
    );
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Defect {
    WrongDefaults,
    IgnoresOptions,
    QuotesOptions,
    IgnoresParameters,
    TakesForeignSchemes,
    QuotesUrl,
    OpensUnwell,
    ImpossibleLimits,
    WellForEver,
}

const SCHEME: &str = "odd";

fn broken(breaks: &str, defect: Defect, words: &'static str) -> Breakage<Opening> {
    Breakage::new(breaks, words, move |_setup| async move {
        let register = move |backends: &mut Backends| {
            backends.with_rate_limit_store(SCHEME, Careless(defect));
            if defect == Defect::TakesForeignSchemes {
                backends.with_rate_limit_store("gopher", Careless(defect));
            }
        };
        let url = BackendUrl::parse("odd://")?;
        let opening = Arc::new(Opening::new(Component::RateLimit, register, url, "max_buckets"));
        Ok(Fixture::in_process(move || {
            let opening = Arc::clone(&opening);
            async { Ok(opening) }
        }))
    })
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    max_buckets: usize,
}

impl Validate for Options {
    fn validate(&self, _: &mut Problems) {}
}

impl BackendOptions for Options {
    fn of(_: Profile) -> Self {
        Self { max_buckets: 100 }
    }

    fn take_url(&mut self, url: &BackendUrl) -> Result<()> {
        url.check_params(&[])?;
        if url.user().is_some() {
            return Err(Error::invalid_config("it knows no users"));
        }
        Ok(())
    }
}

/// Opens buckets, with one thing wrong on the way.
#[derive(Debug, Clone, Copy)]
struct Careless(Defect);

impl Careless {
    fn is(self, defect: Defect) -> bool {
        self.0 == defect
    }

    fn careful(self) -> impl BackendFactory<dyn RateLimitStore> {
        factory(move |options: Options, _: OpenContext| async move {
            let buckets = Odd {
                inner: LocalBuckets::new(options.max_buckets),
                limits: Capabilities::new(Limits::DEFAULT.with_ttl(
                    Duration::from_secs(2),
                    Duration::from_secs(1),
                    Duration::ZERO,
                )),
                defect: self.0,
            };
            Ok(Arc::new(buckets) as Arc<dyn RateLimitStore>)
        })
    }

    /// The section without what this backend ignores.
    fn seen(self, section: &Section) -> Section {
        let mut seen = section.clone();
        let bare = BackendUrl::file(SCHEME, "");
        match self.0 {
            Defect::IgnoresOptions if !has_number(section) => seen = Section::new(section.url.clone()),
            Defect::IgnoresParameters if section.url.user().is_none() => seen.url = bare,
            _ => {}
        }
        seen
    }

    /// The refusal with what it should not say.
    fn said(self, section: &Section, error: Error) -> Error {
        let quoted = match self.0 {
            Defect::QuotesOptions => format!("{:?}", options(section)),
            Defect::QuotesUrl => section.url.expose().expose().clone(),
            _ => return error,
        };
        error.context(quoted)
    }
}

fn options(section: &Section) -> Map<String, Value> {
    section.options(&Map::new()).unwrap_or_default()
}

fn has_number(section: &Section) -> bool {
    options(section).contains_key("max_buckets")
}

#[async_trait]
impl BackendFactory<dyn RateLimitStore> for Careless {
    fn check(&self, section: &Section, profile: Profile, problems: &mut Problems) {
        let mut found = Problems::new();
        self.careful().check(&self.seen(section), profile, &mut found);
        if let Err(error) = found.finish() {
            problems.add("", self.said(section, error).to_string());
        }
        let wrong = self.is(Defect::WrongDefaults) && profile == Profile::Production;
        problems.ensure(!wrong, "max_buckets", "is too small for production");
    }

    async fn open(&self, section: &Section, context: &OpenContext) -> Result<Arc<dyn RateLimitStore>> {
        let opened = self.careful().open(&self.seen(section), context).await;
        opened.map_err(|error| self.said(section, error))
    }
}

/// Buckets that say something wrong of themselves.
#[derive(Debug)]
struct Odd {
    inner: LocalBuckets,
    limits: Capabilities,
    defect: Defect,
}

#[async_trait]
impl Backend for Odd {
    fn backend(&self) -> &'static str {
        SCHEME
    }

    fn capabilities(&self) -> &Capabilities {
        match self.defect {
            Defect::ImpossibleLimits => &self.limits,
            _ => self.inner.capabilities(),
        }
    }

    async fn health(&self) -> Result<()> {
        match self.defect {
            Defect::OpensUnwell if self.inner.health().await.is_ok() => {
                Err(Error::new(ErrorKind::Unavailable, "no server was asked yet"))
            }
            Defect::WellForEver => Ok(()),
            _ => self.inner.health().await,
        }
    }

    async fn shutdown(&self, deadline: Duration) -> Result<()> {
        self.inner.shutdown(deadline).await
    }
}

#[async_trait]
impl RateLimitStore for Odd {
    async fn take(&self, takes: &[Take]) -> Result<Vec<Decision>> {
        self.inner.take(takes).await
    }
}
