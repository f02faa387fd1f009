//! Prompt lookup: what followed the same tokens before will follow them again (Saxena,
//! 2023). Costs nothing, and is right where an answer copies from its prompt.
//! Knows nothing but tokens.

/// Looks for the last tokens earlier in the same sequence.
#[derive(Clone, Copy, Debug)]
pub struct PromptLookup {
    least: usize,
    longest: usize,
}

impl PromptLookup {
    /// `least` and `longest` bound the run of last tokens that is looked for; at least one.
    pub fn new(least: usize, longest: usize) -> Self {
        Self { least, longest }
    }

    /// Up to `drafts_max` tokens that followed the longest run found, where it stood last;
    /// perhaps none.
    pub fn propose(&self, known: &[u32], drafts_max: usize) -> Vec<u32> {
        let longest = self.longest.min(known.len().saturating_sub(1));
        for run in (self.least..=longest).rev() {
            let last = &known[known.len() - run..];
            // A run that ends before the last token, so that something follows it.
            let mut ends = (run..known.len()).rev();
            if let Some(end) = ends.find(|end| known[end - run..*end] == *last) {
                let until = known.len().min(end + drafts_max);
                return known[end..until].to_vec();
            }
        }
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(known: &[u32], drafts_max: usize, want: &[u32]) {
        assert_eq!(PromptLookup::new(2, 3).propose(known, drafts_max), want);
    }

    #[test]
    fn what_followed_the_longest_run_where_it_stood_last_is_proposed() {
        check(&[1, 2, 3, 4, 5, 1, 2, 3], 2, &[4, 5]);
        check(&[1, 2, 3, 4, 5, 1, 2, 3], 9, &[4, 5, 1, 2, 3]);
        // Three tokens beat two that stood later.
        check(&[1, 2, 3, 4, 9, 2, 3, 5, 1, 2, 3], 1, &[4]);
        check(&[7, 2, 3, 4, 9, 2, 3, 5, 1, 2, 3], 1, &[5]);
        // A run may overlap itself.
        check(&[6, 6, 6, 6], 4, &[6]);
        check(&[1, 2, 3, 4, 5], 4, &[]);
        check(&[1, 3, 9, 3], 4, &[]);
        check(&[1], 4, &[]);
        check(&[], 4, &[]);
    }
}
