//! The leaf of a star: it tries a capability and says how that went.

use spin_sdk::http::EmptyBody;

mod bindings {
    spin_sdk::wit_bindgen::generate!({
        world: "leaf",
        path: "wit",
        runtime_path: "spin_sdk::wit_bindgen::rt",
        generate_all,
    });
}

struct Leaf;

bindings::export!(Leaf with_types_in bindings);

impl bindings::exports::apps::star::deeds::Guest for Leaf {
    async fn attempt(what: String) -> String {
        let (deed, argument) = what.split_once(' ').unwrap_or((&what, ""));
        match deed {
            "store" => match spin_sdk::key_value::Store::open("default").await {
                Ok(_) => "opened".to_owned(),
                Err(error) => format!("{error:?}"),
            },
            "variable" => format!("{:?}", spin_sdk::variables::get("greeting").await),
            "database" => match spin_sdk::sqlite::Connection::open("default").await {
                Ok(_) => "opened".to_owned(),
                Err(error) => format!("{error:?}"),
            },
            "fetch" => {
                let request = spin_sdk::http::Request::get(argument).body(EmptyBody::new());
                match request {
                    Ok(request) => match spin_sdk::http::send(request).await {
                        Ok(response) => response.status().as_u16().to_string(),
                        Err(error) => format!("{error:?}"),
                    },
                    Err(error) => error.to_string(),
                }
            }
            "environment" => format!("{:?}", std::env::var("MODE")),
            "file" => format!("{:?}", std::fs::read_to_string(argument).map_err(|e| e.kind())),
            other => format!("unknown deed {other}"),
        }
    }
}
