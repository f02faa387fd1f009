//! `GET /v1/models` and `GET /v1/models/{id}`.
//!
//! It does NOT know which backends there are; `router` does.

use serde_json::{Value, json};

use crate::bindings::skerry::chat::router::Model;
use crate::error::ApiError;
use crate::platform::Platform;
use crate::reply::Reply;

/// All models, or the one named.
pub(crate) async fn answer<P: Platform>(platform: &P, id: Option<&str>) -> Result<Reply, ApiError> {
    let models = platform.models().await;
    let models = models.map_err(|error| ApiError::no_route(error, id.unwrap_or_default()))?;
    match id {
        None => {
            let data: Vec<Value> = models.iter().map(object).collect();
            Ok(Reply::json(200, &json!({"object": "list", "data": data})))
        }
        Some(id) => match models.iter().find(|model| model.id == id) {
            Some(model) => Ok(Reply::json(200, &object(model))),
            None => Err(ApiError::unknown_model(id)),
        },
    }
}

/// OpenAI's object, with vLLM's `max_model_len` (null where the backend does not say) and, where
/// the model has some, our `suggestions`: messages to begin with.
fn object(model: &Model) -> Value {
    let mut object = json!({"id": model.id, "object": "model", "created": model.created,
        "owned_by": model.owned_by, "max_model_len": model.context_window});
    if !model.suggestions.is_empty() {
        object["suggestions"] = json!(model.suggestions);
    }
    object
}
