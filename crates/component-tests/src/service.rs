//! A component as its users see it: over HTTP.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use reqwest::{Method, StatusCode};
use serde_json::{Map, Value as Json, json};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

/// How long a bucket may take to answer. A component in Python has 19 MB to compile first.
const WAIT_LIMIT: Duration = Duration::from_secs(120);

/// A component's HTTP service; the requests are those of `examples/http-batch`.
#[derive(Clone, Debug)]
pub struct Service {
    address: String,
    bucket: Option<String>,
    client: reqwest::Client,
}

/// What was found for a key: text as a string, other bytes as `{"base64": "…"}`, or null.
pub type Found = Json;

impl Service {
    /// The service at this address, `host:port`.
    #[must_use]
    pub fn new(address: &str) -> Self {
        Self {
            address: address.to_owned(),
            bucket: None,
            client: reqwest::Client::builder()
                .no_proxy()
                // A host may wait for ever for an answer of `wasi:keyvalue/batch`.
                .timeout(Duration::from_secs(60))
                .build()
                .unwrap_or_default(),
        }
    }

    /// The text that a request of this path and query answers.
    ///
    /// # Errors
    ///
    /// If the service answers an error.
    pub async fn text(&self, path_and_query: &str) -> Result<String> {
        let url = format!("{}{path_and_query}", self.url());
        let answer = self.client.get(url).send().await?;
        Ok(answer.error_for_status()?.text().await?)
    }

    /// `http://127.0.0.1:<port>`
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The same service with `?bucket=` in every request.
    #[must_use]
    pub fn bucket(&self, name: &str) -> Self {
        let bucket = Some(name.to_owned());
        Self {
            bucket,
            ..self.clone()
        }
    }

    /// Waits until somebody listens at the address.
    ///
    /// # Errors
    ///
    /// If nobody does in time.
    pub async fn wait_until_it_listens(&self, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        while let Err(error) = TcpStream::connect(&self.address).await {
            if Instant::now() > deadline {
                return Err(error).with_context(|| format!("nothing listens at {}", self.address));
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Waits until the component reads a key of its bucket.
    ///
    /// # Errors
    ///
    /// The last one, if the component cannot within two minutes.
    pub async fn wait_for_bucket(&self) -> Result<()> {
        let deadline = Instant::now() + WAIT_LIMIT;
        loop {
            match self.get(&["any"]).await {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// The path, with the keys and the bucket as they stand in a request.
    #[must_use]
    pub fn path_and_query(&self, path: &str, keys: &[&str]) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(self.bucket.iter().map(|bucket| ("bucket", bucket)));
        query.extend_pairs(keys.iter().map(|key| ("key", key)));
        match query.finish() {
            query if query.is_empty() => path.to_owned(),
            query if path.contains('?') => format!("{path}&{query}"),
            query => format!("{path}?{query}"),
        }
    }

    /// Any request, and its answer: status and JSON.
    ///
    /// # Errors
    ///
    /// If there is no answer, or it is not JSON.
    pub async fn request(
        &self,
        method: Method,
        path: &str,
        keys: &[&str],
        body: Option<&Json>,
    ) -> Result<(StatusCode, Json)> {
        let url = format!("{}{}", self.url(), self.path_and_query(path, keys));
        let mut request = self.client.request(method, url);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        let json = serde_json::from_str(&text)
            .with_context(|| format!("{status} without JSON: {text:?}"))?;
        Ok((status, json))
    }

    /// Any request that is to succeed, and its answer.
    ///
    /// # Errors
    ///
    /// If the service answers an error.
    pub async fn ok(
        &self,
        method: Method,
        path: &str,
        keys: &[&str],
        body: Option<&Json>,
    ) -> Result<Json> {
        let (status, json) = self.request(method, path, keys, body).await?;
        ensure!(status.is_success(), "{status}: {json}");
        Ok(json)
    }

    /// Stores all of `{"key": value, …}`.
    ///
    /// # Errors
    ///
    /// If the service answers an error.
    pub async fn put(&self, values: &Json) -> Result<()> {
        let answer = self.ok(Method::PUT, "/", &[], Some(values)).await?;
        let stored = values.as_object().map(Map::len);
        ensure!(answer == json!({ "stored": stored }), "{answer}");
        Ok(())
    }

    /// Reads these keys.
    ///
    /// # Errors
    ///
    /// If the service answers an error, or other keys.
    pub async fn get(&self, keys: &[&str]) -> Result<Vec<Found>> {
        let answer = self.ok(Method::GET, "/", keys, None).await?;
        let Json::Array(entries) = answer else {
            bail!("not a list: {answer}");
        };
        let answered: Vec<_> = entries
            .iter()
            .filter_map(|entry| entry["key"].as_str())
            .collect();
        ensure!(answered == keys, "asked {keys:?}, answered {answered:?}");
        Ok(entries
            .into_iter()
            .map(|mut entry| entry["value"].take())
            .collect())
    }

    /// Deletes these keys.
    ///
    /// # Errors
    ///
    /// If the service answers an error.
    pub async fn delete(&self, keys: &[&str]) -> Result<()> {
        self.ok(Method::DELETE, "/", keys, None).await.map(drop)
    }

    /// Lists the bucket's keys, sorted.
    ///
    /// # Errors
    ///
    /// If the service answers an error.
    pub async fn keys(&self) -> Result<Vec<String>> {
        let answer = self.ok(Method::GET, "/keys", &[], None).await?;
        let mut keys: Vec<String> = serde_json::from_value(answer)?;
        keys.sort_unstable();
        Ok(keys)
    }

    /// The text of the error that reading a key answers.
    ///
    /// # Errors
    ///
    /// If it answers none.
    pub async fn error(&self) -> Result<String> {
        let (status, answer) = self.request(Method::GET, "/", &["key"], None).await?;
        ensure!(status == StatusCode::BAD_GATEWAY, "{status}: {answer}");
        Ok(answer["error"].as_str().context("no text")?.to_owned())
    }
}
