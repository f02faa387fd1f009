//! How a backend departs from OpenAI's API.
//!
//! `config` may name it; otherwise `discovery` tells it from whom a backend's models belong to.
//! The gateway acts on it; this file only knows names.

use serde::{Deserialize, Serialize};

/// As in `router.wit`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dialect {
    Skerry,
    OpenAi,
    Vllm,
    Ollama,
    LlamaCpp,
    Mistral,
    #[default]
    Other,
}

impl Dialect {
    pub const ALL: [Self; 7] = [
        Self::Skerry,
        Self::OpenAi,
        Self::Vllm,
        Self::Ollama,
        Self::LlamaCpp,
        Self::Mistral,
        Self::Other,
    ];

    /// As in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Skerry => "skerry",
            Self::OpenAi => "open-ai",
            Self::Vllm => "vllm",
            Self::Ollama => "ollama",
            Self::LlamaCpp => "llama-cpp",
            Self::Mistral => "mistral",
            Self::Other => "other",
        }
    }

    /// The dialect of this name; `openai` and `llama.cpp` are as good as `open-ai`.
    pub fn named(name: &str) -> Option<Self> {
        let bare = |name: &str| name.to_ascii_lowercase().replace(['-', '.', '_'], "");
        let name = bare(name);
        Self::ALL
            .into_iter()
            .find(|known| bare(known.name()) == name)
    }

    /// From `owned_by` of a backend's models. Where they speak for several, as at a server that
    /// passes on to many, it is none of them.
    pub fn of_owners<'a>(owners: impl Iterator<Item = &'a str>) -> Self {
        let mut told = owners.filter_map(|owner| match owner {
            "skerry" => Some(Self::Skerry),
            "vllm" => Some(Self::Vllm),
            "llamacpp" => Some(Self::LlamaCpp),
            // Ollama's own library of models.
            "library" => Some(Self::Ollama),
            "mistralai" => Some(Self::Mistral),
            "openai" | "openai-internal" | "system" => Some(Self::OpenAi),
            _ => None,
        });
        match told.next() {
            Some(first) if told.all(|other| other == first) => first,
            _ => Self::Other,
        }
    }

    /// Whether the platform's tools are offered where the configuration does not say.
    pub fn takes_tools(self) -> bool {
        self == Self::Skerry
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for dialect in Dialect::ALL {
            assert_eq!(Dialect::named(dialect.name()), Some(dialect));
            assert_eq!(dialect.takes_tools(), dialect == Dialect::Skerry);
        }
        for (name, dialect) in [
            ("openai", Some(Dialect::OpenAi)),
            ("OpenAI", Some(Dialect::OpenAi)),
            ("llama.cpp", Some(Dialect::LlamaCpp)),
            ("llama_cpp", Some(Dialect::LlamaCpp)),
            ("vLLM", Some(Dialect::Vllm)),
            ("", None),
            ("tgi", None),
        ] {
            assert_eq!(Dialect::named(name), dialect, "{name}");
        }
    }

    #[test]
    fn owners() {
        for (owners, dialect) in [
            (&["skerry"][..], Dialect::Skerry),
            (&["vllm", "vllm"], Dialect::Vllm),
            (&["llamacpp"], Dialect::LlamaCpp),
            (&["library", "alice"], Dialect::Ollama),
            (&["mistralai"], Dialect::Mistral),
            (
                &["openai", "system", "openai-internal", "acme"],
                Dialect::OpenAi,
            ),
            (&["OpenAI", "Meta", "Groq"], Dialect::Other),
            (&["openai", "mistralai"], Dialect::Other),
            (&["unknown"], Dialect::Other),
            (&[], Dialect::Other),
        ] {
            assert_eq!(
                Dialect::of_owners(owners.iter().copied()),
                dialect,
                "{owners:?}"
            );
        }
    }
}
