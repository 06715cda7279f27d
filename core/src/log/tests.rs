//! What the log promises, read back from what it wrote.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value as Json;
use tracing::subscriber::with_default;

use super::*;
use crate::config::{Format as Document, Loader, Profile, Source};
use crate::telemetry::{spawn_traced, with_trace_id};

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("not poisoned").clone()).expect("UTF-8")
    }

    fn lines(&self) -> Vec<Json> {
        let text = self.text();
        assert!(text.is_empty() || text.ends_with('\n'));
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
            .collect()
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("not poisoned").write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What `work` logs, line by line.
fn logged(config: LogConfig, work: impl FnOnce()) -> Vec<Json> {
    let buffer = Buffer::default();
    let (subscriber, guard) = subscriber_to(config, "im-gateway", buffer.clone()).expect("valid");
    with_default(subscriber, work);
    drop(guard);
    buffer.lines()
}

fn production() -> LogConfig {
    LogConfig::production()
}

#[test]
fn json_keys_come_in_order_and_values_keep_their_types() {
    let buffer = Buffer::default();
    let (subscriber, guard) = subscriber_to(production(), "im-gateway", buffer.clone()).expect("valid");
    with_default(subscriber, || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        runtime.block_on(with_trace_id("trace-1", async {
            let cause = crate::Error::new(ErrorKind::Unavailable, "no route")
                .with_source(std::io::Error::other("cable"));
            let error = &cause as &dyn std::error::Error;
            tracing::warn!(
                n = -1, big = u128::MAX, ok = true, ratio = 0.5, nan = f64::NAN, took = ?Duration::from_millis(1500),
                error, text = "x", "took {} tries", 3
            );
        }));
    });
    drop(guard);
    let text = buffer.text();
    let line = &buffer.lines()[0];
    let keys = [
        "level",
        "time",
        "namespace",
        "trace_id",
        "caller",
        "msg",
        "n",
        "big",
        "ok",
        "ratio",
        "nan",
        "took",
        "error",
        "text",
    ];
    let mut rest = text.as_str();
    for key in keys {
        let at = rest
            .find(&format!("\"{key}\":"))
            .unwrap_or_else(|| panic!("{key} in {rest}"));
        rest = &rest[at..];
    }
    assert_eq!(line.as_object().expect("an object").len(), keys.len());
    assert_eq!(line["level"], "warn");
    assert_eq!(line["trace_id"], "trace-1");
    assert_eq!(line["msg"], "took 3 tries");
    assert_eq!(
        (&line["n"], &line["ok"], &line["ratio"]),
        (&Json::from(-1), &Json::from(true), &Json::from(0.5))
    );
    assert!(text.contains("\"big\":340282366920938463463374607431768211455"));
    assert_eq!(
        (&line["nan"], &line["took"]),
        (&Json::from("NaN"), &Json::from("1.5s"))
    );
    assert_eq!(line["error"], "no route (unavailable): cable");
    let caller = line["caller"].as_str().expect("text");
    let (file, number) = caller.rsplit_once(':').expect("file:line");
    assert!(
        file.ends_with("log/tests.rs") && number.parse::<u32>().is_ok(),
        "{caller}"
    );
    let time = line["time"].as_str().expect("text");
    assert!(time.ends_with('Z') && time.len() == 27, "{time}");
    let parsed = time::OffsetDateTime::parse(time, &time::format_description::well_known::Rfc3339);
    let age = time::OffsetDateTime::now_utc() - parsed.expect("RFC 3339");
    assert!(age < Duration::from_secs(60) && age.is_positive(), "{age}");
}

#[test]
fn namespaces_join_below_the_root_and_targets_stand_in() {
    let lines = logged(production(), || {
        tracing::info!(target: "im_gateway", "root");
        tracing::info!(target: "im_gateway::user::auth", "module");
        tracing::info!(target: "hyper::client", "library");
        let _user = namespace("user").entered();
        tracing::info!(target: "im_gateway::elsewhere", "scope");
        {
            let _auth = tracing::info_span!("auth", namespace = "auth", user = 7).entered();
            tracing::info!("nested");
            let _plain = tracing::info_span!("plain", step = 2).entered();
            tracing::info!("inherits");
        }
        tracing::info!("back");
        let _bad = namespace("not a namespace").entered();
        tracing::info!("bad name");
    });
    let namespaces: Vec<_> = lines
        .iter()
        .map(|line| line["namespace"].as_str().expect("text"))
        .collect();
    assert_eq!(
        namespaces,
        [
            "im-gateway",
            "im-gateway.user.auth",
            "im-gateway.hyper.client",
            "im-gateway.user",
            "im-gateway.user.auth",
            "im-gateway.user.auth",
            "im-gateway.user",
            "im-gateway.user",
        ]
    );
    assert_eq!(
        (&lines[5]["user"], &lines[5]["step"]),
        (&Json::from(7), &Json::from(2))
    );
    assert!(lines[6].get("user").is_none());
    assert_eq!(lines[7]["field_namespace"], "not a namespace");
}

#[test]
fn namespace_and_trace_follow_awaits_and_spawned_tasks() {
    let lines = logged(production(), || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        runtime.block_on(with_trace_id("abc", async {
            let inner = namespaced("user", async {
                tokio::task::yield_now().await;
                tracing::info!("awaited");
                spawn_traced(async { tracing::info!("spawned") })
                    .await
                    .expect("no panic");
            });
            let other = async {
                tracing::info!("beside");
            };
            tokio::join!(inner, other);
        }));
        tracing::info!("outside");
    });
    let find = |message: &str| lines.iter().find(|line| line["msg"] == message).expect("logged");
    for message in ["awaited", "spawned"] {
        assert_eq!(
            (&find(message)["namespace"], &find(message)["trace_id"]),
            (&Json::from("im-gateway.user"), &Json::from("abc"))
        );
    }
    assert_eq!(find("beside")["trace_id"], "abc");
    assert_ne!(find("beside")["namespace"], "im-gateway.user");
    assert!(find("outside").get("trace_id").is_none());
}

#[test]
fn levels_go_by_namespace_and_change_while_running() {
    let buffer = Buffer::default();
    let config = production()
        .with_namespace_level("user", Level::Warn)
        .with_namespace_level("user.auth", Level::Trace);
    let (subscriber, guard) = subscriber_to(config, "im-gateway", buffer.clone()).expect("valid");
    let handle = guard.handle();
    let emit = |round: u32| {
        for scope in ["user", "user.auth", "other"] {
            let _scope = namespace(scope).entered();
            tracing::trace!(round, scope, "t");
            tracing::info!(round, scope, "i");
            tracing::error!(round, scope, "e");
        }
    };
    let changed = Levels::new(Level::Off).with_namespace("other", Level::Trace);
    with_default(subscriber, || {
        emit(1);
        handle.set_levels(changed.clone()).expect("valid");
        emit(2);
        assert!(
            handle
                .set_levels(Levels::new(Level::Trace).with_namespace("a b", Level::Off))
                .is_err()
        );
        emit(3);
        let reload = handle.hot_reload().expect("valid");
        let key = Source::ConfigCenter("log".to_owned());
        reload
            .offer(&key, Document::Json, br#"{"level":"error"}"#)
            .expect("valid");
        emit(4);
        assert!(
            reload
                .offer(&key, Document::Json, br#"{"level":"loud"}"#)
                .is_err()
        );
        reload.reset().expect("valid");
        emit(5);
    });
    drop(guard);
    let seen = |round: u32| -> String {
        let lines = buffer.lines();
        let of_round = lines.iter().filter(|line| line["round"] == round);
        of_round
            .map(|line| {
                format!(
                    "{}:{} ",
                    line["scope"].as_str().expect("text"),
                    line["msg"].as_str().expect("text")
                )
            })
            .collect()
    };
    assert_eq!(
        seen(1),
        "user:e user.auth:t user.auth:i user.auth:e other:i other:e "
    );
    assert_eq!(seen(2), "other:t other:i other:e ");
    assert_eq!(seen(3), seen(2));
    assert_eq!(seen(4), "user:e user.auth:e other:e ");
    assert_eq!(seen(5), seen(2));
    assert_eq!(handle.levels(), changed);
}

#[test]
fn nothing_in_a_field_can_break_a_line_or_take_a_reserved_key() {
    let nasty = "a\"b\\c\nd\re\tf\u{1b}[31mg\u{0}h\u{7f}i\u{85}j\u{2028}k";
    let buffer = Buffer::default();
    let (subscriber, guard) = subscriber_to(production(), "im-gateway", buffer.clone()).expect("valid");
    with_default(subscriber, || {
        let _span = tracing::info_span!("s", level = "span", shadowed = 1, inner = 1).entered();
        tracing::info!(
            level = "fatal",
            time = 0,
            trace_id = "x",
            caller = "y",
            msg = "z",
            shadowed = 2,
            nasty,
            "{nasty}"
        );
    });
    drop(guard);
    let text = buffer.text();
    assert!(
        text.trim_end_matches('\n')
            .chars()
            .all(|c| !c.is_control() && c != '\u{2028}'),
        "{text:?}"
    );
    let line = &buffer.lines()[0];
    assert_eq!(
        (&line["level"], &line["msg"], &line["nasty"]),
        (&Json::from("info"), &Json::from(nasty), &Json::from(nasty))
    );
    assert_eq!(
        (&line["field_level"], &line["field_level_"]),
        (&Json::from("fatal"), &Json::from("span"))
    );
    assert_eq!(
        (&line["field_trace_id"], &line["field_msg"], &line["field_time"]),
        (&Json::from("x"), &Json::from("z"), &Json::from(0))
    );
    assert_eq!(
        (&line["shadowed"], &line["inner"]),
        (&Json::from(2), &Json::from(1))
    );

    let buffer = Buffer::default();
    let config = LogConfig::development().with_color(Color::Never);
    let (subscriber, guard) = subscriber_to(config, "im-gateway", buffer.clone()).expect("valid");
    with_default(subscriber, || tracing::info!(nasty, plain = "word", "{nasty}"));
    drop(guard);
    let text = buffer.text();
    assert_eq!(text.lines().count(), 1);
    assert!(
        text.trim_end_matches('\n').chars().all(|c| !c.is_control()),
        "{text:?}"
    );
    assert!(
        text.contains(" INFO im-gateway.") && text.contains(" plain=word "),
        "{text}"
    );
}

#[test]
fn redacted_fields_are_masked_wherever_they_are() {
    let config = production().with_redacted("pin");
    let buffer = Buffer::default();
    let (subscriber, guard) = subscriber_to(config, "im-gateway", buffer.clone()).expect("valid");
    with_default(subscriber, || {
        let span = tracing::info_span!("s", token = "hunter2", late.secret = tracing::field::Empty);
        span.record("late.secret", "hunter2");
        let _span = span.entered();
        tracing::info!(
            Password = "hunter2", user_password = ?"hunter2", http.authorization = "hunter2", pin = 424_242, spin = 1, tokens = 2, "login"
        );
    });
    drop(guard);
    let text = buffer.text();
    assert!(!text.contains("hunter2") && !text.contains("424242"), "{text}");
    let line = &buffer.lines()[0];
    for key in [
        "token",
        "late.secret",
        "Password",
        "user_password",
        "http.authorization",
        "pin",
    ] {
        assert_eq!(line[key], "[redacted]", "{key}");
    }
    assert_eq!((&line["spin"], &line["tokens"]), (&Json::from(1), &Json::from(2)));
}

#[test]
fn the_guard_writes_what_is_buffered_to_the_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("logs/app.log");
    let config = production().with_output(Output::File(path.clone()));
    let (subscriber, guard) = subscriber(config, "im-gateway").expect("valid");
    with_default(subscriber, || {
        for n in 0..20_000 {
            tracing::info!(n, "line");
        }
    });
    assert_eq!(guard.dropped_lines(), 0);
    drop(guard);
    let text = std::fs::read_to_string(&path).expect("there");
    assert_eq!(text.lines().count(), 20_000);
}

#[test]
fn an_output_that_does_not_take_lines_costs_lines_and_nothing_else() {
    struct Stuck(std::sync::mpsc::Receiver<()>);
    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let (release, stuck) = std::sync::mpsc::channel();
    let (subscriber, guard) =
        subscriber_to(production().with_buffer_lines(5), "im-gateway", Stuck(stuck)).expect("valid");
    with_default(subscriber, || {
        for n in 0..100 {
            tracing::info!(n, "line");
        }
    });
    assert_eq!(guard.dropped_lines(), 95);
    assert_eq!(
        guard.flush(Duration::from_millis(1)).expect_err("stuck").kind(),
        ErrorKind::Timeout
    );
    drop(release);
    guard.flush(Duration::from_secs(10)).expect("no longer stuck");
}

#[test]
fn the_console_form_is_coloured_when_asked() {
    for (color, expected) in [(Color::Always, true), (Color::Never, false), (Color::Auto, false)] {
        let buffer = Buffer::default();
        let config = LogConfig::development().with_color(color);
        let (subscriber, guard) = subscriber_to(config, "im-gateway", buffer.clone()).expect("valid");
        with_default(subscriber, || tracing::debug!(n = 1, "two words"));
        drop(guard);
        let text = buffer.text();
        assert_eq!(text.contains("\u{1b}[34mDEBUG"), expected, "{color:?}: {text}");
        assert!(
            text.contains("  two words ") && text.contains("log/tests.rs:"),
            "{text}"
        );
    }
}

#[test]
fn configuration_is_read_and_checked_as_a_whole() {
    let config: LogConfig = Loader::new(Profile::Production)
        .with_defaults(&LogConfig::of(Profile::Production))
        .with_document(
            "log.toml",
            Document::Toml,
            "level = 'warning'\noutput = '/var/log/app.log'\nclock = 'local'\n[levels]\n'user.auth' = 'debug'\n\
             [rotation]\nmax_bytes = 1048576\nevery = '1day'",
        )
        .load()
        .expect("valid");
    let expected = production()
        .with_level(Level::Warn)
        .with_output(Output::File("/var/log/app.log".into()))
        .with_clock(Clock::Local)
        .with_namespace_level("user.auth", Level::Debug)
        .with_rotation(
            Rotation::never()
                .with_max_bytes(1_048_576)
                .with_every(Duration::from_secs(86_400)),
        );
    assert_eq!(config, expected);

    let bad = production()
        .with_buffer_lines(0)
        .with_redacted("")
        .with_namespace_level("a b", Level::Info)
        .with_rotation(Rotation::never().with_keep_files(3));
    let error = subscriber(bad, "im-gateway").err().expect("four problems");
    for path in ["buffer_lines", "redact[4]", "levels.a b", "rotation"] {
        assert!(error.message().contains(path), "{path}: {error}");
    }
    let unopened = production().with_output(Output::File("/proc/none/app.log".into()));
    assert!(subscriber(unopened, "im-gateway").is_err());
    assert!(subscriber(production(), "").is_err());
    assert!(subscriber(production(), "im gateway").is_err());
}
