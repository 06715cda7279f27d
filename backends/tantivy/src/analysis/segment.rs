//! Where words begin inside runs of Chinese characters and of Japanese. Pure; the dictionary is part of the binary.

use std::sync::LazyLock;

use tantivy_jieba::jieba_rs::Jieba;

/// Loaded by the first text that has Chinese characters.
static JIEBA: LazyLock<Jieba> = LazyLock::new(Jieba::new);

/// Japanese particles and copulas that end the word before them, longest first.
const PARTICLES: [&str; 23] = [
    "でしょうか",
    "でしょう",
    "でした",
    "ですか",
    "ですね",
    "ですよ",
    "から",
    "まで",
    "より",
    "には",
    "では",
    "とは",
    "です",
    "ます",
    "は",
    "が",
    "を",
    "の",
    "に",
    "で",
    "と",
    "も",
    "へ",
];

/// Cuts a run of Chinese characters into words, as the number of characters of each.
///
/// A character that the dictionary does not know as a word (Japanese forms, names) stays together with the single
/// characters beside it, so that they are looked for as written.
pub(crate) fn han_words(run: &str) -> Vec<usize> {
    let mut words: Vec<usize> = Vec::new();
    let mut last_single = false;
    let mut last_unknown = false;
    for token in JIEBA.cut(run, true) {
        let length = token.word.chars().count();
        let single = length == 1;
        let unknown = single && !JIEBA.has_word(token.word);
        match words.last_mut() {
            Some(last) if single && last_single && (unknown || last_unknown) => *last += 1,
            _ => words.push(length),
        }
        last_single = single;
        last_unknown = unknown;
    }
    words
}

/// The length in bytes of the particle that a run of hiragana begins with, 0 for none.
pub(crate) fn leading_particle(hiragana: &str) -> usize {
    PARTICLES
        .iter()
        .find(|particle| hiragana.starts_with(**particle))
        .map_or(0, |particle| particle.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dictionary_words_are_found_and_unknown_characters_stay_together() {
        for (run, expected) in [
            ("我在北京大学学习", vec![1, 1, 4, 2]),
            ("天気", vec![2]),
            ("東京", vec![2]),
            ("日本語", vec![2, 1]),
            ("会議室", vec![3]),
            ("電車賃", vec![3]),
            ("発売", vec![2]),
            ("広島", vec![2]),
            ("渋谷駅", vec![3]),
            ("電車", vec![2]),
            ("映画", vec![2]),
            ("勉強", vec![2]),
            ("學習", vec![2]),
        ] {
            assert_eq!(han_words(run), expected, "{run}");
        }
    }
}
