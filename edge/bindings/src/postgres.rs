//! `spin:postgres` (4 and 3) and `fermyon:spin/postgres` on the PostgreSQL port. It does
//! NOT know a server, a grant or SQL.

mod convert;
mod rows;

use crate::generated::fermyon::spin::postgres as v2;
use crate::generated::fermyon::spin::rdbms_types as v2_types;
use crate::generated::spin::postgres3_0_0::postgres as v3;
use crate::generated::spin::postgres4_2_0::postgres as v4;
use crate::port::{PostgresConnection, PostgresError, PostgresValue};
use crate::state::{Capabilities, OpenPostgres, PostgresBuilder, State};
use rows::{Answer, Rows, collect};
use std::sync::Arc;
use wasmtime::component::{Accessor, FutureReader, Resource, StreamReader};

type Shared = Arc<dyn PostgresConnection>;
type Opened = Result<Resource<OpenPostgres>, PostgresError>;

impl State {
    fn postgres(&self, handle: &Resource<OpenPostgres>) -> wasmtime::Result<Shared> {
        Ok(Arc::clone(&self.table.get(handle)?.0))
    }

    fn keep_postgres(&mut self, opened: Result<Shared, PostgresError>) -> wasmtime::Result<Opened> {
        self.progress.made();
        Ok(match opened {
            Ok(connection) => Ok(self.table.push(OpenPostgres(connection))?),
            Err(error) => Err(error),
        })
    }

    async fn open_postgres(
        &mut self,
        address: &str,
        ca_root: Option<&str>,
    ) -> wasmtime::Result<Opened> {
        let opened = self.grants.postgres.open(address, ca_root).await;
        self.keep_postgres(opened)
    }

    async fn execute_postgres(
        &mut self,
        handle: &Resource<OpenPostgres>,
        statement: &str,
        parameters: Vec<PostgresValue>,
    ) -> wasmtime::Result<Result<u64, PostgresError>> {
        let connection = self.postgres(handle)?;
        let changed = connection.execute(statement, parameters).await;
        self.progress.made();
        Ok(changed)
    }

    async fn query_postgres(
        &mut self,
        handle: &Resource<OpenPostgres>,
        statement: &str,
        parameters: Vec<PostgresValue>,
    ) -> wasmtime::Result<Result<Answer, PostgresError>> {
        let connection = self.postgres(handle)?;
        let answer = match connection.query(statement, parameters).await {
            Ok(rows) => collect(rows).await,
            Err(error) => Err(error),
        };
        self.progress.made();
        Ok(answer)
    }

    /// The address and the trusted certificate of a builder.
    fn of_builder(
        &self,
        builder: &Resource<PostgresBuilder>,
    ) -> wasmtime::Result<(String, Option<String>)> {
        let builder = self.table.get(builder)?;
        Ok((builder.address.clone(), builder.ca_root.clone()))
    }
}

async fn open_shared<T>(
    accessor: &Accessor<T, Capabilities>,
    address: &str,
    ca_root: Option<&str>,
) -> wasmtime::Result<Result<Resource<OpenPostgres>, v4::Error>>
where
    T: Send,
{
    let grants = accessor.with(|mut access| Arc::clone(&access.get().grants));
    let opened = grants.postgres.open(address, ca_root).await;
    accessor.with(|mut access| Ok(access.get().keep_postgres(opened)?.map_err(Into::into)))
}

fn shared<T>(
    accessor: &Accessor<T, Capabilities>,
    handle: &Resource<OpenPostgres>,
) -> wasmtime::Result<Shared> {
    accessor.with(|mut access| access.get().postgres(handle))
}

impl v4::Host for State {}

impl v4::HostConnectionBuilder for State {
    async fn new(&mut self, address: String) -> wasmtime::Result<Resource<PostgresBuilder>> {
        let builder = PostgresBuilder {
            address,
            ca_root: None,
        };
        Ok(self.table.push(builder)?)
    }

    async fn set_ca_root(
        &mut self,
        builder: Resource<PostgresBuilder>,
        certificate: String,
    ) -> wasmtime::Result<Result<(), v4::Error>> {
        if let Err(error) = self.grants.postgres.check_ca_root(&certificate) {
            return Ok(Err(error.into()));
        }
        self.table.get_mut(&builder)?.ca_root = Some(certificate);
        Ok(Ok(()))
    }

    async fn build(
        &mut self,
        builder: Resource<PostgresBuilder>,
    ) -> wasmtime::Result<Result<Resource<OpenPostgres>, v4::Error>> {
        let (address, ca_root) = self.of_builder(&builder)?;
        let opened = self.open_postgres(&address, ca_root.as_deref()).await?;
        Ok(opened.map_err(Into::into))
    }

    async fn drop(&mut self, builder: Resource<PostgresBuilder>) -> wasmtime::Result<()> {
        self.table.delete(builder)?;
        Ok(())
    }
}

impl<T: Send> v4::HostConnectionBuilderWithStore<T> for Capabilities {
    async fn build_async(
        accessor: &Accessor<T, Self>,
        builder: Resource<PostgresBuilder>,
    ) -> wasmtime::Result<Result<Resource<OpenPostgres>, v4::Error>> {
        let (address, ca_root) = accessor.with(|mut access| access.get().of_builder(&builder))?;
        open_shared(accessor, &address, ca_root.as_deref()).await
    }
}

type RowStream = (
    Vec<v4::Column>,
    StreamReader<Vec<v4::DbValue>>,
    FutureReader<Result<(), v4::Error>>,
);

impl<T: Send> v4::HostConnectionWithStore<T> for Capabilities {
    async fn open_async(
        accessor: &Accessor<T, Self>,
        address: String,
    ) -> wasmtime::Result<Result<Resource<OpenPostgres>, v4::Error>> {
        open_shared(accessor, &address, None).await
    }

    async fn query_async(
        accessor: &Accessor<T, Self>,
        handle: Resource<OpenPostgres>,
        statement: String,
        parameters: Vec<v4::ParameterValue>,
    ) -> wasmtime::Result<Result<RowStream, v4::Error>> {
        let connection = shared(accessor, &handle)?;
        let answer = match connection.query(&statement, values(parameters)).await {
            Ok(answer) => answer,
            Err(error) => return Ok(Err(error.into())),
        };
        let columns = answer.columns.into_iter().map(Into::into).collect();
        accessor.with(|mut access| {
            let progress = Arc::clone(&access.get().progress);
            progress.made();
            let (rows, end) = Rows::new(answer.rows, progress);
            let rows = StreamReader::new(&mut access, rows)?;
            let end = FutureReader::new(&mut access, async move {
                // A stream that was given up has had no error.
                wasmtime::error::Ok(end.await.unwrap_or(Ok(())))
            })?;
            Ok(Ok((columns, rows, end)))
        })
    }

    async fn execute_async(
        accessor: &Accessor<T, Self>,
        handle: Resource<OpenPostgres>,
        statement: String,
        parameters: Vec<v4::ParameterValue>,
    ) -> wasmtime::Result<Result<u64, v4::Error>> {
        let connection = shared(accessor, &handle)?;
        let changed = connection.execute(&statement, values(parameters)).await;
        accessor.with(|mut access| access.get().progress.made());
        Ok(changed.map_err(Into::into))
    }
}

fn values<P: Into<PostgresValue>>(parameters: Vec<P>) -> Vec<PostgresValue> {
    parameters.into_iter().map(Into::into).collect()
}

/// The parameters of the oldest interface, which has integers that PostgreSQL lacks.
fn values_of_v2(
    parameters: Vec<v2_types::ParameterValue>,
) -> Result<Vec<PostgresValue>, PostgresError> {
    parameters.into_iter().map(TryInto::try_into).collect()
}

/// The calls that all versions have.
macro_rules! connection {
    ($version:ident, $types:ident, $values:expr) => {
        impl $version::HostConnection for State {
            async fn open(
                &mut self,
                address: String,
            ) -> wasmtime::Result<Result<Resource<OpenPostgres>, $types::Error>> {
                let opened = self.open_postgres(&address, None).await?;
                Ok(opened.map_err(Into::into))
            }

            async fn query(
                &mut self,
                handle: Resource<OpenPostgres>,
                statement: String,
                parameters: Vec<$types::ParameterValue>,
            ) -> wasmtime::Result<Result<$types::RowSet, $types::Error>> {
                let parameters = match $values(parameters) {
                    Ok(parameters) => parameters,
                    Err(error) => return Ok(Err(error.into())),
                };
                let answer = self.query_postgres(&handle, &statement, parameters).await?;
                Ok(answer.map(Into::into).map_err(Into::into))
            }

            async fn execute(
                &mut self,
                handle: Resource<OpenPostgres>,
                statement: String,
                parameters: Vec<$types::ParameterValue>,
            ) -> wasmtime::Result<Result<u64, $types::Error>> {
                let parameters = match $values(parameters) {
                    Ok(parameters) => parameters,
                    Err(error) => return Ok(Err(error.into())),
                };
                let changed = self
                    .execute_postgres(&handle, &statement, parameters)
                    .await?;
                Ok(changed.map_err(Into::into))
            }

            async fn drop(&mut self, handle: Resource<OpenPostgres>) -> wasmtime::Result<()> {
                self.table.delete(handle)?;
                Ok(())
            }
        }
    };
}

connection!(v4, v4, |all| Ok::<_, PostgresError>(values(all)));
connection!(v3, v3, |all| Ok::<_, PostgresError>(values(all)));
connection!(v2, v2_types, values_of_v2);

impl v3::Host for State {}
impl v2::Host for State {}
impl v2_types::Host for State {}
