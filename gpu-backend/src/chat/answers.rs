//! All answers of one request, side by side: `n` to each of its prompts.
//!
//! Invariant: dropping them cancels every generation.
//! Knows no HTTP and no wire type.

use futures_util::StreamExt;
use futures_util::future::try_join_all;
use futures_util::stream::{BoxStream, SelectAll, unfold};

use super::answer::{Answer, Failed, Part, Usage, Whole};

/// Answers in progress. Those to the first prompt come first.
#[derive(Debug)]
pub struct Answers {
    answers: Vec<Answer>,
    n: usize,
}

/// What is new in any of the answers, with the answer's place among them.
pub type Parts = SelectAll<BoxStream<'static, (usize, Part)>>;

impl Answers {
    pub(super) fn new(answers: Vec<Answer>, n: usize) -> Self {
        Self { answers, n }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.answers.len()
    }

    /// Answers to each prompt.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Tokens of the prompt of each answer.
    pub fn prompt_tokens(&self) -> Vec<usize> {
        self.answers.iter().map(Answer::prompt_tokens).collect()
    }

    /// The only answer of a request for one.
    pub fn into_first(self) -> Option<Answer> {
        self.answers.into_iter().next()
    }

    /// Waits for all of them.
    ///
    /// # Errors
    /// The engine failed at one; the others are then cancelled.
    pub async fn whole(self) -> Result<Vec<Whole>, Failed> {
        try_join_all(self.answers.into_iter().map(Answer::whole)).await
    }

    /// The parts of all answers as they come; each answer's own are in order.
    pub fn parts(self) -> Parts {
        let each = |(index, answer): (usize, Answer)| {
            unfold(answer, move |mut answer| async move {
                let part = answer.next().await?;
                Some(((index, part), answer))
            })
            .boxed()
        };
        self.answers.into_iter().enumerate().map(each).collect()
    }
}

impl Usage {
    /// What a request used in all its answers, of which `n` share a prompt: that counts
    /// once.
    pub fn total(usages: impl IntoIterator<Item = Self>, n: usize) -> Self {
        let mut total = Self::default();
        for (index, usage) in usages.into_iter().enumerate() {
            if index.is_multiple_of(n) {
                total.prompt_tokens += usage.prompt_tokens;
                total.cached_tokens += usage.cached_tokens;
            }
            total.completion_tokens += usage.completion_tokens;
            total.reasoning_tokens += usage.reasoning_tokens;
        }
        total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_that_several_answers_share_counts_once() {
        let usage = |prompt_tokens, completion_tokens| Usage {
            prompt_tokens,
            cached_tokens: prompt_tokens / 2,
            completion_tokens,
            reasoning_tokens: completion_tokens / 2,
        };
        let of_two_prompts = [usage(10, 1), usage(10, 2), usage(30, 3), usage(30, 4)];
        let total = Usage::total(of_two_prompts, 2);
        assert_eq!(
            (
                total.prompt_tokens,
                total.cached_tokens,
                total.completion_tokens
            ),
            (40, 20, 10)
        );
    }
}
