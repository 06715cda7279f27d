//! Rows as they arrive, with constant memory: the driver's stream borrows its connection, ours owns it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use infra_core::Result;
use infra_core::database::{Row, RowStream};
use sqlx::sqlite::SqliteArguments;
use sqlx::{AssertSqlSafe, Executor as _};
use tokio::sync::mpsc;

use super::connection::Connection;
use super::patience::Patience;
use super::run::{Failure, Reader};
use super::values;
use crate::error::is_busy;
use crate::statement::Bound;

/// How many rows may wait between the driver and the consumer.
const BUFFERED_ROWS: usize = 64;

/// Streams the rows of a statement; dropping the stream stops the statement and gives the connection back.
///
/// # Errors
/// For values that the engine cannot keep; everything later comes as the stream's last item.
pub(crate) fn stream(connection: Connection, bound: Bound) -> Result<RowStream> {
    let arguments = values::encode(bound.values)?;
    let (sender, mut receiver) = mpsc::channel(BUFFERED_ROWS);
    // The producer is polled by the stream itself: no task, so that nothing runs on when the stream is dropped.
    let mut producer: Option<Pin<Box<dyn Future<Output = ()> + Send>>> =
        Some(Box::pin(produce(connection, bound.text, arguments, sender)));
    Ok(stream::poll_fn(move |context| {
        if let Poll::Ready(Some(row)) = receiver.poll_recv(context) {
            return Poll::Ready(Some(row));
        }
        if let Some(running) = &mut producer
            && running.as_mut().poll(context).is_ready()
        {
            // Gives the connection back before the last rows are read.
            producer = None;
        }
        receiver.poll_recv(context)
    })
    .fuse()
    .boxed())
}

async fn produce(
    mut connection: Connection,
    text: Arc<str>,
    arguments: SqliteArguments,
    sender: mpsc::Sender<Result<Row>>,
) {
    if let Err(failure) = send_rows(&mut connection, &text, &arguments, &sender).await {
        // A consumer that is gone needs no error.
        let _ = sender.send(Err(failure.into_error())).await;
    }
}

async fn send_rows(
    connection: &mut Connection,
    text: &Arc<str>,
    arguments: &SqliteArguments,
    sender: &mpsc::Sender<Result<Row>>,
) -> Result<(), Failure> {
    let Some((driver, pool, interrupt, running)) = connection.parts() else {
        return Ok(());
    };
    let limit = pool.statement_timeout;
    let mut patience = Patience::new(pool.busy_timeout);
    *running = true;
    'attempts: loop {
        let mut reader = match in_time(limit, Reader::new(pool, driver, text)).await {
            Err(Failure::Driver(error)) if is_busy(&error) && patience.pause().await => continue,
            reader => reader?,
        };
        let mut sent = false;
        let mut rows = driver.fetch(sqlx::query_with(
            AssertSqlSafe(Arc::clone(text)),
            arguments.clone(),
        ));
        loop {
            let row = match in_time(limit, rows.try_next()).await {
                Err(Failure::Driver(error)) if !sent && is_busy(&error) && patience.pause().await => {
                    continue 'attempts;
                }
                Err(failure @ Failure::TimedOut(_)) => {
                    interrupt.store(true, Ordering::Relaxed);
                    return Err(failure);
                }
                row => row?,
            };
            let Some(row) = row else {
                *running = false;
                return Ok(());
            };
            sent = true;
            if sender.send(Ok(reader.read(&row)?)).await.is_err() {
                return Ok(());
            }
        }
    }
}

async fn in_time<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(limit, work).await {
        Ok(result) => result.map_err(Failure::Driver),
        Err(_) => Err(Failure::TimedOut(limit)),
    }
}
