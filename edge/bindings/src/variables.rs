//! `spin:variables`, `fermyon:spin/variables` and `wasi:config` on the variables port.
//! It does NOT know where a value comes from.

use crate::generated::fermyon::spin::variables as v2;
use crate::generated::spin::variables::variables as v3;
use crate::generated::wasi::config::store as config;
use crate::port::VariableError;
use crate::state::{Capabilities, State};
use wasmtime::component::Accessor;

impl v3::Host for State {}

impl<T> v3::HostWithStore<T> for Capabilities {
    async fn get(
        accessor: &Accessor<T, Self>,
        name: String,
    ) -> wasmtime::Result<Result<String, v3::Error>> {
        let value = accessor.with(|mut access| access.get().grants.variables.get(&name));
        Ok(value.map_err(|error| match error {
            VariableError::InvalidName(text) => v3::Error::InvalidName(text),
            VariableError::Undefined(text) => v3::Error::Undefined(text),
        }))
    }
}

impl v2::Host for State {
    async fn get(&mut self, name: String) -> wasmtime::Result<Result<String, v2::Error>> {
        Ok(self
            .grants
            .variables
            .get(&name)
            .map_err(|error| match error {
                VariableError::InvalidName(text) => v2::Error::InvalidName(text),
                VariableError::Undefined(text) => v2::Error::Undefined(text),
            }))
    }
}

impl config::Host for State {
    async fn get(
        &mut self,
        key: String,
    ) -> wasmtime::Result<Result<Option<String>, config::Error>> {
        match self.grants.variables.get(&key) {
            Ok(value) => Ok(Ok(Some(value))),
            Err(VariableError::Undefined(_)) => Ok(Ok(None)),
            Err(VariableError::InvalidName(text)) => Ok(Err(config::Error::Upstream(text))),
        }
    }

    async fn get_all(&mut self) -> wasmtime::Result<Result<Vec<(String, String)>, config::Error>> {
        Ok(Ok(self.grants.variables.all()))
    }
}
