//! All providers against one set of expectations, and sled's way out of corruption.

#[path = "../../../tests/serve/ports.rs"]
mod ports;
#[path = "../../../tests/serve/redis.rs"]
mod redis_server;

use super::*;
use redis_server::Redis;

fn stores(folder: &std::path::Path, redis: &Redis) -> Vec<Arc<dyn KeyValue>> {
    vec![
        Arc::new(SledStore::open(&folder.join("sled")).unwrap()),
        Arc::new(SqliteStore::open(&folder.join("kv.db"), "default").unwrap()),
        Arc::new(RedisStore::open(&redis.url).unwrap()),
    ]
}

#[tokio::test]
async fn providers_agree() {
    let (folder, redis) = (tempfile::tempdir().unwrap(), Redis::start());
    for store in stores(folder.path(), &redis) {
        assert_eq!(store.get("a").await.unwrap(), None);
        store.set("a", b"1".to_vec()).await.unwrap();
        store
            .set_many(vec![
                ("b".to_owned(), b"x".to_vec()),
                ("c".to_owned(), vec![0, 255]),
            ])
            .await
            .unwrap();
        assert_eq!(store.get("c").await.unwrap(), Some(vec![0, 255]));
        assert_eq!(store.increment("a", 41).await.unwrap(), 42);
        assert_eq!(store.get("a").await.unwrap(), Some(b"42".to_vec()));
        assert_eq!(store.increment("new", -2).await.unwrap(), -2);
        assert!(store.increment("b", 1).await.is_err());
        assert!(store.increment("new", i64::MIN).await.is_err());
        assert!(!store.compare_and_swap("b", None, vec![1]).await.unwrap());
        assert!(
            store
                .compare_and_swap("b", Some(b"x".to_vec()), vec![1])
                .await
                .unwrap()
        );
        assert!(
            store
                .compare_and_swap("fresh", None, vec![2])
                .await
                .unwrap()
        );
        store
            .delete_many(vec!["fresh".to_owned(), "absent".to_owned()])
            .await
            .unwrap();
        store.delete("c").await.unwrap();
        assert!(!store.exists("c").await.unwrap());
        let mut keys = store.keys().await.unwrap();
        keys.sort();
        assert_eq!(keys, ["a", "b", "new"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn increments_are_never_lost() {
    let (folder, redis) = (tempfile::tempdir().unwrap(), Redis::start());
    for store in stores(folder.path(), &redis) {
        let tasks: Vec<_> = (0..8)
            .map(|_| {
                let store = Arc::clone(&store);
                tokio::spawn(async move {
                    for _ in 0..25 {
                        store.increment("n", 1).await.unwrap();
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(store.increment("n", 0).await.unwrap(), 200);
    }
}

#[tokio::test]
async fn a_corrupt_cache_is_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache");
    std::fs::create_dir_all(&path).unwrap();
    std::fs::write(path.join("conf"), b"this is not sled's configuration").unwrap();
    std::fs::write(path.join("db"), vec![7; 4096]).unwrap();
    std::fs::write(path.join("closed"), "1").unwrap();
    let store = SledStore::open(&path).unwrap();
    store.set("a", b"1".to_vec()).await.unwrap();
    let names: Vec<String> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    assert!(
        names.iter().any(|name| name.starts_with("cache.corrupt-")),
        "{names:?}"
    );
}

#[tokio::test]
async fn labels_and_sizes_are_checked() {
    let folder = tempfile::tempdir().unwrap();
    let config = RuntimeConfig::load(None, folder.path()).unwrap();
    let labels = BTreeSet::from(["default".to_owned(), "cache".to_owned()]);
    let metrics = Arc::new(Metrics::default());
    let providers = Providers::new(&metrics);
    providers.open(&config, &labels).unwrap();
    let granted = providers.granted(&BTreeSet::from(["default".to_owned()]));
    assert!(matches!(
        granted.open("cache").await,
        Err(KeyValueError::AccessDenied)
    ));
    let store = granted.open("default").await.unwrap();
    assert!(store.set("", vec![]).await.is_err());
    assert!(
        store
            .set(&"k".repeat(KEY_BYTES_MAX + 1), vec![])
            .await
            .is_err()
    );
    assert!(store.set("k", vec![0; VALUE_BYTES_MAX + 1]).await.is_err());
    assert!(store.set("k", vec![0; 10]).await.is_ok());
    let unknown = BTreeSet::from(["elsewhere".to_owned()]);
    let error = providers.open(&config, &unknown).unwrap_err();
    assert!(
        error.contains("\"elsewhere\"") && error.contains("runtime config"),
        "{error}"
    );
}

#[test]
fn an_open_store_is_kept_and_a_change_of_its_provider_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = RuntimeConfig::load(None, folder.path()).unwrap();
    let labels = BTreeSet::from(["cache".to_owned()]);
    let providers = Providers::new(&Arc::default());
    assert_eq!(providers.changed(&config, &labels), None, "none is open");
    // A second opening of sled's folder would fail.
    for _ in 0..2 {
        providers.open(&config, &labels).unwrap();
        assert_eq!(providers.changed(&config, &labels), None);
    }
    let text = "[key_value_store.cache]\ntype = \"spin\"\n";
    config.overlay(text, folder.path(), folder.path()).unwrap();
    let changed = providers.changed(&config, &labels).unwrap();
    assert!(changed.contains("cache"), "{changed}");
}
