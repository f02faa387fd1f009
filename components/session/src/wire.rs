//! What this leaf and its regional half `conversations` say to each other, as JSON over private
//! routes. It is also the form of a cached history. It knows no route's public shape.

use serde::{Deserialize, Serialize};

/// Where turns are POSTed, in batches.
pub const TURNS_PATH: &str = "/internal/turns";
/// Bytes of a history, at most, as `conversations` counts them: the newest messages whose sum they
/// hold. Ordinary text has four bytes a token, so this fills a window of a quarter of a million.
pub const HISTORY_BYTES_MAX: usize = 1 << 20;
/// Messages of one turn, at most.
pub const TURN_MESSAGES_MAX: usize = 200;

/// Who says a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    System,
    Developer,
    User,
    Assistant,
    Tool,
}

/// A function that the model asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolCall {
    pub id: String,
    pub name: String,
    pub arguments: String,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    pub role: Role,
    pub content: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
}

impl Message {
    /// A message that is text and nothing else.
    pub fn text(role: Role, content: impl Into<String>) -> Self {
        Self {
            role,
            content: content.into(),
            name: None,
            tool_calls: Vec::new(),
            tool_call_id: None,
        }
    }
}

/// The answer to `GET /internal/projects/{project}/conversations/{id}/messages`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Messages {
    /// Oldest first.
    pub messages: Vec<Message>,
    /// The user, or the key of no user, whose conversation it is; none is the whole project.
    pub owner: Option<String>,
    /// The project has no room for one more turn.
    pub is_full: bool,
}

/// The answer to `GET /internal/projects/{project}/room`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Room {
    pub is_full: bool,
}

/// One item of the batch that is POSTed to `TURNS_PATH`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Turn {
    /// Applied once by this id.
    pub request_id: String,
    pub project_id: String,
    pub conversation_id: String,
    pub messages: Vec<Message>,
    /// It is shown, and is no part of a prompt.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub refused: bool,
}

/// The batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Turns {
    pub items: Vec<Turn>,
}

/// Where a conversation's messages are told. Ids of other shapes belong to no conversation: they
/// are never put into a path.
pub fn messages_path(project_id: &str, conversation_id: &str) -> Option<String> {
    (is_id(project_id) && is_id(conversation_id)).then(|| {
        format!(
            "/internal/projects/{project_id}/conversations/{conversation_id}/messages\
             ?bytes_max={HISTORY_BYTES_MAX}"
        )
    })
}

/// Where it is told whether a project has room.
pub fn room_path(project_id: &str) -> Option<String> {
    is_id(project_id).then(|| format!("/internal/projects/{project_id}/room"))
}

fn is_id(id: &str) -> bool {
    (1..=128).contains(&id.len())
        && id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_as_it_is_written() {
        let call = ToolCall {
            id: "c1".into(),
            name: "clock".into(),
            arguments: "{}".into(),
        };
        let turn = Turn {
            request_id: "req_1".into(),
            project_id: "proj_1".into(),
            conversation_id: "conv_1".into(),
            messages: vec![
                Message {
                    name: Some("Bo".into()),
                    ..Message::text(Role::User, "time?")
                },
                Message {
                    tool_calls: vec![call],
                    ..Message::text(Role::Assistant, "")
                },
                Message {
                    tool_call_id: Some("c1".into()),
                    ..Message::text(Role::Tool, "noon")
                },
                Message::text(Role::Assistant, "It is noon."),
            ],
            refused: false,
        };
        let golden = include_str!("../golden/turn.json");
        assert_eq!(serde_json::from_str::<Turn>(golden).unwrap(), turn);
        let written: serde_json::Value = serde_json::to_value(&turn).unwrap();
        assert_eq!(
            written,
            serde_json::from_str::<serde_json::Value>(golden).unwrap()
        );
    }

    #[test]
    fn a_refused_turn_says_so() {
        let golden = include_str!("../golden/refused-turn.json");
        let turn: Turn = serde_json::from_str(golden).unwrap();
        assert!(turn.refused);
        let written: serde_json::Value = serde_json::to_value(&turn).unwrap();
        assert_eq!(
            written,
            serde_json::from_str::<serde_json::Value>(golden).unwrap()
        );
    }

    #[test]
    fn only_ids_become_paths() {
        assert_eq!(
            messages_path("proj_1", "conv_2").unwrap(),
            "/internal/projects/proj_1/conversations/conv_2/messages?bytes_max=1048576"
        );
        assert_eq!(
            room_path("proj_1").unwrap(),
            "/internal/projects/proj_1/room"
        );
        for id in ["", "a/b", "..", "a?b", "ä", "a b", &"x".repeat(129)] {
            assert_eq!(messages_path("proj_1", id), None, "{id}");
            assert_eq!(room_path(id), None, "{id}");
        }
    }
}
