//! The log: `tracing` set up for services, with namespaces, trace ids, JSON or console lines, and levels that change at run
//! time.
//!
//! Business code uses the macros of `tracing` and knows nothing of this module; `main` sets it up once:
//!
//! ```
//! use infra_core::log::{self, LogConfig};
//! # use infra_core::log::Output;
//! # let directory = tempfile::tempdir().unwrap();
//! # let path = directory.path().join("log");
//!
//! let config = LogConfig::production();
//! # let config = config.with_output(Output::File(path.clone()));
//! let _guard = log::init(config, "im-logic")?; // keep it: dropping it writes the last lines
//!
//! tracing::info!("the service is up");
//! // {"level":"info","time":"2026-11-21T03:20:35.120394Z","namespace":"im-logic","caller":"src/main.rs:7","msg":"the service is up"}
//! # drop(_guard);
//! # assert!(std::fs::read_to_string(path).unwrap().contains(r#""msg":"the service is up""#));
//! # Ok::<(), infra_core::Error>(())
//! ```
//!
//! In business code, a namespace is a scope, and so is a trace id; everything logged inside carries both, across await
//! points, and in spawned tasks too if they are spawned with [`spawn_traced`](crate::telemetry::spawn_traced):
//!
//! ```
//! use infra_core::log;
//! use infra_core::telemetry::with_trace_id;
//!
//! async fn get_user(user_id: u64) {
//!     log::namespaced("get_user", async {
//!         tracing::info!(user_id, "reading the user");
//!         if let Err(error) = load(user_id).await {
//!             tracing::error!(error = &error as &dyn std::error::Error, "the user could not be read");
//!         }
//!     })
//!     .await;
//! }
//! # async fn load(_: u64) -> Result<(), std::io::Error> { Err(std::io::Error::other("gone")) }
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! // In the middleware of the server:
//! with_trace_id("4bf92f3577b34da6", get_user(42)).await;
//! # });
//! ```
//!
//! Namespaces are joined with dots below the name of the service, `im-logic.get_user`. Any span with a field `namespace` opens
//! one, so `#[tracing::instrument(fields(namespace = "user"))]` does as well. Outside of all of them an event's target says
//! where it belongs: `im_logic::user::auth` is `im-logic.user.auth`. Other fields of spans are added to the events inside.
//!
//! Levels by namespace follow the config centre:
//!
//! ```
//! # use infra_core::log::{self, LogConfig, Level, Levels};
//! # fn wire(guard: &log::LogGuard) -> infra_core::Result<()> {
//! let levels = guard.handle().hot_reload()?;
//! // let _following = levels.follow(config_center, "im-logic/log").await?;
//! levels.replace(Levels::new(Level::Info).with_namespace("user.auth", Level::Trace))?;
//! # Ok(())
//! # }
//! ```
//!
//! # Contract
//! - JSON keys come in this order: `level`, `time`, `namespace`, `trace_id` (inside a trace), `caller`, `msg`, then the fields.
//!   A field that is named like one of these gets `field_` before its name.
//! - Nobody waits for the log: when the buffer is full, lines are dropped and counted ([`LogGuard::dropped_lines`]). Whatever
//!   was accepted is written before the guard's drop returns, if the output takes it within ten seconds.
//! - A second [`init`] is an error.
//! - No file is rotated and none deleted unless [`Rotation`] says so.
//! - Fields named in [`LogConfig::redact`] are masked. The text of messages is not searched: put secrets into neither.

mod config;
mod console;
mod file;
mod handle;
mod json;
mod layer;
mod levels;
#[cfg(test)]
mod tests;
mod text;
mod writer;

use std::future::Future;
use std::io::{IsTerminal, Write};
use std::sync::Arc;

use arc_swap::ArcSwap;
pub use config::{Clock, Color, Format, LogConfig, Output, Rotation, SourceLocation};
pub use handle::{Handle, LogGuard};
pub use levels::{Level, Levels};
use tracing::{Instrument, Span, Subscriber};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

use self::layer::{LineLayer, NamespaceFilter, Shared};
use self::levels::Table;
use self::writer::LineQueue;
use crate::config::Validate;
use crate::error::{Error, ErrorKind, Result};

/// Sets up the log of the process; `namespace` is the name of the service.
///
/// # Errors
/// [`InvalidConfig`](ErrorKind::InvalidConfig) lists everything wrong with the configuration, or says why the file cannot be
/// opened; [`AlreadyExists`](ErrorKind::AlreadyExists) when the process has a log, or another `tracing` subscriber, already.
pub fn init(config: LogConfig, namespace: &str) -> Result<LogGuard> {
    let (subscriber, guard) = subscriber(config, namespace)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|source| {
        Error::new(
            ErrorKind::AlreadyExists,
            "the process has a log already; set it up once, in main",
        )
        .with_source(source)
        .at("log", "", "init")
    })?;
    Ok(guard)
}

/// Makes a log that is not the process's, for `tracing::subscriber::with_default` in tests.
///
/// # Errors
/// Those of [`init`] that concern the configuration.
pub fn subscriber(
    config: LogConfig,
    namespace: &str,
) -> Result<(impl Subscriber + Send + Sync + use<>, LogGuard)> {
    let (layer, guard) = layer(config, namespace)?;
    Ok((tracing_subscriber::registry().with(layer), guard))
}

/// Makes a log that writes to `output` whatever the configuration says: into a buffer, for tests.
///
/// ```
/// use std::io::Write;
/// use std::sync::{Arc, Mutex};
///
/// use infra_core::log::{self, LogConfig};
///
/// #[derive(Clone, Default)]
/// struct Buffer(Arc<Mutex<Vec<u8>>>);
///
/// impl Write for Buffer {
///     fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
///         self.0.lock().unwrap().write(bytes)
///     }
///     fn flush(&mut self) -> std::io::Result<()> {
///         Ok(())
///     }
/// }
///
/// let buffer = Buffer::default();
/// let (subscriber, guard) = log::subscriber_to(LogConfig::production(), "im-logic", buffer.clone())?;
/// tracing::subscriber::with_default(subscriber, || tracing::info!(password = "hunter2", "hello"));
/// drop(guard);
///
/// let line: serde_json::Value = serde_json::from_slice(&buffer.0.lock().unwrap()).unwrap();
/// assert_eq!(line["msg"], "hello");
/// assert_eq!(line["password"], "[redacted]");
/// # Ok::<(), infra_core::Error>(())
/// ```
///
/// # Errors
/// Those of [`init`] that concern the configuration.
pub fn subscriber_to(
    config: LogConfig,
    namespace: &str,
    output: impl Write + Send + 'static,
) -> Result<(impl Subscriber + Send + Sync, LogGuard)> {
    config.check().map_err(|error| error.at("log", "", "init"))?;
    let color = config.color == Color::Always;
    let (layer, guard) = layer_to(config, namespace, color, Box::new(output))?;
    Ok((tracing_subscriber::registry().with(layer), guard))
}

/// Makes the layer alone, to combine with others: one that exports spans, for instance.
///
/// # Errors
/// Those of [`init`] that concern the configuration.
pub fn layer<S>(
    config: LogConfig,
    namespace: &str,
) -> Result<(impl Layer<S> + Send + Sync + use<S>, LogGuard)>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    config.check().map_err(|error| error.at("log", "", "init"))?;
    let (output, is_terminal): (Box<dyn Write + Send>, bool) = match &config.output {
        Output::Stdout => (Box::new(std::io::stdout()), std::io::stdout().is_terminal()),
        Output::Stderr => (Box::new(std::io::stderr()), std::io::stderr().is_terminal()),
        Output::File(path) => (
            Box::new(file::LogFile::open(path, config.rotation.clone())?),
            false,
        ),
    };
    let color = match config.color {
        Color::Auto => is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        Color::Always => true,
        Color::Never => false,
    };
    layer_to(config, namespace, color, output)
}

fn layer_to<S>(
    config: LogConfig,
    namespace: &str,
    color: bool,
    output: Box<dyn Write + Send>,
) -> Result<(impl Layer<S> + Send + Sync + use<S>, LogGuard)>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    if !levels::is_namespace(namespace) {
        return Err(Error::invalid_config(
            "the root namespace must be the name of the service: not empty, without white space",
        )
        .at("log", "", "init"));
    }
    if config.clock == Clock::Local && time::UtcOffset::current_local_offset().is_err() {
        return Err(Error::invalid_config(
            "the time zone of the machine cannot be determined; set `clock` to utc",
        )
        .at("log", "", "init"));
    }
    let levels = config.levels();
    let table = Table::new(&levels, namespace);
    let shared = Arc::new(Shared {
        root: namespace.to_owned(),
        current: ArcSwap::from_pointee((levels, table)),
    });
    let queue = LineQueue::start(output, config.buffer_lines)?;
    let guard = LogGuard::new(queue.clone(), Handle::new(Arc::clone(&shared)));
    let filter = NamespaceFilter {
        shared: Arc::clone(&shared),
    };
    let layer = LineLayer::new(config, color, shared, queue);
    Ok((layer.with_filter(filter), guard))
}

/// A span that opens the namespace `name` below the current one, for code that is not a future.
///
/// ```
/// let _scope = infra_core::log::namespace("auth").entered();
/// tracing::warn!("everything from here to the end of the block is logged below `auth`");
/// ```
///
/// A name that cannot be a namespace (empty, with white space) opens none and is logged as a field.
#[must_use = "a namespace holds while its span is entered"]
pub fn namespace(name: &str) -> Span {
    // At the highest level, so that no filter takes it out.
    tracing::error_span!("namespace", namespace = name)
}

/// Runs `work` within the namespace `name` below the current one.
///
/// # Cancellation
/// That of `work`.
pub async fn namespaced<F: Future>(name: &str, work: F) -> F::Output {
    work.instrument(namespace(name)).await
}
