//! The development set: phrasings that the generator never reads, but towards which it was
//! widened after their failures were seen. Most of them are at most one word away from a trained
//! one, so a score on them says how well the training took, not what the model can do. It knows
//! nothing of the held-out set.

/// Small talk by the intent's id.
pub const SMALL_TALK: &[(&str, &str)] = &[
    ("hello", "hey hey"),
    ("hello", "hi everybody"),
    ("hello", "hello to you"),
    ("hello", "a very good morning"),
    ("how_are_you", "how are you feeling today?"),
    ("how_are_you", "hey there, how are you?"),
    ("how_are_you", "are you doing okay?"),
    ("thanks", "thank you, you helped me a lot"),
    ("thanks", "thanks again"),
    ("thanks", "wow, thank you"),
    ("bye", "ok, see you later then"),
    ("bye", "goodbye my friend"),
    ("bye", "bye, have a nice evening"),
    ("who_are_you", "can you tell me who you are?"),
    ("who_are_you", "hi, what's your name?"),
    ("who_are_you", "what is the name of this model?"),
    ("what_can_you_do", "so what can you do?"),
    ("what_can_you_do", "what kind of things can you do?"),
    ("what_can_you_do", "can you give me some help?"),
    ("human", "are you a human being?"),
    ("human", "are you actually a robot?"),
    ("human", "am I chatting with a person?"),
    ("praise", "you are really good"),
    ("praise", "that was an excellent answer"),
    ("praise", "you are so clever"),
    ("blame", "that answer is wrong"),
    ("blame", "you are really stupid"),
    ("blame", "this does not help me"),
    ("ok", "ok, I understand"),
    ("ok", "ah, I see"),
    ("maker", "do you know who made you?"),
    ("maker", "who are the people that built you?"),
    ("size", "how many parameters does this model have?"),
    ("size", "are you a very small model?"),
    ("joke", "can you make me laugh?"),
    ("joke", "do you know a good joke?"),
    ("mood_bad", "I feel very sad"),
    ("mood_bad", "I am so tired today"),
    ("mood_good", "I am really happy today"),
    ("mood_good", "I feel very good today"),
];

/// Frames round a verb phrase of a fact.
pub const VERB_FRAMES: &[&str] = &[
    "could you walk me through how to {v}?",
    "I was asked to {v}, what now?",
    "what would I have to do to {v}?",
    "any idea how to {v}?",
    "how am I supposed to {v}?",
    "please show me the way to {v}",
];

/// Frames round any noun of a fact.
pub const TOPIC_FRAMES: &[&str] = &[
    "please tell me something about {t}",
    "can you give me some information about {t}?",
    "I want to learn about {t}",
    "could you help me understand {t}?",
    "is there anything to know about {t}?",
    "what do I need to know about {t}?",
];

/// Frames round a thing.
pub const THING_FRAMES: &[&str] = &[
    "could you tell me what {t} is?",
    "what's the purpose of {t}?",
    "what do you use {t} for?",
    "in short, what is {t}?",
    "what is it that {t} does?",
    "what would you say {t} is?",
];

/// Ways to tell one's name.
pub const TELL_NAME: &[&str] = &[
    "hello, you can call me {n}",
    "my name happens to be {n}",
    "I would like you to call me {n}",
    "hi, this is {n} speaking",
    "you should know that my name is {n}",
    "good afternoon, I am {n}",
    "people know me as {n}",
    "my full name is {n}",
    "hey, they call me {n}",
    "I'm {n}, pleased to meet you",
];

/// Ways to ask for it.
pub const ASK_NAME: &[&str] = &[
    "could you tell me what my name is?",
    "do you happen to remember my name?",
    "what is it that I am called?",
    "please tell me my name",
    "what was the name I gave you?",
    "can you tell me who I am?",
    "so do you remember my name?",
    "which name did I give you?",
    "what's my name again?",
    "please say what my name is",
];

/// Frames for arithmetic; `{e}` is a term.
pub const ARITHMETIC: &[&str] = &[
    "could you calculate {e} for me?",
    "would you tell me what {e} is?",
    "please tell me {e}",
    "what do you get if you compute {e}?",
    "I would like to know {e}",
    "can you find {e}?",
    "what's the result of {e}?",
    "please work out {e}",
    "how much do you get for {e}?",
    "can you use the calculator to find {e}?",
    "do you know how much {e} is?",
    "let's calculate {e}",
];

/// Ways to ask for the time.
pub const CLOCK: &[&str] = &[
    "could you tell me the current time?",
    "what time might it be?",
    "please give me the time",
    "do you have the time?",
    "can you tell me today's date?",
    "what's the current time?",
];

/// Frames round a foreign subject.
pub const OFF_TOPIC: &[&str] = &[
    "compose a ballad about {x}",
    "what can you say on the subject of {x}?",
    "how would you describe {x} to a friend?",
    "write a short story on {x}",
    "who knows the most about {x}?",
    "give me three reasons to love {x}",
    "what is so special about {x}?",
    "is {x} overrated?",
    "tell me an anecdote about {x}",
    "how did {x} change the world?",
    "please write a report about {x}",
    "what was {x} like a hundred years ago?",
];
