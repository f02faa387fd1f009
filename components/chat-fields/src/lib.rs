//! The fields of a chat completion request: the gateway and the engine read this one list,
//! so that neither takes a field that the other refuses.
//!
//! It does NOT parse values; who honours a field checks its value.

/// The treatment of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Honoured, by the gateway or by the engine.
    Honoured,
    /// Handed on to a backend that may know it; our engine refuses it by name.
    Backend,
    /// Taken and without effect on the answer: of use to the one who is billed for it.
    Inert,
    /// Accepted with one of these values (as JSON), which ask for nothing; refused with any
    /// other.
    OnlyDefault(&'static [&'static str]),
    /// Refused with any value but null.
    Refused,
    /// Honoured by the engine, set by the gateway alone, and refused where a client sends it.
    Private,
    /// Honoured by the gateway and never sent to a backend.
    Gateway,
}

/// One field of a request's body.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// Its name in the body.
    pub name: &'static str,
    pub used: Use,
    /// A value, as JSON, that whoever honours the field accepts beside a plain request; a
    /// value of OpenAI's for one that is refused.
    pub example: &'static str,
}

const fn field(name: &'static str, used: Use, example: &'static str) -> Field {
    Field {
        name,
        used,
        example,
    }
}

/// Every field: OpenAI's, vLLM's, and our own.
pub const FIELDS: &[Field] = &[
    field("model", Use::Honoured, r#""m""#),
    field(
        "messages",
        Use::Honoured,
        r#"[{"role":"user","content":"hi"}]"#,
    ),
    field("stream", Use::Honoured, "true"),
    field("stream_options", Use::Honoured, "null"),
    field("max_tokens", Use::Honoured, "5"),
    field("max_completion_tokens", Use::Honoured, "5"),
    field("n", Use::Honoured, "2"),
    field("temperature", Use::Honoured, "0.5"),
    field("top_p", Use::Honoured, "0"),
    field("top_k", Use::Honoured, "40"),
    field("min_p", Use::Honoured, "0.1"),
    field("presence_penalty", Use::Honoured, "0.5"),
    field("frequency_penalty", Use::Honoured, "0.5"),
    field("repetition_penalty", Use::Honoured, "1.1"),
    field("logit_bias", Use::Honoured, r#"{"1":-1}"#),
    field("logprobs", Use::Honoured, "true"),
    field("top_logprobs", Use::Honoured, "null"),
    field("seed", Use::Honoured, "-7"),
    field("stop", Use::Honoured, r#"["a","b","c","d","e"]"#),
    field("stop_token_ids", Use::Honoured, "[1]"),
    field("include_stop_str_in_output", Use::Honoured, "true"),
    field("min_tokens", Use::Honoured, "0"),
    field("ignore_eos", Use::Honoured, "true"),
    field("skip_special_tokens", Use::Honoured, "true"),
    field(
        "spaces_between_special_tokens",
        Use::OnlyDefault(&["true"]),
        "true",
    ),
    field("truncate_prompt_tokens", Use::Honoured, "100"),
    field("add_special_tokens", Use::Honoured, "false"),
    field(
        "tools",
        Use::Honoured,
        r#"[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}]"#,
    ),
    field("tool_choice", Use::Honoured, r#""none""#),
    field("parallel_tool_calls", Use::Honoured, "true"),
    field(
        "response_format",
        Use::Honoured,
        r#"{"type":"json_object"}"#,
    ),
    field("structured_outputs", Use::Honoured, r#"{"regex":"a+"}"#),
    field("guided_json", Use::Honoured, r#"{"type":"object"}"#),
    field("guided_regex", Use::Honoured, r#""a+""#),
    field("guided_choice", Use::Honoured, r#"["a","b"]"#),
    field("guided_grammar", Use::Honoured, r#""start: \"a\"""#),
    field("user", Use::Inert, r#""u-1""#),
    field("safety_identifier", Use::Inert, r#""u-1""#),
    field("prompt_cache_key", Use::Inert, r#""k""#),
    field("prompt_cache_retention", Use::Inert, r#""24h""#),
    field("metadata", Use::Inert, r#"{"a":"b"}"#),
    field("store", Use::OnlyDefault(&["false"]), "false"),
    field(
        "service_tier",
        Use::OnlyDefault(&["\"auto\"", "\"default\""]),
        r#""auto""#,
    ),
    field(
        "modalities",
        Use::OnlyDefault(&["[\"text\"]"]),
        r#"["text"]"#,
    ),
    field("reasoning_effort", Use::Backend, r#""low""#),
    field("verbosity", Use::Backend, r#""low""#),
    field(
        "prediction",
        Use::Backend,
        r#"{"type":"content","content":"a"}"#,
    ),
    field("audio", Use::Refused, r#"{"voice":"a","format":"mp3"}"#),
    field("function_call", Use::Refused, r#""auto""#),
    field("functions", Use::Refused, "[]"),
    field("moderation", Use::Refused, "{}"),
    field("web_search_options", Use::Refused, "{}"),
    field("cache_salt", Use::Private, r#""org/proj""#),
    field("cache_shared_messages", Use::Private, "0"),
    field("priority", Use::Private, "1"),
    field("deadline_ms", Use::Private, "1000"),
    field("conversation", Use::Gateway, r#""conv_1""#),
    field("skerry", Use::Gateway, r#"{"events":true}"#),
];

/// The field of that name.
pub fn find(name: &str) -> Option<&'static Field> {
    FIELDS.iter().find(|field| field.name == name)
}

/// Returns true for a field that describes the client and does not change the answer.
pub fn is_inert(name: &str) -> bool {
    find(name).is_some_and(|field| field.used == Use::Inert)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_stands_in_the_list_once() {
        for (index, field) in FIELDS.iter().enumerate() {
            let first = FIELDS.iter().position(|other| other.name == field.name);
            assert_eq!(first, Some(index), "{}", field.name);
        }
    }
}
