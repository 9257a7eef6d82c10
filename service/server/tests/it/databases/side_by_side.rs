//! Several databases of one cluster, migrated at the same moment: their roles are the cluster's.

use super::Server;
use super::arrangements::config;
use crate::support::rounds;
use counterfoil::postgres::connect::Database;
use futures_util::future::join_all;

const DATABASES: [&str; 4] = ["one", "two", "three", "four"];

#[tokio::test(flavor = "multi_thread")]
async fn roles_that_several_databases_share_are_made_once() {
    let mut server = Server::start().await;
    server.run("CREATE ROLE maker LOGIN CREATEROLE").await;
    for database in DATABASES {
        server.run(&format!("CREATE DATABASE {database} OWNER maker")).await;
    }
    for round in 0..rounds(8, 50) {
        let serves = format!("serves_{round}");
        let migrations = DATABASES.map(|database| {
            let config = config(&server.url_as(&serves, database), Some(&server.url_as("maker", database)));
            async move { Database::migrate(&config, &|_| {}).await.map_err(|error| error.to_string()) }
        });
        for migrated in join_all(migrations).await {
            let roles = migrated.unwrap_or_else(|error| panic!("round {round}: {error}"));
            assert_eq!(roles.service, serves);
        }
    }
    server.stop().await;
}
