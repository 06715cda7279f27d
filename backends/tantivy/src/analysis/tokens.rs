//! The index terms of a text, as a tantivy tokenizer.
//!
//! Alphabetic words and pictographs are terms of their own. A run of charwise script (Chinese, Japanese, Korean, Thai …)
//! gives every character, every pair of neighbours, and every word: pairs and their positions decide what matches, so
//! that no query misses for a word cut elsewhere; words add to the rank, so that whole words come first.

use tantivy::tokenizer::{Token, TokenStream, Tokenizer};

use super::words::{Kind, pieces};
use super::{MAX_WORD_BYTES, Units};

/// Longer pieces of charwise script are no words.
const MAX_WORD_UNITS: usize = 16;

/// The term of one character.
pub(crate) fn single_term(character: &str) -> String {
    character.to_owned()
}

/// The term of two neighbours.
pub(crate) fn pair_term(first: &str, second: &str) -> String {
    format!("{first}{second}")
}

/// The term of a word of charwise script, if it is indexed as one; it cannot be confused with a pair.
pub(crate) fn word_term(characters: &[String]) -> Option<String> {
    let word = characters.concat();
    is_word(characters.len(), word.len()).then(|| format!("{WORD_MARK}{word}"))
}

const WORD_MARK: char = '\u{1}';

fn is_word(units: usize, bytes: usize) -> bool {
    (2..=MAX_WORD_UNITS).contains(&units) && bytes <= MAX_WORD_BYTES
}

/// Makes the index terms of a text.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct InfraTokenizer;

impl Tokenizer for InfraTokenizer {
    type TokenStream<'a> = Stream;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> Stream {
        let units = Units::of(text);
        let terms = terms(&units);
        Stream {
            units,
            terms,
            next: 0,
            token: Token::default(),
        }
    }
}

#[derive(Debug)]
struct Term {
    from: usize,
    to: usize,
    position: usize,
    is_word: bool,
}

fn terms(units: &Units) -> Vec<Term> {
    let mut terms = Vec::with_capacity(units.len() * 2);
    let mut position = 0;
    for piece in pieces(units) {
        let gap = piece.from > 0 && !units.get(piece.from).is_some_and(|unit| unit.joined);
        position += usize::from(gap);
        if piece.kind == Kind::Word {
            terms.push(Term {
                from: piece.from,
                to: piece.to,
                position,
                is_word: false,
            });
            position += 1;
            continue;
        }
        if is_word(piece.to - piece.from, units.folded(piece.from, piece.to).len()) {
            terms.push(Term {
                from: piece.from,
                to: piece.to,
                position,
                is_word: true,
            });
        }
        for index in piece.from..piece.to {
            push_character(units, index, position, &mut terms);
            position += 1;
        }
    }
    terms
}

fn push_character(units: &Units, index: usize, position: usize, terms: &mut Vec<Term>) {
    let mut push = |to| {
        terms.push(Term {
            from: index,
            to,
            position,
            is_word: false,
        });
    };
    push(index + 1);
    if units
        .get(index + 1)
        .is_some_and(|next| next.joined && next.class.is_charwise())
    {
        push(index + 2);
    }
}

/// The terms of one text.
#[derive(Debug)]
pub(crate) struct Stream {
    units: Units,
    terms: Vec<Term>,
    next: usize,
    token: Token,
}

impl TokenStream for Stream {
    fn advance(&mut self) -> bool {
        let Some(term) = self.terms.get(self.next) else {
            return false;
        };
        self.next += 1;
        self.token.text.clear();
        if term.is_word {
            self.token.text.push(WORD_MARK);
        }
        self.token.text.push_str(self.units.folded(term.from, term.to));
        self.token.position = term.position;
        self.token.offset_from = self.units.get(term.from).map_or(0, |unit| unit.start);
        self.token.offset_to = self.units.get(term.to - 1).map_or(0, |unit| unit.end);
        true
    }

    fn token(&self) -> &Token {
        &self.token
    }

    fn token_mut(&mut self) -> &mut Token {
        &mut self.token
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index_terms(text: &str) -> Vec<(String, usize)> {
        let mut tokenizer = InfraTokenizer;
        let mut stream = tokenizer.token_stream(text);
        let mut terms = Vec::new();
        while stream.advance() {
            terms.push((stream.token().text.clone(), stream.token().position));
        }
        terms
    }

    #[test]
    fn words_pairs_and_characters_share_positions() {
        let terms = index_terms("看 天气ok");
        let expected = [
            ("看", 0),
            ("\u{1}天气", 2),
            ("天", 2),
            ("天气", 2),
            ("气", 3),
            ("ok", 4),
        ];
        assert_eq!(terms, expected.map(|(text, at)| (text.to_owned(), at)));
    }

    #[test]
    fn a_gap_keeps_a_phrase_from_crossing_punctuation() {
        let positions: Vec<_> = index_terms("中。国").into_iter().map(|(_, at)| at).collect();
        assert_eq!(positions, [0, 2]);
    }
}
