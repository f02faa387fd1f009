//! The tokenizer: byte-level BPE with every digit on its own, trained on generated dialogues,
//! and dialogues as tokens with their loss weights. It knows no network.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::{AddedToken, PreTokenizerWrapper, Tokenizer, TokenizerBuilder};

use crate::chat::Chat;
use crate::data::{Dialogue, Generator};

/// Tokens, special ones included.
pub const VOCABULARY: usize = 1536;
/// Dialogues from which the merges are learned.
const DIALOGUES: usize = 30_000;
/// Ends every message.
pub const END: &str = "<|end|>";
/// Fills batches in other people's tools; never seen in training.
pub const PAD: &str = "<|pad|>";
/// Opens what the model says.
pub const ASSISTANT: &str = "<|assistant|>";
/// Opens what the user says.
pub const USER: &str = "<|user|>";
/// Special tokens; their ids are their places here.
pub const SPECIAL: &[&str] = &[PAD, END, "<|system|>", USER, ASSISTANT, "<|tool|>"];
/// Tokens of their own that are part of the text.
pub const MARKS: &[&str] = &["<tool_call>", "</tool_call>"];

/// Weight of the user's tokens in the loss: enough to learn what questions look like, too
/// little to take capacity from the answers.
const USER_WEIGHT: f32 = 0.2;

/// Learns the merges from the generator's dialogues.
pub fn train(seed: u64, vocabulary: usize, dialogues: usize) -> Result<Tokenizer> {
    let chat = Chat::new(crate::chat::TEMPLATE)?;
    let mut generator = Generator::new(seed);
    let mut texts = Vec::with_capacity(dialogues);
    for _ in 0..dialogues {
        let text = chat.render_dialogue(&generator.dialogue())?;
        // Role marks are tokens already; merges must not learn them.
        let bare = SPECIAL
            .iter()
            .chain(MARKS)
            .fold(text, |t, mark| t.replace(mark, "\n\n"));
        texts.push(bare);
    }
    let added: Vec<AddedToken> = SPECIAL.iter().map(|t| AddedToken::from(*t, true)).collect();
    let byte_level = ByteLevel::new(false, true, true);
    let mut tokenizer = TokenizerBuilder::default()
        .with_model(BPE::default())
        .with_normalizer(None::<tokenizers::NormalizerWrapper>)
        .with_pre_tokenizer(Some(PreTokenizerWrapper::from(Sequence::new(vec![
            PreTokenizerWrapper::from(Digits::new(true)),
            PreTokenizerWrapper::from(byte_level),
        ]))))
        .with_post_processor(None::<tokenizers::PostProcessorWrapper>)
        .with_decoder(Some(byte_level))
        .build()
        .map_err(|e| anyhow!("tokenizer: {e}"))?;
    let mut trainer = BpeTrainerBuilder::new()
        .vocab_size(vocabulary - MARKS.len())
        .min_frequency(2)
        .show_progress(false)
        .special_tokens(added)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build();
    tokenizer
        .train(&mut trainer, texts.into_iter())
        .map_err(|e| anyhow!("training the tokenizer: {e}"))?;
    let mut tokenizer: Tokenizer = tokenizer.into();
    let marks: Vec<AddedToken> = MARKS
        .iter()
        .map(|t| AddedToken::from(*t, false).normalized(false))
        .collect();
    tokenizer
        .add_tokens(marks)
        .map_err(|e| anyhow!("adding tokens: {e}"))?;
    Ok(tokenizer)
}

/// The bundled model's tokenizer.
pub fn train_demo(seed: u64) -> Result<Tokenizer> {
    train(seed, VOCABULARY, DIALOGUES)
}

/// Reads a `tokenizer.json`.
pub fn load(path: &Path) -> Result<Tokenizer> {
    Tokenizer::from_file(path).map_err(|e| anyhow!("{}: {e}", path.display()))
}

/// The id of a token that must exist.
pub fn id(tokenizer: &Tokenizer, token: &str) -> Result<u32> {
    tokenizer
        .token_to_id(token)
        .with_context(|| format!("the tokenizer lacks {token}"))
}

/// A dialogue as tokens, with the weight of predicting each.
#[derive(Debug, Clone)]
pub struct Encoded {
    /// Tokens.
    pub ids: Vec<u32>,
    /// Loss weight of each token as a target.
    pub weights: Vec<f32>,
}

/// Turns dialogues into tokens.
#[derive(Debug)]
pub struct Encoder {
    chat: Chat,
    tokenizer: Tokenizer,
    user: u32,
    assistant: u32,
    end: u32,
}

impl Encoder {
    /// An encoder with the project's template.
    pub fn new(tokenizer: Tokenizer) -> Result<Self> {
        Ok(Self {
            chat: Chat::new(crate::chat::TEMPLATE)?,
            user: id(&tokenizer, USER)?,
            assistant: id(&tokenizer, ASSISTANT)?,
            end: id(&tokenizer, END)?,
            tokenizer,
        })
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Tokens and weights: 1 for what the model says (its end included), a little for the user,
    /// nothing for the rest.
    pub fn encode(&self, dialogue: &Dialogue) -> Result<Encoded> {
        let text = self.chat.render_dialogue(dialogue)?;
        let encoding = self
            .tokenizer
            .encode(text, false)
            .map_err(|e| anyhow!("encode: {e}"))?;
        let ids = encoding.get_ids().to_vec();
        let mut weight = 0.0;
        let mut weights = Vec::with_capacity(ids.len());
        for id in &ids {
            if SPECIAL.len() as u32 > *id && *id != self.end {
                weights.push(0.0);
                weight = match *id {
                    id if id == self.assistant => 1.0,
                    id if id == self.user => USER_WEIGHT,
                    _ => 0.0,
                };
            } else {
                weights.push(weight);
            }
        }
        Ok(Encoded { ids, weights })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_survives_the_round_trip_and_digits_stand_alone() {
        let tokenizer = train(1, 400, 200).unwrap();
        for text in [
            "What is 1234*56?",
            "Zoë said: “hello” 🙂",
            "<tool_call>\n{\"a\": 1}\n</tool_call>",
        ] {
            let encoding = tokenizer.encode(text, false).unwrap();
            assert_eq!(tokenizer.decode(encoding.get_ids(), false).unwrap(), text);
        }
        let encoding = tokenizer.encode("1234", false).unwrap();
        assert_eq!(encoding.get_ids().len(), 4);
        assert_eq!(tokenizer.token_to_id(END), Some(1));
        assert_eq!(
            tokenizer
                .encode("<tool_call>", false)
                .unwrap()
                .get_ids()
                .len(),
            1
        );
        let marked = tokenizer.encode("<|end|>hi<tool_call>", false).unwrap();
        let shown = tokenizer.decode(marked.get_ids(), true).unwrap();
        assert_eq!(
            shown, "hi<tool_call>",
            "marks are text, role tokens are not"
        );
    }

    #[test]
    fn only_what_is_said_is_weighted() {
        let encoder = Encoder::new(train(1, 400, 200).unwrap()).unwrap();
        let mut dialogue = Dialogue {
            tools: vec!["clock".to_owned()],
            turns: vec![],
        };
        dialogue.exchange("hi".to_owned(), "yo");
        let encoded = encoder.encode(&dialogue).unwrap();
        let end = encoder.end;
        let ends: Vec<f32> = encoded
            .ids
            .iter()
            .zip(&encoded.weights)
            .filter(|(id, _)| **id == end)
            .map(|(_, weight)| *weight)
            .collect();
        assert_eq!(ends, [0.0, USER_WEIGHT, 1.0]);
    }
}
