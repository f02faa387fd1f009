//! Statements, transactions and what SQL may not do.

use super::*;

async fn open(folder: &Path) -> Arc<dyn SqliteDatabases> {
    let config = RuntimeConfig::load(None, folder).unwrap();
    let labels = BTreeSet::from(["ledger".to_owned()]);
    let metrics = Arc::new(Metrics::default());
    let databases = Databases::new(&metrics);
    databases.open(&config, &labels).unwrap();
    databases.granted(&labels)
}

async fn run(connection: &Arc<dyn SqliteConnection>, sql: &str) -> Result<SqliteRows, SqliteError> {
    connection.execute(sql.to_owned(), Vec::new()).await
}

#[tokio::test]
async fn values_go_in_and_come_out() {
    let folder = tempfile::tempdir().unwrap();
    let databases = open(folder.path()).await;
    let connection = databases.open("ledger").await.unwrap();
    run(&connection, "CREATE TABLE t (a, b, c, d, e)")
        .await
        .unwrap();
    let values = vec![
        SqliteValue::Integer(i64::MAX),
        SqliteValue::Real(1.5),
        SqliteValue::Text("é".to_owned()),
        SqliteValue::Blob(vec![0, 1]),
        SqliteValue::Null,
    ];
    let insert = "INSERT INTO t VALUES (?, ?, ?, ?, ?)".to_owned();
    connection
        .execute(insert.clone(), values.clone())
        .await
        .unwrap();
    assert_eq!(connection.changes().await.unwrap(), 1);
    assert_eq!(connection.last_insert_rowid().await.unwrap(), 1);
    let rows = run(&connection, "SELECT * FROM t").await.unwrap();
    assert_eq!(rows.columns, ["a", "b", "c", "d", "e"]);
    assert_eq!(rows.rows, vec![values]);
    assert!(connection.execute(insert, Vec::new()).await.is_err());
    assert!(matches!(
        databases.open("directory").await,
        Err(SqliteError::AccessDenied)
    ));
}

#[tokio::test]
async fn a_transaction_belongs_to_its_handle() {
    let folder = tempfile::tempdir().unwrap();
    let databases = open(folder.path()).await;
    let one = databases.open("ledger").await.unwrap();
    let two = databases.open("ledger").await.unwrap();
    run(&one, "CREATE TABLE t (a)").await.unwrap();
    run(&one, "BEGIN IMMEDIATE").await.unwrap();
    run(&one, "INSERT INTO t VALUES (1)").await.unwrap();
    assert!(run(&two, "SELECT * FROM t").await.unwrap().rows.is_empty());
    run(&one, "COMMIT").await.unwrap();
    assert_eq!(run(&two, "SELECT * FROM t").await.unwrap().rows.len(), 1);
    // A handle dropped in a transaction leaves nothing behind.
    run(&one, "BEGIN IMMEDIATE").await.unwrap();
    run(&one, "INSERT INTO t VALUES (2)").await.unwrap();
    drop(one);
    run(&two, "INSERT INTO t VALUES (3)").await.unwrap();
    assert_eq!(run(&two, "SELECT * FROM t").await.unwrap().rows.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_writers_wait_for_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let databases = open(folder.path()).await;
    let connection = databases.open("ledger").await.unwrap();
    run(&connection, "CREATE TABLE t (a)").await.unwrap();
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let databases = Arc::clone(&databases);
            tokio::spawn(async move {
                let connection = databases.open("ledger").await.unwrap();
                for _ in 0..5 {
                    run(&connection, "INSERT INTO t VALUES (1)").await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let rows = run(&connection, "SELECT count(*) FROM t")
        .await
        .unwrap()
        .rows;
    assert_eq!(rows, vec![vec![SqliteValue::Integer(40)]]);
}

#[tokio::test]
async fn sql_stays_in_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let databases = open(folder.path()).await;
    let connection = databases.open("ledger").await.unwrap();
    let other = folder.path().join("other.db");
    for sql in [
        format!("ATTACH DATABASE '{}' AS other", other.display()),
        format!("VACUUM INTO '{}'", other.display()),
        "PRAGMA journal_mode = OFF".to_owned(),
        "PRAGMA synchronous = OFF".to_owned(),
        "PRAGMA writable_schema = 1".to_owned(),
        "SELECT load_extension('x')".to_owned(),
    ] {
        assert!(run(&connection, &sql).await.is_err(), "{sql}");
    }
    assert!(!other.exists());
    let rows = run(&connection, "PRAGMA journal_mode").await.unwrap().rows;
    assert_eq!(rows, vec![vec![SqliteValue::Text("wal".to_owned())]]);
    run(&connection, "PRAGMA user_version = 3").await.unwrap();
}

/// What was committed comes out of the log while the database is open.
#[tokio::test]
async fn a_long_log_is_copied_beside_the_commits() {
    let folder = tempfile::tempdir().unwrap();
    let databases = open(folder.path()).await;
    let connection = databases.open("ledger").await.unwrap();
    run(&connection, "CREATE TABLE t (a)").await.unwrap();
    let path = RuntimeConfig::load(None, folder.path())
        .unwrap()
        .sqlite_databases["ledger"]
        .clone();
    // A hundred pages each.
    for _ in 0..12 {
        let insert = "INSERT INTO t SELECT zeroblob(400000)";
        run(&connection, insert).await.unwrap();
    }
    let copied = async {
        while std::fs::metadata(&path).unwrap().len() < 900 * 4096 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), copied)
        .await
        .unwrap();
    let refused = run(&connection, "PRAGMA wal_autocheckpoint = 5").await;
    assert!(refused.is_err());
}
