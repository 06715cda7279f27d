//! Cutting units into words, and the words that a query looks for. Pure functions.

use super::segment::{han_words, leading_particle};
use super::{Class, MAX_WORD_BYTES, Units};

/// What a piece of text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A word of an alphabetic script, or a pictograph: one term.
    Word,
    /// A word of a script that is found character by character.
    Characters,
    /// A Japanese particle or copula: not looked for when there is anything else to look for.
    Particle,
}

/// A piece of text: the units `from..to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) kind: Kind,
}

/// Cuts all units into pieces, in order, leaving none out.
pub(crate) fn pieces(units: &Units) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut from = 0;
    while let Some(unit) = units.get(from) {
        let to = match unit.class {
            Class::Alphabetic => cut_alphabetic(units, from, &mut pieces),
            Class::Emoji => {
                push(&mut pieces, from, from + 1, Kind::Word);
                from + 1
            }
            Class::Hangul | Class::Unspaced => {
                let to = units.run_end(from, |a, b| a == b);
                push(&mut pieces, from, to, Kind::Characters);
                to
            }
            Class::Han | Class::Hiragana | Class::Katakana => {
                let to = units.run_end(from, |_, next| is_east_asian(next));
                cut_east_asian(units, from, to, &mut pieces);
                to
            }
        };
        from = to;
    }
    pieces
}

fn is_east_asian(class: Class) -> bool {
    matches!(class, Class::Han | Class::Hiragana | Class::Katakana)
}

fn push(pieces: &mut Vec<Piece>, from: usize, to: usize, kind: Kind) {
    if from < to {
        pieces.push(Piece { from, to, kind });
    }
}

/// A word of letters and digits; an endless one is cut into pieces that fit an index term.
fn cut_alphabetic(units: &Units, from: usize, pieces: &mut Vec<Piece>) -> usize {
    let end = units.run_end(from, |a, b| a == b);
    let mut start = from;
    let mut bytes = 0;
    for index in from..end {
        let size = units.folded(index, index + 1).len();
        if bytes + size > MAX_WORD_BYTES {
            push(pieces, start, index, Kind::Word);
            start = index;
            bytes = 0;
        }
        bytes += size;
    }
    push(pieces, start, end, Kind::Word);
    end
}

/// Chinese and Japanese: a word ends where katakana begins or ends, before a particle, and after an ending of two or
/// more hiragana; what is Chinese characters only is cut by dictionary.
fn cut_east_asian(units: &Units, from: usize, to: usize, pieces: &mut Vec<Piece>) {
    let mut word = from;
    let mut at = from;
    while at < to {
        let class = units.get(at).map_or(Class::Han, |unit| unit.class);
        let end = units.run_end(at, |a, b| a == b).min(to);
        match class {
            Class::Hiragana => {
                let particle = if at == from {
                    0
                } else {
                    particle_units(units, at, end)
                };
                if particle > 0 {
                    push_word(units, word, at, pieces);
                    push(pieces, at, at + particle, Kind::Particle);
                    word = at + particle;
                }
                if end - at - particle != 1 {
                    push_word(units, word, end, pieces);
                    word = end;
                }
            }
            Class::Katakana => {
                push_word(units, word, at, pieces);
                push(pieces, at, end, Kind::Characters);
                word = end;
            }
            _ => {}
        }
        at = end;
    }
    push_word(units, word, to, pieces);
}

fn particle_units(units: &Units, from: usize, to: usize) -> usize {
    let mut bytes = leading_particle(units.folded(from, to));
    let mut count = 0;
    while bytes > 0 && from + count < to {
        bytes = bytes.saturating_sub(units.folded(from + count, from + count + 1).len());
        count += 1;
    }
    count
}

fn push_word(units: &Units, from: usize, to: usize, pieces: &mut Vec<Piece>) {
    let all_han = (from..to).all(|index| units.get(index).is_some_and(|unit| unit.class == Class::Han));
    if !all_han || to - from < 2 {
        push(pieces, from, to, Kind::Characters);
        return;
    }
    let mut start = from;
    for length in han_words(units.folded(from, to)) {
        let end = (start + length).min(to);
        push(pieces, start, end, Kind::Characters);
        start = end;
    }
    push(pieces, start, to, Kind::Characters);
}

/// One thing that a query looks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Needle {
    /// A term that occurs as it is.
    Word(String),
    /// Characters that occur one after the other.
    Characters(Vec<String>),
}

/// What a query text looks for, each thing once, in order. Empty when the text has no word in it.
pub(crate) fn needles(text: &str) -> Vec<Needle> {
    let units = Units::of(text);
    let pieces = pieces(&units);
    let only_particles = pieces.iter().all(|piece| piece.kind == Kind::Particle);
    let mut needles = Vec::new();
    for piece in pieces {
        let needle = match piece.kind {
            Kind::Particle if !only_particles => continue,
            Kind::Word => Needle::Word(units.folded(piece.from, piece.to).to_owned()),
            Kind::Particle | Kind::Characters => Needle::Characters(
                (piece.from..piece.to)
                    .map(|index| units.folded(index, index + 1).to_owned())
                    .collect(),
            ),
        };
        if !needles.contains(&needle) {
            needles.push(needle);
        }
    }
    needles
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(text: &str) -> Vec<String> {
        needles(text)
            .into_iter()
            .map(|needle| match needle {
                Needle::Word(word) => word,
                Needle::Characters(characters) => characters.concat(),
            })
            .collect()
    }

    #[test]
    fn words_of_many_languages() {
        for (text, expected) in [
            ("Hello, WORLD! v2.0", vec!["hello", "world", "v2", "0"]),
            (
                "今天北京的天气怎么样？",
                vec!["今天", "北京", "的", "天气", "怎么样"],
            ),
            ("iPhone手机", vec!["iphone", "手机"]),
            ("今日は天気がいいですね", vec!["今日", "天気", "いいですね"]),
            ("東京タワーへ行きました", vec!["東京", "タワー", "行きました"]),
            ("食べ物が好きです", vec!["食べ物", "好きです"]),
            ("오늘 날씨가 좋네요", vec!["오늘", "날씨가", "좋네요"]),
            ("อากาศดี วันนี้", vec!["อากาศด\u{e35}", "วันน\u{e35}\u{e49}"]),
            ("मौसम अच्छा है", vec!["मौसम", "अच्छा", "है"]),
            ("الطقسُ جميل", vec!["الطقس", "جمیل"]),
            ("Погода хорошая, ёлка", vec!["погода", "хорошая", "ёлка"]),
            ("Größe und Straße", vec!["grosse", "und", "strasse"]),
            ("ok 👍🏽🎉", vec!["ok", "👍", "🎉"]),
            ("の", vec!["の"]),
            (" ?!… ", vec![]),
            ("", vec![]),
        ] {
            assert_eq!(words(text), expected, "{text}");
        }
    }

    #[test]
    fn an_endless_word_is_cut() {
        let text = "é".repeat(1000);
        assert!(pieces(&Units::of(&text)).len() >= 4);
    }

    proptest! {
        #[test]
        fn pieces_cover_all_units_once(text in "([a-zé0-9 ,。]|[今天気日中文]|[ぁ-ん]|[ァ-ヶ]|[가-힣]|[ก-ฮ]|👍){0,60}") {
            let units = Units::of(&text);
            let mut at = 0;
            for piece in pieces(&units) {
                prop_assert_eq!(piece.from, at);
                prop_assert!(piece.to > piece.from);
                at = piece.to;
            }
            prop_assert_eq!(at, units.len());
        }
    }
}
