//! Stop strings in a stream of text, also across the borders of its pieces.
//! Knows nothing of tokens.

use crate::tool_parser::begun;

/// Watches an answer for its stop strings.
#[derive(Debug)]
pub(super) struct StopMatcher {
    stops: Vec<String>,
    /// The stop string that was met is given out.
    include: bool,
    /// An end of the text with which a stop string may begin.
    held: String,
}

impl StopMatcher {
    pub(super) fn new(mut stops: Vec<String>, include: bool) -> Self {
        stops.retain(|stop| !stop.is_empty());
        Self {
            stops,
            include,
            held: String::new(),
        }
    }

    /// Adds text; returns what is certain, and the stop string that was met, if one was:
    /// what follows it is left out, and so is itself unless it is to be included. Of
    /// several the one that is complete first counts, as if the text came character by
    /// character.
    pub(super) fn push(&mut self, text: &str) -> (String, Option<String>) {
        if self.stops.is_empty() {
            return (text.to_owned(), None);
        }
        self.held.push_str(text);
        let met = |stop: &String| self.held.find(stop).map(|at| (at + stop.len(), at));
        if let Some((end, at)) = self.stops.iter().filter_map(met).min() {
            let stop = self.held[at..end].to_owned();
            self.held.truncate(if self.include { end } else { at });
            return (std::mem::take(&mut self.held), Some(stop));
        }
        let keep = self
            .stops
            .iter()
            .map(|stop| begun(&self.held, stop))
            .max()
            .unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - keep);
        (std::mem::replace(&mut self.held, rest), None)
    }

    /// What was held when the answer ended without a stop string.
    pub(super) fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The text given out, and whether it was stopped.
    fn run(stops: &[&str], parts: &[&str]) -> (String, bool) {
        run_with(false, stops, parts)
    }

    fn run_with(include: bool, stops: &[&str], parts: &[&str]) -> (String, bool) {
        let stops = stops.iter().map(ToString::to_string).collect();
        let mut matcher = StopMatcher::new(stops, include);
        let mut out = String::new();
        for part in parts {
            let (text, stopped) = matcher.push(part);
            out += &text;
            if stopped.is_some() {
                return (out, true);
            }
        }
        out += &matcher.finish();
        (out, false)
    }

    #[test]
    fn a_stop_string_is_found_across_pieces_and_left_out() {
        assert_eq!(run(&["END"], &["abE", "N", "Dcd"]), ("ab".into(), true));
        assert_eq!(run(&["END"], &["abEN", "x"]), ("abENx".into(), false));
        assert_eq!(run(&["END"], &["abEN"]), ("abEN".into(), false));
        assert_eq!(run(&["aab"], &["a", "a", "a", "b"]), ("a".into(), true));
        assert_eq!(
            run(&["é!", "b"], &["aé", "!b"]),
            ("a".into(), true),
            "complete first"
        );
        assert_eq!(run(&[""], &["a"]), ("a".into(), false));
    }

    #[test]
    fn a_stop_string_is_shown_where_it_is_to_be_included() {
        let want = ("abEND".into(), true);
        assert_eq!(run_with(true, &["END"], &["abE", "N", "Dcd"]), want);
        assert_eq!(run_with(true, &["END"], &["abENDcd"]), want);
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_result(
            text in "[abé]{0,30}", stops in prop::collection::vec("[abé]{1,4}", 1..4), cut in 0usize..60,
        ) {
            let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
            let end = (1..=text.len())
                .filter(|end| text.is_char_boundary(*end))
                .find(|end| stops.iter().any(|s| text[..*end].ends_with(s)));
            let want = match end {
                None => (text.clone(), false),
                Some(end) => {
                    let met = stops.iter().filter(|s| text[..end].ends_with(**s));
                    let longest = met.map(|s| s.len()).max().unwrap();
                    (text[..end - longest].to_owned(), true)
                }
            };
            let mut at = cut.min(text.len());
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            let chars: Vec<String> = text.chars().map(String::from).collect();
            let chars: Vec<&str> = chars.iter().map(String::as_str).collect();
            prop_assert_eq!(&run(&stops, &chars), &want);
            prop_assert_eq!(&run(&stops, &[&text[..at], &text[at..]]), &want);
        }
    }
}
