//! Producers with defects.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use infra_core::capability::Capabilities;
use infra_core::queue::{DeliveryFuture, Message, Producer, Receipt, names};
use infra_core::telemetry::TraceContext;
use infra_core::{Backend, Error, ErrorKind, Result, async_trait};
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::Defect;
use super::queue::Shared;

/// The message of a pipeline that waits for the next one, and who waits for its fate.
type Lingering = (u32, Message, oneshot::Sender<Result<Receipt>>);

#[derive(Debug)]
pub(super) struct BrokenProducer(Arc<Inside>);

#[derive(Debug)]
struct Inside {
    shared: Arc<Shared>,
    inner: Arc<dyn Producer>,
    sent: AtomicU32,
    lingering: Mutex<Option<Lingering>>,
}

impl BrokenProducer {
    pub(super) fn around(shared: Arc<Shared>, inner: Arc<dyn Producer>) -> Self {
        Self(Arc::new(Inside {
            shared,
            inner,
            sent: AtomicU32::new(0),
            lingering: Mutex::default(),
        }))
    }
}

impl Inside {
    fn is(&self, defect: Defect) -> bool {
        self.shared.is(defect)
    }

    /// What the defects do to every message; `None` loses it.
    fn change(&self, mut message: Message) -> Option<Message> {
        match self.shared.defect {
            Defect::TakesPayloadForText => {
                let text = String::from_utf8_lossy(&message.payload).into_owned();
                message.payload = text.into();
            }
            Defect::ConfusesDashes => message.topic = message.topic.replace('-', "_"),
            Defect::CutsLargePayloads => {
                let most = self.shared.capabilities.limits().max_value_bytes;
                message.payload.truncate(most);
            }
            Defect::ForgetsDelay => message.delay = None,
            Defect::DropsSameId => {
                let id = message.headers.get(names::MESSAGE_ID).map(|id| id.to_vec());
                if let Some(id) = id
                    && !self.shared.notes().ids.insert(id)
                {
                    return None;
                }
            }
            Defect::KeepsOneHeaderOfAName => {
                for (name, value) in std::mem::take(&mut message.headers).iter() {
                    message.headers.set(name, value.clone());
                }
            }
            Defect::OverwritesTrace if message.headers.get(names::TRACEPARENT).is_some() => {
                let fresh = TraceContext::fresh().traceparent().unwrap_or_default();
                message.headers.set(names::TRACEPARENT, fresh);
            }
            Defect::EmptyKeyIsNone => message.key = message.key.filter(|key| !key.is_empty()),
            Defect::OverwritesTime => message.timestamp = Some(SystemTime::now()),
            _ => {}
        }
        Some(message)
    }

    async fn send(&self, message: Message) -> Result<Receipt> {
        let nowhere = Receipt::new(message.topic.as_str(), None, None);
        let key = message.key.clone();
        let Some(message) = self.change(message) else {
            return Ok(nowhere);
        };
        let answer = match self.shared.defect {
            Defect::LosesConcurrentSends => {
                let others = self.shared.sending.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                self.shared.sending.fetch_sub(1, Ordering::SeqCst);
                if others > 0 {
                    return Ok(nowhere);
                }
                self.inner.send(message).await
            }
            Defect::ReordersRepeatedSends if self.sent.fetch_add(1, Ordering::SeqCst) % 10 == 9 => {
                let inner = Arc::clone(&self.inner);
                tokio::spawn(async move {
                    sleep(Duration::from_millis(1)).await;
                    while inner
                        .send(message.clone())
                        .await
                        .is_err_and(|error| error.is_retryable())
                    {
                        sleep(Duration::from_millis(10)).await;
                    }
                });
                return Ok(nowhere);
            }
            Defect::LeaksPermitOfDroppedSend => {
                if let Ok(permit) = self.shared.permit.acquire().await {
                    permit.forget();
                }
                tokio::task::yield_now().await;
                let answer = self.inner.send(message).await;
                self.shared.permit.add_permits(1);
                answer
            }
            Defect::SendsOutsideOfTheTrace => {
                let inner = Arc::clone(&self.inner);
                let sent = tokio::spawn(async move { inner.send(message).await });
                sent.await
                    .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?
            }
            _ => self.inner.send(message).await,
        };
        self.change_answer(answer, key.as_deref())
    }

    fn change_answer(&self, answer: Result<Receipt>, key: Option<&[u8]>) -> Result<Receipt> {
        match answer {
            Ok(mut receipt) if self.is(Defect::WrongPartition) => {
                receipt.partition = receipt.partition.map(|partition| partition + 1);
                Ok(receipt)
            }
            Err(error)
                if self.is(Defect::MissingTopicIsUnavailable) && error.kind() == ErrorKind::NotFound =>
            {
                Err(Error::new(ErrorKind::Unavailable, "no leader for this topic"))
            }
            Err(error) if self.is(Defect::ShowsKeys) => {
                let key = String::from_utf8_lossy(key.unwrap_or_default()).into_owned();
                Err(error.context(format!("sending a message of key {key:.40}")))
            }
            answer => answer,
        }
    }

    /// Sends the message that lingers, unless it was taken back.
    async fn send_lingering(&self, lingering: Option<Lingering>) {
        let Some((_, message, fate)) = lingering else {
            return;
        };
        if self.is(Defect::DropTakesBack) && fate.is_closed() {
            return;
        }
        fate.send(self.inner.send(message).await).ok();
    }

    fn take_lingering(&self, of: Option<u32>) -> Option<Lingering> {
        let mut lingering = self.lingering.lock().unwrap_or_else(PoisonError::into_inner);
        lingering.take_if(|(number, ..)| of.is_none_or(|of| of == *number))
    }

    /// Keeps the message until the next one comes, or for 5 ms.
    async fn linger(self: &Arc<Self>, message: Message) -> DeliveryFuture {
        let number = self.sent.fetch_add(1, Ordering::SeqCst);
        let (fate, told) = oneshot::channel();
        let before = self.take_lingering(None);
        if self.is(Defect::SwapsPairs) && before.is_some() {
            fate.send(self.inner.send(message).await).ok();
            self.send_lingering(before).await;
        } else {
            self.send_lingering(before).await;
            let mut lingering = self.lingering.lock().unwrap_or_else(PoisonError::into_inner);
            *lingering = Some((number, message, fate));
        }
        let this = Arc::clone(self);
        tokio::spawn(async move {
            sleep(Duration::from_millis(5)).await;
            this.send_lingering(this.take_lingering(Some(number))).await;
        });
        DeliveryFuture::new(async { told.await.unwrap_or_else(|_| Err(Error::closed("the producer"))) })
    }
}

#[async_trait]
impl Producer for BrokenProducer {
    async fn send(&self, message: Message) -> Result<Receipt> {
        self.0.send(message).await
    }

    async fn enqueue(&self, message: Message) -> Result<DeliveryFuture> {
        let this = &self.0;
        let Some(message) = this.change(message) else {
            return Err(Error::invalid_argument("dropped"));
        };
        match this.shared.defect {
            Defect::SwapsPairs | Defect::DropTakesBack | Defect::ShutdownForgetsLast => {
                // What cannot be sent is refused at once, also where the rest lingers.
                let message = infra_core::queue::prepare(message, &this.shared.capabilities)?;
                this.shared.inner.health().await?;
                return Ok(this.linger(message).await);
            }
            Defect::DropsWhenFull if this.shared.backlog.fetch_add(1, Ordering::SeqCst) > 200 => {
                let receipt = Receipt::new(message.topic, None, None);
                return Ok(DeliveryFuture::new(std::future::ready(Ok(receipt))));
            }
            _ => {}
        }
        let fate = this.inner.enqueue(message).await?;
        let (forgets, nowhere) = (
            this.is(Defect::FlushForgetsFates),
            this.is(Defect::ReceiptsOfNowhere),
        );
        Ok(DeliveryFuture::new(async move {
            let mut receipt = fate.await?;
            if forgets {
                sleep(Duration::from_millis(50)).await;
            }
            if nowhere {
                receipt.topic.clear();
            }
            Ok(receipt)
        }))
    }

    async fn send_batch(&self, messages: Vec<Message>) -> Result<Vec<Result<Receipt>>> {
        if !self.0.is(Defect::StopsBatchAtFailure) {
            return self.0.inner.send_batch(messages).await;
        }
        self.0.inner.health().await?;
        let mut results = Vec::new();
        let mut failed = false;
        for message in messages {
            let result = if failed {
                Err(Error::new(
                    ErrorKind::Cancelled,
                    "an earlier message of the batch failed",
                ))
            } else {
                self.0.inner.send(message).await
            };
            failed |= result.is_err();
            results.push(result);
        }
        Ok(results)
    }

    async fn flush(&self, deadline: Duration) -> Result<()> {
        self.0.send_lingering(self.0.take_lingering(None)).await;
        self.0.inner.flush(deadline).await
    }
}

#[async_trait]
impl Backend for BrokenProducer {
    fn backend(&self) -> &'static str {
        "broken"
    }

    fn capabilities(&self) -> &Capabilities {
        &self.0.shared.capabilities
    }

    async fn health(&self) -> Result<()> {
        self.0.inner.health().await
    }

    async fn shutdown(&self, deadline: Duration) -> Result<()> {
        let lingering = self.0.take_lingering(None);
        if !self.0.is(Defect::ShutdownForgetsLast) {
            self.0.send_lingering(lingering).await;
        }
        self.0.inner.shutdown(deadline).await
    }
}
