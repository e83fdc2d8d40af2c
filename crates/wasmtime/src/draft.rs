//! `wasi:keyvalue@0.2.0-draft`.

use bytes::Bytes;
use eventual_batch_engine::Page;
use wasmtime::Result;
use wasmtime::component::Resource;

use crate::bindings::StoreError;
use crate::bindings::draft::wasi::keyvalue0_2_0_draft::{atomics, batch, store};
use crate::call::WriteParameters;
use crate::host::KeyValueCtxView;
use crate::read_charge::ReadCharge;
use crate::resources::OpenBucket;

impl store::Host for KeyValueCtxView<'_> {
    async fn open(&mut self, identifier: String) -> Result<Resource<OpenBucket>, StoreError> {
        self.ctx
            .read("open", &identifier, None, |bucket, deadline| async move {
                Ok(bucket.open(deadline).await?)
            })
            .await?;
        let charge = self.ctx.usage.charge(0)?;
        Ok(self.table.push(OpenBucket::new(&identifier, charge))?)
    }

    fn convert_error(&mut self, error: StoreError) -> Result<store::Error> {
        match error {
            StoreError::Answer(error) => Ok(error),
            StoreError::Trap(error) => Err(error),
        }
    }
}

impl store::HostBucket for KeyValueCtxView<'_> {
    async fn get(
        &mut self,
        bucket: Resource<OpenBucket>,
        key: String,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let name = self.name(&bucket)?;
        // Held until the value is handed over.
        let charge = &ReadCharge::new(self.ctx);
        let found = self
            .ctx
            .read("get", &name, Some(1), |bucket, deadline| async move {
                let node = bucket.single_reads();
                charge.get(&bucket, node, &key, deadline).await
            })
            .await?;
        Ok(found.map(Vec::from))
    }

    async fn set(
        &mut self,
        bucket: Resource<OpenBucket>,
        key: String,
        value: Vec<u8>,
    ) -> Result<(), StoreError> {
        let name = self.name(&bucket)?;
        let entries = vec![(key, Bytes::from(value))];
        let parameters = WriteParameters::of_entries(&entries);
        let set = self.ctx.set_entries("set", &name, entries, parameters);
        Ok(set.await?)
    }

    async fn delete(
        &mut self,
        bucket: Resource<OpenBucket>,
        key: String,
    ) -> Result<(), StoreError> {
        let name = self.name(&bucket)?;
        Ok(self.ctx.delete_keys("delete", &name, vec![key]).await?)
    }

    async fn exists(
        &mut self,
        bucket: Resource<OpenBucket>,
        key: String,
    ) -> Result<bool, StoreError> {
        let name = self.name(&bucket)?;
        let found = self
            .ctx
            .read("exists", &name, Some(1), |bucket, deadline| async move {
                Ok(bucket
                    .exists_from(bucket.single_reads(), &key, deadline)
                    .await?)
            })
            .await?;
        Ok(found)
    }

    async fn list_keys(
        &mut self,
        bucket: Resource<OpenBucket>,
        cursor: Option<u64>,
    ) -> Result<store::KeyResponse, StoreError> {
        let name = self.name(&bucket)?;
        let after = cursor.unwrap_or(0);
        let charge = &ReadCharge::new(self.ctx);
        let listed = |page: &Page| page.keys.len();
        let page = self
            .ctx
            .list("list-keys", &name, listed, |bucket, deadline| async move {
                charge.list_keys(&bucket, after, deadline).await
            })
            .await?;
        Ok(store::KeyResponse {
            keys: page.keys,
            cursor: page.next,
        })
    }

    async fn drop(&mut self, bucket: Resource<OpenBucket>) -> Result<()> {
        self.table.delete(bucket)?;
        Ok(())
    }
}

impl atomics::Host for KeyValueCtxView<'_> {
    async fn increment(
        &mut self,
        bucket: Resource<OpenBucket>,
        key: String,
        delta: u64,
    ) -> Result<u64, StoreError> {
        let name = self.name(&bucket)?;
        Ok(self.ctx.add(&name, key, delta).await?)
    }
}

impl batch::Host for KeyValueCtxView<'_> {
    async fn get_many(
        &mut self,
        bucket: Resource<OpenBucket>,
        keys: Vec<String>,
    ) -> Result<Vec<Option<(String, Vec<u8>)>>, StoreError> {
        let name = self.name(&bucket)?;
        let count = Some(keys.len());
        let charge = &ReadCharge::new(self.ctx);
        let found = self
            .ctx
            .read("get-many", &name, count, |bucket, deadline| async move {
                let values = charge.get_many(&bucket, &keys, deadline).await?;
                let beside_its_key =
                    |(key, value): (String, Option<Bytes>)| Some((key, value?.into()));
                Ok(keys.into_iter().zip(values).map(beside_its_key).collect())
            })
            .await?;
        Ok(found)
    }

    async fn set_many(
        &mut self,
        bucket: Resource<OpenBucket>,
        key_values: Vec<(String, Vec<u8>)>,
    ) -> Result<(), StoreError> {
        let name = self.name(&bucket)?;
        let entries: Vec<_> = key_values
            .into_iter()
            .map(|(key, value)| (key, Bytes::from(value)))
            .collect();
        let parameters = WriteParameters::of_entries(&entries);
        let set = self.ctx.set_entries("set-many", &name, entries, parameters);
        Ok(set.await?)
    }

    async fn delete_many(
        &mut self,
        bucket: Resource<OpenBucket>,
        keys: Vec<String>,
    ) -> Result<(), StoreError> {
        let name = self.name(&bucket)?;
        Ok(self.ctx.delete_keys("delete-many", &name, keys).await?)
    }
}
