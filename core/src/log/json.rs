//! Lines as JSON objects with the keys in a fixed order.

use std::fmt::Write;

use super::layer::{Line, Value};
use super::text::{keyed, push_time};

/// Writes a line, with its line break.
pub(super) fn format(line: Line<'_>) -> String {
    let mut out = String::with_capacity(256);
    out.push_str("{\"level\":\"");
    out.extend(
        line.metadata
            .level()
            .as_str()
            .chars()
            .map(|c| c.to_ascii_lowercase()),
    );
    out.push_str("\",\"time\":\"");
    push_time(&mut out, line.time);
    out.push_str("\",\"namespace\":");
    push_text(&mut out, &line.namespace);
    if let Some(trace_id) = &line.trace_id {
        out.push_str(",\"trace_id\":");
        push_text(&mut out, trace_id);
    }
    if let Some((file, number)) = line.caller {
        out.push_str(",\"caller\":");
        push_text(&mut out, file);
        // Inside the quotes.
        out.pop();
        push(&mut out, format_args!(":{number}\""));
    }
    out.push_str(",\"msg\":");
    push_text(&mut out, &line.message);
    for (key, value) in keyed(&line.fields) {
        out.push(',');
        push_text(&mut out, &key);
        out.push(':');
        push_value(&mut out, value);
    }
    out.push_str("}\n");
    out
}

fn push_value(out: &mut String, value: &Value) {
    match value {
        Value::Bool(value) => push(out, format_args!("{value}")),
        Value::Signed(value) => push(out, format_args!("{value}")),
        Value::Unsigned(value) => push(out, format_args!("{value}")),
        // JSON has no infinities.
        Value::Float(value) if value.is_finite() => push(out, format_args!("{value:?}")),
        Value::Float(value) => push(out, format_args!("\"{value}\"")),
        Value::Text(text) => push_text(out, text),
    }
}

/// Writes a JSON string. Beyond what JSON demands, everything that could break a line or steer a terminal is escaped.
pub(super) fn push_text(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{2028}' | '\u{2029}' => push(out, format_args!("\\u{:04x}", u32::from(character))),
            _ if character.is_control() => push(out, format_args!("\\u{:04x}", u32::from(character))),
            _ => out.push(character),
        }
    }
    out.push('"');
}

fn push(out: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a `String` cannot fail.
    let _ = out.write_fmt(arguments);
}
