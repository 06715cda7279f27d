//! The meter: names, bounds, and numbers that are right under concurrency.

use super::*;

const SENT: Descriptor = Descriptor::new("messages.sent", "Messages \"sent\".\nAll of them.", Unit::Count);
const OPEN: Descriptor = Descriptor::new("connections.open", "Open connections.", Unit::Count);
const TIME: Descriptor = Descriptor::new("call.duration", "Duration of calls.", Unit::Seconds);
const SIZE: Descriptor = Descriptor::new("process.memory", "Memory in use.", Unit::Bytes);

#[test]
fn the_page_follows_the_conventions_of_prometheus() {
    let meter = MemoryMeter::new();
    meter
        .counter(&SENT, &[("error.kind", "none"), ("topic", "a\"b\\c\nd")])
        .add(3);
    meter.up_down_counter(&OPEN, &[]).add(2);
    meter.gauge(&SIZE, &[]).set(1.5);
    let time = meter.histogram(&TIME, &[("method", "get")]);
    for seconds in [0.001, 0.002, 100.0] {
        time.record(seconds);
    }
    let page = meter.render().expect("rendered");
    for line in [
        r#"# HELP messages_sent Messages \"sent\".\nAll of them."#,
        "# TYPE messages_sent counter",
        r#"messages_sent_total{error_kind="none",topic="a\"b\\c\nd"} 3"#,
        "# TYPE connections_open gauge",
        "connections_open 2",
        "# UNIT process_memory_bytes bytes",
        "process_memory_bytes 1.5",
        "# TYPE call_duration_seconds histogram",
        r#"call_duration_seconds_count{method="get"} 3"#,
        r#"call_duration_seconds_bucket{le="0.001",method="get"} 1"#,
        r#"call_duration_seconds_bucket{le="0.0025",method="get"} 2"#,
        r#"call_duration_seconds_bucket{le="+Inf",method="get"} 3"#,
        "# EOF",
    ] {
        assert!(
            page.lines().any(|rendered| rendered == line),
            "{line} is not in\n{page}"
        );
    }
}

#[test]
fn names_are_sanitised_and_suffixes_not_doubled() {
    let meter = MemoryMeter::new();
    let odd = Descriptor::new("2xx.requests-total.seconds_total", "Odd.", Unit::Seconds);
    meter.counter(&odd, &[("le", "x"), ("é", "y"), ("", "z")]).add(1);
    let page = meter.render().expect("rendered");
    assert!(
        page.contains("_2xx_requests_seconds_total{_=\"z\",le_=\"x\"} 1"),
        "{page}"
    );
}

#[test]
fn the_same_labels_in_any_order_are_the_same_series() {
    let meter = MemoryMeter::new();
    meter.counter(&SENT, &[("a", "1"), ("b", "2")]).add(1);
    meter.counter(&SENT, &[("b", "2"), ("a", "1")]).add(1);
    assert_eq!(meter.value("messages.sent", &[("a", "1"), ("b", "2")]), Some(2.0));
    assert_eq!(
        meter.value("messages_sent_total", &[("b", "2"), ("a", "1")]),
        Some(2.0)
    );
    assert_eq!(meter.value("messages.sent", &[("a", "1")]), None);
    assert_eq!(meter.value("unknown", &[]), None);
    assert_eq!(meter.label_sets("messages.sent").len(), 1);
}

#[test]
fn cardinality_is_bounded_and_nothing_is_lost() {
    let meter = MemoryMeter::with_max_series(10);
    for n in 0..1000 {
        meter.counter(&SENT, &[("key", &n.to_string())]).add(1);
    }
    let sets = meter.label_sets("messages.sent");
    assert_eq!(sets.len(), 11);
    assert_eq!(
        meter.value("messages.sent", &[("otel.metric.overflow", "true")]),
        Some(990.0)
    );
    meter.counter(&SENT, &[("key", "3")]).add(1);
    assert_eq!(
        meter.value("messages.sent", &[("key", "3")]),
        Some(2.0),
        "known sets stay themselves"
    );
}

#[test]
fn another_kind_under_the_same_name_does_not_spoil_the_first() {
    let meter = MemoryMeter::new();
    meter.counter(&SENT, &[]).add(1);
    meter.gauge(&SENT, &[]).set(100.0);
    let seconds = Descriptor::new("messages.sent", "In seconds.", Unit::Seconds);
    meter.counter(&seconds, &[]).add(100);
    assert_eq!(meter.value("messages.sent", &[]), Some(1.0));
}

#[test]
fn histograms_put_values_on_a_bound_below_it_and_leave_out_what_is_no_number() {
    let meter = MemoryMeter::new();
    let time = meter.histogram(&TIME, &[]);
    for value in [0.5, 0.500_001, -1.0, f64::NAN, 1e9] {
        time.record(value);
    }
    let reading = meter.histogram_reading("call.duration", &[]).expect("recorded");
    assert_eq!(reading.count, 4);
    assert!((reading.sum - 1e9).abs() < 1.0 && reading.sum.is_finite());
    let of = |bound: f64| {
        let found = reading
            .buckets
            .iter()
            .find(|(upper, _)| upper.total_cmp(&bound).is_eq());
        found.expect("a bound").1
    };
    assert_eq!((of(0.001), of(0.5), of(1.0), of(f64::INFINITY)), (1, 1, 1, 1));
    assert!(meter.histogram_reading("unknown", &[]).is_none());
}

#[test]
fn no_recording_is_lost_between_threads_and_none_allocates() {
    let meter = MemoryMeter::new();
    let (sent, open) = (meter.counter(&SENT, &[]), meter.up_down_counter(&OPEN, &[]));
    let time = meter.histogram(&TIME, &[]);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let allocated = allocation_counter::measure(|| {
                    for _ in 0..10_000 {
                        sent.add(1);
                        open.add(1);
                        time.record(0.25);
                        open.add(-1);
                    }
                });
                assert_eq!(allocated.count_total, 0);
            });
        }
    });
    assert_eq!(meter.value("messages.sent", &[]), Some(40_000.0));
    assert_eq!(meter.value("connections.open", &[]), Some(0.0));
    let reading = meter.histogram_reading("call.duration", &[]).expect("recorded");
    assert_eq!(reading.count, 40_000);
    assert!((reading.sum - 10_000.0).abs() < 1e-6);
}
