//! Every phrasing that the generator can make, as words, and how near another text comes to one
//! of them. The comparison is made behind the styling: capitals, punctuation, openings and
//! endings count for nothing, and a mistyped letter is one word's difference. It knows no set of
//! questions and no answer.

use std::collections::HashMap;

use super::{arithmetic, clock, facts, names, off_topic, small_talk, style};

/// How near a text is to what is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Nearness {
    /// No trained phrasing is within one word of it.
    Far,
    /// One word put in, left out or exchanged makes it a trained phrasing.
    OneWord,
    /// The generator makes it, but for capitals, punctuation, openings and endings.
    Generable,
}

/// A word's place in the list of all words.
type Word = u32;

/// What stands for any number.
const NUMBER: &str = "#";
/// What stands for a name.
const NAME: &str = "{n}";

/// All trained phrasings.
#[derive(Debug)]
pub struct Trained {
    words: HashMap<String, Word>,
    /// What may stand before or behind a phrasing, longest first.
    openings: Vec<Vec<Word>>,
    endings: Vec<Vec<Word>>,
    /// Whole, and without openings and endings where that differs.
    phrasings: Vec<Vec<Word>>,
}

impl Trained {
    /// Makes all phrasings: some hundred thousand.
    pub fn new() -> Self {
        let mut words = HashMap::new();
        let mut known = |texts: &[&str]| -> Vec<Vec<Word>> {
            let mut all: Vec<_> = texts.iter().map(|t| numbered(&mut words, t)).collect();
            all.retain(|words| !words.is_empty());
            all.sort_by_key(|words| std::cmp::Reverse(words.len()));
            all
        };
        let mut trained = Self {
            openings: known(style::OPENINGS),
            endings: known(style::ENDINGS),
            words,
            phrasings: Vec::new(),
        };
        small_talk_phrasings(&mut |text| trained.add(text));
        fact_phrasings(&mut |text| trained.add(text));
        arithmetic_phrasings(&mut |text| trained.add(text));
        off_topic_phrasings(&mut |text| trained.add(text));
        for list in [names::TELL, names::ASK, clock::FRAMES] {
            list.iter().for_each(|text| trained.add(text));
        }
        trained.phrasings.sort_unstable();
        trained.phrasings.dedup();
        trained
    }

    fn add(&mut self, text: &str) {
        let whole = numbered(&mut self.words, text);
        let inner = self.without_frills(&whole);
        if inner.len() < whole.len() {
            self.phrasings.push(inner.to_vec());
        }
        self.phrasings.push(whole);
    }

    /// How near the text comes to a trained phrasing; the name, where it tells one, is any name.
    pub fn nearness(&self, text: &str, name: Option<&str>) -> Nearness {
        let spelt = words(text, name);
        // A word that is nowhere trained differs from all.
        let unknown = Word::MAX;
        let number = |word: &String| self.words.get(word).copied().unwrap_or(unknown);
        let whole: Vec<Word> = spelt.iter().map(number).collect();
        let inner = self.without_frills(&whole);
        let compared = |phrasing: &Vec<Word>| near(phrasing, &whole).max(near(phrasing, inner));
        let nearest = self.phrasings.iter().map(compared).max();
        let nearest = nearest.unwrap_or(Nearness::Far);
        match spelt.as_slice() {
            [word] if nearest == Nearness::Far && self.is_slip_of_a_phrasing(word) => {
                Nearness::OneWord
            }
            _ => nearest,
        }
    }

    /// True if one letter's slip makes this word a trained phrasing of a single word.
    fn is_slip_of_a_phrasing(&self, word: &str) -> bool {
        let is_phrasing = |number: &Word| self.phrasings.binary_search(&vec![*number]).is_ok();
        self.words
            .iter()
            .any(|(other, number)| is_phrasing(number) && is_slip(word, other))
    }

    /// Without openings and endings, as many as there are, but never without a word.
    fn without_frills<'a>(&self, mut words: &'a [Word]) -> &'a [Word] {
        let cut = |rest: Option<&'a [Word]>| rest.filter(|rest| !rest.is_empty());
        loop {
            let mut openings = self.openings.iter();
            let mut endings = self.endings.iter();
            let shorter = openings
                .find_map(|opening| cut(words.strip_prefix(opening.as_slice())))
                .or_else(|| endings.find_map(|end| cut(words.strip_suffix(end.as_slice()))));
            match shorter {
                Some(rest) => words = rest,
                None => return words,
            }
        }
    }
}

impl Default for Trained {
    fn default() -> Self {
        Self::new()
    }
}

fn small_talk_phrasings(add: &mut dyn FnMut(&str)) {
    for intent in small_talk::all() {
        intent.phrases.iter().for_each(|text| add(text));
        for pattern in intent.patterns {
            let all = style::all_in_brackets(pattern);
            all.iter().for_each(|text| add(text));
        }
    }
}

fn fact_phrasings(add: &mut dyn FnMut(&str)) {
    for fact in facts::all() {
        fact.questions.iter().for_each(|text| add(text));
        filled(facts::VERB_FRAMES, "{v}", fact.verbs, add);
        filled(facts::TOPIC_FRAMES, "{t}", fact.topics, add);
        filled(facts::TOPIC_FRAMES, "{t}", fact.things, add);
        filled(facts::THING_FRAMES, "{t}", fact.things, add);
    }
}

fn arithmetic_phrasings(add: &mut dyn FnMut(&str)) {
    for operation in arithmetic::OPERATIONS {
        operation.frames().iter().for_each(|text| add(text));
        filled(arithmetic::FRAMES, "{e}", operation.terms(), add);
    }
}

fn off_topic_phrasings(add: &mut dyn FnMut(&str)) {
    off_topic::QUESTIONS.iter().for_each(|text| add(text));
    filled(off_topic::FRAMES, "{x}", off_topic::SUBJECTS, add);
    filled(facts::VERB_FRAMES, "{v}", off_topic::ACTIVITIES, add);
    filled(facts::TOPIC_FRAMES, "{t}", off_topic::SUBJECTS, add);
    filled(facts::THING_FRAMES, "{t}", off_topic::SUBJECTS, add);
}

fn filled(frames: &[&str], slot: &str, fillers: &[&str], add: &mut dyn FnMut(&str)) {
    for frame in frames {
        for filler in fillers {
            add(&frame.replace(slot, filler));
        }
    }
}

/// The words of a trained text as numbers; new words get the next ones.
fn numbered(known: &mut HashMap<String, Word>, text: &str) -> Vec<Word> {
    let mut numbers = Vec::new();
    for word in words(text, None) {
        let next = known.len() as Word;
        numbers.push(*known.entry(word).or_insert(next));
    }
    numbers
}

/// The words of a text, in small letters. Numbers and the slots for them are [`NUMBER`], and the
/// name is [`NAME`]; apostrophes vanish, and signs count where there are numbers.
fn words(text: &str, name: Option<&str>) -> Vec<String> {
    let text = text.to_lowercase().replace(['\'', '’'], "");
    let text = text.replace("{a}", " 0 ").replace("{b}", " 0 ");
    let name = name.map(str::to_lowercase);
    let mut words = Vec::new();
    let mut rest = text.as_str();
    while let Some(first) = rest.chars().next() {
        let length = if first == '{' {
            rest.find('}').map_or(rest.len(), |end| end + 1)
        } else if first.is_ascii_digit() {
            number_length(rest)
        } else {
            let letters = rest.chars().take_while(|c| c.is_alphabetic());
            letters.map(char::len_utf8).sum::<usize>()
        };
        let length = length.max(first.len_utf8());
        let (word, behind) = rest.split_at(length);
        rest = behind;
        if first.is_ascii_digit() {
            words.push(NUMBER.to_owned());
        } else if name.as_deref() == Some(word) {
            words.push(NAME.to_owned());
        } else if first.is_alphabetic() || first == '{' || is_sign(word) {
            words.push(word.to_owned());
        }
    }
    if !words.iter().any(|word| word == NUMBER) {
        words.retain(|word| !is_sign(word));
    }
    words
}

fn is_sign(word: &str) -> bool {
    ["+", "-", "*", "/", "×", "÷", "=", "%"].contains(&word)
}

/// Digits, with points and commas between them.
fn number_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let is_digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let belongs = |at: &usize| {
        is_digit(*at) || (matches!(bytes.get(*at), Some(b'.' | b',')) && is_digit(at + 1))
    };
    (0..).take_while(belongs).count()
}

/// Nearness of two sequences of words. Two that have no word in common are far, also where each
/// is one word long.
fn near(a: &[Word], b: &[Word]) -> Nearness {
    let (shorter, longer) = (a.len().min(b.len()), a.len().max(b.len()));
    if longer - shorter > 1 {
        return Nearness::Far;
    }
    let same = |(x, y): &(&Word, &Word)| x == y;
    let before = a.iter().zip(b).take_while(same).count();
    if before == longer {
        return Nearness::Generable;
    }
    let behind = a.iter().rev().zip(b.iter().rev()).take_while(same).count();
    let shared = before + behind.min(shorter - before);
    if shared > 0 && shared + 1 >= longer {
        Nearness::OneWord
    } else {
        Nearness::Far
    }
}

/// True if one letter dropped, put in, exchanged or swapped with its neighbour makes one word of
/// the other.
fn is_slip(a: &str, b: &str) -> bool {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let (shorter, longer) = (a.len().min(b.len()), a.len().max(b.len()));
    let same = |(x, y): &(&char, &char)| x == y;
    let before = a.iter().zip(&b).take_while(same).count();
    let behind = a.iter().rev().zip(b.iter().rev()).take_while(same).count();
    let shared = before + behind.min(shorter - before);
    let swapped = a.len() == b.len()
        && shared + 2 == longer
        && a[before] == b[before + 1]
        && a[before + 1] == b[before];
    longer - shorter <= 1 && shared + 1 >= longer || swapped
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::super::{Generator, Turn};
    use super::*;

    #[test]
    fn styling_hides_no_trained_phrasing() {
        let trained = Trained::new();
        let cases = [
            ("what is your name?", Nearness::Generable),
            ("WHAT IS YOUR NAME", Nearness::Generable),
            ("hi, what's your name?", Nearness::Generable),
            ("ok, so, whats your name please??", Nearness::Generable),
            (
                "one more thing: what is your name, thanks",
                Nearness::Generable,
            ),
            ("what is yuor name?", Nearness::OneWord),
            ("what exactly is your name?", Nearness::OneWord),
            ("helo", Nearness::OneWord),
            ("hlelo", Nearness::OneWord),
            (
                "could you spell out for me under which name you go",
                Nearness::Far,
            ),
            ("zounds", Nearness::Far),
            ("thanks again", Nearness::Generable),
            ("what is 17*23", Nearness::Generable),
            ("hey, what is 1,250 plus 80.5 please", Nearness::Generable),
            ("what is then 12 times 4", Nearness::OneWord),
            ("7x8", Nearness::Generable),
            ("tell me about the moon", Nearness::Generable),
            ("", Nearness::Far),
        ];
        for (text, expect) in cases {
            assert_eq!(trained.nearness(text, None), expect, "{text}");
        }
    }

    #[test]
    fn any_name_stands_for_any_other() {
        let trained = Trained::new();
        let cases = [
            ("my name is Eleftheria", "Eleftheria", Nearness::Generable),
            (
                "hello! my name is eleftheria :)",
                "Eleftheria",
                Nearness::Generable,
            ),
            ("my pet name is Eleftheria", "Eleftheria", Nearness::OneWord),
            (
                "whoever writes this was baptised Eleftheria",
                "Eleftheria",
                Nearness::Far,
            ),
        ];
        for (text, name, expect) in cases {
            assert_eq!(trained.nearness(text, Some(name)), expect, "{text}");
        }
    }

    /// What the generator types is near, whatever the styling made of it: a slip is one word's
    /// difference. Random letters, and an ending that has a slip itself, are the exception.
    #[test]
    fn what_the_generator_types_is_near() {
        let trained = Trained::new();
        let mut generator = Generator::new(11);
        let (mut near, mut asked) = (0, 0);
        while asked < 500 {
            for pair in generator.dialogue().turns.windows(2) {
                let [Turn::User(text), answer] = pair else {
                    continue;
                };
                let name = match answer {
                    Turn::Assistant(told) => told
                        .strip_prefix("Nice to meet you, ")
                        .and_then(|rest| rest.strip_suffix('!')),
                    _ => None,
                };
                asked += 1;
                near += usize::from(trained.nearness(text, name) > Nearness::Far);
            }
        }
        assert!(near * 100 >= asked * 98, "{near} of {asked}");
    }

    #[test]
    fn words_one_step_apart_are_near_and_two_steps_apart_are_not() {
        let cases: [(&[Word], &[Word], Nearness); 10] = [
            (&[1, 2, 3], &[1, 2, 3], Nearness::Generable),
            (&[1, 2, 3], &[1, 9, 3], Nearness::OneWord),
            (&[1, 2, 3], &[9, 2, 3], Nearness::OneWord),
            (&[1, 2, 3], &[1, 3], Nearness::OneWord),
            (&[1, 2], &[1, 2, 3], Nearness::OneWord),
            (&[1, 1], &[1, 1, 1], Nearness::OneWord),
            (&[1, 2, 3], &[1, 3, 2], Nearness::Far),
            (&[1, 2, 3, 4], &[1, 2], Nearness::Far),
            (&[1], &[2], Nearness::Far),
            (&[], &[2], Nearness::Far),
        ];
        for (a, b, expect) in cases {
            assert_eq!(near(a, b), expect, "{a:?} {b:?}");
            assert_eq!(near(b, a), expect, "{b:?} {a:?}");
        }
    }

    #[test]
    fn a_random_typing_of_one_frame_is_near() {
        let trained = Trained::new();
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        for _ in 0..200 {
            let text = style::typed(&mut rng, "do you know what time it is?");
            assert!(trained.nearness(&text, None) > Nearness::Far, "{text}");
        }
    }
}
