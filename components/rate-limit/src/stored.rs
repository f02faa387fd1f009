//! A window as bytes, as it lies in the key-value store.
//!
//! It stands between the arithmetic and the store. It does not know either's meaning. Bytes that
//! cannot be read are an empty window: the store is a cache and may hold anything.

use crate::window::{RESERVATIONS_MAX, Step, Window};

/// The first byte; another layout gets another number.
const LAYOUT: u8 = 1;

impl Window {
    /// Little-endian: the layout, then each step's number, requests, tokens, reservations, and
    /// its settled bits behind their length.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![LAYOUT];
        for step in &self.steps {
            bytes.extend(step.step.to_le_bytes());
            bytes.extend(step.requests.to_le_bytes());
            bytes.extend(step.tokens.to_le_bytes());
            bytes.extend(step.issued.to_le_bytes());
            let length = u32::try_from(step.settled.len()).unwrap_or(u32::MAX);
            bytes.extend(length.to_le_bytes());
            bytes.extend(&step.settled);
        }
        bytes
    }

    /// The window in the bytes; an empty one if there is none.
    pub fn from_bytes(bytes: Option<&[u8]>) -> Self {
        let steps = match bytes.and_then(|bytes| bytes.split_first()) {
            Some((&LAYOUT, rest)) => steps(rest),
            _ => None,
        };
        Self {
            steps: steps.unwrap_or_default(),
        }
    }
}

fn steps(mut rest: &[u8]) -> Option<Vec<Step>> {
    let mut steps: Vec<Step> = Vec::new();
    while !rest.is_empty() {
        let step = u64::from_le_bytes(*part(&mut rest)?);
        let requests = u32::from_le_bytes(*part(&mut rest)?);
        let tokens = u64::from_le_bytes(*part(&mut rest)?);
        let issued = u32::from_le_bytes(*part(&mut rest)?);
        let length = u32::from_le_bytes(*part(&mut rest)?) as usize;
        let (settled, after) = rest.split_at_checked(length)?;
        rest = after;
        let in_order = steps.last().is_none_or(|last| last.step < step);
        if !in_order || issued > RESERVATIONS_MAX || length > issued.div_ceil(8) as usize {
            return None;
        }
        steps.push(Step {
            step,
            requests,
            tokens,
            issued,
            settled: settled.to_vec(),
        });
    }
    Some(steps)
}

fn part<'a, const N: usize>(rest: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (part, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window() -> Window {
        let mut window = Window::default();
        for n in 0..20 {
            let hold = window.take(n * 700, 50);
            if n % 3 == 0 {
                window.settle(n * 700, hold, 43);
            }
        }
        window
    }

    #[test]
    fn a_window_reads_back() {
        assert_eq!(Window::from_bytes(Some(&window().to_bytes())), window());
        assert_eq!(
            Window::from_bytes(Some(&Window::default().to_bytes())),
            Window::default()
        );
        assert_eq!(Window::from_bytes(None), Window::default());
    }

    #[test]
    fn bytes_of_any_kind_are_a_window_and_never_a_panic() {
        let whole = window().to_bytes();
        for cut in 0..whole.len() {
            let _any = Window::from_bytes(Some(&whole[..cut]));
            let mut flipped = whole.clone();
            flipped[cut] ^= 0x81;
            let _any = Window::from_bytes(Some(&flipped));
        }
        assert_eq!(Window::from_bytes(Some(b"17")), Window::default());
        assert_eq!(Window::from_bytes(Some(&[])), Window::default());
    }

    #[test]
    fn a_busy_minute_stays_small() {
        let mut window = Window::default();
        for n in 0..600 {
            let hold = window.take(n * 100, 1);
            window.settle(n * 100, hold, 0);
        }
        assert!(
            window.to_bytes().len() < 1_024,
            "{}",
            window.to_bytes().len()
        );
    }
}
