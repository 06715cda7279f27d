//! The database contract: statements with parameters, transactions, migrations, sharded tables.

mod contract;
mod extension;
mod insert;
mod migration;
mod row;
mod sharding;
mod statement;
mod transaction;
mod value;

pub use contract::{Database, Executed, PoolStatus, RowStream, Scatter};
pub use extension::DatabaseExt;
pub use insert::{BatchInsert, Existing};
pub use scoped_futures::ScopedFutureExt;

pub use migration::{Migration, MigrationReport, Migrations};
pub use row::Row;
pub use sharding::{ShardKey, ShardingConfig, TableSharding};
pub use statement::{Parameters, Statement};
pub use transaction::{Isolation, Transaction, TransactionExt, TransactionOptions};
pub use value::Value;
