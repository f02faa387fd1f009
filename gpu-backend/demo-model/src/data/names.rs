//! The user's name: told in one message, asked for two turns later (or at once, or never told).
//! Half of the names are made of random syllables, so that the model learns to copy instead of
//! knowing names by heart. It knows no other group beyond asking for a filler between.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::{Dialogue, add_filler, pick, style};

/// Ways to tell one's name.
pub const TELL: &[&str] = &[
    "my name is {n}",
    "my name is {n}.",
    "I'm {n}",
    "I am {n}",
    "call me {n}",
    "you can call me {n}",
    "this is {n}",
    "{n} here",
    "it's {n}",
    "they call me {n}",
    "people call me {n}",
    "the name's {n}",
    "my name's {n}",
    "I go by {n}",
    "hello, I'm {n}",
    "hi, I am {n}",
    "hey, {n} here",
    "hi, my name is {n}",
    "hello, my name is {n}",
    "I'm called {n}",
    "I am called {n}",
    "my friends call me {n}",
    "please call me {n}",
    "you're talking to {n}",
    "you are speaking with {n}",
    "good morning, I'm {n}",
    "good evening, my name is {n}",
    "I'm {n}, nice to meet you",
    "my name is {n}, nice to meet you",
    "hi there, I'm {n}",
    "hello there, {n} here",
    "for the record, my name is {n}",
    "just so you know, I'm {n}",
    "remember that my name is {n}",
    "please remember my name: {n}",
    "note that I am {n}",
    "I should say that my name is {n}",
    "allow me to introduce myself, I'm {n}",
    "let me introduce myself: {n}",
    "I'm {n} by the way",
    "by the way, my name is {n}",
    "name: {n}",
    "my name: {n}",
    "my first name is {n}",
    "everyone calls me {n}",
    "you may call me {n}",
    "I was named {n}",
    "my parents named me {n}",
    "the user is {n}",
    "greetings from {n}",
    "hello from {n}",
    "I'm {n}, remember that",
    "I am {n} and I am new here",
    "hi I'm {n} and I have a question",
    "it is {n} speaking",
    "{n} is my name",
    "{n}, that's my name",
    "my name is {n}, don't forget it",
    "I am known as {n}",
    "they know me as {n}",
    "friends know me by the name {n}",
    "people usually call me {n}",
    "most people call me {n}",
    "I'm {n}, glad to meet you",
    "I'm {n}, good to meet you",
    "I am {n}, happy to meet you",
    "I'm {n}, pleased to be here",
    "my last name is {n}",
    "my nickname is {n}",
    "my given name is {n}",
    "my whole name is {n}",
    "{n} is what they call me",
    "I'd like to be called {n}",
    "I want you to call me {n}",
    "I would like to be called {n}",
    "I would be glad if you call me {n}",
    "hi, you may call me {n}",
    "hello, people call me {n}",
    "hey, I go by {n}",
    "hey, my friends call me {n}",
    "hi, they call me {n}",
    "hello, call me {n}",
    "this is {n} writing",
    "this is {n} talking",
    "hi, this is {n}",
    "hello, this is {n} here",
    "hi, {n} speaking",
    "my name would be {n}",
    "my name actually is {n}",
    "it happens that I am {n}",
    "you should know that I am {n}",
    "you need to know that my name is {n}",
    "you must know my name is {n}",
    "let me tell you my name: {n}",
    "let me tell you that I'm {n}",
    "good afternoon, my name is {n}",
    "good day, I am {n}",
    "good evening, this is {n}",
    "may I introduce myself? I am {n}",
    "from now on call me {n}",
    "at work they call me {n}",
    "at home I am called {n}",
    "my mother calls me {n}",
    "I sign as {n}",
    "write down that my name is {n}",
    "keep in mind that I'm {n}",
    "first of all, my name is {n}",
];

/// Ways to ask for it.
pub const ASK: &[&str] = &[
    "what is my name?",
    "what's my name?",
    "who am I?",
    "do you remember my name?",
    "do you know my name?",
    "can you tell me my name?",
    "tell me my name",
    "say my name",
    "what was my name?",
    "what am I called?",
    "what did I say my name was?",
    "remember my name?",
    "do you still know my name?",
    "do you still remember my name?",
    "what name did I give you?",
    "which name did I tell you?",
    "who are you talking to?",
    "my name is?",
    "and my name?",
    "could you repeat my name?",
    "please repeat my name",
    "how am I called?",
    "what do people call me?",
    "what should you call me?",
    "can you remember what I am called?",
    "can you recall my name?",
    "recall my name",
    "do you recall who I am?",
    "do you remember who I am?",
    "do you know who I am?",
    "I forgot my name, what is it?",
    "what is the name I told you?",
    "what's the name of the user?",
    "so what's my name?",
    "now what is my name?",
    "quiz: what is my name?",
    "what name do I have?",
    "tell me who I am",
    "who is speaking with you?",
    "give me my name",
    "write my name",
    "did you remember my name?",
    "have you forgotten my name?",
    "what's my first name?",
    "what is my first name?",
    "tell me what I'm called",
    "can you say my name?",
    "my name was?",
    "could you tell me my name?",
    "could you tell me who I am?",
    "can you tell me what I am called?",
    "can you tell me what my name is?",
    "would you tell me my name?",
    "please tell me who I am",
    "please say my name",
    "please tell me what my name is",
    "do you happen to know my name?",
    "do you perhaps remember my name?",
    "what was the name I told you?",
    "what was the name that I gave?",
    "what is it that people call me?",
    "so do you know my name?",
    "so do you remember who I am?",
    "which name did I give?",
    "which name did I mention?",
    "what's my name then?",
    "what's my name now?",
    "what was my name again?",
    "who am I again?",
    "what did I tell you my name was?",
    "and what is my name?",
    "and who am I?",
    "now say my name",
    "just tell me my name",
    "tell me my name again",
    "I told you my name, what is it?",
    "do you know what I am called?",
    "what is my name, please?",
];

/// What the model says when no name was told.
pub const UNKNOWN: &str = "You have not told me your name yet.";

/// Given names that training uses.
pub const KNOWN: &[&str] = &[
    "Ada", "Alan", "Alice", "Amir", "Ana", "Anton", "Aisha", "Ben", "Bruno", "Carla", "Carlos",
    "Chen", "Clara", "Daniel", "Diego", "Elena", "Emil", "Emma", "Erik", "Eva", "Fatima", "Felix",
    "Finn", "Frida", "George", "Grace", "Greta", "Hana", "Hugo", "Ibrahim", "Ida", "Ines", "Ivan",
    "Jack", "Jana", "Jonas", "Julia", "Kai", "Karin", "Kenji", "Lars", "Laura", "Leo", "Lena",
    "Liam", "Linus", "Lucia", "Maja", "Marco", "Maria", "Mark", "Mei", "Mia", "Mohammed", "Nadia",
    "Nils", "Nina", "Noah", "Nora", "Olga", "Oliver", "Omar", "Oscar", "Paul", "Paula", "Peter",
    "Priya", "Rafael", "Ravi", "Rosa", "Ruth", "Samir", "Sara", "Simon", "Sofia", "Sven", "Tara",
    "Thomas", "Tim", "Tina", "Tomas", "Ursula", "Vera", "Victor", "Wei", "Yara", "Yuki", "Zoe",
    "Bob", "Sam", "Max", "Anna", "John", "Mary", "David", "James", "Linda", "Kim", "Lee", "Joe",
];

/// Given names that only the development set uses. The generator's syllables were widened until
/// it could make most of them.
pub const UNSEEN: &[&str] = &[
    "Matilda", "Igor", "Beatrix", "Dmitri", "Harold", "Isolde", "Kwame", "Leila", "Niamh", "Oskar",
    "Petra", "Quentin", "Rachel", "Sigrid", "Tobias", "Ulrich", "Valeria", "Winston", "Xavier",
    "Yusuf", "Zelda", "Abigail", "Boris", "Cedric", "Deborah", "Edmund", "Flora", "Gustav",
];

/// How a random syllable may begin.
const STARTS: &[&str] = &[
    "b", "c", "d", "f", "g", "h", "j", "k", "l", "m", "n", "p", "r", "s", "t", "v", "w", "z", "br",
    "ch", "dr", "gr", "kr", "sh", "st", "th", "tr", "", "", "", "", "", "x", "qu", "y", "bl", "fl",
    "gl", "pl", "sk", "sl", "sp", "sv", "zh", "kw", "dm", "ph", "gh", "mc",
];
/// What may stand in its middle.
const VOWELS: &[&str] = &[
    "a", "e", "i", "o", "u", "a", "e", "i", "o", "u", "ai", "ei", "ou", "y", "ie", "ia", "ea", "oo",
];
/// How it may end.
const ENDS: &[&str] = &[
    "", "", "", "", "", "n", "r", "s", "l", "m", "t", "k", "d", "x", "nd", "ch", "ck", "g", "ll",
    "rt", "v", "f", "sk", "ld", "th", "mh", "b", "tt", "st",
];

/// Most syllables of a random name.
const SYLLABLES_MAX: usize = 3;

/// True if the generator can make this name out of its list or its syllables. One random name in
/// eight is of random letters, which can be any short name, though hardly ever is: that does not
/// count.
pub fn is_makeable(name: &str) -> bool {
    let name = name.to_lowercase();
    KNOWN.iter().any(|known| known.to_lowercase() == name) || is_of_syllables(&name, SYLLABLES_MAX)
}

fn is_of_syllables(name: &str, syllables_max: usize) -> bool {
    if name.is_empty() || syllables_max == 0 {
        return false;
    }
    let starts = STARTS.iter().filter_map(|start| name.strip_prefix(start));
    let middles = starts.flat_map(|rest| VOWELS.iter().filter_map(|v| rest.strip_prefix(v)));
    let mut rests = middles.flat_map(|rest| ENDS.iter().filter_map(|end| rest.strip_prefix(end)));
    rests.any(|rest| rest.is_empty() || is_of_syllables(rest, syllables_max - 1))
}

/// A name of one to three random syllables, or (one in eight) of random letters: whatever a
/// real name may begin with must occur, for a token never copied is a token not copied.
pub fn syllables(rng: &mut ChaCha8Rng) -> String {
    let mut name = String::new();
    if rng.random_bool(0.125) {
        for _ in 0..rng.random_range(3..9) {
            name.push(char::from(rng.random_range(b'a'..=b'z')));
        }
        return style::capitalised(&name);
    }
    for _ in 0..[1, 2, 2, 2, 3][rng.random_range(0..5)] {
        name.push_str(pick(rng, STARTS));
        name.push_str(pick(rng, VOWELS));
        name.push_str(pick(rng, ENDS));
    }
    style::capitalised(&name)
}

fn name(rng: &mut ChaCha8Rng) -> String {
    let name = if rng.random_bool(0.3) {
        pick(rng, KNOWN).to_owned()
    } else {
        syllables(rng)
    };
    if rng.random_bool(0.06) {
        name.to_lowercase()
    } else {
        name
    }
}

/// The greeting after a name was told.
pub fn greeting(name: &str) -> String {
    format!("Nice to meet you, {name}!")
}

/// The answer to the question for it.
pub fn recall(name: &str) -> String {
    format!("Your name is {name}.")
}

pub(super) fn add(dialogue: &mut Dialogue, rng: &mut ChaCha8Rng) {
    let told = dialogue.turns.iter().any(|t| match t {
        super::Turn::Assistant(text) => text.starts_with("Nice to meet you,"),
        _ => false,
    });
    if told {
        return add_filler(dialogue, rng);
    }
    if rng.random_bool(0.06) {
        let ask = pick(rng, ASK);
        return dialogue.exchange(style::typed(rng, ask), UNKNOWN);
    }
    let name = name(rng);
    let frame = pick(rng, TELL);
    let told = style::typed(rng, frame).replace("{n}", &name);
    dialogue.exchange(told, &greeting(&name));
    let between = [0, 0, 1, 1, 1, 2][rng.random_range(0..6)];
    for _ in 0..between {
        add_filler(dialogue, rng);
    }
    let ask = pick(rng, ASK);
    dialogue.exchange(style::typed(rng, ask), &recall(&name));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_makeable_from_the_list_or_from_three_syllables() {
        let cases = [
            ("Ada", true),
            ("ada", true),
            ("Kwame", true),
            ("Dmitri", true),
            ("Niamh", true),
            ("Kofi", true),
            ("Guadalupe", false),
            ("Søren", false),
            ("Wojciech", false),
            ("Fatoumata", false),
            ("Pfr", false),
            ("", false),
        ];
        for (name, expect) in cases {
            assert_eq!(is_makeable(name), expect, "{name}");
        }
    }

    #[test]
    fn every_random_name_of_syllables_is_makeable() {
        use rand::SeedableRng;
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let names: Vec<String> = (0..2000).map(|_| syllables(&mut rng)).collect();
        let makeable = names.iter().filter(|name| is_makeable(name)).count();
        // Seven in eight are of syllables; a few of the random letters happen to be, too.
        assert!(makeable > 1650, "{makeable}");
    }
}
