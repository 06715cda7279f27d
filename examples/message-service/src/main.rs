//! The command line: serve, or replay a corpus.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line program talks to its user"
)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use infra_core::config::Profile;
use infra_core::error::{Error, ErrorKind, Result};
use infra_core::lifecycle::{Ended, Signals, run_until_signal};
use message_service::assembly::{MessageApp, Purpose, serve};
use message_service::config::ServiceConfig;
use message_service::replay::Corpus;

/// A chat-message service on infra: with no arguments it serves on embedded defaults.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// A configuration file in place of the one compiled in.
    #[arg(long, global = true)]
    config: Option<PathBuf>,
    /// development or production.
    #[arg(
        long,
        global = true,
        env = "MESSAGE_SERVICE_PROFILE",
        default_value = "development"
    )]
    profile: Profile,
    /// The folder for the database and the search index, in place of what the configuration says.
    #[arg(long, global = true)]
    data: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve HTTP until SIGINT or SIGTERM (the default).
    Serve,
    /// Send every message of a JSONL file through the whole flow, verify what became of them, and end.
    ///
    /// Exit code: 0 when all numbers agree, 2 when they agree but lines of the file were broken, 1 otherwise.
    Replay {
        /// A file with one object per line: session_id, sender_id, content, lang, seq.
        file: PathBuf,
    },
    /// Check the configuration and end.
    Check,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("message-service: the runtime cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = match runtime.block_on(run(arguments)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("message-service: {}", explained(&error));
            ExitCode::FAILURE
        }
    };
    // After a forced end blocking work may still hold a thread; nobody waits for it.
    runtime.shutdown_background();
    code
}

async fn run(arguments: Arguments) -> Result<ExitCode> {
    let Arguments {
        config,
        profile,
        data,
        command,
    } = arguments;
    let config = ServiceConfig::load(profile, config.as_deref(), data.as_deref())?;
    if matches!(command, Some(Command::Check)) {
        println!("the configuration is good");
        return Ok(ExitCode::SUCCESS);
    }
    let signals = Signals::listen()?;
    let work = async {
        match command {
            Some(Command::Replay { file }) => replay(config, &file, &signals).await,
            _ => serve(config, &signals, |banner| println!("{banner}"))
                .await
                .map(|()| ExitCode::SUCCESS),
        }
    };
    match run_until_signal(&signals, work).await {
        Ended::Finished(outcome) => outcome,
        // 128 + SIGINT, as shells count it.
        _ => Ok(ExitCode::from(130)),
    }
}

async fn replay(config: ServiceConfig, file: &Path, signals: &Signals) -> Result<ExitCode> {
    // Before anything else: a mistyped name should cost nothing.
    let bytes = Corpus::open(file)?.bytes();
    let app = MessageApp::open(config, Purpose::Replay).await?;
    let bar = progress_bar(bytes);
    let replay = app.replay();
    let outcome = tokio::select! {
        outcome = replay.run(file, |bytes| bar.set_position(bytes)) => outcome,
        () = signals.stop().cancelled() => Err(Error::new(
            ErrorKind::Cancelled,
            "the replay was stopped by a signal; what was sent stays sent, so replay the file again",
        )),
    };
    bar.finish_and_clear();
    let closed = app.shutdown().await;
    let report = outcome?;
    println!("{report}");
    closed?;
    Ok(ExitCode::from(report.exit_code()))
}

fn progress_bar(bytes: u64) -> ProgressBar {
    let bar = ProgressBar::new(bytes);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {percent:>3} %  {elapsed} elapsed, {eta} to go")
    {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// The error with everything that caused it, a line each.
fn explained(error: &Error) -> String {
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(source) = next {
        text.push_str(&format!("\n  caused by: {source}"));
        next = source.source();
    }
    text
}
