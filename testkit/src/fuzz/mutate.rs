//! Making inputs: seeds that are nearly kept, words strung together, plain noise. Pure, and the same for the same seed.

/// No input is longer, however often something is repeated in it.
const MOST_BYTES: usize = 16 * 1024;
/// Parts of an input are repeated up to so many times, for nesting and for lists.
const MOST_REPEATS: usize = 600;

/// What breaks parsers of any kind: ends of ranges, characters of several bytes or none to see, brackets.
const ANY_PARSER: [&str; 36] = [
    "",
    "0",
    "-1",
    "1",
    "255",
    "256",
    "65536",
    "4294967296",
    "9223372036854775807",
    "18446744073709551616",
    "1e999",
    "-0",
    "NaN",
    "inf",
    "null",
    "true",
    "\"",
    "'",
    "\\",
    "\0",
    "\n",
    "\r\n",
    "\t",
    " ",
    "%",
    "é",
    "İ",
    "ﬀ",
    "🦀",
    "\u{feff}",
    "\u{202e}",
    "[",
    "]",
    "{",
    "}",
    ",",
];

/// What the inputs of a target are made from.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct Start {
    pub(super) seeds: Vec<Vec<u8>>,
    pub(super) words: Vec<Vec<u8>>,
    pub(super) inputs: usize,
}

impl Start {
    /// Starts from these inputs: valid ones, one for each part of the grammar.
    pub fn new<S: AsRef<[u8]>>(seeds: &[S]) -> Self {
        Self {
            seeds: seeds.iter().map(|seed| seed.as_ref().to_vec()).collect(),
            words: ANY_PARSER.iter().map(|word| word.as_bytes().to_vec()).collect(),
            inputs: 4_000,
        }
    }

    /// Adds words of the grammar; they are put where they do not belong.
    pub fn with_words<W: AsRef<[u8]>>(mut self, words: &[W]) -> Self {
        self.words.extend(words.iter().map(|word| word.as_ref().to_vec()));
        self
    }

    /// Sets how many inputs the short form makes; by default 4000. For checks that take long.
    pub fn with_inputs(mut self, inputs: usize) -> Self {
        self.inputs = inputs;
        self
    }
}

/// An endless row of inputs.
#[derive(Debug)]
pub(super) struct Mutator<'a> {
    start: &'a Start,
    random: fastrand::Rng,
}

impl<'a> Mutator<'a> {
    pub(super) fn new(start: &'a Start, seed: u64) -> Self {
        Self {
            start,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    pub(super) fn next(&mut self) -> Vec<u8> {
        let mut input = match self.random.u8(..16) {
            0 => self.noise(80),
            1 => self.sentence(),
            _ => self.pick_seed(),
        };
        for _ in 0..self.random.usize(1..=5) {
            self.change(&mut input);
            input.truncate(MOST_BYTES);
        }
        input
    }

    fn noise(&mut self, most: usize) -> Vec<u8> {
        let length = self.random.usize(..=most);
        std::iter::repeat_with(|| self.random.u8(..))
            .take(length)
            .collect()
    }

    fn sentence(&mut self) -> Vec<u8> {
        let length = self.random.usize(1..30);
        (0..length).flat_map(|_| self.pick_word()).collect()
    }

    fn pick_seed(&mut self) -> Vec<u8> {
        self.random.choice(&self.start.seeds).cloned().unwrap_or_default()
    }

    fn pick_word(&mut self) -> Vec<u8> {
        self.random.choice(&self.start.words).cloned().unwrap_or_default()
    }

    /// Part of an input, short ones more often than long ones.
    fn range(&mut self, input: &[u8]) -> std::ops::Range<usize> {
        let from = self.random.usize(..=input.len());
        let rest = input.len() - from;
        let most = if self.random.bool() { rest.min(8) } else { rest };
        from..from + self.random.usize(..=most)
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let range = self.range(input);
        match self.random.u8(..12) {
            0 => {
                if let Some(byte) = input.get_mut(range.start) {
                    *byte ^= 1 << self.random.u8(..8);
                }
            }
            1 => {
                let noise = self.noise(6);
                input.splice(range, noise);
            }
            2 | 3 => {
                let word = self.pick_word();
                input.splice(range.start..range.start, word);
            }
            4 | 5 => {
                let word = self.pick_word();
                input.splice(range, word);
            }
            6 => {
                input.drain(range);
            }
            7 => {
                let copy = input[range].to_vec();
                let place = self.random.usize(..=input.len());
                input.splice(place..place, copy);
            }
            8 => {
                let part = input[range.clone()].to_vec();
                let most = (MOST_BYTES / part.len().max(1)).min(MOST_REPEATS);
                let times = if self.random.bool() {
                    self.random.usize(..=most)
                } else {
                    self.random.usize(..=3)
                };
                input.splice(range, part.repeat(times));
            }
            9 => input.truncate(range.end),
            10 => {
                let other = self.pick_seed();
                let part = self.range(&other);
                input.splice(range, other[part].iter().copied());
            }
            _ => self.change_number(input),
        }
    }

    /// Puts another number where one is.
    fn change_number(&mut self, input: &mut Vec<u8>) {
        let digits: Vec<usize> = (0..input.len())
            .filter(|at| input[*at].is_ascii_digit())
            .collect();
        let Some(from) = self.random.choice(&digits).copied() else {
            return;
        };
        let length = input[from..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        let number = self.random.u64(..) >> self.random.u8(..64);
        input.splice(from..from + length, number.to_string().into_bytes());
    }
}

#[cfg(test)]
#[allow(clippy::expect_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_inputs() {
        let start = Start::new(&["scheme://host:1/path"]).with_words(&["://"]);
        let made = |seed| {
            let mut mutator = Mutator::new(&start, seed);
            (0..200).map(|_| mutator.next()).collect::<Vec<_>>()
        };
        assert_eq!(made(1), made(1));
        assert_ne!(made(1), made(2));
    }

    #[test]
    fn inputs_are_bounded_and_nearly_valid_and_of_every_kind() {
        let start = Start::new(&["scheme://host:1/path"]);
        let mut mutator = Mutator::new(&start, 5);
        let inputs: Vec<_> = (0..4_000).map(|_| mutator.next()).collect();
        assert!(inputs.iter().all(|input| input.len() <= MOST_BYTES));
        let share = |holds: &dyn Fn(&[u8]) -> bool| inputs.iter().filter(|input| holds(input)).count();
        assert!(
            share(&|input| input.starts_with(b"scheme://")) > 800,
            "seeds are nearly kept"
        );
        assert!(
            share(&|input| std::str::from_utf8(input).is_err()) > 200,
            "some are no text"
        );
        assert!(share(&|input| input.len() > 1_000) > 40, "some are long");
    }

    #[test]
    fn nothing_to_start_from_is_noise() {
        let start = Start::new::<&str>(&[]);
        let mut mutator = Mutator::new(&start, 5);
        assert!((0..100).any(|_| !mutator.next().is_empty()));
    }
}
