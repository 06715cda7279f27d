//! MQ: a message queue, from the producer to the handler and the dead-letter topic.

pub mod administration;
pub mod batches;
mod behind;
pub mod delivery;
mod ground;
pub mod lifecycle;
pub mod members;
pub mod producing;
pub mod refusing;
pub mod settling;

use infra_core::queue::MessageQueue;

use super::Scenario;

/// Every scenario of this family.
pub const SCENARIOS: &[Scenario<dyn MessageQueue>] = crate::queues!(@list __conformance_table ());

/// One test per scenario of MQ for a message queue: `conformance::queues!(make_queue)`, or
/// `conformance::queues!(make_queue, every_mode)`.
///
/// Give the queue a small buffer, below 300 messages or as many KiB, so that a flooded producer finds it full.
#[macro_export]
macro_rules! queues {
    (@list $callback:ident $arguments:tt) => {
        $crate::$callback! { (queues) $arguments {
            delivery {
                mq_001_messages_arrive_as_they_were_sent,
                mq_002_concurrent_senders_and_members_lose_nothing,
                mq_003_topics_are_apart,
                mq_004_groups_get_everything_and_members_share,
                mq_010_order_holds_for_each_key,
                mq_011_a_slow_key_holds_up_no_other,
                mq_012_the_bound_in_flight_is_respected,
                mq_022_a_late_group_reads_what_was_sent_before,
                mq_023_a_delayed_message_is_not_early,
                mq_029_a_group_can_start_with_the_latest,
                mq_065_a_key_belongs_to_one_partition,
            }
            settling {
                mq_005_a_retry_is_delivered_again_and_counted,
                mq_006_a_failing_message_becomes_one_dead_letter,
                mq_007_what_was_acknowledged_does_not_come_back,
                mq_008_a_handler_that_runs_too_long_has_failed,
                mq_009_a_slow_handler_keeps_its_message,
                mq_028_a_message_without_an_answer_survives_its_consumer,
                mq_030_a_retry_is_not_early,
                mq_031_a_message_that_waits_holds_up_nothing,
                mq_032_a_dead_letter_tells_its_history,
                mq_033_a_panic_counts_as_a_retry,
                mq_061_the_delay_of_an_error_is_kept,
                mq_062_the_back_off_doubles,
                mq_063_the_dead_letter_topic_is_the_subscribers_choice,
                mq_066_acknowledging_twice_does_no_harm,
                mq_068_a_dead_letter_waits_for_the_broker,
                mq_069_an_acknowledgement_waits_for_the_broker,
            }
            batches {
                mq_034_a_batch_is_no_larger_than_asked,
                mq_035_a_batch_is_answered_message_by_message,
                mq_036_a_wrong_number_of_answers_is_a_retry,
                mq_037_a_batch_does_not_wait_for_ever_to_fill,
                mq_073_batches_keep_the_order_of_a_key,
            }
            members {
                mq_015_a_dropped_subscription_stops,
                mq_026_a_drain_finishes_what_runs,
                mq_027_a_drain_ends_at_its_deadline,
                mq_046_members_hand_over_in_good_order,
                mq_047_a_subscription_says_how_much_is_in_flight,
                mq_048_the_bound_in_flight_can_be_changed,
                mq_049_a_consumer_has_several_subscriptions,
                mq_050_a_consumer_is_shut_down_alone,
            }
            producing {
                mq_016_a_send_can_be_given_up,
                mq_017_a_batch_answers_for_each_message,
                mq_024_duplicates_are_dropped_where_that_is_declared,
                mq_025_headers_of_any_name_arrive,
                mq_038_a_detached_send_calls_back,
                mq_039_a_pipeline_keeps_its_order,
                mq_040_an_accepted_message_is_not_taken_back,
                mq_041_a_flush_waits_for_what_was_accepted,
                mq_042_a_producer_that_closes_loses_nothing,
                mq_043_a_full_buffer_waits_or_refuses,
                mq_044_the_trace_of_a_message_is_kept,
                mq_045_the_trace_travels_to_the_handler,
                mq_064_a_delivery_names_its_group_and_time,
            }
            refusing {
                mq_018_what_is_too_large_is_refused,
                mq_019_a_missing_topic_is_created_or_not_found,
                mq_057_bad_subscriptions_are_refused,
                mq_058_bad_messages_are_refused,
                mq_059_errors_show_nothing_of_a_message,
            }
            lifecycle {
                mq_013_shutdown_finishes_and_can_be_repeated,
                mq_014_a_queue_that_was_shut_down_is_closed,
                mq_020_a_restart_of_the_broker_loses_nothing,
                mq_021_subscriptions_survive_a_lost_connection,
                mq_060_health_tells_whether_the_broker_is_there,
                mq_067_nothing_is_declared_that_cannot_be_asked_for,
                mq_071_shutdown_ends_at_its_deadline,
                mq_074_members_survive_the_loss_of_their_session,
            }
            administration {
                mq_051_a_topic_is_created_once,
                mq_052_topics_are_listed_in_order,
                mq_053_a_topic_is_described,
                mq_054_a_topic_is_deleted_once,
                mq_055_lag_counts_what_is_not_settled,
                mq_056_the_lag_of_strangers_is_not_found,
                mq_070_administration_is_shut_down_alone,
                mq_072_a_topic_gets_its_partitions,
            }
        } }
    };
    ($($arguments:tt)+) => { $crate::queues!(@list __conformance_tests ($($arguments)+)); };
}
