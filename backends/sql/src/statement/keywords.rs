//! What the words of a statement tell about it as a whole.

use super::lexer::{Token, TokenKind};

/// Statements that begin or end transactions or savepoints.
pub(super) fn is_transaction_control(keyword: &str) -> bool {
    matches!(
        keyword,
        "begin" | "start" | "commit" | "end" | "rollback" | "abort" | "savepoint" | "release"
    )
}

/// The same, without `end`, which also closes the body of a trigger.
pub(super) fn ends_unit(keyword: &str) -> bool {
    keyword != "end" && is_transaction_control(keyword)
}

/// Whether a word appears that changes rows; within a `with`, it need not be the first.
pub(super) fn changes_rows(text: &str, tokens: &[Token]) -> bool {
    tokens
        .iter()
        .filter(|token| token.kind == TokenKind::Word)
        .any(|token| {
            ["insert", "update", "delete", "merge", "replace"]
                .iter()
                .any(|word| text[token.span.clone()].eq_ignore_ascii_case(word))
        })
}

pub(super) fn first_keyword(text: &str, tokens: &[Token]) -> String {
    tokens
        .iter()
        .find(|token| !is_filler(token, text))
        .map(|token| text[token.span.clone()].to_ascii_lowercase())
        .unwrap_or_default()
}

/// Blanks, and the semicolons and parentheses that may stand before a statement.
fn is_filler(token: &Token, text: &str) -> bool {
    token.kind == TokenKind::Blank
        || (token.kind == TokenKind::Symbol && matches!(&text[token.span.clone()], ";" | "("))
}

pub(super) fn summary(text: &str, tokens: &[Token]) -> String {
    let mut summary = String::with_capacity(text.len());
    for token in tokens {
        match token.kind {
            TokenKind::Blank => {
                if !summary.is_empty() && !summary.ends_with(' ') {
                    summary.push(' ');
                }
            }
            TokenKind::Literal | TokenKind::Number => summary.push('?'),
            _ => summary.push_str(&text[token.span.clone()]),
        }
    }
    summary.truncate(summary.trim_end().len());
    summary
}
