//! Message queues that are broken on purpose: the queue of this process, each time with one defect around it.

mod consumer;
mod handling;
mod producer;
mod queue;

use std::sync::Arc;
use std::time::Duration;

use infra_core::Result;
use infra_core::queue::MessageQueue;
use infra_memory::{MemoryQueue, MemoryQueueConfig};
use infra_testkit::conformance::{self, Breakage, Disturbance, Fixture, prove};

use self::queue::Queue;

pub(crate) const FAMILY: &str = "queues";

#[derive(Debug, Clone, Copy, PartialEq)]
enum Defect {
    TakesPayloadForText,
    LosesConcurrentSends,
    ConfusesDashes,
    IgnoresCaseOfGroups,
    CountsNoAttempts,
    AllowsOneAttemptMore,
    ForgetsAckOfTheDropped,
    IgnoresHandlerTimeout,
    TakesSlowMessagesBack,
    ReordersRepeatedSends,
    HandlesPartitionsInTurn,
    AllowsOneInFlightMore,
    RefusesSecondShutdown,
    ListsAfterShutdown,
    StopsLate,
    LeaksPermitOfDroppedSend,
    StopsBatchAtFailure,
    CutsLargePayloads,
    MissingTopicIsUnavailable,
    LosesOneInRestart,
    DeadAfterReconnect,
    AlwaysStartsWithLatest,
    ForgetsDelay,
    DropsSameId,
    KeepsOneHeaderOfAName,
    DrainStopsHandlers,
    HidesLateHandlers,
    AcknowledgesWhatIsRunning,
    AlwaysStartsWithEarliest,
    HalvesDelays,
    WaitsInTheHandler,
    ForgetsReason,
    AcknowledgesPanics,
    LargerBatches,
    RetriesWholeBatches,
    FillsUpAnswers,
    WaitsForFullBatches,
    ReceiptsOfNowhere,
    SwapsPairs,
    DropTakesBack,
    FlushForgetsFates,
    ShutdownForgetsLast,
    DropsWhenFull,
    OverwritesTrace,
    SendsOutsideOfTheTrace,
    HandsOverTooEarly,
    HidesInFlight,
    IgnoresNewBound,
    OneSubscriptionOnly,
    ShutdownLeavesSubscriptions,
    CreatesTwice,
    ListsBackwards,
    DescribesLastOffset,
    DeletesTwice,
    LagOfOnePartition,
    StrangersHaveNoLag,
    MergesTopics,
    EmptyKeyIsNone,
    ShowsKeys,
    AlwaysHealthy,
    ForgetsAdvice,
    ConstantBackoff,
    OneDeadLetterSuffix,
    OverwritesTime,
    WrongPartition,
    SecondAckCountsForTheNext,
    DeclaresTransactions,
    GivesUpOnLetters,
    ForgetsAcksWhileAway,
    AdministersAfterShutdown,
    ShutdownIgnoresDeadline,
    OnePartitionCountForAll,
    BatchesBackwards,
    OutForGood,
}

#[test]
fn every_scenario_notices_its_defect_and_no_other() {
    use Defect::*;
    let breakages = [
        ("MQ-001", TakesPayloadForText, "takes payloads for text"),
        (
            "MQ-002",
            LosesConcurrentSends,
            "loses a send that another one overtakes",
        ),
        (
            "MQ-003",
            ConfusesDashes,
            "writes `-` in the name of a topic as `_`",
        ),
        ("MQ-004", IgnoresCaseOfGroups, "ignores the case of groups"),
        ("MQ-005", CountsNoAttempts, "calls every delivery the first"),
        ("MQ-006", AllowsOneAttemptMore, "tries once more than it was told"),
        (
            "MQ-007",
            ForgetsAckOfTheDropped,
            "forgets the last acknowledgement of a dropped member",
        ),
        ("MQ-008", IgnoresHandlerTimeout, "lets handlers run for ever"),
        (
            "MQ-009",
            TakesSlowMessagesBack,
            "takes a message back after a minute",
        ),
        (
            "MQ-010",
            ReordersRepeatedSends,
            "overtakes a send that it repeats",
        ),
        (
            "MQ-011",
            HandlesPartitionsInTurn,
            "handles the messages of a partition one by one",
        ),
        (
            "MQ-012",
            AllowsOneInFlightMore,
            "handles one message more than it may",
        ),
        (
            "MQ-013",
            RefusesSecondShutdown,
            "answers a second shutdown with Closed",
        ),
        (
            "MQ-014",
            ListsAfterShutdown,
            "lists no topics after shutdown, instead of saying so",
        ),
        (
            "MQ-015",
            StopsLate,
            "notices ten seconds late that a subscription was dropped",
        ),
        (
            "MQ-016",
            LeaksPermitOfDroppedSend,
            "keeps the permit of a send that was given up",
        ),
        (
            "MQ-017",
            StopsBatchAtFailure,
            "drops the rest of a batch after a failure",
        ),
        ("MQ-018", CutsLargePayloads, "cuts payloads that are too large"),
        (
            "MQ-019",
            MissingTopicIsUnavailable,
            "says of a missing topic that it may come back",
        ),
        ("MQ-020", LosesOneInRestart, "loses a message when it restarts"),
        (
            "MQ-021",
            DeadAfterReconnect,
            "does not subscribe again after it reconnected",
        ),
        (
            "MQ-022",
            AlwaysStartsWithLatest,
            "starts every group with the latest",
        ),
        ("MQ-023", ForgetsDelay, "delivers delayed messages at once"),
        (
            "MQ-024",
            DropsSameId,
            "drops duplicates although it does not say so",
        ),
        ("MQ-025", KeepsOneHeaderOfAName, "keeps one header of each name"),
        ("MQ-026", DrainStopsHandlers, "stops running handlers in a drain"),
        (
            "MQ-027",
            HidesLateHandlers,
            "does not say that a drain had to stop handlers",
        ),
        (
            "MQ-028",
            AcknowledgesWhatIsRunning,
            "commits what a lost member had not answered",
        ),
        (
            "MQ-029",
            AlwaysStartsWithEarliest,
            "starts every group with the earliest",
        ),
        (
            "MQ-030",
            HalvesDelays,
            "waits for half of the delay that a handler asks for",
        ),
        ("MQ-031", WaitsInTheHandler, "holds the key while a message waits"),
        (
            "MQ-032",
            ForgetsReason,
            "does not write down why a message was given up",
        ),
        (
            "MQ-033",
            AcknowledgesPanics,
            "takes a panic for an acknowledgement",
        ),
        (
            "MQ-034",
            LargerBatches,
            "hands out a message more than a batch may hold",
        ),
        ("MQ-035", RetriesWholeBatches, "retries a batch as a whole"),
        (
            "MQ-036",
            FillsUpAnswers,
            "acknowledges what a batch handler gave no answer for",
        ),
        (
            "MQ-037",
            WaitsForFullBatches,
            "waits far too long for a batch to fill",
        ),
        (
            "MQ-038",
            ReceiptsOfNowhere,
            "leaves the topic out of receipts of a pipeline",
        ),
        (
            "MQ-039",
            SwapsPairs,
            "sends the batch that lingers after the next message",
        ),
        (
            "MQ-040",
            DropTakesBack,
            "takes a message back when nobody waits for its fate",
        ),
        ("MQ-041", FlushForgetsFates, "ends a flush before fates are known"),
        (
            "MQ-042",
            ShutdownForgetsLast,
            "forgets the batch that lingers in a shutdown",
        ),
        ("MQ-043", DropsWhenFull, "drops what does not fit into its buffer"),
        (
            "MQ-044",
            OverwritesTrace,
            "overwrites the trace that a message brings",
        ),
        (
            "MQ-045",
            SendsOutsideOfTheTrace,
            "sends in a task that does not know the trace",
        ),
        (
            "MQ-046",
            HandsOverTooEarly,
            "gives a newcomer what another member still works on",
        ),
        ("MQ-047", HidesInFlight, "says that nothing is in flight"),
        ("MQ-048", IgnoresNewBound, "ignores a new bound"),
        (
            "MQ-049",
            OneSubscriptionOnly,
            "ends a subscription when its consumer begins another",
        ),
        (
            "MQ-050",
            ShutdownLeavesSubscriptions,
            "goes on after the consumer's shutdown",
        ),
        ("MQ-051", CreatesTwice, "creates a topic that exists"),
        ("MQ-052", ListsBackwards, "lists topics backwards"),
        (
            "MQ-053",
            DescribesLastOffset,
            "describes the last offset as the next one",
        ),
        ("MQ-054", DeletesTwice, "deletes a topic that is gone"),
        (
            "MQ-055",
            LagOfOnePartition,
            "shows the lag of the worst partition only",
        ),
        (
            "MQ-056",
            StrangersHaveNoLag,
            "shows no lag for groups that it does not know",
        ),
        (
            "MQ-057",
            MergesTopics,
            "takes a topic that is named twice for one",
        ),
        ("MQ-058", EmptyKeyIsNone, "takes an empty key for none"),
        ("MQ-059", ShowsKeys, "shows the key in errors"),
        ("MQ-060", AlwaysHealthy, "is always healthy"),
        (
            "MQ-061",
            ForgetsAdvice,
            "ignores the delay that an error asks for",
        ),
        (
            "MQ-062",
            ConstantBackoff,
            "waits equally long before each attempt",
        ),
        (
            "MQ-063",
            OneDeadLetterSuffix,
            "has one suffix for all dead-letter topics",
        ),
        ("MQ-064", OverwritesTime, "overwrites the sender's time"),
        ("MQ-065", WrongPartition, "counts partitions from one"),
        (
            "MQ-066",
            SecondAckCountsForTheNext,
            "counts a second acknowledgement for the next message",
        ),
        (
            "MQ-067",
            DeclaresTransactions,
            "declares transactions that nobody can begin",
        ),
        (
            "MQ-068",
            GivesUpOnLetters,
            "acknowledges a message whose letter cannot be stored",
        ),
        (
            "MQ-069",
            ForgetsAcksWhileAway,
            "forgets acknowledgements that it cannot pass on",
        ),
        (
            "MQ-070",
            AdministersAfterShutdown,
            "describes topics after the shutdown of administration",
        ),
        (
            "MQ-071",
            ShutdownIgnoresDeadline,
            "waits for handlers as long as they take in a shutdown",
        ),
        (
            "MQ-072",
            OnePartitionCountForAll,
            "gives every topic the same number of partitions",
        ),
        ("MQ-073", BatchesBackwards, "hands out batches backwards"),
        (
            "MQ-074",
            OutForGood,
            "does not join again when its session was lost",
        ),
    ]
    .map(|(breaks, defect, words)| broken(breaks, defect, words));
    prove(conformance::queues::SCENARIOS, &breakages);
}

fn broken(breaks: &str, defect: Defect, words: &'static str) -> Breakage<dyn MessageQueue> {
    Breakage::new(breaks, words, move |_setup| async move {
        let config = MemoryQueueConfig::development()
            .with_capacity_messages(256)
            .without_auto_create();
        let inner = MemoryQueue::with_config(config)?;
        let queue = Queue::around(inner.clone(), defect);
        let client = queue.clone();
        let fixture = Fixture::in_process(move || {
            let client: Arc<dyn MessageQueue> = Arc::new(client.clone());
            async { Ok(client) }
        });
        Ok(fixture.on_disturbance(move |disturbance| disturb(inner.clone(), queue.clone(), disturbance)))
    })
}

async fn disturb(inner: MemoryQueue, queue: Queue, disturbance: Disturbance) -> Result<bool> {
    let faults = inner.faults();
    match disturbance {
        Disturbance::GoAway | Disturbance::Disconnect { .. } => faults.disconnect(),
        Disturbance::ComeBack => faults.reconnect(),
        Disturbance::LoseSessions => {
            queue.dies_of(Defect::OutForGood);
            return Ok(faults.lose_sessions() > 0);
        }
        Disturbance::Reconnect { .. } => {
            queue.dies_of(Defect::DeadAfterReconnect);
            faults.reconnect();
        }
        Disturbance::Restart => {
            faults.disconnect();
            tokio::time::sleep(Duration::from_millis(200)).await;
            queue.restarted();
            faults.reconnect();
        }
        Disturbance::RepeatDeliveries { count } => faults.duplicate_next(count),
        _ => return Ok(false),
    }
    Ok(true)
}
