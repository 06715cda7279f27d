//! Folding: text becomes a sequence of units, each one base character with its marks, folded and classified.
//!
//! Folding is Unicode NFKC (full-width forms, ligatures, half-width kana), lower case, no diacritics on Latin, Greek
//! and Cyrillic-with-stress, no vowel points in Arabic and Hebrew, one form of the Arabic letters that keyboards confuse.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// Marks beyond this size are not compared: real letters carry a few, hostile text thousands.
const MAX_UNIT_BYTES: usize = 32;

/// The writing system of a unit, as far as cutting into words depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Scripts that put spaces between words; digits.
    Alphabetic,
    /// Chinese characters, also in Japanese.
    Han,
    /// Japanese hiragana.
    Hiragana,
    /// Japanese katakana.
    Katakana,
    /// Korean syllables.
    Hangul,
    /// Thai, Lao, Khmer, Burmese: no spaces, no dictionary here.
    Unspaced,
    /// A pictograph: a word of its own.
    Emoji,
}

impl Class {
    /// Whether units of this class are indexed one by one and in pairs, so that any part of a run can be found.
    pub(crate) fn is_charwise(self) -> bool {
        !matches!(self, Self::Alphabetic | Self::Emoji)
    }
}

/// One folded character with its marks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unit {
    /// Where it begins in the original text, in bytes.
    pub(crate) start: usize,
    /// Where it ends in the original text.
    pub(crate) end: usize,
    folded_start: usize,
    folded_end: usize,
    /// Its writing system.
    pub(crate) class: Class,
    /// Whether it follows the unit before it directly, with no space or punctuation between.
    pub(crate) joined: bool,
}

/// A text as units.
#[derive(Debug, Default)]
pub(crate) struct Units {
    folded: String,
    units: Vec<Unit>,
}

impl Units {
    /// Folds and classifies a text.
    pub(crate) fn of(text: &str) -> Self {
        let mut builder = Builder {
            out: Self {
                folded: String::with_capacity(text.len()),
                units: Vec::with_capacity(text.len() / 2),
            },
            joined: false,
        };
        let mut chars = text.char_indices().peekable();
        while let Some((start, c)) = chars.next() {
            let mut end = start + c.len_utf8();
            if c.is_ascii() && chars.peek().is_none_or(|(_, next)| next.is_ascii()) {
                builder.push_ascii(c, start);
                continue;
            }
            while let Some((at, next)) = chars.next_if(|(_, next)| extends(*next)) {
                end = at + next.len_utf8();
            }
            builder.push_cluster(&text[start..end], start, end);
        }
        builder.out
    }

    /// How many units there are.
    pub(crate) fn len(&self) -> usize {
        self.units.len()
    }

    /// The unit at `index`.
    pub(crate) fn get(&self, index: usize) -> Option<&Unit> {
        self.units.get(index)
    }

    /// The folded text of the units `from..to`.
    pub(crate) fn folded(&self, from: usize, to: usize) -> &str {
        match (self.units.get(from), self.units.get(to.saturating_sub(1))) {
            (Some(first), Some(last)) if from < to => &self.folded[first.folded_start..last.folded_end],
            _ => "",
        }
    }

    /// Where the run of units that starts at `from` ends: it is joined, and of one class as `same` sees it.
    pub(crate) fn run_end(&self, from: usize, same: impl Fn(Class, Class) -> bool) -> usize {
        let mut end = from + 1;
        while let (Some(before), Some(unit)) = (self.units.get(end - 1), self.units.get(end)) {
            if !unit.joined || !same(before.class, unit.class) {
                break;
            }
            end += 1;
        }
        end
    }
}

struct Builder {
    out: Units,
    joined: bool,
}

impl Builder {
    fn push_ascii(&mut self, c: char, start: usize) {
        if c.is_ascii_alphanumeric() {
            self.push_unit(c.to_ascii_lowercase(), start, start + 1, Class::Alphabetic);
        } else {
            self.joined = false;
        }
    }

    fn push_cluster(&mut self, cluster: &str, start: usize, end: usize) {
        let mut fresh = true;
        for c in cluster.nfkc().flat_map(char::to_lowercase) {
            if is_alphabet_with_diacritics(c) {
                for part in std::iter::once(c).nfd() {
                    self.push_folded(part, start, end, &mut fresh);
                }
            } else {
                self.push_folded(c, start, end, &mut fresh);
            }
        }
    }

    fn push_folded(&mut self, c: char, start: usize, end: usize, fresh: &mut bool) {
        if is_dropped(c) {
            return;
        }
        if is_combining_mark(c) {
            if !*fresh {
                self.extend_unit(c, end);
            }
            return;
        }
        let (letter, rest) = fold(c);
        match classify(letter) {
            Some(class) => {
                self.push_unit(letter, start, end, class);
                for more in rest.chars() {
                    self.push_unit(more, start, end, class);
                }
                *fresh = false;
            }
            None => {
                self.joined = false;
                *fresh = true;
            }
        }
    }

    fn push_unit(&mut self, c: char, start: usize, end: usize, class: Class) {
        let folded_start = self.out.folded.len();
        self.out.folded.push(c);
        self.out.units.push(Unit {
            start,
            end,
            folded_start,
            folded_end: self.out.folded.len(),
            class,
            joined: self.joined,
        });
        self.joined = true;
    }

    fn extend_unit(&mut self, mark: char, end: usize) {
        if let Some(unit) = self.out.units.last_mut()
            && unit.folded_end - unit.folded_start < MAX_UNIT_BYTES
        {
            self.out.folded.push(mark);
            unit.folded_end = self.out.folded.len();
            unit.end = end;
        }
    }
}

/// Whether a character belongs to the one before it: marks, joiners, the second half of decomposed kana and Hangul.
fn extends(c: char) -> bool {
    matches!(c, '\u{ff9e}' | '\u{ff9f}' | '\u{1160}'..='\u{11ff}' | '\u{1f3fb}'..='\u{1f3ff}')
        || is_ignorable(c)
        || (!c.is_ascii() && is_combining_mark(c))
}

/// Characters without a meaning for search: joiners, direction marks, variation selectors, soft hyphen, tatweel.
fn is_ignorable(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{640}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2064}'
            | '\u{2066}'..='\u{2069}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{e0000}'..='\u{e01ef}'
    )
}

/// Marks that are not compared: accents, vowel points of Arabic and Hebrew, enclosing marks, skin tones.
fn is_dropped(c: char) -> bool {
    is_ignorable(c)
        || matches!(
            c,
            '\u{300}'..='\u{36f}' | '\u{591}'..='\u{5bd}' | '\u{5bf}' | '\u{5c1}'..='\u{5c2}' | '\u{5c4}'..='\u{5c5}'
                | '\u{5c7}' | '\u{610}'..='\u{61a}' | '\u{64b}'..='\u{65f}' | '\u{670}' | '\u{6d6}'..='\u{6dc}'
                | '\u{6df}'..='\u{6e4}' | '\u{6e7}'..='\u{6e8}' | '\u{6ea}'..='\u{6ed}' | '\u{20d0}'..='\u{20f0}'
                | '\u{1f3fb}'..='\u{1f3ff}'
        )
}

/// Latin and Greek: their accents are dropped. Cyrillic й and ї are letters of their own and stay.
fn is_alphabet_with_diacritics(c: char) -> bool {
    matches!(c, '\u{c0}'..='\u{24f}' | '\u{370}'..='\u{3ff}' | '\u{1e00}'..='\u{1fff}')
}

/// Letters that do not decompose and yet are typed as others.
fn fold(c: char) -> (char, &'static str) {
    match c {
        'ß' => ('s', "s"),
        'æ' => ('a', "e"),
        'œ' => ('o', "e"),
        'þ' => ('t', "h"),
        'ø' => ('o', ""),
        'ł' => ('l', ""),
        'đ' | 'ð' => ('d', ""),
        'ħ' => ('h', ""),
        'ı' => ('i', ""),
        'ς' => ('σ', ""),
        'أ' | 'إ' | 'آ' | 'ٱ' => ('ا', ""),
        'ي' | 'ى' => ('ی', ""),
        'ك' => ('ک', ""),
        'ة' => ('ه', ""),
        '\u{660}'..='\u{669}' => (digit(c, '\u{660}'), ""),
        '\u{6f0}'..='\u{6f9}' => (digit(c, '\u{6f0}'), ""),
        other => (other, ""),
    }
}

fn digit(c: char, zero: char) -> char {
    char::from_digit(u32::from(c) - u32::from(zero), 10).unwrap_or(c)
}

/// The class of a folded character, by Unicode block; `None` for what separates words.
fn classify(c: char) -> Option<Class> {
    match c {
        '\u{3005}'..='\u{3007}'
        | '\u{3400}'..='\u{4dbf}'
        | '\u{4e00}'..='\u{9fff}'
        | '\u{f900}'..='\u{faff}'
        | '\u{20000}'..='\u{323af}' => Some(Class::Han),
        '\u{3041}'..='\u{309f}' => Some(Class::Hiragana),
        '\u{30fb}' => None,
        '\u{30a1}'..='\u{30ff}' | '\u{31f0}'..='\u{31ff}' => Some(Class::Katakana),
        '\u{1100}'..='\u{11ff}'
        | '\u{3131}'..='\u{318e}'
        | '\u{a960}'..='\u{a97f}'
        | '\u{ac00}'..='\u{d7ff}' => Some(Class::Hangul),
        '\u{e50}'..='\u{e59}' => Some(Class::Alphabetic),
        '\u{e01}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}' if c.is_alphanumeric() => {
            Some(Class::Unspaced)
        }
        '\u{2600}'..='\u{27bf}' | '\u{2b50}' | '\u{2b55}' | '\u{1f000}'..='\u{1faff}' => Some(Class::Emoji),
        _ if c.is_alphanumeric() => Some(Class::Alphabetic),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn folded(text: &str) -> String {
        let units = Units::of(text);
        units.folded(0, units.len()).to_owned()
    }

    #[test]
    fn what_a_reader_takes_for_the_same_is_the_same() {
        for (a, b) in [
            ("Café", "cafe"),
            ("cafe\u{301}", "café"),
            ("ＡＢＣ１２３", "abc123"),
            ("ｶﾞﾗｽ", "ガラス"),
            ("Straße", "STRASSE"),
            ("İstanbul", "istanbul"),
            ("ΣΊΣΥΦΟΣ", "σισυφος"),
            ("за́мок", "замок"),
            ("كتاب", "کتاب"),
            ("مُحَمَّد", "محمد"),
            ("می\u{200c}خواهم", "میخواهم"),
            ("שָׁלוֹם", "שלום"),
            ("\u{1112}\u{1161}\u{11ab}\u{1100}\u{116e}\u{11a8}", "한국"),
            ("👍🏽", "👍"),
            ("۱۲۳", "123"),
        ] {
            assert_eq!(folded(a), folded(b), "{a} {b}");
        }
    }

    #[test]
    fn what_is_another_letter_stays_another() {
        for (a, b) in [
            ("й", "и"),
            ("ї", "і"),
            ("が", "か"),
            ("कि", "की"),
            ("ไม้", "ไม่"),
            ("ど", "と"),
        ] {
            assert_ne!(folded(a), folded(b), "{a} {b}");
        }
    }

    #[test]
    fn marks_belong_to_their_letter() {
        let units = Units::of("ไม่ नमस्ते");
        assert_eq!(units.len(), 6);
        assert!(!units.get(2).unwrap().joined, "a space is between the words");
    }

    proptest! {
        #[test]
        fn offsets_are_char_boundaries_in_order(text in "\\PC*") {
            let units = Units::of(&text);
            let mut before = 0;
            for index in 0..units.len() {
                let unit = units.get(index).unwrap();
                prop_assert!(text.is_char_boundary(unit.start) && text.is_char_boundary(unit.end));
                prop_assert!(unit.start >= before && unit.end > unit.start);
                prop_assert!(!units.folded(index, index + 1).is_empty());
                before = unit.start;
            }
        }
    }
}
