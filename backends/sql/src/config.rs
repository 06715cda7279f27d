//! The configuration of [`SqlDatabase`](crate::SqlDatabase).

use std::fmt;
use std::time::Duration;

use infra_core::Result;
use infra_core::config::{BackendUrl, Problems, Profile, Secret, Validate};
use infra_core::database::ShardingConfig;
use serde::{Deserialize, Serialize};

use crate::dsn;

/// How much a commit waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Durability {
    /// A commit is on the disk before it is reported. Survives a power failure.
    #[default]
    Full,
    /// A commit is with the operating system before it is reported. Survives the end of the process; a power failure may
    /// undo the last commits, all of each or none of it.
    Relaxed,
}

/// How to reach a database, or several over which tables are sharded.
///
/// Two profiles give the numbers; `with_*` changes one of them. Durations in files are written `"1m30s"`.
///
/// ```
/// use std::time::Duration;
/// use infra_core::config::Validate;
/// use infra_sql::SqlConfig;
///
/// let config = SqlConfig::production("sqlite:///var/lib/app/app.db").with_slow_query(Duration::from_millis(200));
/// assert_eq!((config.max_connections, config.idle_connections), (100, 10));
/// config.check()?;
/// # Ok::<(), infra_core::Error>(())
/// ```
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct SqlConfig {
    /// The first database: `sqlite://path/to/file.db` or `sqlite::memory:`. Tables that are not sharded are here.
    pub url: Secret<String>,
    /// More databases. Shard `s` lives on database `s mod n` of all `n`, the first included.
    pub additional_urls: Vec<Secret<String>>,
    /// The most open connections to each database.
    pub max_connections: u32,
    /// How many connections to each database stay open although nobody uses them.
    pub idle_connections: u32,
    /// A connection is replaced when it is this old.
    #[serde(with = "infra_core::config::humane")]
    pub max_lifetime: Duration,
    /// A connection beyond `idle_connections` is closed when unused for this long.
    #[serde(with = "infra_core::config::humane")]
    pub idle_timeout: Duration,
    /// How long a call waits for a free connection.
    #[serde(with = "infra_core::config::humane")]
    pub acquire_timeout: Duration,
    /// How long a call waits for the write lock that another transaction holds.
    #[serde(with = "infra_core::config::humane")]
    pub busy_timeout: Duration,
    /// How long a statement may run before it is interrupted; of a stream, how long the next row may take.
    #[serde(with = "infra_core::config::humane")]
    pub statement_timeout: Duration,
    /// A statement that takes longer is logged.
    #[serde(with = "infra_core::config::humane")]
    pub slow_query: Duration,
    /// How long [`migrate`](infra_core::database::Database::migrate) waits for another starter's migrations.
    #[serde(with = "infra_core::config::humane")]
    pub migration_wait: Duration,
    /// How many shards [`scatter`](infra_core::database::Database::scatter) reads at the same time.
    pub scatter_concurrency: usize,
    /// How many different statements are kept prepared: once per database, and per connection by the driver.
    pub statement_cache: usize,
    /// What a commit waits for. Means nothing in memory.
    pub durability: Durability,
    /// Which tables are sharded, if any.
    pub sharding: Option<ShardingConfig>,
}

/// The development profile without a URL, which its validation then asks for.
impl Default for SqlConfig {
    fn default() -> Self {
        Self::development("")
    }
}

impl SqlConfig {
    /// For a developer's machine and tests: 25 connections, 5 idle, replaced after 5 minutes, slow from 100 ms, relaxed
    /// durability.
    #[must_use]
    pub fn development(url: impl Into<String>) -> Self {
        Self {
            url: Secret::new(url.into()),
            additional_urls: Vec::new(),
            max_connections: 25,
            idle_connections: 5,
            max_lifetime: Duration::from_secs(5 * 60),
            idle_timeout: Duration::from_secs(60),
            acquire_timeout: Duration::from_secs(5),
            busy_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(30),
            slow_query: Duration::from_millis(100),
            migration_wait: Duration::from_secs(5 * 60),
            scatter_concurrency: 8,
            statement_cache: 1024,
            durability: Durability::Relaxed,
            sharding: None,
        }
    }

    /// For service: 100 connections, 10 idle, replaced after an hour, slow from 500 ms, full durability.
    #[must_use]
    pub fn production(url: impl Into<String>) -> Self {
        Self {
            max_connections: 100,
            idle_connections: 10,
            max_lifetime: Duration::from_secs(60 * 60),
            idle_timeout: Duration::from_secs(30 * 60),
            slow_query: Duration::from_millis(500),
            durability: Durability::Full,
            ..Self::development(url)
        }
    }

    /// Adds a database over which shards are spread.
    #[must_use]
    pub fn with_additional_url(mut self, url: impl Into<String>) -> Self {
        self.additional_urls.push(Secret::new(url.into()));
        self
    }

    /// Sets the most open connections, and how many stay open unused, for each database.
    #[must_use]
    pub fn with_connections(mut self, max: u32, idle: u32) -> Self {
        self.max_connections = max;
        self.idle_connections = idle;
        self
    }

    /// Sets how long a call waits for a free connection.
    #[must_use]
    pub fn with_acquire_timeout(mut self, timeout: Duration) -> Self {
        self.acquire_timeout = timeout;
        self
    }

    /// Sets how long a call waits for the write lock.
    #[must_use]
    pub fn with_busy_timeout(mut self, timeout: Duration) -> Self {
        self.busy_timeout = timeout;
        self
    }

    /// Sets how long a statement may run.
    #[must_use]
    pub fn with_statement_timeout(mut self, timeout: Duration) -> Self {
        self.statement_timeout = timeout;
        self
    }

    /// Sets from when on a statement counts as slow.
    #[must_use]
    pub fn with_slow_query(mut self, threshold: Duration) -> Self {
        self.slow_query = threshold;
        self
    }

    /// Sets how long `migrate` waits for another starter.
    #[must_use]
    pub fn with_migration_wait(mut self, wait: Duration) -> Self {
        self.migration_wait = wait;
        self
    }

    /// Sets what a commit waits for.
    #[must_use]
    pub fn with_durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Sets which tables are sharded.
    #[must_use]
    pub fn with_sharding(mut self, sharding: ShardingConfig) -> Self {
        self.sharding = Some(sharding);
        self
    }

    /// Every database's URL, the first one first.
    pub(crate) fn urls(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.url)
            .chain(&self.additional_urls)
            .map(|url| url.expose().as_str())
    }

    /// The profile's configuration for a URL, as an assembly that knows backends by their scheme calls it.
    ///
    /// # Errors
    /// [`InvalidConfig`](infra_core::ErrorKind::InvalidConfig) when the URL is none of this backend's.
    pub fn from_url(url: &BackendUrl, profile: Profile) -> Result<Self> {
        let url = url.expose();
        dsn::parse(url.expose())?;
        Ok(match profile {
            Profile::Production => Self::production(url.into_inner()),
            _ => Self::development(url.into_inner()),
        })
    }
}

/// Everything that can be checked without opening the database.
impl Validate for SqlConfig {
    fn validate(&self, problems: &mut Problems) {
        problems.accept("url", dsn::parse(self.url.expose()));
        for (index, url) in self.additional_urls.iter().enumerate() {
            let path = format!("additional_urls[{index}]");
            let location = problems.accept(&path, dsn::parse(url.expose()));
            let private = matches!(location, Some(dsn::Location::Memory { name: None }));
            problems.ensure(
                private || !self.urls().take(index + 1).any(|other| other == url.expose()),
                &path,
                "is the same database as another one; name each once",
            );
        }
        problems.ensure(
            self.max_connections > 0,
            "max_connections",
            "is 0; allow at least one",
        );
        problems.ensure(
            self.idle_connections <= self.max_connections,
            "idle_connections",
            "is more than max_connections",
        );
        self.validate_times(problems);
        problems.ensure(
            self.scatter_concurrency > 0,
            "scatter_concurrency",
            "is 0; read at least one shard at a time",
        );
        problems.ensure(
            self.statement_cache > 0,
            "statement_cache",
            "is 0; keep at least one statement",
        );
        match &self.sharding {
            Some(sharding) => problems.within("sharding", |problems| sharding.validate(problems)),
            None => problems.ensure(
                self.additional_urls.is_empty(),
                "additional_urls",
                "names several databases, and no sharding would use them; add sharding or remove them",
            ),
        }
    }
}

impl SqlConfig {
    fn validate_times(&self, problems: &mut Problems) {
        for (path, duration) in [
            ("max_lifetime", self.max_lifetime),
            ("idle_timeout", self.idle_timeout),
            ("acquire_timeout", self.acquire_timeout),
            ("statement_timeout", self.statement_timeout),
        ] {
            problems.ensure(!duration.is_zero(), path, "is 0; give a time");
        }
        for (path, duration) in [
            ("busy_timeout", self.busy_timeout),
            ("acquire_timeout", self.acquire_timeout),
            ("statement_timeout", self.statement_timeout),
            ("migration_wait", self.migration_wait),
        ] {
            problems.ensure(duration <= LONGEST_WAIT, path, "is longer than a day");
        }
    }
}

/// Longer waits are mistakes, and would overflow the driver's clock arithmetic.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

/// URLs are shown without user, password and options.
impl fmt::Debug for SqlConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let additional: Vec<_> = self.urls().skip(1).map(dsn::redacted).collect();
        f.debug_struct("SqlConfig")
            .field("url", &dsn::redacted(self.url.expose()))
            .field("additional_urls", &additional)
            .field("max_connections", &self.max_connections)
            .field("idle_connections", &self.idle_connections)
            .field("max_lifetime", &self.max_lifetime)
            .field("idle_timeout", &self.idle_timeout)
            .field("acquire_timeout", &self.acquire_timeout)
            .field("busy_timeout", &self.busy_timeout)
            .field("statement_timeout", &self.statement_timeout)
            .field("slow_query", &self.slow_query)
            .field("migration_wait", &self.migration_wait)
            .field("scatter_concurrency", &self.scatter_concurrency)
            .field("statement_cache", &self.statement_cache)
            .field("durability", &self.durability)
            .field("sharding", &self.sharding)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use infra_core::ErrorKind;
    use infra_core::database::TableSharding;

    use super::*;

    #[test]
    fn profiles_carry_the_contracts_numbers() {
        let development = SqlConfig::development("sqlite::memory:");
        let production = SqlConfig::production("sqlite::memory:");
        let numbers = |config: &SqlConfig| {
            (
                config.max_connections,
                config.idle_connections,
                config.max_lifetime.as_secs(),
                config.slow_query.as_millis(),
            )
        };
        assert_eq!(numbers(&development), (25, 5, 300, 100));
        assert_eq!(numbers(&production), (100, 10, 3600, 500));
        assert!(development.check().is_ok() && production.check().is_ok());
    }

    #[test]
    fn reports_every_problem_with_its_path() {
        let mut config = SqlConfig::development("postgres://root:hunter2@localhost/app")
            .with_connections(0, 5)
            .with_acquire_timeout(Duration::ZERO)
            .with_statement_timeout(Duration::MAX)
            .with_additional_url("sqlite://")
            .with_sharding(ShardingConfig::new("", 0).with_table("drop table", TableSharding::default()));
        config.scatter_concurrency = 0;
        let error = config.check().expect_err("broken everywhere");
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        for path in [
            "url:",
            "additional_urls[0]:",
            "max_connections:",
            "idle_connections:",
            "acquire_timeout:",
            "statement_timeout:",
            "scatter_concurrency:",
            "sharding.key:",
            "sharding.shards:",
            "sharding.tables.drop table:",
        ] {
            assert!(error.message().contains(path), "{path} in {error}");
        }
        assert!(!format!("{error:?} {config:?}").contains("hunter2"));
    }

    #[test]
    fn reads_humane_durations_and_refuses_unknown_fields() {
        let config: SqlConfig = serde_json::from_str(
            r#"{"url": "sqlite::memory:", "slow_query": "1m30s", "durability": "full",
                "sharding": {"key": "session_id", "shards": 16, "tables": {"messages": {}}}}"#,
        )
        .expect("valid");
        assert_eq!(config.slow_query, Duration::from_secs(90));
        assert_eq!(config.durability, Durability::Full);
        assert_eq!(config.max_connections, 25);
        config.check().expect("valid");
        assert!(serde_json::from_str::<SqlConfig>(r#"{"url": "sqlite::memory:", "pool": 3}"#).is_err());
    }
}
