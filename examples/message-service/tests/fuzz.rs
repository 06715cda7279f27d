//! Fuzz target of the reader of corpora; see `infra_testkit::fuzz`.
#![allow(clippy::expect_used, reason = "fuzz targets fail by panicking")]

use infra_testkit::fuzz::Start;
use message_service::replay::Corpus;

infra_testkit::fuzz!(
    /// Any file is read to its end; broken lines are numbered and never quoted, good ones are valid messages.
    any_file_is_a_corpus,
    Start::new(&[
        "{\"session_id\":\"s\",\"sender_id\":\"a\",\"lang\":\"en\",\"seq\":0,\"content\":\"hunter2\"}\n\n{oops hunter2\n",
        "{\"session_id\":\"\",\"sender_id\":\"a\",\"seq\":1,\"content\":\"hunter2\"}\r\n{\"seq\":\"hunter2\"}",
    ])
    .with_words(&["\n", "\"content\":", "\"seq\":", "-1", "\\u0000", "\\ud800"])
    .with_inputs(1_000),
    |input| {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("corpus.jsonl");
        std::fs::write(&path, input).expect("written");
        let mut corpus = Corpus::open(&path).expect("there");
        let (mut bytes, mut last) = (0, 0);
        while let Some((read, line)) = corpus.next_line().expect("readable") {
            bytes += read;
            assert!(corpus.line() > last, "lines are numbered in order");
            last = corpus.line();
            match line {
                Ok(line) => line.into_request().0.validate().expect("only valid messages are read"),
                Err(broken) => {
                    assert_eq!(broken.line, last);
                    assert!(!format!("{broken:?}").contains("hunter2"), "{broken:?}");
                }
            }
        }
        assert!(bytes <= corpus.bytes());
    }
);
