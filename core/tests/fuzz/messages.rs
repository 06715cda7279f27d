//! What comes with and in a message: the trace context of its headers, and its content.

use infra_core::queue::Message;
use infra_core::telemetry::TraceContext;
use infra_testkit::fuzz::Start;
use serde::{Deserialize, Serialize};

use crate::support::{assert_no_secret, frugally};

infra_testkit::fuzz!(
    /// A header that is read is one that the specification allows, and is passed on the same but for its version.
    trace_contexts,
    Start::new(&[
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-the-future-brings",
    ])
    .with_words(&["00-", "ff-", "-", "00000000000000000000000000000000", "0000000000000000", "AF", "é"]),
    |input| {
        let header = String::from_utf8_lossy(input);
        let Some(context) = frugally(input, || TraceContext::parse_traceparent(&header)) else {
            return;
        };
        let trace = context.trace_id();
        assert!(trace.len() == 32 && trace.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')), "{trace}");
        let passed_on = context.traceparent().expect("it came from one");
        assert_eq!(passed_on.len(), 55);
        assert_eq!(passed_on[2..], header.trim()[2..55]);
        assert_eq!(TraceContext::parse_traceparent(&passed_on), Some(context));
    }
);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    id: u64,
    customer: String,
    #[serde(default)]
    lines: Vec<Line>,
    paid: Option<Payment>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Line {
    article: String,
    count: i32,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Payment {
    Card { number: String },
    Voucher(u32, String),
    Cash,
}

infra_testkit::fuzz!(
    /// The error names the topic and never shows the content.
    json_payloads,
    Start::new(&[
        r#"{"id":7,"customer":"hunter2","lines":[{"article":"hunter2","count":-1}],"paid":"cash"}"#,
        r#"{"id":"hunter2","customer":"a","paid":{"card":{"number":"hunter2"}}}"#,
        r#"{"id":1,"customer":5,"lines":"hunter2","paid":{"voucher":[1,"hunter2"]}}"#,
        r#"{"id":1,"customer":"a","lines":[{"article":"a","count":"hunter2"}],"paid":"hunter2"}"#,
    ])
    .with_words(&[
        "hunter2", "\"hunter2\"", "\"id\":", "\"paid\":", "\"unknown field\":", "missing field ", ", expected ", " at line ", "\\u0068", "\\ud800",
    ]),
    |input| {
        let text = String::from_utf8_lossy(input);
        let message = Message::new("orders", input.to_vec());
        match frugally(input, || message.decode::<Order>()) {
            Ok(order) => {
                let again = Message::json("orders", &order).expect("JSON").decode::<Order>().expect("reads back");
                assert_eq!(again, order);
            }
            Err(error) => {
                assert_eq!(error.kind(), infra_core::ErrorKind::DataCorrupted);
                assert!(error.message().contains("\"orders\""), "{error}");
                assert_no_secret(&text, &error);
            }
        }
    }
);
