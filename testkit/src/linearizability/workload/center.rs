//! Calls on a configuration centre.

use infra_core::ErrorKind;
use infra_core::coordination::{ConfigCenter, ConfigCenterExt, ConfigWrite, Version};

use super::{Worker, conclude, fail};
use crate::linearizability::versioned::{VersionedAnswer, VersionedOperation};

impl Worker<dyn ConfigCenter, VersionedOperation, VersionedAnswer> {
    /// One call; the version that this worker believes to be there after it.
    pub(super) async fn center_call(&mut self, known: u64) -> u64 {
        use VersionedOperation::{CompareAndDelete, CompareAndSet, Delete, Read, Set};
        let key = self.key();
        let value = self.fresh();
        let text = || value.to_string();
        let (operation, write) = match self.random.u8(..16) {
            0..6 => return self.read(key, known).await,
            6 => (Set(value), ConfigWrite::set(key.clone(), text())),
            7 => (Delete, ConfigWrite::delete(key.clone())),
            8 if known > 0 => (
                CompareAndDelete(known),
                ConfigWrite::compare_and_delete(key.clone(), Version(known)),
            ),
            _ => (
                CompareAndSet(known, value),
                ConfigWrite::compare_and_set(key.clone(), text(), Version(known)),
            ),
        };
        let deletes = matches!(operation, Delete | CompareAndDelete(_));
        let call = self.recorder.begin(self.number, key, operation);
        debug_assert!(operation != Read);
        match self.client.write(vec![write]).await {
            Ok(version) => {
                call.answered(VersionedAnswer::Written(version.0));
                if deletes { 0 } else { version.0 }
            }
            Err(error) if error.kind() == ErrorKind::Conflict => {
                call.answered(VersionedAnswer::Conflict);
                0
            }
            Err(error) => {
                fail(call, &error);
                known
            }
        }
    }

    async fn read(&mut self, key: String, known: u64) -> u64 {
        let call = self
            .recorder
            .begin(self.number, key.clone(), VersionedOperation::Read);
        let result = self.client.entry(&key).await.and_then(|entry| {
            entry
                .map(|entry| Ok((entry.decode::<u64>()?, entry.version.0)))
                .transpose()
        });
        let seen = match &result {
            Ok(entry) => entry.map_or(0, |(_, version)| version),
            Err(_) => known,
        };
        conclude(call, result, VersionedAnswer::Entry);
        seen
    }
}
