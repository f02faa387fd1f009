//! Which stored form of a file a client accepts (RFC 9110 §12.5.3).
//!
//! It reads one header and knows no files.

/// A stored form of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Brotli, the smallest.
    Brotli,
    /// Gzip, for what does not speak brotli.
    Gzip,
    /// As it is.
    Identity,
}

impl Encoding {
    /// What is appended to a file's name for this form.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Brotli => ".br",
            Self::Gzip => ".gz",
            Self::Identity => "",
        }
    }

    /// The value of `content-encoding`; the plain form has none.
    pub fn token(self) -> Option<&'static str> {
        match self {
            Self::Brotli => Some("br"),
            Self::Gzip => Some("gzip"),
            Self::Identity => None,
        }
    }
}

/// The forms a client accepts, best first, from its `accept-encoding`. The plain form is always
/// last: a client that refuses it gets it all the same, as RFC 9110 §12.5.3 allows.
pub fn accepted(header: Option<&str>) -> Vec<Encoding> {
    let Some(header) = header else {
        return vec![Encoding::Identity];
    };
    let weight = |token: &str| weight_of(header, token).or_else(|| weight_of(header, "*"));
    let mut forms: Vec<(Encoding, u16)> = [(Encoding::Brotli, "br"), (Encoding::Gzip, "gzip")]
        .into_iter()
        .filter_map(|(form, token)| Some((form, weight(token)?)))
        .filter(|(_, weight)| *weight > 0)
        .collect();
    // A stable sort: of two that the client likes equally, the smaller comes first.
    forms.sort_by_key(|(_, weight)| std::cmp::Reverse(*weight));
    forms
        .into_iter()
        .map(|(form, _)| form)
        .chain([Encoding::Identity])
        .collect()
}

/// The weight of `token` in thousandths; `None` if the header does not name it.
fn weight_of(header: &str, token: &str) -> Option<u16> {
    header.split(',').find_map(|item| {
        let mut parts = item.split(';').map(str::trim);
        if !parts.next()?.eq_ignore_ascii_case(token) {
            return None;
        }
        let quality = parts.find_map(|part| {
            let (name, value) = part.split_once('=')?;
            name.trim()
                .eq_ignore_ascii_case("q")
                .then(|| value.trim().parse::<f32>().ok())
        });
        match quality {
            None => Some(1000),
            // A weight that cannot be read is taken as a refusal: plain bytes are always right.
            Some(None) => Some(0),
            Some(Some(q)) => Some((q.clamp(0.0, 1.0) * 1000.0) as u16),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::Encoding::{Brotli, Gzip, Identity};
    use super::*;

    #[test]
    fn the_best_accepted_form_comes_first() {
        let check = |header: Option<&str>, expect: &[Encoding]| {
            assert_eq!(accepted(header), expect, "{header:?}");
        };
        check(None, &[Identity]);
        check(Some(""), &[Identity]);
        check(Some("identity"), &[Identity]);
        check(Some("gzip, deflate, br, zstd"), &[Brotli, Gzip, Identity]);
        check(Some("GZIP"), &[Gzip, Identity]);
        check(Some("br;q=0.5, gzip;q=0.8"), &[Gzip, Brotli, Identity]);
        check(Some("br;q=0, gzip"), &[Gzip, Identity]);
        check(Some("*"), &[Brotli, Gzip, Identity]);
        check(Some("*;q=0"), &[Identity]);
        check(Some("*, br;q=0"), &[Gzip, Identity]);
        check(Some("br;q=nonsense"), &[Identity]);
        check(Some("brotli, xgzip"), &[Identity]);
    }
}
