//! `wasi:keyvalue@0.1.0`.

use std::sync::Arc;

use bytes::Bytes;
use eventual_batch_engine::{Bucket, CallerText, Kind, ReadNode};
use eventual_batch_links::{CallError, error_message};
use wasmtime::Result;
use wasmtime::component::Resource;
use wasmtime_wasi_io::streams::{DynInputStream, DynOutputStream};

use crate::bindings::released::wasi::keyvalue0_1_0::{
    atomic, eventual, eventual_batch, types, wasi_keyvalue_error,
};
use crate::call::WriteParameters;
use crate::host::KeyValueCtxView;
use crate::limits::{Charge, OverLimit};
use crate::read_charge::ReadCharge;
use crate::resources::{
    ErrorResource, HeldValue, IncomingBytes, OpenBucket, OutgoingBytes, Unusable,
};
use crate::streams::{ValueReader, ValueWriter};

const CONSUMED: &str = "the value was consumed before";

/// What a function answers that can fail: an outer error is a trap.
type Answer<T> = Result<Result<T, Resource<ErrorResource>>>;

impl KeyValueCtxView<'_> {
    /// Hands a failure to the component.
    fn fail(&mut self, trace: String) -> Result<Resource<ErrorResource>> {
        let charge = self.ctx.usage.charge(0)?;
        Ok(self.table.push(ErrorResource::new(trace, charge))?)
    }

    fn answer<T>(&mut self, outcome: Result<T, CallError>) -> Answer<T> {
        match outcome {
            Ok(value) => Ok(Ok(value)),
            Err(error) => Ok(Err(self.fail(error_message(&error))?)),
        }
    }

    /// A value that was read, with its share of what was counted for the answer.
    fn incoming(
        &mut self,
        bytes: Bytes,
        answer: &mut Charge,
    ) -> Result<Result<Resource<IncomingBytes>, OverLimit>> {
        match answer.split_off(bytes.len()) {
            Ok(charge) => Ok(Ok(self.table.push(IncomingBytes::new(bytes, charge))?)),
            Err(over) => Ok(Err(over)),
        }
    }

    /// The values as resources, all of them or none.
    fn incoming_all(
        &mut self,
        values: Vec<Option<Bytes>>,
        mut answer: Charge,
    ) -> Answer<Vec<Option<Resource<IncomingBytes>>>> {
        let mut all = Vec::with_capacity(values.len());
        for value in values {
            let Some(bytes) = value else {
                all.push(None);
                continue;
            };
            match self.incoming(bytes, &mut answer)? {
                Ok(value) => all.push(Some(value)),
                Err(over) => {
                    for value in all.into_iter().flatten() {
                        self.table.delete(value)?;
                    }
                    return Ok(Err(self.fail(over.to_string())?));
                }
            }
        }
        Ok(Ok(all))
    }

    pub(crate) fn name(&self, bucket: &Resource<OpenBucket>) -> Result<Arc<str>> {
        Ok(Arc::clone(&self.table.get(bucket)?.name))
    }

    fn outgoing(
        &self,
        key: &str,
        value: &Resource<OutgoingBytes>,
    ) -> Result<Result<(Bytes, HeldValue), CallError>> {
        let unusable = |why: Unusable| CallError::Rejected {
            kind: Kind::InvalidArgument,
            reason: {
                let key = CallerText::key(key);
                format!(
                    "the value of key {:?} cannot be set: {why}",
                    key.for_caller()
                )
            },
        };
        Ok(self.table.get(value)?.hold().map_err(unusable))
    }
}

impl wasi_keyvalue_error::Host for KeyValueCtxView<'_> {}

impl wasi_keyvalue_error::HostError for KeyValueCtxView<'_> {
    fn trace(&mut self, error: Resource<ErrorResource>) -> Result<String> {
        Ok(self.table.get(&error)?.trace.clone())
    }

    fn drop(&mut self, error: Resource<ErrorResource>) -> Result<()> {
        self.table.delete(error)?;
        Ok(())
    }
}

impl types::Host for KeyValueCtxView<'_> {}

impl types::HostBucket for KeyValueCtxView<'_> {
    async fn open_bucket(&mut self, name: String) -> Answer<Resource<OpenBucket>> {
        let opened = self
            .ctx
            .read("open-bucket", &name, None, |bucket, deadline| async move {
                Ok(bucket.open(deadline).await?)
            })
            .await;
        if let Err(error) = opened {
            return self.answer(Err(error));
        }
        match self.ctx.usage.charge(0) {
            Ok(charge) => Ok(Ok(self.table.push(OpenBucket::new(&name, charge))?)),
            Err(over) => Ok(Err(self.fail(over.to_string())?)),
        }
    }

    fn drop(&mut self, bucket: Resource<OpenBucket>) -> Result<()> {
        self.table.delete(bucket)?;
        Ok(())
    }
}

impl types::HostOutgoingValue for KeyValueCtxView<'_> {
    fn new_outgoing_value(&mut self) -> Result<Resource<OutgoingBytes>> {
        // The interface has no error here.
        let charge = self.ctx.usage.charge(0)?;
        Ok(self.table.push(OutgoingBytes::new(charge))?)
    }

    fn outgoing_value_write_body_async(
        &mut self,
        value: Resource<OutgoingBytes>,
    ) -> Answer<Resource<DynOutputStream>> {
        let charge = match self.ctx.usage.charge(0) {
            Ok(charge) => charge,
            Err(over) => return Ok(Err(self.fail(over.to_string())?)),
        };
        match self.table.get(&value)?.open() {
            Ok(body) => {
                let stream: DynOutputStream = Box::new(ValueWriter::new(body, charge));
                Ok(Ok(self.table.push(stream)?))
            }
            Err(why) => Ok(Err(
                self.fail(format!("the value cannot be written: {why}"))?
            )),
        }
    }

    fn outgoing_value_write_body_sync(
        &mut self,
        value: Resource<OutgoingBytes>,
        bytes: Vec<u8>,
    ) -> Answer<()> {
        match self.table.get(&value)?.write(bytes) {
            Ok(()) => Ok(Ok(())),
            Err(why) => Ok(Err(
                self.fail(format!("the value cannot be written: {why}"))?
            )),
        }
    }

    fn drop(&mut self, value: Resource<OutgoingBytes>) -> Result<()> {
        self.table.delete(value)?;
        Ok(())
    }
}

/// In the older shape of this version, the functions that consume a value borrow it, and the component
/// drops its handle afterwards. In the newer shape they take the handle.
impl KeyValueCtxView<'_> {
    pub(crate) fn read_sync(&mut self, value: &Resource<IncomingBytes>) -> Answer<Vec<u8>> {
        match self.table.get_mut(value)?.take() {
            Some(bytes) => Ok(Ok(bytes.into())),
            None => Ok(Err(self.fail(CONSUMED.to_owned())?)),
        }
    }

    pub(crate) fn read_async(
        &mut self,
        value: &Resource<IncomingBytes>,
    ) -> Answer<Resource<DynInputStream>> {
        let Some(bytes) = self.table.get_mut(value)?.take() else {
            return Ok(Err(self.fail(CONSUMED.to_owned())?));
        };
        match self.ctx.usage.charge(bytes.len()) {
            Ok(charge) => {
                let stream: DynInputStream = Box::new(ValueReader::new(bytes, charge));
                Ok(Ok(self.table.push(stream)?))
            }
            Err(over) => Ok(Err(self.fail(over.to_string())?)),
        }
    }
}

impl types::HostIncomingValue for KeyValueCtxView<'_> {
    fn incoming_value_consume_sync(&mut self, value: Resource<IncomingBytes>) -> Answer<Vec<u8>> {
        let read = self.read_sync(&value);
        self.table.delete(value)?;
        read
    }

    fn incoming_value_consume_async(
        &mut self,
        value: Resource<IncomingBytes>,
    ) -> Answer<Resource<DynInputStream>> {
        let stream = self.read_async(&value);
        self.table.delete(value)?;
        stream
    }

    fn incoming_value_size(&mut self, value: Resource<IncomingBytes>) -> Answer<u64> {
        match self.table.get(&value)?.size() {
            Some(size) => Ok(Ok(size as u64)),
            None => Ok(Err(self.fail(CONSUMED.to_owned())?)),
        }
    }

    fn drop(&mut self, value: Resource<IncomingBytes>) -> Result<()> {
        self.table.delete(value)?;
        Ok(())
    }
}

impl eventual::Host for KeyValueCtxView<'_> {
    async fn get(
        &mut self,
        bucket: Resource<OpenBucket>,
        key: String,
    ) -> Answer<Option<Resource<IncomingBytes>>> {
        let name = self.name(&bucket)?;
        let answer = ReadCharge::new(self.ctx);
        let charge = &answer;
        let found = self
            .ctx
            .read("get", &name, Some(1), |bucket, deadline| async move {
                let node = ReadNode::Leader;
                charge.get(&bucket, node, &key, deadline).await
            })
            .await;
        match found {
            Ok(found) => {
                let all = self.incoming_all(vec![found], answer.into_charge())?;
                Ok(all.map(|mut all| all.pop().flatten()))
            }
            Err(error) => self.answer(Err(error)),
        }
    }

    async fn set(
        &mut self,
        bucket: Resource<OpenBucket>,
        key: String,
        value: Resource<OutgoingBytes>,
    ) -> Answer<()> {
        let name = self.name(&bucket)?;
        let outcome = match self.outgoing(&key, &value)? {
            Ok((bytes, held)) => {
                let entries = vec![(key, bytes)];
                let parameters = WriteParameters::of_held(&entries, vec![held]);
                let set = self.ctx.set_entries("set", &name, entries, parameters);
                set.await
            }
            Err(error) => Err(error),
        };
        self.answer(outcome)
    }

    async fn delete(&mut self, bucket: Resource<OpenBucket>, key: String) -> Answer<()> {
        let name = self.name(&bucket)?;
        let outcome = self.ctx.delete_keys("delete", &name, vec![key]).await;
        self.answer(outcome)
    }

    async fn exists(&mut self, bucket: Resource<OpenBucket>, key: String) -> Answer<bool> {
        let name = self.name(&bucket)?;
        let outcome = self
            .ctx
            .read("exists", &name, Some(1), |bucket, deadline| async move {
                Ok(bucket.exists(&key, deadline).await?)
            })
            .await;
        self.answer(outcome)
    }
}

impl atomic::Host for KeyValueCtxView<'_> {
    async fn increment(
        &mut self,
        bucket: Resource<OpenBucket>,
        key: String,
        delta: u64,
    ) -> Answer<u64> {
        let name = self.name(&bucket)?;
        let outcome = self.ctx.add(&name, key, delta).await;
        self.answer(outcome)
    }

    async fn compare_and_swap(
        &mut self,
        bucket: Resource<OpenBucket>,
        key: String,
        old: u64,
        new: u64,
    ) -> Answer<bool> {
        let name = self.name(&bucket)?;
        let parameters = WriteParameters::of_keys(std::slice::from_ref(&key));
        let work = move |bucket: Arc<Bucket>, deadline| async move {
            Ok(bucket.compare_and_swap(&key, old, new, deadline).await?)
        };
        let swap = self.ctx.write("compare-and-swap", &name, parameters, work);
        let outcome = swap.await;
        self.answer(outcome)
    }
}

impl eventual_batch::Host for KeyValueCtxView<'_> {
    async fn get_many(
        &mut self,
        bucket: Resource<OpenBucket>,
        keys: Vec<String>,
    ) -> Answer<Vec<Option<Resource<IncomingBytes>>>> {
        let name = self.name(&bucket)?;
        let count = Some(keys.len());
        let answer = ReadCharge::new(self.ctx);
        let charge = &answer;
        let found = self
            .ctx
            .read("get-many", &name, count, |bucket, deadline| async move {
                charge.get_many(&bucket, &keys, deadline).await
            })
            .await;
        match found {
            Ok(values) => self.incoming_all(values, answer.into_charge()),
            Err(error) => self.answer(Err(error)),
        }
    }

    async fn keys(&mut self, bucket: Resource<OpenBucket>) -> Answer<Vec<String>> {
        let name = self.name(&bucket)?;
        // Held until the keys are handed over.
        let charge = &ReadCharge::new(self.ctx);
        let outcome = self
            .ctx
            .list("keys", &name, Vec::len, |bucket, deadline| async move {
                charge.keys(&bucket, deadline).await
            })
            .await;
        self.answer(outcome)
    }

    async fn set_many(
        &mut self,
        bucket: Resource<OpenBucket>,
        key_values: Vec<(String, Resource<OutgoingBytes>)>,
    ) -> Answer<()> {
        let name = self.name(&bucket)?;
        let mut entries = Vec::with_capacity(key_values.len());
        let mut values = Vec::with_capacity(key_values.len());
        for (key, value) in key_values {
            match self.outgoing(&key, &value)? {
                Ok((bytes, held)) => {
                    entries.push((key, bytes));
                    values.push(held);
                }
                Err(error) => return self.answer(Err(error)),
            }
        }
        let parameters = WriteParameters::of_held(&entries, values);
        let set = self.ctx.set_entries("set-many", &name, entries, parameters);
        let outcome = set.await;
        self.answer(outcome)
    }

    async fn delete_many(&mut self, bucket: Resource<OpenBucket>, keys: Vec<String>) -> Answer<()> {
        let name = self.name(&bucket)?;
        let outcome = self.ctx.delete_keys("delete-many", &name, keys).await;
        self.answer(outcome)
    }
}
