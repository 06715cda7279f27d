//! From a statement as written to the text and values of one engine: cut, analyse, bind. No I/O.

mod keywords;
mod lexer;
mod names;
mod parse;
mod render;

#[cfg(test)]
pub(crate) use lexer::{Token, TokenKind, tokens};
pub(crate) use parse::{Mode, Parsed};
pub(crate) use render::{Bound, Physical, bind};
