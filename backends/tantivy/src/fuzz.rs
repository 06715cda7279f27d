//! Fuzz targets of what this crate reads: journals, cursors, descriptors, documents, and text in any script. See
//! `infra_testkit::fuzz`.

use infra_core::ErrorKind;
use infra_core::capability::Limits;
use infra_core::config::Validate;
use infra_core::coordination::{ConfigEntry, Version};
use infra_core::search::{Document, FieldKind, Highlighting, IndexSchema};
use infra_testkit::fuzz::Start;

use crate::analysis::needles;
use crate::config::TantivyConfig;
use crate::document::prepare;
use crate::layout::Descriptor;
use crate::schema::Mapping;
use crate::{cursor, highlight, journal};

fn two_records() -> Vec<u8> {
    let mut bytes = b"INFRAJ01".to_vec();
    journal::encode(&mut bytes, 1, "a", Some((7, b"{\"content\":\"hi\"}")));
    journal::encode(&mut bytes, 2, "b", None);
    bytes
}

infra_testkit::fuzz!(
    /// What is read of a journal is what stands in it, up to where it ends; anything else is corruption.
    journals,
    Start::new(&[two_records(), b"INFRAJ01".to_vec()]).with_words(&[&b"INFRAJ01"[..], &[0xff; 4], &[0; 8]]),
    |input| match journal::decode(input) {
        Ok((records, good)) => {
            assert!(good <= input.len());
            let (again, all) = journal::decode(&input[..good]).expect("the good part is good");
            assert_eq!((again, all), (records, good));
        }
        Err(error) => assert_eq!(error.kind(), ErrorKind::DataCorrupted),
    }
);

infra_testkit::fuzz!(
    /// A journal whose end was damaged still has the records before it.
    damaged_journals,
    Start::new(&[&b"x"[..], b"\0\0\0\0", b"\x10\0\0\0\0\0\0\0"]).with_inputs(2_000),
    |input| {
        let whole = two_records();
        let torn = [&whole[..], input].concat();
        if let Ok((records, good)) = journal::decode(&torn) {
            assert!(records.len() >= 2 && good >= whole.len());
        }
    }
);

infra_testkit::fuzz!(
    /// No text is a cursor of another query, and a cursor that is read is written the same again.
    cursors,
    Start::new(&[hex(br#"{"q":"print","n":7,"i":"id"}"#), hex(br#"{"q":"print","k":"word","i":""}"#), hex(b"{}")])
        .with_words(&["7b", "22", "ff", "00"]),
    |input| {
        for text in [String::from_utf8_lossy(input).into_owned(), hex(input)] {
            if let Ok(place) = cursor::decode("print", &text) {
                let written = cursor::encode("print", &place).expect("JSON");
                assert_eq!(cursor::decode("print", &written).ok(), Some(place));
            }
            assert!(cursor::decode("another", &text).is_err() || text.contains(&hex(b"another")));
        }
    }
);

fn hex(bytes: &[u8]) -> String {
    crate::names::hex(bytes)
}

infra_testkit::fuzz!(
    /// A fragment holds the text that it was cut from, marked, and markup is escaped.
    highlighting,
    Start::new(&[
        "天气\n今天北京的天气怎么样？我想去颐和园。",
        "Straße\nHeute ist das Wetter in München schön, große STRASSE <b>",
        "ง่าย\nวันนี้อากาศดีมาก ง่าย ไปเดินเล่นกันไหม",
        "İstanbul ılık\nBugün İstanbul'da hava ılık & güzel",
        "👍🏽\ndeploy done 🎉👍🏽 ok",
        "ﾃｽﾄ 1\nＲｕｓｔ　１．９５ ﾃｽﾄ が\u{3099}",
    ])
    .with_words(&["\u{301}", "\u{200d}", "\u{200c}", "の", "的", "ー", "ǰ", "ΐ", "ﬃ", "ß", "한", "ᄀ", "<em>", "&amp;", "क्", "\u{e33}"])
    .with_inputs(1_500),
    |input| {
        let text = String::from_utf8_lossy(input);
        let (query, body) = text.split_once('\n').unwrap_or((&text, &text));
        let needles = needles(query);
        let document = serde_json::json!({ "content": body, "list": [1, body] });
        let fields = ["content".to_owned(), "list".to_owned(), "none".to_owned()];
        for fragment_chars in [1, 10, 150] {
            let mut asked = Highlighting::default();
            asked.fragment_chars = fragment_chars;
            for (_, fragment) in highlight::fragments(&document, &fields, &needles, &asked) {
                let plain = fragment.replace("<em>", "").replace("</em>", "");
                assert!(!plain.contains(['<', '>']), "markup of the text: {fragment}");
                assert_eq!(fragment.matches("<em>").count(), fragment.matches("</em>").count());
            }
        }
        // A text finds itself.
        if query == body && query.len() < 200 && !needles.is_empty() {
            let found = highlight::fragments(&document, &fields[..1], &needles, &Highlighting::default());
            assert!(!found.is_empty(), "{query:?}");
        }
    }
);

fn mapping() -> Mapping {
    Mapping::new(
        &IndexSchema::new()
            .with_field("content", FieldKind::Text)
            .with_field("session_id", FieldKind::Keyword)
            .with_field("sent_at", FieldKind::Integer)
            .with_field("score", FieldKind::Float)
            .with_field("pinned", FieldKind::Boolean),
    )
}

infra_testkit::fuzz!(
    /// A document is made ready for the index, or refused with its id and without its content.
    documents,
    Start::new(&[
        r#"{"content":["a","b"],"session_id":"s","sent_at":7,"score":1.5,"pinned":true,"more":{"a":[null]}}"#,
        r#"{"content":1,"session_id":[],"sent_at":"hunter2","score":"hunter2","pinned":"hunter2"}"#,
        r#"{"sent_at":9223372036854775808,"score":1e308}"#,
        "[]",
    ])
    .with_words(&["[[[[", "{\"a\":", "\"content\":", "\"sent_at\":", "\"score\":", "\"hunter2\"", "1e400", "-9223372036854775809"])
    .with_inputs(1_500),
    |input| {
        let Ok(body) = serde_json::from_slice::<serde_json::Value>(input) else {
            return;
        };
        let document = Document::new("the-id", body.clone());
        match prepare(&mapping(), &Limits::DEFAULT, &document) {
            Ok(prepared) => {
                let again: serde_json::Value = serde_json::from_slice(&prepared.source).expect("JSON");
                assert_eq!(again, body);
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::InvalidArgument);
                assert!(error.message().contains("the-id"), "{error}");
                assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
            }
        }
    }
);

infra_testkit::fuzz!(
    /// What lies beside an index is a schema, or is refused; it is written the same again.
    descriptors,
    Start::new(&[
        r#"{"format":1,"analysis":1,"name":"m","fields":{"content":"text","id":"keyword","at":"integer"}}"#,
        r#"{"format":1,"analysis":1,"name":"m","fields":{"a":"float","b":"boolean","c":"unknown"}}"#,
    ])
    .with_inputs(1_500),
    |input| {
        let Ok(descriptor) = serde_json::from_slice::<Descriptor>(input) else {
            return;
        };
        if let Ok(schema) = descriptor.schema() {
            let again = Descriptor::new(&descriptor.name, &schema).expect("known kinds");
            assert_eq!(again.schema().ok(), Some(schema));
        }
    }
);

infra_testkit::fuzz!(
    configurations,
    Start::new(&[
        r#"{"storage":{"directory":"d"},"refresh_interval":"250ms","durability":"machine","writer_threads":2}"#,
        r#"{"storage":"memory","max_page_size":0,"max_page_depth":4294967295,"writer_heap_bytes":18446744073709551615}"#,
    ])
    .with_inputs(1_500),
    |input| {
        let entry = ConfigEntry::new("search.json", input.to_vec().into(), Version(1));
        match entry.decode::<TantivyConfig>() {
            Ok(config) => drop(config.check()),
            Err(error) => assert!(error.message().contains("search.json"), "{error}"),
        }
    }
);
