//! `delete-many`, which two interfaces have.

use eventual_batch_links::CallError;

use crate::wrpc::Request;

/// `delete-many`. Only the type of the error differs between the interfaces.
pub(crate) async fn delete_many<E: From<CallError>>(
    request: Request<(String, Vec<String>)>,
) -> (Result<(), E>,) {
    request
        .respond(|call, (name, keys)| async move {
            call.run(&name, Some(keys.len()), |bucket, deadline| async move {
                Ok(bucket.delete_many(keys, deadline).await?)
            })
            .await
        })
        .await
}
