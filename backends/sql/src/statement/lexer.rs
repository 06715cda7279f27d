//! Cuts the text of a statement into tokens. Knows quoting and comments, nothing of grammar; pure functions.

use std::ops::Range;

use infra_core::{Error, Result};

use crate::dialect::Dialect;

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenKind {
    /// White space or a comment.
    Blank,
    /// A keyword or an identifier without quotes.
    Word,
    /// An identifier in quotes.
    QuotedName,
    /// A text literal; kept byte for byte.
    Literal,
    /// A number.
    Number,
    /// `?`
    Positional,
    /// `:name`
    Named,
    /// Anything else; one operator or punctuation mark.
    Symbol,
}

/// A token: its kind and the bytes it covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: TokenKind,
    pub(crate) span: Range<usize>,
}

/// Cuts `text` into tokens that cover it without gap or overlap.
///
/// # Errors
/// [`InvalidArgument`](infra_core::ErrorKind::InvalidArgument) with the position of an unfinished literal, quoted name or
/// comment, of a NUL character, or of a parameter that only one engine knows.
pub(crate) fn tokens(text: &str, dialect: &Dialect) -> Result<Vec<Token>> {
    if let Some(position) = text.bytes().position(|byte| byte == 0) {
        return Err(refused(text, position, "contains a NUL character; remove it"));
    }
    let mut lexer = Lexer {
        text,
        bytes: text.as_bytes(),
        position: 0,
        dialect,
    };
    let mut tokens = Vec::new();
    while lexer.position < lexer.bytes.len() {
        let start = lexer.position;
        let kind = lexer.next()?;
        tokens.push(Token {
            kind,
            span: start..lexer.position,
        });
    }
    Ok(tokens)
}

/// An error that says where in the statement something is wrong.
pub(crate) fn refused(text: &str, position: usize, problem: &str) -> Error {
    let before = text.get(..position).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    Error::invalid_argument(format!("the statement at line {line}, column {column} {problem}"))
}

struct Lexer<'a> {
    text: &'a str,
    bytes: &'a [u8],
    position: usize,
    dialect: &'a Dialect,
}

impl Lexer<'_> {
    fn next(&mut self) -> Result<TokenKind> {
        let byte = self.peek(0);
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => {
                self.advance_while(|b| matches!(b, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c));
                Ok(TokenKind::Blank)
            }
            b'-' if self.peek(1) == b'-' => {
                self.advance_while(|b| b != b'\n');
                Ok(TokenKind::Blank)
            }
            b'/' if self.peek(1) == b'*' => self.block_comment(),
            b'\'' => self.quoted(b'\'', TokenKind::Literal),
            b'"' | b'`' => self.quoted(byte, TokenKind::QuotedName),
            b'[' if self.dialect.bracket_quotes => self.quoted(b']', TokenKind::QuotedName),
            b'$' if self.dialect.dollar_quotes => self.dollar(),
            b'$' | b'@' if self.dialect.native_parameters => Err(self.native_parameter()),
            b':' => Ok(self.colon()),
            b'?' => self.question(),
            b'0'..=b'9' => Ok(self.number()),
            _ if starts_name(byte) => {
                self.advance_while(continues_name);
                Ok(TokenKind::Word)
            }
            _ => {
                self.position += 1;
                Ok(TokenKind::Symbol)
            }
        }
    }

    /// The byte so many places ahead, or 0 beyond the end (the text holds no NUL).
    fn peek(&self, ahead: usize) -> u8 {
        self.bytes.get(self.position + ahead).copied().unwrap_or(0)
    }

    fn advance_while(&mut self, wanted: impl Fn(u8) -> bool) {
        while self.bytes.get(self.position).is_some_and(|byte| wanted(*byte)) {
            self.position += 1;
        }
    }

    fn refused(&self, position: usize, problem: &str) -> Error {
        refused(self.text, position, problem)
    }

    fn block_comment(&mut self) -> Result<TokenKind> {
        let start = self.position;
        let mut depth = 0_usize;
        while self.position < self.bytes.len() {
            match (self.peek(0), self.peek(1)) {
                (b'/', b'*') if depth == 0 || self.dialect.nested_comments => {
                    depth += 1;
                    self.position += 2;
                }
                (b'*', b'/') => {
                    depth -= 1;
                    self.position += 2;
                    if depth == 0 {
                        return Ok(TokenKind::Blank);
                    }
                }
                _ => self.position += 1,
            }
        }
        Err(self.refused(start, "begins a comment that never ends; add */"))
    }

    /// A quoted text; the quote written twice stands for itself.
    fn quoted(&mut self, quote: u8, kind: TokenKind) -> Result<TokenKind> {
        let start = self.position;
        self.position += 1;
        while self.position < self.bytes.len() {
            if self.peek(0) != quote {
                self.position += 1;
            } else if self.peek(1) == quote && quote != b']' {
                self.position += 2;
            } else {
                self.position += 1;
                return Ok(kind);
            }
        }
        let what = if kind == TokenKind::Literal {
            "a text literal"
        } else {
            "a quoted name"
        };
        Err(self.refused(start, &format!("begins {what} that never ends; close the quote")))
    }

    /// `$tag$ … $tag$`, or a lone dollar sign.
    fn dollar(&mut self) -> Result<TokenKind> {
        let start = self.position;
        let tag_length = self.bytes[start + 1..]
            .iter()
            .take_while(|byte| continues_name(**byte) && **byte != b'$')
            .count();
        let tag_end = start + 1 + tag_length;
        if self.bytes.get(tag_end) != Some(&b'$') || self.peek(1).is_ascii_digit() {
            self.position += 1;
            return Ok(TokenKind::Symbol);
        }
        let tag = &self.text[start..=tag_end];
        match self.text[tag_end + 1..].find(tag) {
            Some(offset) => {
                self.position = tag_end + 1 + offset + tag.len();
                Ok(TokenKind::Literal)
            }
            None => Err(self.refused(
                start,
                "begins a dollar-quoted text that never ends; repeat its tag",
            )),
        }
    }

    /// `::` (a cast), `:name`, or a lone colon.
    fn colon(&mut self) -> TokenKind {
        if self.peek(1) == b':' {
            self.advance_while(|byte| byte == b':');
            TokenKind::Symbol
        } else if starts_name(self.peek(1)) {
            self.position += 1;
            self.advance_while(|byte| continues_name(byte) && byte != b'$');
            TokenKind::Named
        } else {
            self.position += 1;
            TokenKind::Symbol
        }
    }

    /// `?`, or one of the JSON operators `?|` and `?&`. (`?||` is a parameter before a concatenation.)
    fn question(&mut self) -> Result<TokenKind> {
        match (self.peek(1), self.peek(2)) {
            (b'&', _) => {
                self.position += 2;
                Ok(TokenKind::Symbol)
            }
            (b'|', after) if after != b'|' => {
                self.position += 2;
                Ok(TokenKind::Symbol)
            }
            (b'0'..=b'9', _) if self.dialect.native_parameters => Err(self.native_parameter()),
            _ => {
                self.position += 1;
                Ok(TokenKind::Positional)
            }
        }
    }

    fn number(&mut self) -> TokenKind {
        self.advance_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_'));
        TokenKind::Number
    }

    fn native_parameter(&self) -> Error {
        self.refused(
            self.position,
            "has a parameter in the engine's own spelling; write :name or ?",
        )
    }
}

fn starts_name(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

fn continues_name(byte: u8) -> bool {
    starts_name(byte) || byte.is_ascii_digit() || byte == b'$'
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kinds(text: &str, dialect: &Dialect) -> Vec<(TokenKind, String)> {
        tokens(text, dialect)
            .expect("valid")
            .into_iter()
            .filter(|token| token.kind != TokenKind::Blank)
            .map(|token| (token.kind, text[token.span].to_owned()))
            .collect()
    }

    fn parameters(text: &str, dialect: &Dialect) -> Vec<String> {
        kinds(text, dialect)
            .into_iter()
            .filter(|(kind, _)| matches!(kind, TokenKind::Positional | TokenKind::Named))
            .map(|(_, text)| text)
            .collect()
    }

    #[test]
    fn finds_parameters_and_nothing_that_only_looks_like_one() {
        for (text, expected) in [
            ("select :a, ?", vec![":a", "?"]),
            ("select ':a ? ''still :b''' , :c", vec![":c"]),
            ("select \"a?:b\", `:c`, [d:e?]", vec![]),
            ("select 1 -- :a ?\n, :b", vec![":b"]),
            ("select /* :a ? /* */ :b", vec![":b"]),
            ("select :a::text, b::int", vec![":a"]),
            ("select a ?| b, a ?& c, ?||'x', a->>'k'", vec!["?"]),
            ("select :größe", vec![":größe"]),
            ("select 1e5, 0x1F, 'x' || :a", vec![":a"]),
        ] {
            assert_eq!(parameters(text, &Dialect::SQLITE), expected, "{text}");
        }
        for (text, expected) in [
            ("select /* :a /* ? */ :b */ :c", vec![":c"]),
            ("select $$ :a ? $$, $t$ $$ :b $t$, $1, :c", vec![":c"]),
            ("select x[1], :a, tags @> :b, @ -5", vec![":a", ":b"]),
        ] {
            assert_eq!(parameters(text, &Dialect::POSTGRES), expected, "{text}");
        }
    }

    #[test]
    fn refuses_the_unfinished_with_its_position() {
        for (text, place) in [
            ("select 'open", "line 1, column 8"),
            ("select\n  \"open", "line 2, column 3"),
            ("select /* open", "line 1, column 8"),
            ("select [open", "line 1, column 8"),
            ("select $1", "line 1, column 8"),
            ("select @a", "line 1, column 8"),
            ("select ?1", "line 1, column 8"),
            ("se\0lect", "line 1, column 3"),
        ] {
            let error = tokens(text, &Dialect::SQLITE).expect_err(text);
            assert!(error.message().contains(place), "{text:?}: {error}");
            assert!(error.had_no_effect());
        }
        assert!(tokens("select $tag$ open", &Dialect::POSTGRES).is_err());
    }

    proptest! {
        #[test]
        fn tokens_cover_any_text_or_it_is_refused(text in any::<String>()) {
            for dialect in [Dialect::SQLITE, Dialect::POSTGRES] {
                if let Ok(tokens) = tokens(&text, &dialect) {
                    let whole: String = tokens.iter().map(|token| &text[token.span.clone()]).collect();
                    prop_assert_eq!(&whole, &text);
                }
            }
        }

        #[test]
        fn sql_like_noise_never_panics(text in "[-'\"`\\[\\]$:?/*|&@;(){}a-z0-9é \n]{0,60}") {
            for dialect in [Dialect::SQLITE, Dialect::POSTGRES] {
                if let Ok(tokens) = tokens(&text, &dialect) {
                    let whole: String = tokens.iter().map(|token| &text[token.span.clone()]).collect();
                    prop_assert_eq!(&whole, &text);
                }
            }
        }

        #[test]
        fn a_quoted_text_is_one_literal(inner in any::<String>()) {
            let inner = inner.replace('\0', "");
            let literal = format!("'{}'", inner.replace('\'', "''"));
            let found = kinds(&literal, &Dialect::SQLITE);
            prop_assert_eq!(found, vec![(TokenKind::Literal, literal)]);
        }
    }
}
