//! Lines for people.

use std::fmt::Write;

use tracing::Level;

use super::json::push_text;
use super::layer::{Line, Value};
use super::text::{keyed, push_time};

const RESET: &str = "\x1b[0m";
const DIM: &str = "\x1b[2m";

/// Writes a line, with its line break: time, level, namespace, message, fields, trace id, source location.
pub(super) fn format(line: Line<'_>, color: bool) -> String {
    let mut out = String::with_capacity(256);
    let paint = |out: &mut String, code: &str| {
        if color {
            out.push_str(code);
        }
    };
    paint(&mut out, DIM);
    push_time(&mut out, line.time);
    paint(&mut out, RESET);
    out.push(' ');
    paint(&mut out, code_of(*line.metadata.level()));
    // Writing to a `String` cannot fail.
    let _ = write!(out, "{:>5}", line.metadata.level().as_str());
    paint(&mut out, RESET);
    out.push(' ');
    push_plain(&mut out, &line.namespace);
    out.push_str("  ");
    push_plain(&mut out, &line.message);
    for (key, value) in keyed(&line.fields) {
        out.push(' ');
        paint(&mut out, DIM);
        push_plain(&mut out, &key);
        out.push('=');
        paint(&mut out, RESET);
        push_value(&mut out, value);
    }
    paint(&mut out, DIM);
    if let Some(trace_id) = &line.trace_id {
        out.push_str(" trace_id=");
        push_plain(&mut out, trace_id);
    }
    if let Some((file, number)) = line.caller {
        let _ = write!(out, " {file}:{number}");
    }
    paint(&mut out, RESET);
    out.push('\n');
    out
}

fn code_of(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\x1b[1;31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        Level::DEBUG => "\x1b[34m",
        Level::TRACE => "\x1b[35m",
    }
}

fn push_value(out: &mut String, value: &Value) {
    let _ = match value {
        Value::Bool(value) => write!(out, "{value}"),
        Value::Signed(value) => write!(out, "{value}"),
        Value::Unsigned(value) => write!(out, "{value}"),
        Value::Float(value) => write!(out, "{value}"),
        Value::Text(text) => {
            if text.is_empty() || text.contains(|c: char| c.is_whitespace() || matches!(c, '"' | '=')) {
                push_text(out, text);
            } else {
                push_plain(out, text);
            }
            Ok(())
        }
    };
}

/// Writes text as it is, but for characters that would break the line or steer the terminal.
fn push_plain(out: &mut String, text: &str) {
    for character in text.chars() {
        if character.is_control() || matches!(character, '\u{2028}' | '\u{2029}') {
            out.extend(character.escape_default());
        } else {
            out.push(character);
        }
    }
}
