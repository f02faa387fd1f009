//! The border of the component: generated bindings of `tools.wit`, and the conversion between
//! their types and those of `catalog`. It decides nothing.

use crate::catalog;

mod bindings {
    wit_bindgen::generate!({
        world: "tools-component",
        path: "../../wit",
        generate_all,
    });
}

use bindings::exports::skerry::chat::tools as wit;
use bindings::skerry::chat::types;

struct Component;

bindings::export!(Component with_types_in bindings);

impl wit::Guest for Component {
    async fn available(_who: types::Principal) -> Vec<types::ToolDefinition> {
        catalog::definitions()
            .into_iter()
            .map(|definition| types::ToolDefinition {
                name: definition.name.to_owned(),
                description: definition.description.to_owned(),
                parameters: definition.parameters.to_owned(),
            })
            .collect()
    }

    async fn call(_who: types::Principal, call: types::ToolCall) -> Result<String, wit::ToolError> {
        catalog::call(&call.name, &call.arguments, jiff::Timestamp::now()).map_err(|error| {
            match error {
                catalog::Error::Unknown => wit::ToolError::Unknown,
                catalog::Error::InvalidArguments(words) => wit::ToolError::InvalidArguments(words),
                catalog::Error::Failed(words) => wit::ToolError::Failed(words),
            }
        })
    }
}
